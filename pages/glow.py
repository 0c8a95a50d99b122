"""Glow: invertible 1x1 convolutions in levels, and in 2-D (Kingma, Dhariwal, 2018)."""

from models.blocks.image_layers import ConvNet, InvertibleConv, InvertibleLinear, Logit, Squeeze
from models.blocks.layers import ActNorm, AffineCoupling, Split
from models.flow import Flow
from models.glow import glow, glow_plane
from models.levels import multi_scale
from ui.common.page import begin_page
from ui.guide.family_page import family_page
from ui.image_flows.live import IMAGE_PARTS
from ui.plane_flows.live import PLANE

chosen = begin_page("glow", {"On images": "glow", "In 2-D": "glow_plane"})
if chosen.stem == "glow":
    family_page(
        chosen,
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
