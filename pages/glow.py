"""Glow: invertible 1x1 convolutions in levels, and in 2-D (Kingma, Dhariwal, 2018)."""

from models.flow import Flow
from models.glow import glow, glow_plane
from models.image_layers import ConvNet, InvertibleConv, InvertibleLinear, Logit, Squeeze
from models.layers import ActNorm, AffineCoupling, Split
from models.levels import multi_scale
from registry import FAMILIES
from ui.common.family_page import family_page, variant
from ui.common.page import begin_page
from ui.image_flows.live import IMAGE_PARTS
from ui.plane_flows.live import PLANE

family = begin_page("glow")
chosen = variant(family, {"In 2-D": FAMILIES["glow_plane"]}, first="On images")
if chosen is family:
    family_page(
        family,
        IMAGE_PARTS,
        feel=None,
        code=(
            glow,
            multi_scale,
            Flow,
            Split,
            Squeeze,
            ActNorm,
            InvertibleConv,
            AffineCoupling,
            ConvNet,
            Logit,
        ),
    )
else:
    family_page(
        chosen,
        PLANE,
        feel=None,
        code=(glow_plane, ActNorm, InvertibleConv, InvertibleLinear, AffineCoupling, Flow),
    )
