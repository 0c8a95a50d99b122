"""GAN: a duel in 2-D and on images (Goodfellow et al., 2014; Radford et al., 2015)."""

from models.blocks.layers import MLP
from models.blocks.residual import Residual
from models.gan import GAN, dcgan, image_gan, plane_gan, residual_gan
from training.core.adversarial import Duel
from training.core.gan_losses import Loss, gradient_penalty, slope_at
from ui.common.page import begin_page
from ui.gan.images import IMAGE_DUEL
from ui.gan.plane import DUEL
from ui.guide.family_page import family_page
from ui.theory.other_families import play_the_duel

chosen = begin_page(
    "gan", {"In 2-D": "gan", "Images, fully connected": "gan_images", "Images, DCGAN": "dcgan"}
)
shared = (Duel, Loss, gradient_penalty, slope_at)
if chosen.stem == "gan":
    parts, code = DUEL, (plane_gan, GAN, MLP, *shared)
else:
    made = (dcgan, residual_gan, Residual) if chosen.stem == "dcgan" else (image_gan,)
    parts, code = IMAGE_DUEL, (*made, GAN, *shared)
family_page(chosen, parts, feel=play_the_duel, code=code)
