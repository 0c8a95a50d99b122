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
    """

    stem: str
    title: str
    icon: str
    promise: str
    paper: str
    arxiv: str

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
    )
}
