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
from figures.pictures import png
from lab.view import View
from training.core.image_flow import TEMPERATURE
from ui.common.plain import plain
from ui.image_flows.desk import Base, Desk, at_desk, choose_base, choose_part, choose_two, sheet
from ui.image_flows.upload import show_upload

MANY = 12  # classes shown at once at most
OTHERS = 24  # images of each set behind the surprise
EXAMPLES = 10  # of each set, to look at
MEASURED = 1000  # images behind the directions of attributes

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
            f"{plain(', '.join(desk.trained.classes[:MANY]))}."
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
            "Temperature",
            0.0,
            1.2,
            TEMPERATURE,
            0.05,
            key=desk.key("heat"),
            persist_state="session",
        )
        labels = _classes(desk) if desk.conditional else ()
        seed = st.number_input(
            "Seed of the latents", 0, 2**31 - 1, 0, key=desk.key("seed"), persist_state="session"
        )
    if desk.conditional and not labels:
        shown.info("Choose at least one class.")
        return
    drawn, seconds = _samples_png(*desk.where, labels, temperature, seed, desk)
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
    names = desk.trained.classes
    chosen = st.pills(
        "Classes",
        range(len(names)),
        default=range(min(len(names), MANY)),
        selection_mode="multi",
        wrap=True,
        format_func=lambda k: plain(names[k]),
        key=desk.key("classes"),
        persist_state="session",
    )
    return tuple(sorted(chosen))[: 2 * MANY]


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(
    run_id: str,
    version: float,
    shade: str,
    labels: tuple[int, ...],
    temperature: float,
    seed: int,
    _desk: Desk,
) -> tuple[bytes, float]:
    """Return samples as PNG, and the seconds that sampling took."""
    flow, start = _desk.trained.flow, time.perf_counter()
    if not labels:
        x = sample(flow, torch.zeros(60, dtype=torch.int64), temperature=temperature, seed=seed)
        seconds = time.perf_counter() - start
        return png(tile(_desk.shown(x), 10, shade)), seconds
    eval_generator = torch.Generator().manual_seed(seed)
    z = flow.prior.sample(10, generator=eval_generator, temperature=temperature)
    wanted = torch.tensor(labels).repeat_interleave(10)
    x = decode(flow, z.repeat(len(labels), 1), context_of(flow, wanted))
    seconds = time.perf_counter() - start
    names = [_desk.trained.classes[k] for k in labels]
    return png(labelled_rows(_desk.shown(x), 10, names, shade)), seconds


# -- interpolate ---------------------------------------------------------------------------------

STEPS = 11


def _interpolate(desk: Desk) -> None:
    st.markdown(
        f"**Choose two real {desk.word}s.** Both are encoded, and what lies between their latents "
        "is decoded: strokes move and join. Fading pixels into each other, in the last row, only "
        "lays one over the other."
    )
    start, end = choose_two(desk)
    drawn = _between_png(*desk.where, _bytes(start, end), desk, start, end)
    words = (
        "Line: straight through latent space. Arc: on the sphere where Gaussian latents of that "
        "many dimensions lie; the middle of the line is closer to the origin, as at a lower "
        "temperature."
    )
    if desk.conditional and start.label != end.label:
        words += " The context goes straight from one class to the other, too."
    sheet(drawn, "Images between two real ones", words)


@st.cache_data(max_entries=64, show_spinner=False)
def _between_png(
    run_id: str, version: float, shade: str, pixels: bytes, _desk: Desk, _start: Base, _end: Base
) -> bytes:
    flow = _desk.trained.flow
    images = torch.cat([_start.image, _end.image])
    labels = torch.cat([_start.labels, _end.labels])
    rows = [
        _desk.shown(interpolate(flow, images, labels, steps=STEPS, spherical=spherical))
        for spherical in (False, True)
    ]
    shares = torch.linspace(0, 1, STEPS)[:, None, None, None]
    rows.append(_desk.shown(((1 - shares) * images[0] + shares * images[1] + 0.5) / 256))
    return png(labelled_rows(np.concatenate(rows), STEPS, ["line", "arc", "pixels"], shade))


# -- attributes ----------------------------------------------------------------------------------


def _attributes(desk: Desk) -> None:
    names, two = (
        desk.trained.images.classes,
        ("thin", "thick") if desk.digits else ("dim", "bright"),
    )
    st.markdown(
        "**Push the sliders.** The mean latents of two groups of images differ by a vector; adding "
        f"it to the latents of one {desk.word} gives that {desk.word} the attribute and leaves the "
        "rest alone."
    )
    left, middle, right = st.columns([1.2, 1.6, 1.6])
    base = choose_base(desk, "Start from", min(1, len(names) - 1), left)
    others = [k for k in desk.trained.images.train_labels.unique().tolist() if k != base.label]
    target, strength = base.label, 0.0
    if others:
        key = desk.key("towards")
        if st.session_state.get(key) not in others:
            st.session_state[key] = 7 if 7 in others else others[0]
        target = middle.selectbox(
            "Towards",
            others,
            format_func=lambda k: f"{names[k]}-like",
            key=key,
            persist_state="session",
        )
        strength = middle.slider(
            "How far", 0.0, 1.5, 0.0, 0.1, key=desk.key("far"), persist_state="session"
        )
    else:
        middle.caption("All images are of one class, so there is no other to go towards.")
    amount = right.slider(
        f"{two[0].capitalize()} to {two[1]}",
        -1.5,
        1.5,
        0.0,
        0.1,
        key=desk.key("thick"),
        persist_state="session",
    )
    pair, ways = _changed_png(
        *desk.where, _bytes(base), base.label, target, strength, amount, two, desk, base
    )
    count = _directions(desk.run_id, desk.version, desk).count
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


@st.cache_data(max_entries=64, show_spinner=False)
def _changed_png(
    run_id: str,
    version: float,
    shade: str,
    pixels: bytes,
    label: int,
    target: int,
    strength: float,
    amount: float,
    words: tuple[str, str],
    _desk: Desk,
    _base: Base,
) -> tuple[bytes, bytes]:
    """Return the image beside the changed one, and the whole way of each slider."""
    ways, names = _directions(run_id, version, _desk), _desk.trained.images.classes
    along, thick = torch.linspace(0, 1.5, 9), torch.linspace(-1.5, 1.5, 9)
    here, now = torch.tensor([strength]), torch.tensor([amount])
    pair = [_desk.shown(_base.image), _push(_desk, ways, _base, target, here, now)]
    rows, labels = [], []
    if target != label:
        rows.append(_push(_desk, ways, _base, target, along, now.expand(9)))
        labels.append(f"{names[label]} to {names[target]}")
    rows.append(_push(_desk, ways, _base, target, here.expand(9), thick))
    labels.append(f"{words[0]} to {words[1]}")
    sheets = (
        tile(np.concatenate(pair), 2, shade, width=284),
        labelled_rows(np.concatenate(rows), 9, labels, shade),
    )
    return png(sheets[0]), png(sheets[1])


def _push(
    desk: Desk, ways: Attributes, base: Base, target: int, strengths: Tensor, amounts: Tensor
) -> np.ndarray:
    """Return an image pushed by as many pairs of strengths as there are, as bytes."""
    flow = desk.trained.flow
    given = context_of(flow, torch.tensor([base.label, target]))
    z = encode(flow, base.image, None if given is None else given[:1])
    z = z + strengths[:, None] * ways.towards(base.label, target) + amounts[:, None] * ways.thicker
    # Beyond the other class there is no context.
    context = None if given is None else blend(given[0], given[1], strengths.clamp(0, 1))
    return desk.shown(decode(flow, z, context))


@st.cache_resource(max_entries=6, show_spinner="Encoding training images")
def _directions(run_id: str, version: float, _desk: Desk) -> Attributes:
    images = _desk.trained.images
    classes = len(images.classes)
    each = max(10, MEASURED // classes)
    flow = _desk.trained.flow
    return attributes(flow, images.train, images.train_labels, classes, per_class=each)


# -- levels --------------------------------------------------------------------------------------


def _levels(desk: Desk) -> None:
    flow = desk.trained.flow
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
    )
    left, right = st.columns([2, 2])
    base = choose_base(desk, "Take apart", min(5, len(desk.trained.images.classes) - 1), left)
    temperature = right.slider(
        "Temperature of what is drawn",
        0.0,
        1.2,
        TEMPERATURE,
        0.05,
        key=desk.key("levels.heat"),
        persist_state="session",
    )
    drawn = _levels_png(*desk.where, _bytes(base), base.label, temperature, desk, base)
    sizes = [
        f"level {i + 1} has {h} x {w} places with {c} numbers each"
        for i, (c, h, w) in enumerate(flow.latent_shapes)
    ]
    words = f"The first column is the real {desk.word}. Of its latents, {'; '.join(sizes)}."
    sheet(drawn, "One level drawn anew, the others kept", words)


@st.cache_data(max_entries=64, show_spinner=False)
def _levels_png(
    run_id: str,
    version: float,
    shade: str,
    pixels: bytes,
    label: int,
    temperature: float,
    _desk: Desk,
    _base: Base,
) -> bytes:
    flow = _desk.trained.flow
    context = context_of(flow, _base.labels)
    many = encode(flow, _base.image, context).expand(10, -1)
    repeated = None if context is None else context.expand(10, -1)
    rows, real = [], _desk.shown(_base.image)
    for level in range(len(flow.latent_shapes)):
        z = resample_level(flow, many, level, temperature=temperature, seed=level)
        rows += [real, _desk.shown(decode(flow, z, repeated))]
    labels = [f"level {i + 1}" for i in range(len(flow.latent_shapes))]
    labels[0] += ", fine"
    labels[-1] += ", coarse"
    return png(labelled_rows(np.concatenate(rows), 11, labels, shade))


# -- surprise ------------------------------------------------------------------------------------


def _surprise(desk: Desk) -> None:
    st.markdown(
        f"**What should a flow make of images that are none of its {desk.word}s?** More bits/dim "
        "mean less likely. One tick is one image, the diamond is the mean of its row."
    )
    values, examples = _others(desk.run_id, desk.version, desk)
    title = "bits/dim, without the class" if desk.conditional else "bits/dim"
    chart = strips(values, title, desk.shade, wide_range=True)
    st.vega_lite_chart(*chart, key=desk.key("surprise"), alt="Bits/dim of several sets of images")
    usual = float(values["test images"].mean())
    means = {name: float(part.mean()) for name, part in values.items()}
    below = [f"{name} ({mean:.2f})" for name, mean in means.items() if mean < usual - 0.01]
    if below:
        st.markdown(
            f"**Likelier than the {desk.word}s themselves** (mean {usual:.2f} bits/dim): "
            f"{', '.join(below)}. The flow never saw such an image."
        )
    left, right = st.columns([1.5, 1])
    with left:
        sheet(_examples_png(*desk.where, examples, desk), "Some images of each set")
    right.markdown(
        "A density answers how likely *exactly this image* is, not whether it belongs here. A "
        "smooth image is easy to predict pixel from pixel, so it costs few bits wherever it comes "
        "from; noise costs many. And a set of such images may still hardly ever be drawn: there "
        "are few of them, while typical images are many and share the probability.\n\n"
        f"{NALISNICK} found that flows trained on CIFAR-10 rate house numbers (SVHN) higher than "
        f"CIFAR-10's own test images. {KIRICHENKO} show why: couplings learn how neighbouring "
        "pixels go together, which holds for all images, more than what the images are of."
    )
    if "fashion_mnist" not in (
        desk.trained.images.name,
        getattr(desk.trained.config, "dataset", ""),
    ):
        _fashion_hint(desk, values)


def _fashion_hint(desk: Desk, values: dict[str, np.ndarray]) -> None:
    if desk.digits and desk.trained.crop[0] == 28 and "Fashion-MNIST" not in values:
        st.caption(
            "Fashion-MNIST is not on this machine. Choose it as dataset in the form and download "
            "it: then it stands beside the digits here."
        )


@st.cache_data(max_entries=8, show_spinner="Rating images of several sets; it takes some seconds")
def _others(
    run_id: str, version: float, _desk: Desk
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return bits/dim of each image of some sets, and some images to look at, by set."""
    trained = _desk.trained
    sets = other_sets(trained.images, trained.crop[0], OTHERS)
    rated = ood_bits(trained.flow, sets, trained.dims)
    values = {name: part.numpy() for name, part in rated.items()}
    return values, {name: _desk.shown(part[:EXAMPLES]) for name, part in sets.items()}


@st.cache_data(max_entries=8, show_spinner=False)
def _examples_png(
    run_id: str, version: float, shade: str, _examples: dict[str, np.ndarray], _desk: Desk
) -> bytes:
    rows = np.concatenate(list(_examples.values()))
    return png(labelled_rows(rows, EXAMPLES, list(_examples), shade))


def _bytes(*bases: Base) -> bytes:
    """Return what images to start from are cached by."""
    return b"".join(base.image.numpy().tobytes() + bytes([base.label % 256]) for base in bases)
