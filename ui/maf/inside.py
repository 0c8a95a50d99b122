"""Inside a MAF: masks as images, Jacobians by autograd, and a MADE to break."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from analysis.maf_sampling import Look, jacobian, look, small_block
from figures.images import png
from figures.maf_images import matrix_image
from lab.view import View
from models.maf import MaskedAutoregressive
from training.defects.flows import DefectFlow
from ui.common.cached import kept, painted
from ui.common.page import show_image, theme
from ui.common.widgets import KEPT
from ui.maf.model import learned
from ui.theory.other_families import follow_the_order

LAYERS = ("Input to hidden 1", "Hidden 1 to hidden 2", "Hidden 2 to output")
MOST_ROWS = 96  # of a Jacobian


# -- a small one to play with --------------------------------------------------------------------


def feel_made() -> None:
    """Draw the order to follow, and a small MADE: its masks, and what one wrong sign breaks."""
    st.markdown("**Which output sees which input**")
    follow_the_order()
    st.markdown("**Feel it**: a small MADE with random weights")
    controls, *places = st.columns([1.25, 1, 1, 1, 1])
    with controls:
        features = st.slider("Dimensions D", 2, 12, 6, key="made.features", **KEPT)
        hidden = st.slider("Hidden units", 4, 32, 16, 2, key="made.hidden", **KEPT)
        seed = st.number_input("Weights", 0, 999, 0, key="made.seed", **KEPT)
        broken = st.toggle(
            "Break it with ≥",
            key="made.broken",
            help="The mask of the output asks for degrees that are smaller, >. With ≥, an output "
            "sees its own input.",
            **KEPT,
        )
    shade = theme()
    small = features, hidden, not broken, seed
    found = kept(_look, small, *small)
    images = painted(_small_png, (*small, shade), *small, shade)
    for place, name, drawn in zip(places, (*LAYERS, "Output sees input"), images, strict=True):
        show_image(place, drawn, name, f"**{name}**")
    st.caption(
        "Rows are units, columns what they may see, dark is open. The last image is autograd's: "
        "how strongly output i depends on input j. It must be empty on and above the diagonal."
    )
    _verdict(found, broken)


def _verdict(found: Look, broken: bool) -> None:
    stated, true, whole = st.columns(3)
    stated.metric("log_det as the block states it [nats]", f"{found.stated:+.4f}")
    true.metric("log |det| by autograd [nats]", f"{found.true:+.4f}")
    whole.metric(
        "Integral of a 2-D density",
        f"{found.integral:.4f}",
        help="Of a block of the same kind with two dimensions, by the midpoint rule. 1 for a "
        "density.",
    )
    if broken:
        st.error(
            "With ≥ at the output, output i sees input i: the diagonal fills. Shift and scale of "
            "x_i now depend on x_i itself, so the derivative of z_i is no longer exp(-a_i). The "
            "stated log_det is wrong, the “density” does not integrate to 1, and a training would "
            "push its likelihood up without end."
        )


def _look(features: int, hidden: int, strict: bool, seed: int) -> Look:
    return look(features, hidden, strict=strict, seed=seed)


def _small_png(features: int, hidden: int, strict: bool, seed: int, shade: str) -> list[bytes]:
    masks = small_block(features, hidden, strict=strict, seed=seed).made.masks()
    sees = look(features, hidden, strict=strict, seed=seed).sees
    level = np.sqrt(sees / max(sees.max(), 1e-9))
    return [png(matrix_image(m, shade)) for m in (*(m.float().numpy() for m in masks), level)]


# -- the trained one -----------------------------------------------------------------------------


def inside(view: View, version: float) -> None:
    """Draw the masks and the Jacobian of a block of the trained model."""
    if (experiment := learned(view, version)) is None:
        return
    blocks = _blocks(experiment)
    number = st.slider(
        "Block, from the data inwards",
        1,
        max(len(blocks), 2),
        1,
        key=f"{view.run.id}.block",
        disabled=len(blocks) == 1,
    )
    number = min(number, len(blocks))
    block = blocks[number - 1]
    shade = theme()
    masks, seen = st.columns([2, 1])
    by = view.run.id, number, shade
    with masks:
        images = painted(_masks_png, by, block, shade)
        for column, drawn, name in zip(st.columns(3), images, LAYERS, strict=True):
            show_image(column, drawn, f"Mask: {name}", f"**{name}**")
        made = block.made
        open_ = [float(m.float().mean()) for m in made.masks()]
        order = "last to first" if block.reverse else "first to last"
        st.caption(
            f"The masks of this block; it takes the dimensions from {order}. {made.features:,} "
            f"inputs, {len(made.degrees)} hidden units with "
            f"{len(made.degrees.unique()):,} different degrees. Sorted by degree, each mask is a "
            f"staircase: {open_[0]:.0%}, {open_[1]:.0%} and {open_[2]:.0%} of the weights are "
            "open, and only those are stored and multiplied."
        )
    with seen:
        drawn, above, error, rows = painted(
            _jacobian_png, (*by, version), experiment, number, shade, words="Asking autograd"
        )
        show_image(st, drawn, "Jacobian of the block", "**Jacobian, by autograd**")
        st.caption(
            f"Of {'the first ' if rows < made.features else 'all '}{rows} dimensions at a held-out "
            f"good image, in the block's own order, logarithmic. Largest entry above the "
            f"diagonal: **{above:.2g}**. The logarithms of its diagonal differ from the block's "
            f"own by at most **{error:.2g}** nats."
        )


def _blocks(experiment: DefectFlow) -> list[MaskedAutoregressive]:
    chain = experiment.model.chain
    return [layer for layer in chain if isinstance(layer, MaskedAutoregressive)]


def _masks_png(block: MaskedAutoregressive, shade: str) -> list[bytes]:
    return [png(matrix_image(m.float().numpy(), shade)) for m in block.made.masks()]


def _jacobian_png(
    experiment: DefectFlow, number: int, shade: str
) -> tuple[bytes, float, float, int]:
    """Return the image, the largest entry above the diagonal, the largest error, the rows."""
    x, context = _inner_point(experiment, number)
    block = _blocks(experiment)[number - 1]
    rows = min(MOST_ROWS, block.made.features)
    found = jacobian(block, x, rows, context)[:, :rows]
    above = float(found.triu(1).abs().max())
    _, log_scale = block.inverse_terms(x, context)
    stated = -block._ordered(log_scale)[0, :rows]
    error = float((found.diagonal().abs().log() - stated).abs().max())
    level = (found.abs().clamp_min(1e-6).log10() + 4) / 4  # 1e-4 and less is white
    return png(matrix_image(level.numpy(), shade)), above, error, rows


@torch.no_grad()
def _inner_point(experiment: DefectFlow, number: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a held-out image, or its middle patch, as it comes to a block, and its context."""
    x, context = experiment.one_point()
    model = experiment.model
    block = _blocks(experiment)[number - 1]
    states = zip(model.chain, model.inverse_states(x, context))
    before = next(state for layer, state in states if layer is block)
    return before.value, model.encoded(context)
