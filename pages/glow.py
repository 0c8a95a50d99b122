"""Glow: invertible 1x1 convolutions in levels (Kingma, Dhariwal, 2018)."""

from models.glow import glow
from models.image_flow import ImageFlow
from models.image_layers import ConvNet, InvertibleConv, Logit, Squeeze
from models.layers import ActNorm, AffineCoupling
from ui.family_page import family_page
from ui.images import IMAGE_PARTS
from ui.page import begin_page

family_page(
    begin_page("glow"),
    IMAGE_PARTS,
    feel=None,
    code=(glow, ImageFlow, Squeeze, ActNorm, InvertibleConv, AffineCoupling, ConvNet, Logit),
)
