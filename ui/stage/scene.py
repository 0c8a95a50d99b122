"""What the stage draws: panels, each with layers of arrays, and what one may do with them.

An array may have one frame or as many as the scene's timeline: ``(frames, ...)`` then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from datasets.drawn import Stroke

Box = Sequence[float]  # x0, x1, y0, y1


@dataclass(frozen=True, eq=False)
class Heat:
    """A grid of values, painted through a table of colours with a bar beside it.

    Attributes:
        label: what it is, in the legend.
        values: ``(g, h)`` or ``(frames, g, h)``, the top row first.
        high: the value of the last colour, one or one per frame.
        low: the value of the first colour.
        signed: whether colours run over the page's colour, which ``middle`` has, to ``high``, and
            as far on the other side.
        middle: see ``signed``.
        alpha: opacity, where points of the same colours have to stand out.
        root: whether the colour goes with the square root: thin filaments show then.
        name: what a value is, in the read-out and at the bar: ``density``.
        on: whether it is shown at first.
    """

    label: str
    values: np.ndarray
    high: float | Sequence[float]
    low: float = 0.0
    signed: bool = False
    middle: float = 0.0
    alpha: float = 1.0
    root: bool = False
    name: str = ""
    on: bool = True


@dataclass(frozen=True, eq=False)
class Points:
    """Dots.

    Attributes:
        label: what they are, in the legend.
        at: ``(n, 2)`` or ``(frames, n, 2)``.
        colour: a name of ``figures.palette.Palette``, or the index of a category: one, or one of
            each point.
        size: radius in pixels.
        mark: a letter, a digit or a sign that is drawn in place of each dot.
        rim: whether the page's colour sets them off from what lies below.
        on: whether they are shown at first.
    """

    label: str
    at: np.ndarray
    colour: str | int | np.ndarray = "model"
    size: float = 1.6
    mark: str = ""
    rim: bool = False
    on: bool = True


@dataclass(frozen=True, eq=False)
class Lines:
    """Polylines.

    Attributes:
        label: what they are, in the legend.
        at: ``(m, k, 2)`` or ``(frames, m, k, 2)``; a corner that is not finite breaks a line.
        colour: a name of ``figures.palette.Palette``.
        alpha: opacity of each corner, ``(m, k)`` or ``(frames, m, k)``; at 0 the line is broken.
        on: whether they are shown at first.
    """

    label: str
    at: np.ndarray
    colour: str = "muted"
    alpha: np.ndarray | None = None
    on: bool = True


@dataclass(frozen=True, eq=False)
class Arrows:
    """Arrows from ``at[:, :2]`` by ``at[:, 2:]``, ``(n, 4)`` or ``(frames, n, 4)``."""

    label: str
    at: np.ndarray
    colour: str = "ink"
    on: bool = True


@dataclass(frozen=True, eq=False)
class Mesh:
    """A lattice whose cells hold as much each: the smaller a cell, the denser and more opaque.

    Attributes:
        label: what it is, in the legend.
        at: corners, ``(h, w, 2)`` or ``(frames, h, w, 2)``.
        colour: a name of ``figures.palette.Palette``.
        on: whether it is shown at first.
    """

    label: str
    at: np.ndarray
    colour: str = "model"
    on: bool = True


@dataclass(frozen=True, eq=False)
class Pixels:
    """Grey values or colours, uint8, ``(h, w)`` or ``(h, w, 3)``, with frames before them.

    Attributes:
        label: what it is, in the legend.
        pixels: the image, stretched over the window of the panel.
        colour: whether the last axis holds red, green and blue.
        on: whether it is shown at first.
    """

    label: str
    pixels: np.ndarray
    colour: bool = False
    on: bool = True


Layer = Heat | Points | Lines | Arrows | Mesh | Pixels


@dataclass(frozen=True, eq=False)
class Panel:
    """One square with axes.

    Attributes:
        title: what stands below it.
        box: its window, ``(4,)``, or one per frame, ``(frames, 4)``.
        layers: what it shows, the first at the back.
        alt: what it shows, for those who cannot see it; no full stop: "at step 120" follows.
        axes: what the axes measure; none for an image.
        first: whether it comes first on a narrow screen.
        trace: whether it draws, low and wide, the coordinates of the dragged point over the states;
            it has no layers then.
        words: what to say below the title, one per frame.
    """

    title: str
    box: Box | np.ndarray
    layers: Sequence[Layer]
    alt: str
    axes: tuple[str, str] | None = ("x₁", "x₂")
    first: bool = False
    trace: bool = False
    words: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of a scene.

    Attributes:
        labels: what each frame is: ``step 120``.
        values: a number that orders them, and by which later frames replace earlier ones.
        name: the handle of the slider.
        run: of a training, whose frames add up in the browser; without one they are all here.
        whole: whether these are all frames there are, not only new ones.
        smooth: whether one may stop between two frames.
        start: which frame is shown at first; from the end if negative.
        play: whether it plays once by itself, where nobody has asked for less motion.
    """

    labels: Sequence[str]
    values: Sequence[float]
    name: str
    run: str = ""
    whole: bool = True
    smooth: bool = False
    start: int = -1
    play: bool = False


@dataclass(frozen=True, eq=False)
class Drag:
    """A point that follows the finger, by what a model does on a lattice.

    Attributes:
        panel: index of the panel in which it is dragged.
        box: window of the lattice.
        point: where it is.
        states: on the lattice, ``(states, h, w, 2)``, the bottom row first. With one frame per
            state, the point moves with the frame that is shown.
        sums: running sum of log|det| on the lattice, ``(states, h, w)``.
        moved: whether the step before each state could move each coordinate, ``(states, 2)``.
        images: in place of states, an image at each place of the lattice, uint8,
            ``(h, w, H, W)`` or ``(h, w, H, W, 3)``.
        exact: of ``point`` itself, the states ``(states, 2)`` or the image ``(H, W)``.
        exact_sums: of ``point`` itself, ``(states,)``.
        shown: index of the panel that shows the image or the last state.
        unit: words after the sum.
    """

    panel: int
    box: Box
    point: tuple[float, float]
    states: np.ndarray | None = None
    sums: np.ndarray | None = None
    moved: np.ndarray | None = None
    images: np.ndarray | None = None
    exact: np.ndarray | None = None
    exact_sums: np.ndarray | None = None
    shown: int = 0
    unit: str = "nats"


@dataclass(frozen=True)
class Brush:
    """Whether one draws in a panel, and how.

    Attributes:
        panel: index of the panel.
        radius: of the brush at first, in units of the panel.
        colour: a name of ``figures.palette.Palette``, or ``#rrggbb``.
        weights: whether strokes can have a weight.
        strokes: what is drawn already.
        turn: counts the drawings: the browser takes ``strokes`` if it has none that is as new.
    """

    panel: int
    radius: float
    colour: str = "data"
    weights: bool = True
    strokes: Sequence[Stroke] = ()
    turn: int = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """All that one stage shows.

    Attributes:
        panels: side by side.
        shade: ``"light"`` or ``"dark"``.
        timeline: of layers with several frames.
        drag: a point to drag.
        brush: where one may draw.
        save: name of the file that *Save image* makes.
    """

    panels: Sequence[Panel]
    shade: str
    timeline: Timeline | None = None
    drag: Drag | None = None
    brush: Brush | None = None
    save: str = "stage"
    notes: Sequence[str] = field(default_factory=tuple)
