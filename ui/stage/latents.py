"""A plane of latents to drag through: images of a lattice, which the browser blends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ui.stage.scene import Box, Drag

SEEN = 6  # images along each side of a lattice that can be seen all at once
MOST = 3  # times as many gaps between images are in a lattice at most
BYTES = 450_000  # of all of them: they travel each time that the point is let go

# Makes images, uint8 ``(n, C, H, W)``, of places ``(n, 2)`` among the latents.
Decode = Callable[[Tensor], np.ndarray]


def lattice_points(box: Box, count: int) -> Tensor:
    """Return places over a window, its edges too, row by row from below, ``(count**2, 2)``."""
    x0, x1, y0, y1 = box
    y, x = torch.meshgrid(
        torch.linspace(y0, y1, count), torch.linspace(x0, x1, count), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).view(-1, 2)


def lattice_images(decode: Decode, box: Box) -> np.ndarray:
    """Return images all over a window as a ``Drag`` takes them, the fewer the larger they are."""
    one = decode(lattice_points(box, 1))
    times = int(((BYTES / one.nbytes) ** 0.5 - 1) / (SEEN - 1))
    count = max(1, min(times, MOST)) * (SEEN - 1) + 1
    images = pixels_of(decode(lattice_points(box, count)))
    return images.reshape(count, count, *images.shape[1:])


def drag_images(decode: Decode, box: Box, point: tuple[float, float], images: np.ndarray) -> Drag:
    """Return a point of panel 0 whose image is shown in panel 1.

    Args:
        decode: makes the exact image of the point.
        box: window of the lattice.
        point: where it is.
        images: see ``lattice_images``.
    """
    exact = pixels_of(decode(torch.tensor([point])))[0]
    return Drag(panel=0, box=box, point=point, images=images, exact=exact, shown=1)


def sheet_of(images: np.ndarray) -> np.ndarray:
    """Return some images of a lattice side by side, the top row first, as one.

    Each has its middle where it belongs if the whole is stretched over ``sheet_box``.
    """
    every = (len(images) - 1) // (SEEN - 1)
    few = images[::-every, ::every]
    return np.concatenate(list(np.concatenate(list(few), axis=1)), axis=1)


def sheet_box(box: Box) -> Box:
    """Return the window of ``sheet_of`` for a lattice over ``box``: half an image wider."""
    x, y = ((box[i + 1] - box[i]) / (SEEN - 1) / 2 for i in (0, 2))
    return box[0] - x, box[1] + x, box[2] - y, box[3] + y


def pixels_of(images: np.ndarray) -> np.ndarray:
    """Return images ``(n, C, H, W)`` as ``(n, H, W)``, grey, or ``(n, H, W, 3)``."""
    return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
