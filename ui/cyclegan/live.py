"""What the page of CycleGAN shows of a run while it trains, and what can be taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
from PIL import Image

from figures.cyclegan_figures import triptych
from figures.image_figures import film_of_images, labelled_rows, lecture_scale
from figures.images import png
from lab.store import Run, RunError
from lab.view import View
from metrics.cyclegan_health import translation_health
from ui.common.cached import painted
from ui.common.curves import draw_curves, last_with, pace
from ui.common.history import Arrays, Moment, history_slider, last_snapshot, live, tenths
from ui.common.page import show_image
from ui.common.plain import plain
from ui.gan.health import show_light

SHEET = 640  # pixels that a triptych is wide
ROWS = 6  # of the sheet over the training
WAYS = {"ab": ("a", "aba"), "ba": ("b", "bab")}
# Both losses of a kind, and what each is called where a and b are what A and B show.
LOSSES = {
    "adversarial": ("adversarial_ab", "adversarial_ba", "{a} to {b}", "{b} to {a}"),
    "discriminator": ("discriminator_a", "discriminator_b", "of {a}", "of {b}"),
    "cycle": ("cycle_a", "cycle_b", "{a} and back", "{b} and back"),
    "identity": ("identity_a", "identity_b", "{a}", "{b}"),
}
ONE_WAY = {
    "adversarial": ("adversarial_ab", "{a} to {b}"),
    "discriminator": ("discriminator_b", "of {b}"),
    "contrast": ("contrast_a", "contrast_b", "{a} as {b}", "{b} left alone"),
}
SHORT = 12  # letters of a name where there is little room


@live
def draw_cyclegan(moment: Moment) -> None:
    """Draw both round trips, the health, all losses, and a slider through the history of a run."""
    view, step = moment.view, moment.step
    names = [str(name) for name in moment.target["classes"]]
    for place, way, first, second in zip(st.columns(2), WAYS, names, names[::-1], strict=True):
        if way not in moment.snapshot:
            continue
        back = " and back" if WAYS[way][1] in moment.snapshot else ""
        title = f"{first[:1].upper()}{first[1:]} to {second}{back}"
        words = f"**{plain(title)}**, test images, step {step:,}"
        alt = f"From {first} to {second}{back} at step {step}"
        show_image(place, moment.painted(_triptych_png, way), alt, words)
    history_slider(moment)
    left, right = st.columns([1, 1])
    with left:
        target = moment.target
        taken = {way: tuple(target[f"taken_{way}"]) for way in WAYS if f"taken_{way}" in target}
        found = translation_health(view.rows, view.status.total, taken)
        states = {"collapse": "Collapse", "far": "Not translated"}
        show_light(moment.run, found, discriminator="A discriminator", **states)
    with right:
        _numbers(moment, names)
    _curves(moment, names)
    steps = tuple(_steps_of_the_sheet(view))
    if len(steps) > 1:
        both = ", both ways" if "ba" in moment.snapshot else ""
        st.caption(f"The same test images over the training{both}")
        by = view.run.id, steps, moment.shade
        sheet = painted(_growth_png, by, view.run, steps, moment.shade, _epoch_of(view))
        show_image(st, sheet, "Translations over the training")


def _numbers(moment: Moment, names: list[str]) -> None:
    view = moment.view
    last = last_with(view.rows, "likeness_ab")
    if last is None:
        return
    places = st.columns(3)
    if "cycle_error_a" in last:
        error = (last["cycle_error_a"] + last["cycle_error_b"]) / 2
        places[0].metric(
            "Cycle error",
            f"{error:.1%}",
            help="Mean absolute difference between test images and what comes back, as a fraction "
            f"of the range of grey levels; both ways, at step {last['step']:,}.",
        )
    if "hue_ab" in last:
        _of_fruits(last, names, places[1:])
    else:
        pace(moment, places[1], "pairs")


def _of_fruits(last: Mapping[str, float], names: list[str], places: list) -> None:
    """Draw hue and shape, of which the smaller counts where there are two directions."""
    hues, shapes = (
        [last[f"{name}_{way}"] for way in WAYS if f"{name}_{way}" in last]
        for name in ("hue", "iou")
    )
    smaller = "; the smaller is shown" if len(hues) > 1 else ""
    there = f"{names[0].capitalize()} to {names[1]}"
    places[0].metric(
        "Other hue",
        f"{min(hues):.0%}",
        help="Fraction of translated test images whose mean hue inside the input's mask is the "
        f"other fruit's: above 15 degrees an orange, below an apple. {there} "
        f"{', back '.join(f'{hue:.0%}' for hue in hues)}{smaller}. On 16 of each while it trains, "
        "on 100 at the end.",
    )
    places[1].metric(
        "Shape (IoU)",
        f"{min(shapes):.2f}",
        help="Overlap of the input's mask and of where its translation shows a fruit, by colour. "
        f"There {', back '.join(f'{shape:.3f}' for shape in shapes)}{smaller}. Of an image that is "
        "not translated at all it is 0.98: colour finds no highlights.",
    )


def _curves(moment: Moment, names: Sequence[str]) -> None:
    a, b = map(_short, names)
    losses = LOSSES if moment.run.config.tie == "cycle" else ONE_WAY
    for place, (kind, columns) in zip(st.columns(4), losses.items(), strict=False):
        half = len(columns) // 2
        words = [word.format(a=a, b=b) for word in columns[half:]]
        alt = f"The {kind} losses over the training"
        lines = dict(zip(columns[:half], words, strict=True))
        draw_curves(moment, place, kind, lines, f"{kind} loss", alt, dots=False, height=200)


def _short(name: str) -> str:
    return name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"


def _epoch_of(view: View) -> int:
    """Return the optimiser steps of an epoch."""
    return max(1, view.status.total // view.run.config.epochs)


def _steps_of_the_sheet(view: View) -> list[int]:
    """Return the untrained snapshot, that of epoch 1 and some of the tenths, spread evenly."""
    steps, epoch = tenths(view.status.total, view.run), _epoch_of(view)
    first = [epoch] if epoch in view.run.snapshots.steps() else []
    later = [step for step in steps if step > max(first, default=0)]
    most = ROWS - 1 - len(first)
    if len(later) > most:
        later = [later[round(i * (len(later) - 1) / (most - 1))] for i in range(most)]
    return [*steps[:1], *first, *later]


def _both(frame: Arrays) -> np.ndarray:
    """Return the translations of a snapshot in all directions, ``(n, 3, S, S)``."""
    return np.concatenate([frame[way] for way in WAYS if way in frame])


def _triptych_png(moment: Moment, way: str) -> bytes:
    return png(_triptych(way, moment.snapshot, moment.target, moment.shade, width=SHEET))


def _triptych(way: str, snapshot: Arrays, target: Arrays, shade: str, **size: int) -> Image.Image:
    start, back = WAYS[way]
    images = [target[start], *(snapshot[name] for name in (way, back) if name in snapshot)]
    names = [_short(str(name)) for name in target["classes"]]
    first, second = names if way == "ab" else names[::-1]
    rows = (first, f"as {second}", "and back")[: len(images)]
    return triptych(images, rows, shade, **size)


def _growth_png(run: Run, steps: Sequence[int], shade: str, epoch: int) -> bytes:
    frames = [run.snapshots.load(step) for step in steps]
    rows = [_both(frame) for frame in frames]
    labels = ["epoch 1" if step == epoch else f"step {step:,}" for step in steps]
    return png(labelled_rows(np.concatenate(rows), len(rows[0]), labels, shade, width=1100))


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    target = run.snapshots.target()
    sides = [target[start] for way, (start, _) in WAYS.items() if way in last_snapshot(run)]
    real = np.concatenate(sides)

    def frames():
        for step in run.snapshots.steps():
            yield step, _both(run.snapshots.load(step))

    return film_of_images(frames(), real, len(target["a"]), shade)


def sheet_of(way: str):
    """Return what makes a PNG of the last round trips of a run in one direction."""

    def make(run: Run, shade: str) -> bytes:
        target = run.snapshots.target()
        images = target[WAYS[way][0]]
        if way not in last_snapshot(run):
            raise RunError("This run translates in one direction only.")
        scale = lecture_scale((3 * len(images), *images.shape[1:]), len(images))
        return png(_triptych(way, last_snapshot(run), target, shade, scale=scale))

    return make
