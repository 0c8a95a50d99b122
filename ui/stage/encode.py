"""A scene as one block of bytes: ``GLS1``, length of a JSON header, the header, the arrays.

Bytes reach the browser as they are. A list of floats would be written and read as text, which
takes a hundred times as long.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from functools import singledispatchmethod
from typing import Any

import numpy as np

from figures.palette import diverging, palette, sequential
from ui.stage.scene import Arrows, Brush, Drag, Heat, Lines, Mesh, Panel, Pixels, Points, Scene

MAGIC = b"GLS1"
POINTS = 5_000  # of one layer that are drawn; evenly thinned beyond
LINES = 200_000  # corners of one layer
ALIGN = 8  # bytes; typed arrays in the browser must start at a multiple of their width


def encode(scene: Scene) -> bytes:
    """Return a scene as the stage's JavaScript reads it.

    Raises:
        ValueError: a layer's array does not have the shape that its kind says.
    """
    return _Writer().write(scene)


def thinned(at: np.ndarray, most: int = POINTS) -> np.ndarray:
    """Return at most ``most`` entries of the last axis but one, evenly taken."""
    count = at.shape[-2]
    return at if count <= most else at[..., _evenly(count, most), :]


def _evenly(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count - 1, most).round().astype(int)


def levels(heat: Heat) -> np.ndarray:
    """Return the entry in the table of 256 colours for each value; not finite counts as lowest."""
    values = np.asarray(heat.values, np.float32)
    high = np.asarray(heat.high, np.float32).reshape(-1, *[1] * (values.ndim - 1))
    low = 2 * heat.middle - high if heat.signed else heat.low
    part = (values - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    part = np.clip(np.nan_to_num(part, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    part = np.sqrt(part) if heat.root else part
    return np.rint(part * 255).astype(np.uint8).reshape(values.shape)


class _Writer:
    """Writes one scene; its arrays are collected as they are met."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def write(self, scene: Scene) -> bytes:
        header = {
            "colours": _flat(palette(scene.shade)),
            "tables": {
                "sequential": self.add(sequential(scene.shade)[:, :3]),
                "diverging": self.add(diverging(scene.shade)[:, :3]),
            },
            "panels": [self._panel(panel) for panel in scene.panels],
            "timeline": asdict(scene.timeline) if scene.timeline else None,
            "drag": self._drag(scene.drag) if scene.drag else None,
            "brush": _brush(scene.brush) if scene.brush else None,
            "save": scene.save,
            "notes": list(scene.notes),
        }
        return _block(header, self.arrays)

    def add(self, array: np.ndarray | None, kind: type = np.uint8) -> int | None:
        """Keep an array for the block; return its number."""
        if array is None:
            return None
        self.arrays.append(np.ascontiguousarray(array, kind))
        return len(self.arrays) - 1

    def _panel(self, panel: Panel) -> dict[str, Any]:
        return {
            "title": panel.title,
            "alt": panel.alt,
            "axes": panel.axes,
            "first": panel.first,
            "trace": panel.trace,
            "words": list(panel.words),
            "box": self.add(np.asarray(panel.box), np.float32),
            "layers": [
                {"label": layer.label, "on": layer.on} | self.layer(layer) for layer in panel.layers
            ],
        }

    def _drag(self, drag: Drag) -> dict[str, Any]:
        image = drag.images is not None
        return {
            "panel": drag.panel,
            "box": [float(v) for v in drag.box],
            "point": [float(v) for v in drag.point],
            "shown": drag.shown,
            "unit": drag.unit,
            "states": self.add(drag.states, np.float32),
            "sums": self.add(drag.sums, np.float32),
            "moved": self.add(drag.moved),
            "images": self.add(drag.images),
            "exact": self.add(drag.exact, np.uint8 if image else np.float32),
            "exact_sums": self.add(drag.exact_sums, np.float32),
        }

    @singledispatchmethod
    def layer(self, layer: object) -> dict[str, Any]:
        raise TypeError(f"the stage draws no {type(layer).__name__}")

    @layer.register
    def _(self, heat: Heat) -> dict[str, Any]:
        _shape(heat, heat.values, (2, 3))
        return {
            "kind": "heat",
            "array": self.add(levels(heat)),
            "framed": heat.values.ndim == 3,
            "high": np.asarray(heat.high, float).reshape(-1).tolist(),
            "low": heat.low,
            "signed": heat.signed,
            "middle": heat.middle,
            "alpha": heat.alpha,
            "root": heat.root,
            "name": heat.name,
        }

    @layer.register
    def _(self, points: Points) -> dict[str, Any]:
        _shape(points, points.at, (2, 3), 2)
        count = points.at.shape[-2]
        each = None if isinstance(points.colour, str | int) else np.asarray(points.colour)
        if each is not None and count > POINTS:
            each = each[_evenly(count, POINTS)]
        return {
            "kind": "points",
            "array": self.add(thinned(points.at), np.float32),
            "framed": points.at.ndim == 3,
            "colour": points.colour if each is None else "",
            "each": self.add(each),
            "size": points.size,
            "mark": points.mark,
            "rim": points.rim,
            "of": count,
            "drawn": min(count, POINTS),
        }

    @layer.register
    def _(self, lines: Lines) -> dict[str, Any]:
        _shape(lines, lines.at, (3, 4), 2)
        if lines.at.shape[-3] * lines.at.shape[-2] > LINES:
            raise ValueError(f"{lines.label}: more than {LINES:,} corners")
        alpha = lines.alpha
        return {
            "kind": "lines",
            "array": self.add(lines.at, np.float32),
            "framed": lines.at.ndim == 4,
            "colour": lines.colour,
            "alpha": self.add(None if alpha is None else np.ceil(np.clip(alpha, 0, 1) * 255)),
        }

    @layer.register
    def _(self, arrows: Arrows) -> dict[str, Any]:
        _shape(arrows, arrows.at, (2, 3), 4)
        return {
            "kind": "arrows",
            "array": self.add(thinned(arrows.at), np.float32),
            "framed": arrows.at.ndim == 3,
            "colour": arrows.colour,
        }

    @layer.register
    def _(self, mesh: Mesh) -> dict[str, Any]:
        _shape(mesh, mesh.at, (3, 4), 2)
        return {
            "kind": "mesh",
            "array": self.add(mesh.at, np.float32),
            "framed": mesh.at.ndim == 4,
            "colour": mesh.colour,
        }

    @layer.register
    def _(self, image: Pixels) -> dict[str, Any]:
        least = 3 if image.colour else 2
        _shape(image, image.pixels, (least, least + 1), 3 if image.colour else None)
        return {
            "kind": "pixels",
            "array": self.add(image.pixels),
            "framed": image.pixels.ndim == least + 1,
            "colour": image.colour,
        }


def _brush(brush: Brush) -> dict[str, Any]:
    strokes = [
        {"at": [v for corner in s.at for v in corner], "radius": s.radius}
        | {"weight": s.weight, "erase": s.erase}
        for s in brush.strokes
    ]
    return vars(brush) | {"strokes": strokes}


def _flat(colours: object) -> dict[str, Any]:
    return {k: v for k, v in asdict(colours).items() if not k.endswith("stops")}


def _shape(layer: Any, array: np.ndarray, dimensions: Sequence[int], last: int | None = None):
    if array.ndim not in dimensions or (last is not None and array.shape[-1] != last):
        raise ValueError(f"{layer.label}: a {type(layer).__name__} cannot have shape {array.shape}")


def _block(header: dict[str, Any], arrays: Sequence[np.ndarray]) -> bytes:
    """Return header and arrays, each array at a multiple of ``ALIGN``, counted from its end."""
    at, described = 0, []
    for array in arrays:
        code = {"u": "u1", "f": "f4"}[array.dtype.kind]
        described.append({"type": code, "shape": array.shape, "at": at})
        at += -(-array.nbytes // ALIGN) * ALIGN
    text = json.dumps(header | {"arrays": described, "bytes": at}, allow_nan=False).encode()
    text += b" " * (-(len(text) + len(MAGIC) + 4) % ALIGN)
    body = b"".join(a.tobytes() + b"\0" * (-a.nbytes % ALIGN) for a in arrays)
    return MAGIC + struct.pack("<I", len(text)) + text + body
