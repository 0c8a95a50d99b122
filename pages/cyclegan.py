"""CycleGAN: two worlds without pairs, translated into each other (Zhu et al., 2017)."""

from models.cyclegan import (
    CycleGAN,
    PatchDiscriminator,
    ResidualBlock,
    ResNetGenerator,
    ToImage,
    cyclegan,
)
from training.cyclegan import CycleGANTraining
from training.cyclegan_tools import ImagePool
from ui.cyclegan_data import pair_data
from ui.cyclegan_inside import see_inside
from ui.cyclegan_lessons import checks, lessons
from ui.cyclegan_live import draw_cyclegan, film_of, sheet_of
from ui.cyclegan_translate import translate
from ui.family_page import Parts, family_page
from ui.page import begin_page

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
    feel=None,
    code=(
        cyclegan,
        ResNetGenerator,
        ResidualBlock,
        ToImage,
        PatchDiscriminator,
        CycleGAN,
        CycleGANTraining,
        ImagePool,
    ),
)
