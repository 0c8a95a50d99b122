"""CycleGAN: two worlds without pairs, translated into each other (Zhu et al., 2017)."""

from models.cut import CUT, patch_nce
from models.cyclegan import (
    CycleGAN,
    PatchDiscriminator,
    ResidualBlock,
    ResNetGenerator,
    ToImage,
    cyclegan,
)
from training.core.unpaired import ImagePool
from training.cut import CUTTraining
from training.cyclegan import CycleGANTraining
from ui.common.page import begin_page
from ui.cyclegan.data import pair_data
from ui.cyclegan.inside import see_inside
from ui.cyclegan.lessons import checks, lessons
from ui.cyclegan.live import draw_cyclegan, film_of, sheet_of
from ui.cyclegan.translate import translate
from ui.guide.family_page import Parts, family_page
from ui.theory.other_families import go_round

family_page(
    begin_page("cyclegan"),
    Parts(
        data=pair_data,
        draw=draw_cyclegan,
        sections={
            "Translate": translate,
            "See inside": see_inside,
            "Lessons": lessons,
            "Check": checks,
        },
        files={
            "gif": ("Film of the training (GIF)", film_of),
            "ab.png": ("A to B and back (PNG)", sheet_of("ab")),
            "ba.png": ("B to A and back (PNG)", sheet_of("ba")),
        },
    ),
    feel=go_round,
    code=(
        cyclegan,
        ResNetGenerator,
        ResidualBlock,
        ToImage,
        PatchDiscriminator,
        CycleGAN,
        CycleGANTraining,
        ImagePool,
        CUT,
        patch_nce,
        CUTTraining,
    ),
)
