"""Images: arrays in, PNG, SVG or GIF out. No Streamlit, no global state.

Live images go through a colour table and Pillow (about ten milliseconds); the figure that people
take away is drawn by matplotlib's ``Figure``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from scipy.ndimage import convolve

from figures.palette import diverging, palette, rgb, sequential
from figures.text import write

Box = tuple[float, float, float, float]  # x0, x1, y0, y1
SIDE = 384  # pixels along each side of an image in 2-D
LECTURE = 1000  # pixels, at least, along the longer side of a film or sheet that people take away
RAMP = 24_000  # colours of an image, at most, that has smooth ramps rather than photographs

_listener: ContextVar[Callable[[int], None] | None] = ContextVar("listener", default=None)


def peak_of(density: np.ndarray) -> float:
    """Return the density that gets the last colour: nearly the largest, not one cell's luck."""
    return float(max(np.quantile(density.astype(np.float32), 0.997), 1e-6))


def density_image(density: np.ndarray, peak: float, theme: str, side: int = SIDE) -> Image.Image:
    """Paint a density.

    Args:
        density: values on a grid, shape ``(g, g)``, the top row first.
        peak: the density that gets the last colour of the table.
        theme: ``"light"`` or ``"dark"``.
        side: pixels along each side.
    """
    # The square root shows the thin filaments between modes, which matter as much as the modes.
    level = np.sqrt(np.clip(density.astype(np.float32) / peak, 0, 1))
    pixels = sequential(theme)[(level * 255).astype(np.uint8)]
    return Image.fromarray(pixels).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def points_image(
    points: np.ndarray, box: Box, colour: str, theme: str, side: int = SIDE
) -> Image.Image:
    """Paint points of shape ``(n, 2)`` as soft dots; where many lie they add up."""
    x0, x1, y0, y1 = box
    column = ((points[:, 0] - x0) / (x1 - x0) * side).astype(np.int64)
    row = ((y1 - points[:, 1]) / (y1 - y0) * side).astype(np.int64)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    counts = np.bincount(row[inside] * side + column[inside], minlength=side * side)
    dots = convolve(counts.reshape(side, side).astype(np.float32), _DOT, mode="constant")
    cover = (1 - 0.45**dots)[..., None]
    paper = rgb(palette(theme).background) * 255
    pixels = paper * (1 - cover) + rgb(colour) * 255 * cover
    return Image.fromarray(pixels.round().astype(np.uint8))


_DOT = np.array(
    [
        [0, 0.3, 0.6, 0.3, 0],
        [0.3, 1, 1, 1, 0.3],
        [0.6, 1, 1, 1, 0.6],
        [0.3, 1, 1, 1, 0.3],
        [0, 0.3, 0.6, 0.3, 0],
    ],
    dtype=np.float32,
)


def signed_image(values: np.ndarray, limit: float, theme: str, side: int = SIDE) -> Image.Image:
    """Paint values of shape ``(g, g)`` between ``-limit`` (blue) and ``limit`` (orange)."""
    level = np.clip(values / limit, -1, 1) * 127.5 + 127.5
    pixels = diverging(theme)[level.astype(np.uint8)]
    return Image.fromarray(pixels).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def colour_bar(low: str, high: str, theme: str) -> bytes:
    """Return a thin bar of the diverging colours with a word at either end, as PNG."""
    ink = palette(theme)
    image = Image.new("RGB", (SIDE, 44), ink.background)
    bar = Image.fromarray(diverging(theme)[None]).convert("RGB").resize((SIDE, 14))
    image.paste(bar, (0, 4))
    draw = ImageDraw.Draw(image)
    write(draw, (0, 23), low, ink.muted, 15)
    write(draw, (SIDE, 23), high, ink.muted, 15, "ra")
    return png(image)


def png(image: Image.Image) -> bytes:
    """Return an image as PNG, lightly compressed: it goes to a browser on the same network."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=2)
    return buffer.getvalue()


def contact_sheet(
    images: Sequence[Image.Image], labels: Sequence[str], theme: str, per_row: int = 6
) -> bytes:
    """Return square images of one size in rows, each with a label below, as one PNG."""
    side, gap, caption = images[0].width, 12, 34
    colours = palette(theme)
    rows = -(-len(images) // per_row)
    size = (per_row * (side + gap) - gap, rows * (side + caption))
    sheet = Image.new("RGB", size, colours.background)
    draw = ImageDraw.Draw(sheet)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        x, y = i % per_row * (side + gap), i // per_row * (side + caption)
        sheet.paste(image, (x, y))
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=colours.grid)
        middle = (x + side / 2, y + side + 6)
        write(draw, middle, label, colours.muted, 18, "ma")
    return png(sheet)


@contextmanager
def telling(tell: Callable[[int], None]) -> Iterator[None]:
    """Have a film that is made inside say after each frame how many are done."""
    token = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(token)


def gif(frames: Iterable[Image.Image], *, each: int = 110, pause: int = 2200) -> bytes:
    """Return images as a GIF that starts again after a pause.

    Args:
        frames: of one size.
        each: how long each is shown, in ms.
        pause: how long the last one is shown, in ms.
    """
    few, tell = [], _listener.get()
    for frame in frames:
        few.append(_with_palette(frame))
        if tell is not None:
            tell(len(few))
    durations = [each] * (len(few) - 1) + [pause]
    buffer = io.BytesIO()
    few[0].save(buffer, "GIF", save_all=True, append_images=few[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _with_palette(image: Image.Image) -> Image.Image:
    """Return an image with a palette: of a ramp the best there is, of a photograph a quick one."""
    # Of photographs a median cut takes 100 to 500 ms and an octree 5, at about the same error; of
    # ramps, which an octree leaves in bands, it takes 15 to 120.
    if image.getcolors(RAMP) is None:
        return image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return image.quantize(128, dither=Image.Dither.NONE)


def film(
    frames: Iterable[tuple[int, np.ndarray]], target: Image.Image, peak: float, theme: str
) -> bytes:
    """Return the training as a GIF: the target on the left, the learned density on the right.

    Args:
        frames: ``(step, density)`` in order.
        target: what there is to learn, as painted on the page.
        peak: see :func:`density_image`.
        theme: ``"light"`` or ``"dark"``.
    """
    side, gap = LECTURE // 2, 20
    target = target.resize((side, side), Image.Resampling.LANCZOS)
    return gif(
        captioned(
            beside(target, density_image(density, peak, theme, side), gap, theme),
            {side / 2: "target", 1.5 * side + gap: f"learned, step {step:,}"},
            theme,
        )
        for step, density in frames
    )


def beside(left: Image.Image, right: Image.Image, gap: int, theme: str) -> Image.Image:
    """Lay two images side by side, on paper of the theme."""
    size = left.width + gap + right.width, max(left.height, right.height)
    page = Image.new("RGB", size, palette(theme).background)
    page.paste(left, (0, 0))
    page.paste(right, (left.width + gap, 0))
    return page


def captioned(image: Image.Image, words: Mapping[float, str], theme: str) -> Image.Image:
    """Write words below an image, each by the place of its middle, in pixels from the left."""
    colours, strip = palette(theme), 50
    page = Image.new("RGB", (image.width, image.height + strip), colours.background)
    page.paste(image, (0, 0))
    draw = ImageDraw.Draw(page)
    for middle, text in words.items():
        write(draw, (middle, image.height + 11), text, colours.muted, 26, "ma")
    return page


def warp_svg(
    lines: Sequence[np.ndarray],
    points: np.ndarray,
    colours: Sequence[str],
    box: Box,
    theme: str,
    path: np.ndarray | None = None,
) -> str:
    """Draw a bent grid and points as SVG.

    Args:
        lines: polylines, each ``(m, 2)``.
        points: ``(n, 2)``.
        colours: one colour per point.
        box: the window in the same units.
        theme: ``"light"`` or ``"dark"``.
        path: corners of the way of one point, ``(k, 2)``; its last corner is marked.
    """
    x0, x1, y0, y1 = box
    scale = np.array([400 / (x1 - x0), 400 / (y1 - y0)])

    def place(v: np.ndarray) -> np.ndarray:
        # Far outside the window a coordinate needs no digits, and some viewers choke on them.
        return np.clip((v - [x0, y1]) * [scale[0], -scale[1]], -2000, 2400)

    shade = palette(theme)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400">',
        f'<rect width="400" height="400" fill="{shade.background}" stroke="{shade.grid}"/>',
        f'<g fill="none" stroke="{shade.muted}" stroke-width="0.8" stroke-opacity="0.55">',
    ]
    for line in lines:
        parts.append(f'<polyline points="{_corners(place(line))}"/>')
    parts.append("</g>")
    for (x, y), colour in zip(place(points), colours, strict=True):
        if 0 <= x <= 400 and 0 <= y <= 400:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>')
    if path is not None:
        way = place(path)
        parts.append(
            f'<polyline points="{_corners(way)}" fill="none" stroke="{shade.warn}" '
            'stroke-width="1.6" stroke-linejoin="round"/>'
            f'<circle cx="{way[-1][0]:.1f}" cy="{way[-1][1]:.1f}" r="6" fill="{shade.warn}" '
            f'stroke="{shade.background}" stroke-width="2"/>'
        )
    return "".join([*parts, "</svg>"])


def categories(points: np.ndarray) -> np.ndarray:
    """Return which quarter each point ``(n, 2)`` lies in, 0 to 3: a colour to follow it by."""
    angle = np.arctan2(*(points - points.mean(0)).T[::-1])
    return np.digitize(angle, [-np.pi / 2, 0, np.pi / 2])


def hues(points: np.ndarray, theme: str) -> list[str]:
    """Return a colour for each point ``(n, 2)`` by its place, so that it can be followed by eye."""
    colours = palette(theme).categorical
    return [colours[i] for i in categories(points)]


def report_figure(
    target: Mapping[str, np.ndarray],
    snapshot: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, float]],
    title: str,
    form: str = "png",
) -> bytes:
    """Return target, learned density and curves on one page; see :func:`saved`.

    The density has the scale that it has on the page: colours go with its square root.
    """
    colours = palette("light")
    box = target["box"]
    figure = Figure(figsize=(10, 7.2), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 6, height_ratios=(3, 2))
    figure.suptitle(title, fontsize=12, color=colours.ink)
    panels = [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
    peak = peak_of(target.get("density", snapshot["density"]))
    names = ("target", "learned density", "samples of the model")
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, fontsize=10)
        axes.set(xlim=box[:2], ylim=box[2:], aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    show = {
        "cmap": ListedColormap(sequential("light") / 255),
        "extent": tuple(box),
        "norm": PowerNorm(0.5, 0, peak),
    }
    if "density" in target:
        panels[0].imshow(target["density"].astype(np.float32), **show)
    else:
        panels[0].scatter(*target["samples"].T, s=2, color=colours.data)
    drawn = panels[1].imshow(snapshot["density"].astype(np.float32), **show)
    figure.colorbar(drawn, cax=panels[1].inset_axes((1.03, 0, 0.04, 1)), label="density")
    panels[2].scatter(*snapshot["samples"].T, s=2, color=colours.model, linewidths=0)
    bottom = [figure.add_subplot(grid[1, :3]), figure.add_subplot(grid[1, 3:])]
    loss = "nll" if any("nll" in row for row in rows) else "nll_test"
    _curve(bottom[0], rows, loss, colours.model, "negative log-likelihood [nats]")
    _curve(bottom[1], rows, "kl_to_truth", colours.data, "KL to the truth [nats]")
    if any(row.get("kl_to_truth", 0) > 0 for row in rows):
        bottom[1].set_yscale("log")
    return saved(figure, form)


def curves_report(rows: Sequence[Mapping[str, float]], title: str, form: str = "pdf") -> bytes:
    """Return all that was measured while it trained, a chart each; see :func:`saved`."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if name not in ("step", "seconds")]
    down = max(1, -(-len(names) // 2))
    figure = Figure(figsize=(10, 2.4 * down + 0.6), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=12, color=palette("light").ink)
    for i, name in enumerate(names):
        axes = figure.add_subplot(down, 2, i + 1)
        _curve(axes, rows, name, palette("light").model, name.replace("_", " "))
    return saved(figure, form)


def saved(figure: Figure, form: str = "png") -> bytes:
    """Return a figure as a file: ``png`` with 200 dots per inch, or ``pdf`` or ``svg`` to print."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=200)
    return buffer.getvalue()


def _curve(axes, rows, name: str, colour: str, label: str) -> None:
    pairs = [(row["step"], row[name]) for row in rows if name in row]
    if pairs:
        axes.plot(*zip(*pairs, strict=True), color=colour, linewidth=1.2)
    axes.set(xlabel="optimiser step", ylabel=label)
    axes.spines[["top", "right"]].set_visible(False)


def _corners(points: np.ndarray) -> str:
    return ("%.1f,%.1f " * len(points))[:-1] % tuple(points.ravel().tolist())
