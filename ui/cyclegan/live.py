"""What the page of CycleGAN shows of a run while it trains, and what can be taken away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from PIL import Image

from figures.cyclegan_figures import triptych
from figures.image_figures import film_of_images, labelled_rows, lecture_scale
from figures.images import png
from lab.store import Run
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
SHORT = 12  # letters of a name where there is little room


@live
def draw_cyclegan(moment: Moment) -> None:
    """Draw both round trips, the health, all losses, and a slider through the history of a run."""
    view, step = moment.view, moment.step
    names = [str(name) for name in moment.target["classes"]]
    for place, way, first, second in zip(st.columns(2), WAYS, names, names[::-1], strict=True):
        title = f"{first[:1].upper()}{first[1:]} to {second} and back"
        words = f"**{plain(title)}**, test images, step {step:,}"
        alt = f"From {first} to {second} and back at step {step}"
        show_image(place, moment.painted(_triptych_png, way), alt, words)
    history_slider(moment)
    left, right = st.columns([1, 1])
    with left:
        target = moment.target
        taken = {way: tuple(target[f"taken_{way}"]) for way in WAYS if f"taken_{way}" in target}
        found = translation_health(view.rows, view.status.total, taken)
        states = {"collapse": "Collapse", "far": "Not translated"}
        show_light(found, discriminator="A discriminator", **states)
    with right:
        _numbers(moment, names)
    _curves(moment, names)
    steps = tuple(_steps_of_the_sheet(view))
    if len(steps) > 1:
        st.caption("The same test images over the training, both ways")
        by = view.run.id, steps, moment.shade
        sheet = painted(_growth_png, by, view.run, steps, moment.shade, _epoch_of(view))
        show_image(st, sheet, "Translations over the training")


def _numbers(moment: Moment, names: list[str]) -> None:
    view = moment.view
    last = last_with(view.rows, "cycle_error_a")
    if last is None:
        return
    error = (last["cycle_error_a"] + last["cycle_error_b"]) / 2
    places = st.columns(3)
    places[0].metric(
        "Cycle error",
        f"{error:.1%}",
        help="Mean absolute difference between test images and what comes back, as a fraction of "
        f"the range of grey levels; both ways, at step {last['step']:,}.",
    )
    if "hue_ab" in last:
        hue = min(last["hue_ab"], last["hue_ba"])
        iou = min(last["iou_ab"], last["iou_ba"])
        places[1].metric(
            "Other hue",
            f"{hue:.0%}",
            help="Fraction of translated test images whose mean hue inside the input's mask is the "
            f"other fruit's: above 15 degrees an orange, below an apple. {names[0].capitalize()} "
            f"to {names[1]} {last['hue_ab']:.0%}, back {last['hue_ba']:.0%}; the smaller is shown. "
            "On 16 of each while it trains, on 100 at the end.",
        )
        places[2].metric(
            "Shape (IoU)",
            f"{iou:.2f}",
            help="Overlap of the input's mask and of where its translation shows a fruit, by "
            f"colour. There {last['iou_ab']:.3f}, back {last['iou_ba']:.3f}; the smaller is shown. "
            "Of an image that is not translated at all it is 0.98: colour finds no highlights.",
        )
    else:
        pace(moment, places[1], "pairs")


def _curves(moment: Moment, names: Sequence[str]) -> None:
    a, b = map(_short, names)
    for place, (kind, (of_a, of_b, *words)) in zip(st.columns(4), LOSSES.items(), strict=True):
        first, second = (word.format(a=a, b=b) for word in words)
        alt = f"The {kind} losses over the training"
        lines = {of_a: first, of_b: second}
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


def _triptych_png(moment: Moment, way: str) -> bytes:
    return png(_triptych(way, moment.snapshot, moment.target, moment.shade, width=SHEET))


def _triptych(way: str, snapshot: Arrays, target: Arrays, shade: str, **size: int) -> Image.Image:
    start, back = WAYS[way]
    images = target[start], snapshot[way], snapshot[back]
    names = [_short(str(name)) for name in target["classes"]]
    first, second = names if way == "ab" else names[::-1]
    return triptych(images, (first, f"as {second}", "and back"), shade, **size)


def _growth_png(run: Run, steps: Sequence[int], shade: str, epoch: int) -> bytes:
    frames = [run.snapshots.load(step) for step in steps]
    rows = [np.concatenate([frame["ab"], frame["ba"]]) for frame in frames]
    labels = ["epoch 1" if step == epoch else f"step {step:,}" for step in steps]
    return png(labelled_rows(np.concatenate(rows), len(rows[0]), labels, shade, width=1100))


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    target = run.snapshots.target()
    real = np.concatenate([target["a"], target["b"]])

    def frames():
        for step in run.snapshots.steps():
            snapshot = run.snapshots.load(step)
            yield step, np.concatenate([snapshot["ab"], snapshot["ba"]])

    return film_of_images(frames(), real, len(target["a"]), shade)


def sheet_of(way: str):
    """Return what makes a PNG of the last round trips of a run in one direction."""

    def make(run: Run, shade: str) -> bytes:
        target = run.snapshots.target()
        images = target[WAYS[way][0]]
        scale = lecture_scale((3 * len(images), *images.shape[1:]), len(images))
        return png(_triptych(way, last_snapshot(run), target, shade, scale=scale))

    return make
