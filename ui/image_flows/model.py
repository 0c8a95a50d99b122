"""Real images beside a trained model of images."""

from __future__ import annotations

from datasets.images import DataMissing, ImageSet, load_images
from datasets.own import DataError
from lab.store import Run

STAND_IN = "digits"  # built in, so always there
OTHERS = "This run shows images of other sides than those that its settings name."


def images_of(run: Run, shape: tuple[int, int, int]) -> tuple[ImageSet, str]:
    """Return the images a run was trained on, or a built-in set that fits in their place.

    Args:
        run: the run.
        shape: of its images, as its target says; that may be a stranger's.

    Returns:
        The images, and why they are not its own, or an empty string.

    Raises:
        DataError: they are not here, and no others fit.
    """
    try:
        images = load_images(run.config.dataset, run.own_data())
        if images.shape != shape:  # before thousands of them are brought to a stranger's size
            raise DataError(OTHERS)
        return images, ""
    except DataMissing as error:
        missing = str(error)
    images = load_images(STAND_IN)
    if images.shape != shape:
        raise DataError(missing)
    return images, f"{missing} Until then, the real images here come from {images.title}."
