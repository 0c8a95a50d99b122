"""Samples beside the training images nearest to them, for all models of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
from torch import Tensor

from analysis.image_checks import nearest
from figures.image_charts import strips
from figures.image_figures import labelled_rows
from figures.images import png
from ui.common.trained import Bench
from ui.image_flows.desk import sheet

PAIRS = 30  # samples beside their nearest training images
YARDSTICK = 200  # test images whose nearest training images show what is usual
TITLE = "distance to the nearest training image (L2, pixels 0 to 1)"


@dataclass(frozen=True)
class Neighbours:
    """Samples with the training images nearest to them.

    Attributes:
        drawn: pairs, the closest first, as PNG.
        samples: distance of each sample, ``(n,)``.
        usual: distances of test images.
        among: training images that were compared.
    """

    drawn: bytes
    samples: np.ndarray
    usual: np.ndarray
    among: int


def neighbours(
    samples: Tensor,
    train: Tensor,
    test: Tensor,
    shown: Callable[[Tensor], np.ndarray],
    shade: str,
) -> Neighbours:
    """Find what is nearest to samples and to test images.

    Args:
        samples: uint8, ``(n, C, S, S)``, ``n`` a multiple of ten.
        train: the training images, alike.
        test: some test images, alike.
        shown: makes bytes to draw of such images.
        shade: ``"light"`` or ``"dark"``.
    """
    found = nearest(samples, train)
    order = found.distance.argsort()
    pairs = [shown(images) for images in (samples[order], train[found.index[order]])]
    one = pairs[0].shape[1:]
    rows = np.stack([images.reshape(-1, 10, *one) for images in pairs], axis=1).reshape(-1, *one)
    names = ["sample", "nearest"] * (len(samples) // 10)
    drawn = png(labelled_rows(rows, 10, names, shade))
    usual = nearest(test, train).distance
    return Neighbours(drawn, found.distance.numpy(), usual.numpy(), len(train))


def look_for_copies(what: str) -> None:
    """Say what to look for; ``what`` made the samples."""
    st.markdown(
        "**Look for copies.** Below each sample is the training image that is closest to it, pixel "
        f"by pixel. {what} that overfits would show pairs that are the same, and distances far "
        "below those of test images, which it cannot have copied."
    )


def show_nearest(bench: Bench, found: Neighbours, how: str) -> None:
    """Draw the pairs and the distances; ``how`` says where the samples are from."""
    sheet(found.drawn, "Samples and the training images nearest to them")
    chart = strips({"test images": found.usual, "samples": found.samples}, TITLE, bench.shade)
    st.vega_lite_chart(*chart, key=bench.key("nearest"), alt="Distances to training images")
    st.caption(
        f"{len(found.samples)} samples{how}, the closest first; among {found.among:,} training "
        f"images. Median distance: samples {np.median(found.samples):.2f}, test images "
        f"{np.median(found.usual):.2f}."
    )
