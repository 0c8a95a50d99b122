"""Images of a duel in 2-D: arrays in, images out. No Streamlit, no global state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from figures.images import (
    LECTURE,
    Box,
    captioned,
    gif,
    points_image,
    saved,
    signed_image,
)
from figures.palette import palette, rgb

LAYERS = ("Discriminator", "Generator", "Real", "Fake", "Gradients")
SIDE = 620  # pixels along each side of the duel
REACH = 0.28  # longest arrow, in the units of the image
RADIUS = 2.4  # pixels of a point

Arrays = Mapping[str, np.ndarray]


def duel_image(
    snapshot: Arrays,
    target: Arrays,
    layers: Collection[str],
    theme: str,
    side: int = SIDE,
) -> Image.Image:
    """Paint a duel, layer over layer.

    Args:
        snapshot: ``realness`` (g, g), the top row first; ``lattice`` (k, k, 2); ``samples`` (n, 2);
            ``arrows`` (m, 2), one for each of the first m samples.
        target: ``samples`` (n, 2), the real points, and the window ``box``.
        layers: which of :data:`LAYERS` to paint.
        theme: ``"light"`` or ``"dark"``.
        side: pixels along each side.
    """
    colours, box = palette(theme), tuple(target["box"])
    image = Image.new("RGB", (side, side), colours.background)
    if "Discriminator" in layers:
        heat = 2 * snapshot["realness"].astype(np.float32) - 1
        # Half strength: points of the same two colours have to stand out.
        image = Image.blend(image, signed_image(heat, 1.0, theme, side), 0.55)
    if "Generator" in layers:
        cover = lattice_cover(_place(snapshot["lattice"], box, side), side)
        image.paste(Image.new("RGB", image.size, colours.model), mask=cover)
    draw = ImageDraw.Draw(image)
    if "Real" in layers:
        _dots(draw, _place(target["samples"], box, side), colours.data, colours.background)
    if "Fake" in layers:
        _dots(draw, _place(snapshot["samples"], box, side), colours.model, colours.background)
    if "Gradients" in layers:
        _arrows(draw, snapshot, box, side, colours.ink)
    draw.rectangle((0, 0, side - 1, side - 1), outline=colours.grid)
    return image


def _place(points: np.ndarray, box: Box, side: int) -> np.ndarray:
    """Return pixels (column, row) of points ``(..., 2)``."""
    x0, x1, y0, y1 = box
    scale = np.array([side / (x1 - x0), -side / (y1 - y0)])
    # Far outside, where nobody sees it, a coordinate needs no digits.
    return np.nan_to_num((points - [x0, y1]) * scale).clip(-4 * side, 5 * side)


def lattice_cover(corners: np.ndarray, side: int) -> Image.Image:
    """Paint the cells of a bent lattice ``(k, k, 2)``, in pixels, as opaque as they are dense.

    Each cell holds the same fraction of the samples: the smaller, the denser.
    """
    a, b = corners[:-1, :-1], corners[1:, :-1]
    c, d = corners[1:, 1:], corners[:-1, 1:]
    areas = np.abs(_cross(c - a, d - b)) / 2
    count = areas.size
    cover = Image.new("L", (side, side))
    draw = ImageDraw.Draw(cover)
    # Spread evenly over a quarter of the window, a cell would be painted at the level 40 of 255.
    levels = np.clip(40 * (side**2 / 4 / count) / np.maximum(areas, 1e-3), 6, 150).astype(int)
    cells = np.stack([a, b, c, d], -2).reshape(count, 8)
    order = np.argsort(levels.ravel())  # the dense ones last, on top
    for cell, level in zip(cells[order].tolist(), levels.ravel()[order].tolist(), strict=True):
        draw.polygon(cell, fill=level)
    for line in [*corners, *corners.swapaxes(0, 1)]:
        draw.line(line.ravel().tolist(), fill=170, width=1)
    return cover


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _dots(draw: ImageDraw.ImageDraw, places: np.ndarray, fill: str, rim: str) -> None:
    for x, y in places.tolist():
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=fill, outline=rim)


def shortened(pushes: np.ndarray) -> np.ndarray:
    """Return gradients ``(..., 2)`` as arrows that can be drawn, in units of the plane.

    Long ones are cut softly; short ones keep their proportions: one that vanishes is seen to.
    """
    lengths = np.linalg.norm(pushes, axis=-1, keepdims=True)
    return pushes / np.maximum(lengths, 1e-9) * REACH * np.tanh(lengths)


def _arrows(draw: ImageDraw.ImageDraw, snapshot: Arrays, box: Box, side: int, colour: str) -> None:
    ways = shortened(snapshot["arrows"])
    starts = snapshot["samples"][: len(ways)]
    tails, heads = _place(starts, box, side), _place(starts + ways, box, side)
    for (x, y), (u, v) in zip(tails.tolist(), heads.tolist(), strict=True):
        reach = float(np.hypot(u - x, v - y))
        if reach < 2:
            continue
        draw.line((x, y, u, v), fill=colour, width=1)
        du, dv = (u - x) / reach * 5, (v - y) / reach * 5
        corners = (u, v, u - du - dv / 2, v - dv + du / 2, u - du + dv / 2, v - dv - du / 2)
        draw.polygon(corners, fill=colour)


def real_and_fake(samples: np.ndarray, target: Arrays, theme: str, side: int) -> Image.Image:
    """Paint fake points over pale real ones, small, for a sheet of many."""
    colours, box = palette(theme), tuple(target["box"])
    real = points_image(target["samples"], box, colours.data, theme, side)
    fake = points_image(samples, box, colours.model, theme, side)
    paper = (rgb(colours.background) * 255).round().astype(np.int16)
    # Where a fake point is, it covers the real one.
    inked = (np.abs(np.asarray(fake).astype(np.int16) - paper).sum(-1, keepdims=True) / 255).clip(
        0, 1
    )
    both = np.asarray(real) * (1 - inked) + np.asarray(fake) * inked
    return Image.fromarray(both.round().astype(np.uint8))


def film_of_duel(frames: Iterable[tuple[int, Arrays]], target: Arrays, theme: str) -> bytes:
    """Return a training as a GIF of the duel, with all layers but the gradients."""
    size = (LECTURE, LECTURE)

    def frame(step: int, snapshot: Arrays) -> Image.Image:
        # Drawn at half the size: lines and dots of one pixel would be lost in a lecture hall.
        duel = duel_image(snapshot, target, LAYERS[:-1], theme, LECTURE // 2)
        words = {LECTURE / 2: f"step {step:,}"}
        return captioned(duel.resize(size, Image.Resampling.LANCZOS), words, theme)

    return gif(frame(step, snapshot) for step, snapshot in frames)


def duel_report(
    target: Arrays, snapshot: Arrays, rows: Sequence[Mapping[str, float]], title: str
) -> bytes:
    """Return the duel, its losses and what came of it on one page, 200 dots per inch, as PNG."""
    colours = palette("light")
    figure = Figure(figsize=(10, 7.2), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
    figure.suptitle(title, fontsize=12, color=colours.ink)
    panels = [figure.add_subplot(grid[0, i]) for i in range(2)]
    every = duel_image(snapshot, target, LAYERS[:-1], "light", 900)
    points = real_and_fake(snapshot["samples"], target, "light", 900)
    named = zip(panels, (every, points), ("the duel", "real and fake points"), strict=True)
    for axes, image, name in named:
        axes.imshow(np.asarray(image), extent=tuple(target["box"]))
        axes.set_title(name, fontsize=10)
        axes.set(xlabel="$x_1$", ylabel="$x_2$")
    bottom = [figure.add_subplot(grid[1, i]) for i in range(2)]
    names = ({"d_loss": "discriminator", "g_loss": "generator"}, {"good": "good samples"})
    for axes, pairs, label in zip(bottom, names, ("loss", "fraction"), strict=True):
        for (column, name), colour in zip(
            pairs.items(), (colours.data, colours.model), strict=False
        ):
            points = [(row["step"], row[column]) for row in rows if column in row]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.1, label=name)
        axes.set(xlabel="step", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    return saved(figure)
