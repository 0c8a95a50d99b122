"""NICE: additive couplings, in 2-D and on images (Dinh, Krueger, Bengio, 2014)."""

from functools import partial

from models.blocks.layers import MLP, AdditiveCoupling, Coupling, DiagonalScale
from models.flow import Flow
from models.nice import nice, nice_images
from ui.common.page import begin_page
from ui.guide.family_page import family_page
from ui.image_flows.live import IMAGE_PARTS
from ui.plane_flows.coupling_demo import feel_coupling
from ui.plane_flows.live import PLANE

chosen = begin_page("nice", {"In 2-D": "nice", "On images": "nice_images"})
if chosen.stem == "nice":
    family_page(
        chosen,
        PLANE,
        feel=partial(feel_coupling, chosen.stem, affine=False),
        code=(nice, Coupling, AdditiveCoupling, DiagonalScale, Flow),
    )
else:
    family_page(
        chosen,
        IMAGE_PARTS,
        feel=None,
        code=(nice_images, nice, Flow, MLP, AdditiveCoupling, DiagonalScale),
    )
