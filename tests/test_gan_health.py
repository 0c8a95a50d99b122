"""The light of a duel, on made-up and on known courses of its numbers, and on known samples."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis.sample_look import look_at
from datasets.images import load_images
from datasets.plane import load_plane
from lab.store import Run
from metrics.gan_health import SETTLED, health
from metrics.samples import FEWEST, Look, Measure, noise_like
from paths import ASSETS
from training.core.images import scattered

GOOD = Look(1000, 60, "their colours", spread=1.0, spread_of_noise=0.3)
CALM = {"diversity": 1.0}


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
    rows = course(flat(0.55), flat(0.45), diversity=1.0, modes=8.0)
    assert health(rows, 1000, modes=8).state == "unknown", "nobody looked at its samples"
    found = health(rows, 1000, modes=8, look=GOOD)
    assert found.state == "balanced"
    assert not found.advice
    assert "0.55" in found.words and "0.45" in found.words


def test_the_discriminator_has_won():
    found = health(course(flat(0.97), flat(0.03), diversity=0.9), 1000)
    assert found.state == "won"
    assert "k_D" in found.advice
    for real, fake in ((0.97, 0.4), (0.6, 0.03)):  # sure of one side only
        rows = course(flat(real), flat(fake), diversity=0.9)
        assert health(rows, 1000, look=GOOD).state == "balanced"


@pytest.mark.parametrize(
    ("metrics", "modes"), [({"diversity": 0.2}, 0), ({"diversity": 1.0, "modes": 5.0}, 8)]
)
def test_collapse_comes_before_all_else(metrics, modes):
    found = health(course(flat(0.97), flat(0.03), **metrics), 1000, modes)
    assert found.state == "collapse"
    assert found.advice


def test_a_generator_that_has_hardly_begun_has_not_collapsed():
    rows = course(flat(0.6), flat(0.5), 23, every=1, diversity=0.02)
    assert health(rows, 1000).state == "unknown", "23 steps of 1,000"
    # Of a training of 29 steps they are most of it: all alike, and worse than noise.
    distance = Measure("Distance to real", value=9.0, real=0.1, noise=8.0, distance=True)
    look = Look(23, 60, "their colours", 0.02, 0.3, {"distance": distance})
    assert health(rows, 29, look=look).state == "far"
    better = replace(look, measures={"distance": replace(distance, value=7.0)})
    assert health(rows, 29, look=better).state == "collapse"


def test_one_mode_that_is_missing_is_not_yet_a_collapse():
    rows = course(flat(0.5), flat(0.5), diversity=1, modes=7)
    assert health(rows, 1000, 8, GOOD).state == "balanced"


def test_oscillation_is_a_swing_and_neither_noise_nor_a_drift():
    def swing(share: float) -> float:
        return 0.4 + 0.3 * math.sin(400 * share)

    assert health(course(flat(0.6), swing, diversity=1.0), 1000).state == "oscillation"
    calm = course(flat(0.6), lambda s: 0.4 + 0.02 * math.sin(400 * s), diversity=1.0)
    assert health(calm, 1000, look=GOOD).state == "balanced"
    drift = course(flat(0.6), lambda s: 0.9 - 8 * max(0.0, s - 0.9), diversity=1.0)
    assert health(drift, 1000, look=GOOD).state == "balanced"


def test_only_the_last_tenth_counts():
    calmed = course(flat(0.6), lambda s: 0.4 + 0.3 * math.sin(400 * s) * (s < 0.8), diversity=1.0)
    assert health(calmed, 1000, look=GOOD).state == "balanced"


def test_steps_of_one_side_alone_do_not_disturb():
    rows = course(flat(0.5), flat(0.5), diversity=1.0)
    rows += [{"step": 1001, "g_loss": 1.0}, {"step": 1002, "d_real": 0.5, "d_fake": 0.5}]
    assert health(rows, 1000, look=GOOD).state == "balanced"


# -- samples -------------------------------------------------------------------------------------


def of_images(name: str):
    """Return images of a set, what a snapshot has of them, and a run that trains on it."""
    images = load_images(name)
    real = scattered(images.train, 60)
    target = {"images": real.numpy(), "classes": np.array(images.classes)}
    return images, target, SimpleNamespace(config=SimpleNamespace(dataset=name))


def drawn(images: torch.Tensor, count: int = 60, seed: int = 5) -> torch.Tensor:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:count]]


def state_of(samples: torch.Tensor, target, run, step: int = 1000) -> str:
    look = look_at(run, step, {"samples": samples.numpy()}, target)
    return health(course(flat(0.55), flat(0.45), **CALM), 1000, look=look).state


def failures(images) -> dict[str, torch.Tensor]:
    """Return samples such as failed generators make, by what is wrong with them."""
    source = torch.Generator().manual_seed(11)
    train, shape = images.train, (60, *images.train.shape[1:])
    mean, haze = train.float().mean(0), torch.randn(shape, generator=source)
    greys = torch.randint(90, 160, (60, 1, 1, 1), generator=source)
    averages = [drawn(train, 8, seed).float().mean(0) for seed in range(60)]
    return {
        "noise": torch.randint(0, 256, shape, generator=source, dtype=torch.uint8),
        "soft noise": (127 + 40 * haze).clamp(0, 255).byte(),
        "the mean image": (mean + 4 * haze).clamp(0, 255).byte(),
        "grey mush": torch.stack(averages).byte(),
        "one grey each": greys.expand(shape).byte(),
        "one image": images.test[:1].expand(shape),
        "one class": drawn(images.test[images.test_labels == 0]),
        "half noise": torch.cat([drawn(images.test, 30), noise_like(train[:30])])[
            torch.randperm(60, generator=source)
        ],
    }


@pytest.mark.parametrize("own", [False, True], ids=["with a classifier", "without"])
@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_a_calm_duel_with_bad_samples_is_not_balanced(name, own):
    images, target, run = of_images(name)
    if own:  # nobody has trained a classifier of somebody's own images
        target = {**target, "classes": np.array(["all"])}
    for wrong, samples in failures(images).items():
        if own and wrong == "one class":
            continue  # shapes of one kind are spread in colour and place like all others
        assert state_of(samples, target, run) in ("far", "collapse"), wrong
    assert state_of(failures(images)["one image"], target, run) == "collapse"
    assert state_of(failures(images)["noise"], target, run) == "far"


@pytest.mark.parametrize("own", [False, True], ids=["with a classifier", "without"])
@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_real_images_are_balanced_be_they_held_out_or_learned_by_heart(name, own):
    images, target, run = of_images(name)
    if own:
        target = {**target, "classes": np.array(["all"])}
    assert state_of(drawn(images.test), target, run) == "balanced"
    assert state_of(torch.from_numpy(target["images"]).flip(0), target, run) == "balanced"


def test_half_of_the_classes_are_missed_where_a_classifier_knows_them():
    images, target, run = of_images("shapes")
    assert state_of(drawn(images.test[images.test_labels < 2]), target, run) == "collapse"


def test_early_samples_are_called_neither_good_nor_bad():
    images, target, run = of_images("digits")
    for samples in (drawn(images.test), failures(images)["noise"]):
        look = look_at(run, int(SETTLED * 1000) - 1, {"samples": samples.numpy()}, target)
        rows = course(flat(0.55), flat(0.45), int(SETTLED * 1000), **CALM)
        found = health(rows, 1000, look=look)
        assert found.state == "unknown"
        assert "Too early" in found.words


def test_the_light_says_what_noise_and_real_images_come_to():
    images, target, run = of_images("digits")
    look = look_at(run, 1000, {"samples": failures(images)["noise"].numpy()}, target)
    distance = look.measures["distance"]
    assert 10 * distance.real < distance.noise
    assert distance.value == pytest.approx(distance.noise, rel=0.2)
    words = health(course(flat(0.55), flat(0.45), **CALM), 1000, look=look).words
    for number in (distance.value, distance.real, distance.noise):
        assert distance.say(number) in words
    again = look_at(run, 1000, {"samples": failures(images)["noise"].numpy()}, target)
    assert again == look, "the same every time"


def test_too_few_images_are_not_judged():
    images, target, run = of_images("digits")
    few = {**target, "images": scattered(images.train[: FEWEST - 1], 60).numpy()}
    assert look_at(run, 1000, {"samples": drawn(images.test).numpy()}, few) is None
    assert state_of(drawn(images.test), few, run) == "unknown"


@pytest.mark.parametrize("name", ["ring", "two_moons", "circles", "checkerboard", "spirals"])
def test_points_in_the_plane_are_looked_at_too(name):
    plane = load_plane(name, 0.05)
    real, fresh = (
        plane.held_out(1000, torch.Generator().manual_seed(seed))[:1000] for seed in (2, 5)
    )
    target, broken = {"samples": real.numpy(), "box": np.zeros(4)}, fresh.clone()
    broken[:] = float("nan")
    cloud = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    assert state_of(fresh, target, None) == "balanced"
    assert state_of(cloud, target, None) in ("far", "collapse")
    assert state_of(real[:1].expand(1000, -1), target, None) == "collapse"
    half = real[real[:, 0] > real[:, 0].median()]
    assert state_of(half.repeat(2, 1), target, None) != "balanced"
    assert state_of(broken, target, None) in ("far", "collapse")


@pytest.mark.parametrize("stem", ["gan", "gan_images", "dcgan"])
def test_the_runs_that_ship_look_real(stem):
    run = Run(ASSETS / "runs" / stem)
    step = run.snapshots.steps()[-1]
    look = look_at(run, step, run.snapshots.load(step), run.snapshots.target())
    assert not look.bad(*look.measures)
    assert look.spread > 0.6
