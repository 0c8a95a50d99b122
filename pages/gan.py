"""GAN: a duel in 2-D and on images (Goodfellow et al., 2014; Radford et al., 2015)."""

from models.blocks.layers import MLP
from models.gan import GAN, dcgan, image_gan, plane_gan
from training.core.adversarial import Duel
from training.core.gan_losses import Loss, gradient_penalty, slope_at
from ui.common.page import begin_page
from ui.gan.images import IMAGE_DUEL
from ui.gan.plane import DUEL
from ui.guide.family_page import family_page

chosen = begin_page(
    "gan", {"In 2-D": "gan", "Images, fully connected": "gan_images", "Images, DCGAN": "dcgan"}
)
shared = (Duel, Loss, gradient_penalty, slope_at)
if chosen.stem == "gan":
    family_page(chosen, DUEL, feel=None, code=(plane_gan, GAN, MLP, *shared))
else:
    made = dcgan if chosen.stem == "dcgan" else image_gan
    family_page(chosen, IMAGE_DUEL, feel=None, code=(made, GAN, *shared))
