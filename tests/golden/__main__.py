"""Write golden losses anew: ``python -m tests.golden``, or with the names of some cases."""

from __future__ import annotations

import sys

from tests.golden.cases import CASES
from tests.golden.record import write

for case in sys.argv[1:] or CASES:
    write(case)
