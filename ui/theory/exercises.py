"""Short exercises: what to set up, what to do, what one should see."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from registry import FAMILIES


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        stem: the family whose page it takes place on.
        title: in a few words.
        do: what the reader does there.
        see: what one should see, and why.
        settings: what the link sets in the form; the rest keeps its default.
    """

    stem: str
    title: str
    do: str
    see: str
    settings: dict[str, object] = field(default_factory=dict)


EXERCISES = (
    Exercise(
        "nice",
        "Too few layers",
        "Train, then look at the thumbnails. Set the layers to 8 and train again.",
        "With two layers each coordinate moves once: all one gets is a few waves across the ring. "
        "With eight the modes are found, strung on one bent thread. The KL of three seeds was 1.41 "
        "to 1.69 nats with two layers and 0.39 to 0.60 with eight. The page of runs draws both.",
        {"dataset": "ring", "layers": 2, "iterations": 1000},
    ),
    Exercise(
        "nice",
        "Volumes are kept",
        "Train, open *See inside* and move the slider from the data to the latent.",
        "All log-determinants are zero until the last layer, which scales both axes, everywhere by "
        "the same factor (1.6 nats, five times the area): additive couplings bend without "
        "stretching.",
        {"dataset": "two_moons", "iterations": 1000},
    ),
    Exercise(
        "realnvp",
        "Affine against spline",
        "Train as it is. Change the coupling to spline, train again, compare the KL.",
        "On a checkerboard with its sharp edges the spline gets closer to the truth: each layer "
        "bends in eight pieces where an affine one only scales and shifts. The KL of three seeds "
        "was 0.080 to 0.097 nats with affine couplings and 0.011 to 0.013 with splines. Each step "
        "takes longer.",
        {"dataset": "checkerboard", "blocks": 6, "iterations": 2000},
    ),
    Exercise(
        "realnvp",
        "The bridges",
        "Train on the ring and look between the eight modes. Then lower the temperature in "
        "*Explore* to 0.4.",
        "Thin threads of density join the modes: an invertible map cannot tear the plane. A lower "
        "temperature thins them a little, and costs modes: those that the flow has put far out "
        "fade first. With three seeds, 2.7 to 3.8 % of the samples lay more than five standard "
        "deviations from any mode at temperature 1, and 1.4 to 2.9 % at 0.4. There the smallest "
        "mode had 0.4 to 2.8 % of the samples and the largest 23 to 36 %; an eighth is 12.5 %.",
        {"dataset": "ring", "iterations": 2000},
    ),
    Exercise(
        "glow",
        "What the levels hold",
        "Without training: *Explore*, *Levels*. Draw one level anew and keep the others.",
        "The last level decides how the digit is written: its slant, its width, its curves. The "
        "first one only decides on grain and edges. Which digit it is hardly changes: the class "
        "is given to this flow beside the latents.",
    ),
    Exercise(
        "glow",
        "Simpler is likelier",
        "Without training: *Explore*, *Surprise*.",
        "Images without any digit can be likelier than digits to a flow that has seen digits "
        "alone. A density is not a familiarity.",
    ),
    Exercise(
        "maf",
        "The trivial answer",
        "Without training: *Results*. Move the threshold to the far left.",
        "Everything is called defective: its F1 is high, since most test images are, and its "
        "balanced accuracy is one half. That is why both stand in the table.",
    ),
    Exercise(
        "gan",
        "One side alone",
        "Train, pause, and press *Step discriminator* a few times, then *Step generator*.",
        "The discriminator's steps move the heat map alone, the generator's the points alone, each "
        "along its arrow.",
    ),
    Exercise(
        "gan",
        "The loss of the first paper",
        "Train, and watch the arrows where the map is deep blue.",
        "Where the discriminator is sure, this loss gives hardly any gradient: the arrows vanish, "
        "and points stay where they are for a while. On this ring it finds all modes all the same.",
        {"loss": "original"},
    ),
    Exercise(
        "vae",
        "Between two digits",
        "Without training: *Latent space*. Click where the colours of two digits meet.",
        "Something between the two: the decoder knows no border. Far outside, where no image was "
        "encoded, it still decodes, and what comes is nothing in particular.",
    ),
    Exercise(
        "cyclegan",
        "Without a way back",
        "Without training: *Translate* an image and look at the round trip. Then train with the "
        "cycle loss at zero.",
        "Nothing ties the translation to its input any more: what comes back is another image.",
        {"cycle": 0.0, "identity": 0.0},
    ),
)


def exercises() -> None:
    """Draw the exercises of all families, each with a link that sets up its page."""
    for stem in dict.fromkeys(exercise.stem for exercise in EXERCISES):
        family = FAMILIES[stem]
        st.markdown(f"**{family.title}**")
        for exercise in (e for e in EXERCISES if e.stem == stem):
            with st.container(border=True):
                words, link = st.columns([4, 1], vertical_alignment="center")
                words.markdown(
                    f"**{exercise.title}.** {exercise.do}  \n:gray[You should see:] {exercise.see}"
                )
                link.page_link(
                    f"pages/{family.page}.py",
                    label="Set it up",
                    icon=":material/play_circle:",
                    query_params=address(exercise),
                )


def address(exercise: Exercise) -> dict[str, str]:
    """Return the parameters of the link of an exercise."""
    family = FAMILIES[exercise.stem]
    on = {"on": family.stem} if family.page != family.stem else {}
    return on | {name: str(value) for name, value in exercise.settings.items()}
