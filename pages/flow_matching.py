"""Flow matching: velocities from noise to data, in 2-D and on images (Lipman et al., 2022)."""

from models.blocks.ode import Solver, states
from models.blocks.unet import Block, UNet
from models.flow_matching import (
    Transport,
    VelocityNet,
    ends_of,
    flow_matching,
    flow_matching_images,
    straight,
    variance_preserving,
    velocity_of,
)
from training.flow_matching import PlaneFlowMatching, paired
from training.flow_matching_images import ImageFlowMatching
from ui.common.page import begin_page
from ui.flow_matching.images import IMAGE_MATCHING
from ui.flow_matching.plane import PLANE_MATCHING
from ui.guide.family_page import family_page

chosen = begin_page(
    "flow_matching", {"In 2-D": "flow_matching", "On images": "flow_matching_images"}
)
if chosen.stem == "flow_matching":
    family_page(
        chosen,
        PLANE_MATCHING,
        feel=None,
        code=(
            flow_matching,
            Transport,
            straight,
            variance_preserving,
            paired,
            velocity_of,
            VelocityNet,
            Solver,
            states,
            PlaneFlowMatching,
        ),
    )
else:
    family_page(
        chosen,
        IMAGE_MATCHING,
        feel=None,
        code=(flow_matching_images, Transport, UNet, Block, ends_of, Solver, ImageFlowMatching),
    )
