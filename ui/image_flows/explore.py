"""Play with a trained flow over images: sample, blend, change, take apart, upload, be surprised."""

from __future__ import annotations

import time

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from analysis.image_checks import ood_bits, other_sets
from analysis.image_latents import (
    Attributes,
    attributes,
    blend,
    context_of,
    decode,
    encode,
    interpolate,
    resample_level,
    sample,
)
from figures.image_charts import strips
from figures.image_figures import labelled_rows, tile
from figures.images import png
from lab.view import View
from models.patches import guided
from training.core.image_flow import TEMPERATURE
from ui.common.plain import plain
from ui.common.widgets import KEPT, among, choose_part
from ui.image_flows.desk import Base, Desk, at_desk, choose_base, choose_two, sheet
from ui.image_flows.upload import show_upload

MANY = 12  # classes shown at once at most
OTHERS = 24  # images of each set behind the surprise
EXAMPLES = 10  # of each set, to look at
MEASURED = 1000  # images behind the directions of attributes
ENCODING = "Encoding training images"
RATING = "Rating images of several sets; it takes some seconds"

GREY = (
    "A flow of digits has learned that black lies beside black. A black image costs next to "
    "nothing; an evenly grey one, just as smooth, costs most often about as much as noise. "
)
NALISNICK = (
    "[Nalisnick et al., 2019, *Do Deep Generative Models Know What They Don't Know?*]"
    "(https://arxiv.org/abs/1810.09136)"
)
KIRICHENKO = (
    "[Kirichenko et al., 2020, *Why Normalizing Flows Fail to Detect Out-of-Distribution Data*]"
    "(https://arxiv.org/abs/2006.08545)"
)


def explore(view: View, version: float) -> None:
    """Draw the part of the playground that was chosen."""
    desk = at_desk(view, version)
    if desk is None:
        return
    parts = {"Sample": _sample}
    if desk.fits:
        parts |= {
            "Interpolate": _interpolate,
            "Attributes": _attributes,
            "Levels": _levels,
            f"Your own {desk.word}": show_upload,
            "Surprise": _surprise,
        }
    choose_part(desk, "Explore", parts)
    if not desk.fits:
        st.info(
            "The other parts need real images of the classes that this flow was conditioned on: "
            f"{plain(', '.join(desk.classes[:MANY]))}."
        )


# -- sample --------------------------------------------------------------------------------------


def _sample(desk: Desk) -> None:
    st.markdown(
        "**Turn the temperature.** It scales the latents: at 0 only the most central image is "
        "left, near 0.7 they are clean and varied, above 1 the flow goes where it saw no data."
    )
    controls, shown = st.columns([1, 2.2])
    with controls:
        temperature = st.slider(
            "Temperature", 0.0, 1.2, TEMPERATURE, 0.05, key=desk.key("heat"), **KEPT
        )
        labels = _classes(desk) if desk.conditional else ()
        guidance = _guidance(desk) if labels else 0.0
        latest = 2**31 - 1
        seed = st.number_input("Seed of the latents", 0, latest, 0, key=desk.key("seed"), **KEPT)
    if desk.conditional and not labels:
        shown.info("Choose at least one class.")
        return
    drawn, seconds = desk.painted(_samples_png, labels, temperature, seed, guidance)
    words = f"{10 * len(labels) if labels else 60} images, made in {seconds:.2f} s. "
    words += (
        "A row is a class; a column has the same latents in every row."
        if labels
        else "This flow is not conditioned on classes, so it cannot be asked for one."
    )
    with shown:
        sheet(drawn, f"Samples at temperature {temperature}", words)


def _classes(desk: Desk) -> tuple[int, ...]:
    """Let the visitor choose the classes to draw."""
    names = desk.classes
    chosen = st.pills(
        "Classes",
        range(len(names)),
        default=range(min(len(names), MANY)),
        selection_mode="multi",
        wrap=True,
        format_func=lambda k: plain(names[k]),
        key=desk.key("classes"),
        **KEPT,
    )
    return tuple(sorted(chosen))[: 2 * MANY]


def _guidance(desk: Desk) -> float:
    """Let the visitor choose how far samples are pushed towards their class, if a flow can be."""
    if not getattr(desk.run.config, "left_out", 0):
        return 0.0
    words = (
        "How far each patch is pushed from what it would be without a class beyond what it is with "
        "it. 0 is the density that was learned; more makes clearer images, and fewer kinds."
    )
    key = desk.key("guidance")
    return st.slider("Guidance", 0.0, 3.0, 0.0, 0.25, key=key, help=words, **KEPT)


def _samples_png(
    desk: Desk, labels: tuple[int, ...], temperature: float, seed: int, guidance: float
) -> tuple[bytes, float]:
    """Return samples as PNG, and the seconds that sampling took."""
    flow, start = desk.model, time.perf_counter()
    flow = guided(flow, guidance) if guidance else flow
    if not labels:
        x = sample(flow, torch.zeros(60, dtype=torch.int64), temperature=temperature, seed=seed)
        seconds = time.perf_counter() - start
        return png(tile(desk.shown(x), 10, desk.shade)), seconds
    eval_generator = torch.Generator().manual_seed(seed)
    z = flow.prior.sample(10, generator=eval_generator, temperature=temperature)
    wanted = torch.tensor(labels).repeat_interleave(10)
    x = decode(flow, z.repeat(len(labels), 1), context_of(flow, wanted))
    seconds = time.perf_counter() - start
    names = [desk.classes[k] for k in labels]
    return png(labelled_rows(desk.shown(x), 10, names, desk.shade)), seconds


# -- interpolate ---------------------------------------------------------------------------------

STEPS = 11


def _interpolate(desk: Desk) -> None:
    st.markdown(
        f"**Choose two real {desk.word}s.** Both are encoded, and what lies between their latents "
        "is decoded: strokes move and join. Fading pixels into each other, in the last row, only "
        "lays one over the other."
    )
    start, end = choose_two(desk)
    drawn = desk.painted(_between_png, start, end)
    words = (
        "Line: straight through latent space, whose middle is closer to the origin, as at a lower "
        "temperature. Arc: round the origin, as far from it as the two ends are."
    )
    if desk.conditional and start.label != end.label:
        words += " The context goes straight from one class to the other, too."
    sheet(drawn, "Images between two real ones", words)


def _between_png(desk: Desk, start: Base, end: Base) -> bytes:
    flow = desk.model
    images = torch.cat([start.image, end.image])
    labels = torch.cat([start.labels, end.labels])
    rows = [
        desk.shown(interpolate(flow, images, labels, steps=STEPS, spherical=spherical))
        for spherical in (False, True)
    ]
    part = torch.linspace(0, 1, STEPS)[:, None, None, None]
    rows.append(desk.shown(((1 - part) * images[0] + part * images[1] + 0.5) / 256))
    return png(labelled_rows(np.concatenate(rows), STEPS, ["line", "arc", "pixels"], desk.shade))


# -- attributes ----------------------------------------------------------------------------------


def _attributes(desk: Desk) -> None:
    names = desk.images.classes
    two = ("thin", "thick") if desk.digits else ("dim", "bright")
    st.markdown(
        "**Push the sliders.** The mean latents of two groups of images differ by a vector; adding "
        f"it to the latents of one {desk.word} gives that {desk.word} the attribute and leaves "
        "most of the rest as it was."
    )
    left, middle, right = st.columns([1.2, 1.6, 1.6])
    base = choose_base(desk, "Start from", min(1, len(names) - 1), left)
    target, strength = _towards(desk, base, middle)
    words = f"{two[0].capitalize()} to {two[1]}"
    amount = right.slider(words, -1.5, 1.5, 0.0, 0.1, key=desk.key("thick"), **KEPT)
    pair, ways = desk.painted(_changed_png, base, target, strength, amount, two)
    count = desk.kept(_directions, words=ENCODING).count
    left, right = st.columns([1, 2.2], vertical_alignment="center")
    with left:
        words = f"The {desk.word} itself, and with both sliders as they stand."
        sheet(pair, "An image and the same with its attributes changed", words)
    with right:
        words = (
            "The whole way of each slider, the other as it stands. The vectors come from "
            f"{count:,} training images"
        )
        words += "; the class goes along." if desk.conditional else "."
        sheet(ways, "The whole way of each slider", words)


def _towards(desk: Desk, base: Base, where) -> tuple[int, float]:
    """Let the visitor choose another class and how far to go there."""
    others = [k for k in desk.images.train_labels.unique().tolist() if k != base.label]
    if not others:
        where.caption("All images are of one class, so there is no other to go towards.")
        return base.label, 0.0
    key = desk.key("towards")
    among(key, others, 7)
    names = desk.images.classes
    target = where.selectbox(
        "Towards", others, format_func=lambda k: f"{names[k]}-like", key=key, **KEPT
    )
    return target, where.slider("How far", 0.0, 1.5, 0.0, 0.1, key=desk.key("far"), **KEPT)


def _changed_png(
    desk: Desk, base: Base, target: int, strength: float, amount: float, words: tuple[str, str]
) -> tuple[bytes, bytes]:
    """Return the image beside the changed one, and the whole way of each slider."""
    names = desk.images.classes
    along, thick = torch.linspace(0, 1.5, 9), torch.linspace(-1.5, 1.5, 9)
    here, now = torch.tensor([strength]), torch.tensor([amount])
    pair = [desk.shown(base.image), _push(desk, base, target, here, now)]
    rows, labels = [], []
    if target != base.label:
        rows.append(_push(desk, base, target, along, now.expand(9)))
        labels.append(f"{names[base.label]} to {names[target]}")
    rows.append(_push(desk, base, target, here.expand(9), thick))
    labels.append(f"{words[0]} to {words[1]}")
    sheets = (
        tile(np.concatenate(pair), 2, desk.shade, width=284),
        labelled_rows(np.concatenate(rows), 9, labels, desk.shade),
    )
    return png(sheets[0]), png(sheets[1])


def _push(desk: Desk, base: Base, target: int, strengths: Tensor, amounts: Tensor) -> np.ndarray:
    """Return an image pushed by as many pairs of strengths as there are, as bytes."""
    flow, ways = desk.model, desk.kept(_directions, words=ENCODING)
    given = context_of(flow, torch.tensor([base.label, target]))
    z = encode(flow, base.image, None if given is None else given[:1])
    z = z + strengths[:, None] * ways.towards(base.label, target) + amounts[:, None] * ways.thicker
    # Beyond the other class there is no context.
    context = None if given is None else blend(given[0], given[1], strengths.clamp(0, 1))
    return desk.shown(decode(flow, z, context))


def _directions(desk: Desk) -> Attributes:
    images = desk.images
    classes = len(images.classes)
    each = max(10, MEASURED // classes)
    return attributes(desk.model, images.train, images.train_labels, classes, per_class=each)


# -- levels --------------------------------------------------------------------------------------


def _levels(desk: Desk) -> None:
    flow = desk.model
    if len(flow.latent_shapes) == 1:
        st.info(
            "This flow has a single level: all its latents leave at the end, side by side. Flows "
            "with more levels hold coarse and fine things apart; RealNVP and Glow can have them."
        )
        return
    st.markdown(
        "**See what each level holds.** In a row the latents of one level are drawn anew, ten "
        "times; the others stay as they are. What stays the same was not decided there: of the "
        f"{desk.word} itself, a fine level often holds next to nothing."
        + (" The class is given: most images keep it." if desk.conditional else "")
    )
    left, right = st.columns([2, 2])
    base = choose_base(desk, "Take apart", min(5, len(desk.images.classes) - 1), left)
    label, key = "Temperature of what is drawn", desk.key("levels.heat")
    temperature = right.slider(label, 0.0, 1.2, TEMPERATURE, 0.05, key=key, **KEPT)
    drawn = desk.painted(_levels_png, base, temperature)
    sizes = [
        f"level {i + 1} has {h} x {w} places with {c} numbers each"
        for i, (c, h, w) in enumerate(flow.latent_shapes)
    ]
    words = f"The first column is the real {desk.word}. Of its latents, {'; '.join(sizes)}."
    sheet(drawn, "One level drawn anew, the others kept", words)


def _levels_png(desk: Desk, base: Base, temperature: float) -> bytes:
    flow = desk.model
    context = context_of(flow, base.labels)
    many = encode(flow, base.image, context).expand(10, -1)
    repeated = None if context is None else context.expand(10, -1)
    rows, real = [], desk.shown(base.image)
    for level in range(len(flow.latent_shapes)):
        z = resample_level(flow, many, level, temperature=temperature, seed=level)
        rows += [real, desk.shown(decode(flow, z, repeated))]
    labels = [f"level {i + 1}" for i in range(len(flow.latent_shapes))]
    labels[0] += ", fine"
    labels[-1] += ", coarse"
    return png(labelled_rows(np.concatenate(rows), 11, labels, desk.shade))


# -- surprise ------------------------------------------------------------------------------------


def _surprise(desk: Desk) -> None:
    st.markdown(
        f"**What should a flow make of images that are none of its {desk.word}s?** More bits/dim "
        "mean less likely. One tick is one image, the diamond is the mean of its row."
    )
    values, _ = desk.kept(_others, words=RATING)
    title = "bits/dim, without the class" if desk.conditional else "bits/dim"
    chart = strips(values, title, desk.shade, wide_range=True)
    st.vega_lite_chart(*chart, key=desk.key("surprise"), alt="Bits/dim of several sets of images")
    usual = float(values["test images"].mean())
    st.caption(
        f"{OTHERS} images of each set at most: the mean of so few test images, {usual:.2f}, "
        "differs from the one measured in training, on many more."
    )
    means = {name: float(part.mean()) for name, part in values.items()}
    below = [f"{name} ({mean:.2f})" for name, mean in means.items() if mean < usual - 0.01]
    if below:
        st.markdown(
            f"**Likelier than the {desk.word}s themselves** (mean {usual:.2f} bits/dim): "
            f"{', '.join(below)}. The flow never saw such an image."
        )
    left, right = st.columns([1.5, 1])
    with left:
        sheet(desk.painted(_examples_png), "Some images of each set")
    right.markdown(
        "A density answers how likely *exactly this image* is, not whether it belongs here. An "
        "image costs few bits if each pixel is easy to predict in the way that the flow has "
        "learned, wherever the image comes from; noise costs many. "
        + (GREY if desk.digits else "")
        + "And a set of likely images may still hardly ever be drawn: there are few of them, while "
        "typical images are many and share the probability.\n\n"
        f"{NALISNICK} found that flows trained on CIFAR-10 rate house numbers (SVHN) higher than "
        f"CIFAR-10's own test images. {KIRICHENKO} show why: couplings learn how neighbouring "
        "pixels go together, which holds for all images, more than what the images are of."
    )
    if "fashion_mnist" not in (desk.images.name, getattr(desk.run.config, "dataset", "")):
        _fashion_hint(desk, values)


def _fashion_hint(desk: Desk, values: dict[str, np.ndarray]) -> None:
    if desk.digits and desk.crop[0] == 28 and "Fashion-MNIST" not in values:
        st.caption(
            "Fashion-MNIST is not on this machine. Choose it as dataset in the form and download "
            "it: then it stands beside the digits here."
        )


def _others(desk: Desk) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return bits/dim of each image of some sets, and some images to look at, by set."""
    sets = other_sets(desk.images, desk.crop[0], OTHERS)
    rated = ood_bits(desk.model, sets, desk.dims)
    values = {name: part.numpy() for name, part in rated.items()}
    return values, {name: desk.shown(part[:EXAMPLES]) for name, part in sets.items()}


def _examples_png(desk: Desk) -> bytes:
    _, examples = desk.kept(_others, words=RATING)
    rows = np.concatenate(list(examples.values()))
    return png(labelled_rows(rows, EXAMPLES, list(examples), desk.shade))
