"""The light of a duel, on made-up and on known courses of its numbers."""

from __future__ import annotations

import math

import pytest

from metrics.gan_health import health


def course(real, fake, steps: int = 1000, every: int = 10, **metrics: float) -> list[dict]:
    """Rows of a training whose beliefs are functions of the share of it that is done."""
    rows = []
    for step in range(every, steps + 1, every):
        row = {"step": step, "d_real": real(step / steps), "d_fake": fake(step / steps)}
        rows.append({**row, **metrics} if step % (10 * every) == 0 else row)
    return rows


def flat(value: float):
    return lambda _share: value


def test_nothing_is_said_too_early():
    assert health([], 1000).state == "unknown"
    assert health(course(flat(0.99), flat(0.01), 10), 1000).state == "unknown"
    few = course(flat(0.99), flat(0.01), 1000, every=500)
    assert health(few, 1000).state == "unknown"


def test_a_balanced_duel():
    found = health(course(flat(0.55), flat(0.45), diversity=1.0, modes=8.0), 1000, modes=8)
    assert found.state == "balanced"
    assert not found.advice
    assert "0.55" in found.words and "0.45" in found.words


def test_the_discriminator_has_won():
    found = health(course(flat(0.97), flat(0.03), diversity=0.9), 1000)
    assert found.state == "won"
    assert "k_D" in found.advice
    for real, fake in ((0.97, 0.4), (0.6, 0.03)):  # sure of one side only
        assert health(course(flat(real), flat(fake), diversity=0.9), 1000).state == "balanced"


@pytest.mark.parametrize(
    ("metrics", "modes"), [({"diversity": 0.2}, 0), ({"diversity": 1.0, "modes": 5.0}, 8)]
)
def test_collapse_comes_before_all_else(metrics, modes):
    found = health(course(flat(0.97), flat(0.03), **metrics), 1000, modes)
    assert found.state == "collapse"
    assert found.advice


def test_one_mode_that_is_missing_is_not_yet_a_collapse():
    assert health(course(flat(0.5), flat(0.5), diversity=1, modes=7), 1000, 8).state == "balanced"


def test_oscillation_is_a_swing_and_neither_noise_nor_a_drift():
    def swing(share: float) -> float:
        return 0.4 + 0.3 * math.sin(400 * share)

    assert health(course(flat(0.6), swing, diversity=1.0), 1000).state == "oscillation"
    calm = course(flat(0.6), lambda s: 0.4 + 0.02 * math.sin(400 * s), diversity=1.0)
    assert health(calm, 1000).state == "balanced"
    drift = course(flat(0.6), lambda s: 0.9 - 8 * max(0.0, s - 0.9), diversity=1.0)
    assert health(drift, 1000).state == "balanced"


def test_only_the_last_tenth_counts():
    calmed = course(flat(0.6), lambda s: 0.4 + 0.3 * math.sin(400 * s) * (s < 0.8), diversity=1.0)
    assert health(calmed, 1000).state == "balanced"


def test_steps_of_one_side_alone_do_not_disturb():
    rows = course(flat(0.5), flat(0.5), diversity=1.0)
    rows += [{"step": 1001, "g_loss": 1.0}, {"step": 1002, "d_real": 0.5, "d_fake": 0.5}]
    assert health(rows, 1000).state == "balanced"
