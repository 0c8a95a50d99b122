"""The families of the lab, in the order of the menu.

Menu, home cards, command line, docs and tests read this list.

The stem of a family names its model file, training file, page, URL, theory file, command-line word
and test id.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.core.family import Training


@dataclass(frozen=True, slots=True)
class Traits:
    """What is true of a family by construction, in a few words each.

    Attributes:
        likelihood: of a given example.
        inverse: from an example back to its latent.
        sampling: how a sample is made.
        latent: how large the latent is.
        trouble: what goes wrong.
    """

    likelihood: str
    inverse: str
    sampling: str
    latent: str
    trouble: str


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
        traits: what is true of it by construction; a variant leaves that to its family.
    """

    stem: str
    title: str
    icon: str
    promise: str
    paper: str
    arxiv: str
    page: str = ""
    traits: Traits | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "page", self.page or self.stem)

    @property
    def training(self) -> Training:
        """What it trains; only imported when somebody asks, since torch takes a while."""
        return importlib.import_module(f"training.{self.stem}").TRAINING

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"

    def variant(self, stem: str, title: str, promise: str, **other: str) -> Family:
        """Return the same model on other data: it shares page, icon and, as a rule, paper."""
        values = {"stem": stem, "title": title, "promise": promise, "traits": None, **other}
        return replace(self, **values)


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
            traits=Traits(
                "exact",
                "exact, the same work as forward",
                "one pass",
                "as large as the data",
                "too stiff: volume is kept, so many layers are needed",
            ),
        ),
        Family(
            "realnvp",
            "RealNVP",
            ":material/water:",
            "Bend and stretch: affine couplings, and the splines that go further.",
            "Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016)",
            "1605.08803",
            traits=Traits(
                "exact",
                "exact, the same work as forward",
                "one pass",
                "as large as the data",
                "thin bridges of density between modes",
            ),
        ),
        Family(
            "glow",
            "Glow",
            ":material/flare:",
            "Digits out of noise: invertible convolutions in levels, exact in their likelihood.",
            "Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018)",
            "1807.03039",
            traits=Traits(
                "exact",
                "exact, one pass",
                "one pass; small matrices are inverted",
                "as large as the data",
                "long training; gives images without an object a high density",
            ),
        ),
        Family(
            "maf",
            "MAF",
            ":material/troubleshoot:",
            "Learn good capsules pixel after pixel, then find the defects in others, and where.",
            "Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, "
            "2017)",
            "1705.07057",
            traits=Traits(
                "exact",
                "exact, one pass",
                "one dimension after the other",
                "as large as the data",
                "slow to sample where there are many dimensions",
            ),
        ),
        Family(
            "gan",
            "GAN",
            ":material/swords:",
            "Watch the duel: a generator and a discriminator learn from each other, step by step.",
            "Generative Adversarial Nets (Goodfellow et al., 2014)",
            "1406.2661",
            traits=Traits(
                "none",
                "none",
                "one pass",
                "chosen freely",
                "modes are missed; the duel may circle or collapse",
            ),
        ),
        Family(
            "vae",
            "VAE",
            ":material/scatter_plot:",
            "Squeeze digits through a few numbers, then drag a point and watch its digit change.",
            "Auto-Encoding Variational Bayes (Kingma, Welling, 2013)",
            "1312.6114",
            traits=Traits(
                "a lower bound",
                "a guess, by the encoder",
                "one pass",
                "chosen freely, usually far smaller",
                "blurred samples; latent units that go unused",
            ),
        ),
        Family(
            "cyclegan",
            "CycleGAN",
            ":material/sync_alt:",
            "Turn apples into oranges and back: two worlds, and not one pair to learn from.",
            "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu, "
            "Park, Isola, Efros, 2017)",
            "1703.10593",
            traits=Traits(
                "none",
                "a second network, tied by the cycle loss",
                "one pass per translation",
                "none: an image becomes an image",
                "shapes hardly change; a round trip may hide its input in faint patterns",
            ),
        ),
        Family(
            "flow_matching",
            "Flow matching",
            ":material/conversion_path:",
            "Learn the velocity that carries noise to data, then follow it in as few steps as it "
            "takes.",
            "Flow Matching for Generative Modeling (Lipman et al., 2022)",
            "2210.02747",
            traits=Traits(
                "exact, up to the error of a solver",
                "exact, up to the error of a solver",
                "a pass for each step of a solver",
                "as large as the data",
                "many passes for one sample; a density costs far more than with couplings",
            ),
        ),
    )
}

PAGES = [*FAMILIES.values()]  # one each; variants share the page of their family

FAMILIES |= {
    variant.stem: variant
    for variant in (
        FAMILIES["nice"].variant(
            "nice_images",
            "NICE on images",
            "The set-up of the paper: whole digits as vectors, four additive couplings.",
        ),
        FAMILIES["realnvp"].variant(
            "realnvp_images",
            "RealNVP on images",
            "Checkerboards and channels in two levels: the first flow that painted.",
        ),
        FAMILIES["gan"].variant(
            "gan_images",
            "GAN, fully connected",
            "The first kind of GAN on images: digits out of 64 numbers, without a convolution.",
        ),
        FAMILIES["gan"].variant(
            "dcgan",
            "DCGAN",
            "Convolutions on both sides of the duel: digits, shapes, photographs, or your own.",
            paper="Unsupervised Representation Learning with Deep Convolutional Generative "
            "Adversarial Networks (Radford, Metz, Chintala, 2015)",
            arxiv="1511.06434",
        ),
        FAMILIES["glow"].variant(
            "glow_plane",
            "Glow in 2-D",
            "The same step without pixels: actnorm, a linear map and a coupling bend the plane.",
        ),
        FAMILIES["maf"].variant(
            "maf_images",
            "MAF on patches",
            "A causal transformer reads an image patch by patch: exact likelihoods, whole digits.",
            paper="Normalizing Flows are Capable Generative Models (Zhai et al., 2024)",
            arxiv="2412.06329",
        ),
        FAMILIES["maf"].variant(
            "maf_plane",
            "MAF in 2-D",
            "One coordinate after the other: an autoregressive density of two dimensions.",
        ),
        FAMILIES["vae"].variant(
            "vae_plane",
            "VAE in 2-D",
            "Points through two latent units: a density of which only a bound is known.",
        ),
        FAMILIES["flow_matching"].variant(
            "flow_matching_images",
            "Flow matching on images",
            "A small U-Net that knows where each pixel of the noise has to go, class by class.",
        ),
    )
}
