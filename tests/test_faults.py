"""One round of each harm of the benchmark of faults; ``python -m benchmarks faults`` does more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.faults import KINDS, carry_out, table_of

# These share a lab; the others start some of their own.
EVERYDAY = (
    "worker killed",
    "disk full",
    "run folder read-only",
    "truncated checkpoint",
    "half-written metrics",
)
# What a machine may not have or not allow.
NEEDS = {"disk full", "run folder read-only", "clock jump", "ray node lost"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc"),
    pytest.mark.timeout(900),
]


def harmed(*kinds: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    tallies = carry_out(kinds, 1, random.Random(seed))
    assert not [why for tally in tallies.values() for why in tally.broken], f"seed {seed}"
    for kind, tally in tallies.items():
        if tally.left_out and kind in NEEDS:
            if len(kinds) == 1:
                pytest.skip(tally.left_out)
            continue
        assert len(tally.lost) == 1, f"{kind}: {tally.left_out}"
        assert tally.lost[0] >= 0
    assert "all" in str(table_of(tallies))


def test_a_training_that_is_harmed_loses_nothing_but_its_last_moments():
    harmed(*EVERYDAY)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EVERYDAY])
def test_so_it_is_with_a_lab_a_disk_and_a_clock(kind):
    harmed(kind)
