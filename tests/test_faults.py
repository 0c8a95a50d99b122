"""One round of each harm of the benchmark of faults; ``python -m benchmarks faults`` does more."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from benchmarks.faults import KINDS, carry_out, table_of

EVERYDAY = ("worker killed", "truncated checkpoint", "half-written metrics")
# What has to be bought or allowed; in CI it has to be there.
NEEDS = {"ray node lost"}

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc"),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("faults"),
]


def harmed(*kinds: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    tallies = carry_out(kinds, 1, random.Random(seed))
    assert not [why for tally in tallies.values() for why in tally.broken], f"seed {seed}"
    for kind, tally in tallies.items():
        if tally.left_out and not (os.environ.get("CI") and kind not in NEEDS and os.getuid() == 0):
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
