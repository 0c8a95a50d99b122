"""GAN: a duel in the plane and on images (Goodfellow et al., 2014; Radford et al., 2015)."""

from models.gan import GAN, dcgan, image_gan, plane_gan
from models.layers import MLP
from registry import FAMILIES
from training.duel import Duel
from training.gan_losses import Loss, gradient_penalty
from ui.family_page import family_page, variant
from ui.gan import DUEL
from ui.gan_images import IMAGE_DUEL
from ui.page import begin_page

family = begin_page("gan")
others = {"Images, fully connected": FAMILIES["gan_images"], "Images, DCGAN": FAMILIES["dcgan"]}
chosen = variant(family, others, first="In the plane")
if chosen is family:
    family_page(family, DUEL, feel=None, code=(plane_gan, GAN, MLP, Duel, Loss, gradient_penalty))
else:
    made = dcgan if chosen.stem == "dcgan" else image_gan
    family_page(chosen, IMAGE_DUEL, feel=None, code=(made, GAN, Duel, Loss, gradient_penalty))
