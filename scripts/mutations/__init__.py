"""The mutations of ``scripts/mutate.py``, and the everyday tests that must notice each."""

from scripts.mutations.lab import DOORS, LAB, LOOP, RUNS
from scripts.mutations.maths import LOSSES, MODELS, NUMBERS
from scripts.mutations.mutation import Mutation

MUTATIONS = (*MODELS, *LOSSES, *LOOP, *RUNS, *NUMBERS, *DOORS, *LAB)

__all__ = ["MUTATIONS", "Mutation"]
