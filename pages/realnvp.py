"""RealNVP: affine and spline couplings, in 2-D and on images (Dinh et al., 2016)."""

from functools import partial

from models.blocks.image_layers import ConvNet, Logit, Squeeze
from models.blocks.layers import ActNorm, AffineCoupling, Coupling, Split
from models.blocks.splines import SplineCoupling, rational_quadratic
from models.flow import Flow
from models.levels import multi_scale
from models.realnvp import realnvp, realnvp_images
from ui.common.page import begin_page
from ui.guide.family_page import family_page
from ui.image_flows.live import IMAGE_PARTS
from ui.image_flows.masks import feel_masks
from ui.plane_flows.coupling_demo import feel_coupling
from ui.plane_flows.live import PLANE

chosen = begin_page("realnvp", {"In 2-D": "realnvp", "On images": "realnvp_images"})
if chosen.stem == "realnvp":
    family_page(
        chosen,
        PLANE,
        feel=partial(feel_coupling, chosen.stem, affine=True),
        code=(realnvp, Coupling, AffineCoupling, SplineCoupling, rational_quadratic, ActNorm, Flow),
    )
else:
    family_page(
        chosen,
        IMAGE_PARTS,
        feel=feel_masks,
        code=(realnvp_images, multi_scale, Flow, Split, Squeeze, AffineCoupling, ConvNet, Logit),
    )
