"""VAE: an encoder, a decoder and a latent space to walk in (Kingma, Welling, 2013)."""

from models.vae import (
    VAE,
    Bernoulli,
    ContinuousBernoulli,
    ConvDecoder,
    ConvEncoder,
    Gaussian,
    importance_bound,
    kl,
    vae,
)
from ui.family_page import Parts, family_page
from ui.images import image_data
from ui.page import begin_page
from ui.vae_anomalies import anomalies
from ui.vae_checks import checks
from ui.vae_latent import latent_space
from ui.vae_live import draw_vae, film_of, plane_of_run, sheet_of

family_page(
    begin_page("vae"),
    Parts(
        data=image_data,
        draw=draw_vae,
        sections={"Latent space": latent_space, "Anomalies": anomalies, "Check": checks},
        files={
            "gif": ("Film of the training (GIF)", film_of),
            "png": ("Samples (PNG)", sheet_of),
            "plane.png": ("Latent plane (PNG)", plane_of_run),
        },
    ),
    feel=None,
    code=(
        vae,
        VAE,
        kl,
        importance_bound,
        Bernoulli,
        ContinuousBernoulli,
        Gaussian,
        ConvEncoder,
        ConvDecoder,
    ),
)
