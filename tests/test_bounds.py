"""Deep flows in the plane share the bound of their log-scales: no spikes in the first steps."""

from __future__ import annotations

from itertools import islice

import pytest

from registry import FAMILIES
from training.core.loop import train

DEPTH = {"glow_plane": "steps", "maf_plane": "blocks", "realnvp": "blocks"}
# Nats by which the first 100 losses may exceed the first.
MOST = {"glow_plane": 1, "realnvp": 1, "maf_plane": 2}
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]


@pytest.mark.parametrize(
    ("stem", "depth", "bound"),
    [
        ("glow_plane", 2, 3.0),
        ("glow_plane", 8, 1.5),
        ("glow_plane", 12, 6 / 12),
        ("realnvp", 8, 3.0),
        ("realnvp", 9, 6 / 9),
        ("realnvp", 12, 6 / 12),
        ("maf_plane", 2, 5.0),
        ("maf_plane", 8, 2.5),
        ("maf_plane", 12, 6 / 12),
    ],
)
def test_the_bound_falls_with_the_depth(stem, depth, bound):
    training = FAMILIES[stem].training
    flow = training.model(training.config.parse({DEPTH[stem]: depth}))
    found = [float(b) for name, b in flow.named_buffers() if name.endswith(".bound")]
    assert found == pytest.approx([bound] * depth)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stem", DEPTH)
def test_a_deep_flow_at_the_highest_rate_leaves_its_first_loss_by_little(stem, seed):
    # With a bound that knew no depth, losses of these runs came to thousands up to 1e14.
    training = FAMILIES[stem].training
    highest = next(k.high for k in training.config.knobs() if k.name == "learning_rate")
    values = {DEPTH[stem]: 12, "learning_rate": highest, "dataset": "ring", "seed": seed}
    experiment = training.build(training.config.parse(values))
    experiment.measure = dict
    steps = train(experiment, log_every=1, snapshots=False)
    losses = [event.losses["nll"] for event in islice(steps, 1, 101)]
    assert max(losses) < losses[0] + MOST[stem]
    assert losses[-1] < losses[0]
