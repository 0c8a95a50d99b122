"""RealNVP: affine and spline couplings (Dinh et al., 2016; Durkan et al., 2019)."""

from functools import partial

from models.flow import Flow
from models.layers import ActNorm, AffineCoupling, Coupling, SplineCoupling
from models.realnvp import realnvp
from ui.family_page import plane_page
from ui.feel import feel_coupling
from ui.page import begin_page

family = begin_page("realnvp")
plane_page(
    family,
    feel=partial(feel_coupling, family.stem, affine=True),
    code=(realnvp, Coupling, AffineCoupling, SplineCoupling, ActNorm, Flow),
)
