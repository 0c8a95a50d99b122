"""The numbers that prove a trained autoencoder: its bound, its units, right or wrong."""

from __future__ import annotations

import streamlit as st
from torch import Tensor

from analysis.plane_checks import Check
from analysis.vae_checks import Bound, Gain, bound_of, check_vae, gain_of
from figures.vae_charts import unit_bars
from lab.view import View
from metrics.vae import ACTIVE, grey_entropy, scaled, unit_variances
from training.vae import as_learned
from ui.common.plain import table_of
from ui.common.widgets import choose_part
from ui.image_flows.desk import at_desk
from ui.vae.model import VAEDesk, latents_of

MEASURED = 100  # images behind the tighter bound: it takes as many draws of each
DRAWS = 200

MEANS = {
    "bernoulli": "**Bernoulli**: each grey value counts as the probability of a white pixel. The "
    "number is a cross-entropy over pixels, the one that most papers report for MNIST. It is no "
    "density over grey values.",
    "continuous_bernoulli": "**Continuous Bernoulli**: a density over grey values in [0, 1]. Nats "
    "of a density may be negative, and do not compare with Bernoulli's.",
    "gaussian": "**Gaussian**: a density over grey values with one learned standard deviation. "
    "Nats of a density may be negative, and do not compare with Bernoulli's.",
}

BINARISED = (
    "**Bernoulli, binarised data**: each pixel is drawn black or white, for this number too, so it "
    "is a likelihood, and by the protocol of the literature on MNIST (Burda et al., 2015)."
)


def checks(view: View, version: float) -> None:
    """Draw the part of the checks that was chosen."""
    desk = at_desk(view, version, VAEDesk)
    if desk is None:
        return
    if desk.stand_in:
        st.warning(
            "Test images here are those of the set that stands in. The model may have been trained "
            "on some of them, so its numbers can be too good."
        )
    choose_part(desk, "Check", {"The bound": _bound, "Units": _units, "Right or wrong": _checks})


def _bound(desk: VAEDesk) -> None:
    st.markdown(
        "**How many nats does a test image take?** The ELBO is a bound on log p(x). Many draws "
        "from q(z | x), weighted by how well they explain the image, bound it tighter."
    )
    found = desk.kept(_measured, words="Measuring on the test images")
    first, second, third, fourth = st.columns(4)
    first.metric("Reconstruction [nats]", f"{found.reconstruction:.2f}", border=True)
    second.metric("KL [nats]", f"{found.kl:.2f}", border=True)
    third.metric("−ELBO [nats]", f"{found.cost:.2f}", border=True)
    last, words = fourth.empty(), st.empty()
    count = len(desk.images.test)
    about = (
        f"Means over all {count:,} test images, summed over pixels, one draw each; standard error "
        f"of the −ELBO {found.error:.2f}."
    )
    words.caption(about)
    # It takes longest: the rest is there to be read meanwhile.
    gain = desk.kept(_gained, words="Drawing many latents of each image")
    last.metric(f"With {DRAWS} draws [nats]", f"{found.cost - gain.nats:.2f}", border=True)
    words.caption(
        f"{about} With {DRAWS} draws of each image the bound is tighter by {gain.nats:.2f} ± "
        f"{gain.error:.2f} nats, measured on {min(MEASURED, count)} of them; the last "
        "number is the −ELBO of all less that."
    )
    config = desk.run.config
    st.markdown(BINARISED if config.binarised else MEANS[config.likelihood])
    if config.likelihood == "bernoulli" and not config.binarised:
        floor = desk.kept(_grey_floor)
        st.markdown(
            f"**{floor:.2f} nats of it no decoder can save**: the entropy of the grey values "
            f"themselves, each taken as the probability of white. The reconstruction is "
            f"{found.reconstruction - floor:.2f} nats above. Binarised data have no such floor."
        )
    if config.likelihood == "bernoulli" and not config.binarised and desk.images.name == "mnist":
        st.caption(
            "For comparison, whole MNIST, grey values kept: the VAE among PyTorch's examples (20 "
            "latent units, 400 hidden ones, 10 epochs) reports 105.6."
        )


def _units(desk: VAEDesk) -> None:
    st.markdown(
        "**Which latent units carry something?** The KL is a sum over units: what each of them "
        "says about an image, in nats."
    )
    found = desk.kept(_measured, words="Measuring on the test images")
    used = unit_variances(latents_of(desk).means) > ACTIVE
    order = found.units.argsort(descending=True)
    chart = unit_bars(found.units[order].tolist(), used[order].tolist(), desk.shade)
    st.vega_lite_chart(*chart, key=desk.key("units"), alt="KL of each latent unit")
    st.caption(
        f"{found.active} of {desk.model.latent} are active: their mean varies by more than "
        f"{ACTIVE} over the test images. The others have been given back to the prior, which costs "
        "nothing; the more beta, the less any of them says."
    )


def _checks(desk: VAEDesk) -> None:
    st.markdown("**Compare what was measured with what it should be.**")
    st.markdown(table_of(desk.kept(_checked, words="Measuring")))


def _images(desk: VAEDesk) -> Tensor:
    """Return the test images as the model has learned others: binarised, if it has."""
    return as_learned(desk.run.config, desk.images.test)


def _measured(desk: VAEDesk) -> Bound:
    return bound_of(desk.model, _images(desk))


def _gained(desk: VAEDesk) -> Gain:
    return gain_of(desk.model, _images(desk), draws=DRAWS, measured=MEASURED)


def _checked(desk: VAEDesk) -> list[Check]:
    return check_vae(desk.model, _images(desk))


def _grey_floor(desk: VAEDesk) -> float:
    return float(grey_entropy(scaled(desk.images.test)).mean())
