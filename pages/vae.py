"""VAE: an encoder, a decoder and a latent space to walk in (Kingma, Welling, 2013)."""

from models.blocks.residual import Residual, residual_decoder, residual_encoder
from models.vae import (
    VAE,
    Bernoulli,
    ContinuousBernoulli,
    ConvDecoder,
    ConvEncoder,
    GaussianLikelihood,
    importance_bound,
    kl_to_prior,
    plane_vae,
    vae,
    with_free_bits,
)
from training.vae_plane import PlaneVAE
from ui.common.page import begin_page
from ui.guide.family_page import Parts, family_page
from ui.image_flows.live import image_data
from ui.image_flows.sheets import film_of, sheet_of
from ui.theory.other_families import trade_the_elbo
from ui.vae.anomalies import anomalies
from ui.vae.checks import checks
from ui.vae.latent import latent_space
from ui.vae.live import draw_vae, plane_of_run
from ui.vae.plane import PLANE_VAE

PARTS = Parts(
    data=image_data,
    draw=draw_vae,
    sections={"Latent space": latent_space, "Anomalies": anomalies, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Samples (PNG)", sheet_of),
        "plane.png": ("Latent plane (PNG)", plane_of_run),
    },
)

chosen = begin_page("vae", {"On images": "vae", "In 2-D": "vae_plane"})
if chosen.stem == "vae":
    family_page(
        chosen,
        PARTS,
        feel=trade_the_elbo,
        code=(
            vae,
            VAE,
            kl_to_prior,
            importance_bound,
            with_free_bits,
            Bernoulli,
            ContinuousBernoulli,
            GaussianLikelihood,
            ConvEncoder,
            ConvDecoder,
            residual_encoder,
            residual_decoder,
            Residual,
        ),
    )
else:
    family_page(
        chosen,
        PLANE_VAE,
        feel=trade_the_elbo,
        code=(plane_vae, VAE, kl_to_prior, importance_bound, GaussianLikelihood, PlaneVAE),
    )
