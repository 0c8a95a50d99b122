"""NICE: additive couplings (Dinh, Krueger, Bengio, 2014)."""

from functools import partial

from models.flow import Flow
from models.layers import AdditiveCoupling, Coupling, DiagonalScale
from models.nice import nice
from ui.family_page import plane_page
from ui.feel import feel_coupling
from ui.page import begin_page

family = begin_page("nice")
plane_page(
    family,
    feel=partial(feel_coupling, family.stem, affine=False),
    code=(nice, Coupling, AdditiveCoupling, DiagonalScale, Flow),
)
