"""MAF: masked autoregressive flow that finds defects (Papamakarios, Pavlakou, Murray, 2017)."""

from models.blocks.made import MADE, MaskedLinear
from models.blocks.splines import MarginalSplines
from models.blocks.transformer import CausalTransformer
from models.flow import Flow
from models.maf import MaskedAutoregressive, maf
from models.patches import PatchAutoregressive, Patches, maf_images
from training.defects.flows import DefectFlow, PatchFlow
from ui.common.page import begin_page
from ui.guide.family_page import Parts, family_page
from ui.image_flows.live import IMAGE_PARTS
from ui.maf.data import maf_data
from ui.maf.inside import feel_made, inside
from ui.maf.live import draw_maf, film_of
from ui.maf.own import score_own
from ui.maf.results import figure_of, results, scores_of
from ui.maf.sampling import sampling
from ui.plane_flows.live import PLANE

PARTS = Parts(
    data=maf_data,
    draw=draw_maf,
    sections={
        "Results": results,
        "Score your own": score_own,
        "See inside": inside,
        "Sampling": sampling,
    },
    files={
        "gif": ("Anomaly maps over the training (GIF)", film_of),
        "scores.csv": ("Scores of the test images (CSV)", scores_of),
        "curve.png": ("NLL over the training (PNG)", figure_of("nll_curve.png")),
        "histogram.png": ("Histogram of the scores (PNG)", figure_of("nll_hist_good_defect.png")),
        "roc.png": ("ROC curve (PNG)", figure_of("roc_curve.png")),
    },
)

WAYS = {"On images": "maf", "Patch by patch": "maf_images", "In 2-D": "maf_plane"}

chosen = begin_page("maf", WAYS)
if chosen.stem == "maf":
    family_page(
        chosen,
        PARTS,
        feel=feel_made,
        code=(
            maf,
            MaskedLinear,
            MADE,
            MaskedAutoregressive,
            Flow,
            DefectFlow,
            PatchFlow,
        ),
    )
elif chosen.stem == "maf_images":
    family_page(
        chosen,
        IMAGE_PARTS,
        feel=feel_made,
        code=(maf_images, PatchAutoregressive, CausalTransformer, MarginalSplines, Patches, Flow),
    )
else:
    family_page(
        chosen,
        PLANE,
        feel=feel_made,
        code=(maf, MaskedLinear, MADE, MaskedAutoregressive, Flow),
    )
