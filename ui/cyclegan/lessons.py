"""What the losses are there for, to be tried, and the numbers of the translations of a run."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st
import torch

from datasets.own import DataError
from datasets.pairs import PairSet, load_pairs
from datasets.rendered.fruits import KINDS, found_masks, is_kind, overlap
from lab.view import View
from metrics.spectrum import checkerboard
from metrics.two_sets import APART
from training.core.images import bytes_of_signed, signed
from training.core.unpaired import CHUNK, FINAL, compared, yardsticks
from ui.common.form import use_settings_of
from ui.common.plain import markdown, plain
from ui.cyclegan.model import Translator, translator_of


@dataclass(frozen=True)
class Lesson:
    """A setting to try, and what to look at.

    Attributes:
        title: of the lesson.
        values: settings that differ from those of the run.
        why: what the loss does.
        look: what is to be seen without it.
    """

    title: str
    values: dict[str, object]
    why: str
    look: str


LESSONS = (
    Lesson(
        "Without the cycle loss",
        {"cycle": 0.0, "identity": 0.0},
        "A discriminator only asks whether a translation looks like its set. Nothing asks whether "
        "it still shows *this* image: any orange will do for any apple.",
        "What comes back is another image and the cycle curves stay high. Grounds become all "
        "alike, and so do the fruits: what tells one from the other is lost on the way. The "
        "identity loss would do part of the cycle's work, so this lesson turns off both.",
    ),
    Lesson(
        "Without the identity loss",
        {"identity": 0.0},
        "The cycle loss does not mind if all colours turn on the way there and turn back on the "
        "way home. The identity loss does: shown an orange, the generator of oranges should "
        "leave it as it is.",
        "Grounds lose or change their tint: a green table turns grey, a grey one brown. The "
        "identity curves stay higher. How much depends on the seed; in the paper, paintings of the "
        "day become photographs at sunset. Should light and dark change places, the health light "
        "shows.",
    ),
    Lesson(
        "Contrast in place of the cycle",
        {"tie": "contrast"},
        "What else can tie a translation to its input? Each of its patches has to be told from "
        "others as the one that came from its place (CUT). There is one generator, in one "
        "direction, and nothing has to come back.",
        "A step takes about two thirds of the time. There is no image *and back*, and no cycle "
        "error; shape and hue are in *Check*, to be compared with those of this run.",
    ),
    Lesson(
        "Against the checkerboard",
        {"upsampling": "resize"},
        "A transposed convolution of 3 x 3 with stride 2 reaches some pixels with one weight and "
        "others with four. The network can learn to even that out, and never quite does.",
        "*Check* has the peak in the spectrum: how far the frequencies of a checkerboard stand "
        "out, beside real images. Pixels that are repeated first and convolved then leave less. If "
        "this run does that already, choose *Transposed* to see what it avoids.",
    ),
)


def lessons(view: View, version: float) -> None:
    """Draw lessons: each sets the form, so that Train shows what it is about."""
    st.markdown(
        "Each lesson is a training of its own. **Set the form**, press **Train**, and compare the "
        "snapshots over the training with those of this run. Or leave this run going and move the "
        "weights while it trains."
    )
    places = [place for _ in range(0, len(LESSONS), 2) for place in st.columns(2)]
    for lesson, place in zip(LESSONS, places, strict=True):
        with place.container(border=True):
            st.markdown(f"**{lesson.title}**")
            st.markdown(lesson.why)
            st.markdown(f"*What to look at.* {lesson.look}")
            family = view.run.family
            st.button(
                "Set the form",
                on_click=use_settings_of,
                args=(view.run,),
                kwargs=lesson.values,
                icon=":material/tune:",
                key=f"{family.stem}.lesson.{lesson.title}",
            )


# -- checks --------------------------------------------------------------------------------------


def checks(view: View, version: float) -> None:
    """Show what translations of test images measure, beside doing nothing and real images."""
    found = translator_of(view, version)
    try:
        rows, counts = found.kept(_measured, words="Measuring")
    except DataError as error:
        st.info(f"{error} Without the images there is nothing to measure here.")
        return
    a, b = map(plain, found.domains)
    ways = {"ab": f"{a} to {b}", "ba": f"{b} to {a}"}
    ways = {way: words for way, words in ways.items() if way in found.ways}
    lines = []
    for name, (label, form) in MEASURES.items():
        for way, words in ways.items():
            key = name.format(side=way[0], way=way)
            if any(key in numbers for numbers in rows.values()):
                cells = [form.format(n[key]) if key in n else "" for n in rows.values()]
                lines.append((f"{label}, {words}", *cells))
    st.markdown(markdown(("", *rows), lines))
    taken = [f"taken_{way}" for way in ways]
    right = sum(rows["real images"][name] for name in taken) / len(taken)
    words = (
        f"The first {counts[0]} and {counts[1]} test images. **Doing nothing** gives every image "
        "back as it is: perfect cycles, and nothing translated. **Taken for**: by a linear "
        "classifier of colours, contrasts and edges, solved on the training images of A and B and "
        "on mixtures and noise, which are of neither; of real test images, which it has not seen, "
        f"it gets {right:.0%} right. **Checkerboard**: the largest power at a frequency of two or "
        "four pixels, over that of the frequencies around it; about 1 is none."
    )
    gains = (rows["real images"][name] - rows["doing nothing"][name] for name in taken)
    if min(gains) < APART:
        words += " That is too little to say whether a translation is of the other set."
    if "hue_ab" in rows["this run"]:
        words += (
            " **Real images** are test images of the other kind, with their own masks: what the "
            "rules say where the truth is known. Hue rule: the mean hue inside the mask, each "
            "pixel weighted by its chroma, is an orange's between 15 and 60 degrees and an apple's "
            "between -45 and 15. Shape: where the hue is warm and the colour vivid."
        )
    st.caption(words)


MEASURES = {
    "taken_{way}": ("Taken for the other set", "{:.0%}"),
    "hue_{way}": ("Other fruit's hue", "{:.1%}"),
    "iou_{way}": ("Shape kept (IoU)", "{:.3f}"),
    "cycle_error_{side}": ("Cycle error", "{:.2%}"),
    "likeness_{way}": ("Brightness alike (correlation)", "{:.2f}"),
    "checkerboard_{way}": ("Peak of a checkerboard in the spectrum", "{:.1f}"),
    "variety_{way}": ("Variety, compared with real images", "{:.2f}"),
}


def _measured(found: Translator) -> tuple[dict[str, dict[str, float]], tuple[int, int]]:
    """Return numbers by who translates, and how many images of A and of B they are of."""
    pairs = load_pairs(found.run.config.dataset, found.size, found.run.own_data())

    @torch.no_grad()
    def carry(x: torch.Tensor, to_b: bool) -> torch.Tensor:
        net = found.model.a_to_b if to_b else found.model.b_to_a
        return net(signed(x) if x.dtype == torch.uint8 else x)

    def nothing(x: torch.Tensor, _: bool) -> torch.Tensor:
        return signed(x) if x.dtype == torch.uint8 else x

    rows = {
        "this run": compared(pairs, FINAL, carry, found.ways),
        "doing nothing": compared(pairs, FINAL, nothing, found.ways),
    }
    sticks = yardsticks(pairs, FINAL).items()
    rows["real images"] = {f"taken_{way}": real for way, (_, real) in sticks if way in found.ways}
    for way in found.ways:
        images, others = (pairs.test_a, pairs.test_b)[:: 1 if way == "ab" else -1]
        made = [bytes_of_signed(carry(x, way == "ab")) for x in images[:FINAL].split(CHUNK)]
        shown = torch.cat(made), images[:FINAL], others[:FINAL]
        for numbers, x in zip(rows.values(), shown, strict=True):
            numbers[f"checkerboard_{way}"] = checkerboard(x)
    if pairs.masks_a is not None:
        rows["real images"] |= _of_real_fruits(pairs)
    return rows, tuple(min(FINAL, len(part)) for part in (pairs.test_a, pairs.test_b))


def _of_real_fruits(pairs: PairSet) -> dict[str, float]:
    numbers = {}
    real = {"ba": (pairs.test_a, pairs.masks_a), "ab": (pairs.test_b, pairs.masks_b)}
    for (way, (images, masks)), kind in zip(real.items(), KINDS, strict=True):
        pixels, inside = images[:FINAL].numpy(), masks[:FINAL].numpy()
        numbers[f"hue_{way}"] = float(is_kind(kind, pixels, inside).mean())
        numbers[f"iou_{way}"] = float(overlap(inside, found_masks(pixels)).mean())
    return numbers
