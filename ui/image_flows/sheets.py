"""Sheets of images, for all models that make some: real ones, samples, and how these grew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from PIL import Image

from figures.image_figures import film_of_images, labelled_rows, lecture_scale, tile
from figures.images import png
from lab.store import Run
from training.core.image_flow import COLUMNS
from ui.common.cached import painted
from ui.common.history import Moment, last_snapshot, tenths
from ui.common.page import show_image

SHEET = 560  # pixels that a sheet of images is wide


def draw_real(moment: Moment, where, columns: int = 10) -> None:
    """Draw the images that there are to learn."""
    drawn = moment.of_run(_real_png, columns)
    show_image(where, drawn, "Real images", "**Real images**: what there is to learn")


def draw_samples(moment: Moment, where, columns: int = 10, words: str = "") -> None:
    """Draw the samples of a moment; ``words`` say more of them."""
    drawn = moment.painted(_samples_png, columns)
    caption = f"**Samples, step {moment.step:,}**, always from the same latents{words}"
    show_image(where, drawn, f"Samples at step {moment.step}", caption)


def draw_growth(moment: Moment, every: int) -> None:
    """Draw one of ``every`` samples, of the same latents, at every tenth of the training so far."""
    steps = tuple(tenths(moment.view.status.total, moment.run))
    if len(steps) > 1:
        st.caption("The same latents at every tenth of the training")
        by = moment.run.id, steps, moment.shade
        growth = painted(_growth_png, by, moment.run, steps, moment.shade, every)
        show_image(st, growth, "Samples at every tenth of the training")


def _real_png(moment: Moment, columns: int) -> bytes:
    return png(_sheet(moment.target["images"], moment.run, moment.shade, columns, width=SHEET))


def _samples_png(moment: Moment, columns: int) -> bytes:
    return png(_sheet(moment.snapshot["samples"], moment.run, moment.shade, columns, width=SHEET))


def _growth_png(run: Run, steps: Sequence[int], shade: str, every: int) -> bytes:
    rows = [run.snapshots.load(step)["samples"][::every] for step in steps]
    labels = [f"step {step:,}" for step in steps]
    return png(labelled_rows(np.concatenate(rows), len(rows[0]), labels, shade, width=900))


def _sheet(images: np.ndarray, run: Run, shade: str, columns: int = 10, **size: int) -> Image.Image:
    """Tile images as they come from a training: rows of classes where the model knows them."""
    if getattr(run.config, "conditional", False):
        labels = [str(name) for name in run.snapshots.target()["classes"]][: len(images) // COLUMNS]
        return labelled_rows(images, COLUMNS, labels, shade, **size)
    return tile(images, columns, shade, **size)


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    frames = ((step, run.snapshots.load(step)["samples"]) for step in run.snapshots.steps())
    return film_of_images(frames, run.snapshots.target()["images"], COLUMNS, shade)


def sheet_of(run: Run, shade: str) -> bytes:
    """Return the last samples of a run as PNG."""
    samples = last_snapshot(run)["samples"]
    return png(_sheet(samples, run, shade, scale=lecture_scale(samples.shape, 10)))
