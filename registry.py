"""The families of the lab, in the order of the menu.

Menu, home cards, command line, docs and tests read this list.

The stem of a family names its model file, training file, page, URL, theory file, command-line word
and test id.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models.

    Attributes:
        stem: the name used everywhere, e.g. ``"nice"``.
        title: as the menu shows it.
        icon: a Material symbol for the menu.
        promise: what one gets from the page, in one line.
        paper: title, authors and year of the paper.
        arxiv: its arXiv number.
        page: stem of the page, model file and theory file; its own, unless it is a variant of
            another family: the same model on other data.
    """

    stem: str
    title: str
    icon: str
    promise: str
    paper: str
    arxiv: str
    page: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "page", self.page or self.stem)

    @property
    def training(self) -> ModuleType:
        """``training.<stem>``: its ``CONFIG`` (a pydantic model) and ``build(config, ...)``."""
        return importlib.import_module(f"training.{self.stem}")

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


FAMILIES: dict[str, Family] = {
    family.stem: family
    for family in (
        Family(
            "nice",
            "NICE",
            ":material/layers:",
            "Bend the plane without stretching it: a density learned by additive couplings alone.",
            "NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014)",
            "1410.8516",
        ),
        Family(
            "realnvp",
            "RealNVP",
            ":material/water:",
            "Bend and stretch: affine couplings, and the splines that go further.",
            "Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016)",
            "1605.08803",
        ),
        Family(
            "glow",
            "Glow",
            ":material/flare:",
            "Digits out of noise: invertible convolutions in levels, exact in their likelihood.",
            "Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018)",
            "1807.03039",
        ),
        Family(
            "nice_images",
            "NICE on images",
            ":material/layers:",
            "The set-up of the paper: whole digits as vectors, four additive couplings.",
            "NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014)",
            "1410.8516",
            page="nice",
        ),
        Family(
            "realnvp_images",
            "RealNVP on images",
            ":material/water:",
            "Checkerboards and channels in two levels: the first flow that painted.",
            "Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016)",
            "1605.08803",
            page="realnvp",
        ),
    )
}

# One page each; variants share the page of their family.
PAGES = [family for family in FAMILIES.values() if family.page == family.stem]
