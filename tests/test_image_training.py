"""Flows on images learn, in bits/dim that are right, and whoever looks does not disturb them."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from datasets.images import load_images
from datasets.own_images import OwnImages
from lab.driver import drive
from lab.store import Run
from models.blocks.image_layers import ConvNet, Logit, Vectorise
from models.blocks.priors import Logistic
from models.flow import Flow
from registry import FAMILIES
from training.core import image_flow
from training.core.config import ConfigError
from training.core.devices import best_device
from training.core.image_flow import (
    COLUMNS,
    MEASURED,
    ROWS,
    ImageFlowTraining,
    bits_per_dim,
    mixed_precision,
    squeezable,
)
from training.core.images import ImageConfig, crop, dequantise, quantise
from training.core.loop import Progress, Wishes, train

SMALL = {"dataset": "digits8", "batch": 32, "learning_rate": 5e-3}
LEAST: dict[str, dict] = {
    "glow": {"levels": 1, "steps": 4, "hidden": 32},
    "realnvp_images": {"levels": 1, "couplings": 2, "hidden": 32},
    "nice_images": {"layers": 2, "hidden": 100, "depth": 1},
    "maf_images": {"blocks": 2, "layers": 1, "width": 32},
}
VARIANTS: dict[str, tuple[str, dict]] = {
    "glow": ("glow", {"levels": 2}),
    "glow-classless-float32": ("glow", {"conditional": False, "precision": "float32"}),
    "realnvp": ("realnvp_images", {}),
    "nice": ("nice_images", {}),
    "maf": ("maf_images", {}),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(
    variant: str = "glow", total: int = 10, own: OwnImages | None = None, **values
) -> ImageFlowTraining:
    """A small experiment, cut to ``total`` steps (a config has no less than 1000)."""
    stem, settings = VARIANTS[variant]
    module = FAMILIES[stem].training
    if own is not None:
        values["dataset"] = "own"
    config = module.config(**{**SMALL, **LEAST[stem], **settings, **values})
    experiment = module.build(config, own=own)
    experiment.total = total
    return experiment


def weights(experiment: ImageFlowTraining) -> Tensor:
    return torch.cat([w.flatten() for w in experiment.model.state_dict().values()]).clone()


def unseen(experiment: ImageFlowTraining) -> Iterator[Progress]:
    """A training that nobody looks at, which is faster."""
    return train(experiment, snapshots=False, measure_every=10**9)


def finish(events: Iterable[Progress]) -> list[Progress]:
    return list(events)


def own_images(
    pixels: np.ndarray, labels: np.ndarray | None = None, held_out: np.ndarray | None = None
) -> OwnImages:
    n = len(pixels)
    labels = np.zeros(n, np.int64) if labels is None else labels.astype(np.int64)
    held_out = np.arange(n) % 2 == 1 if held_out is None else held_out
    classes = tuple(f"class {k}" for k in range(labels.max() + 1))
    return OwnImages(pixels, labels, held_out, classes, "mine")


def networks(experiment: ImageFlowTraining) -> list[ConvNet]:
    return [module for module in experiment.model.modules() if isinstance(module, ConvNet)]


# -- bytes and numbers ------------------------------------------------------------------------


def test_dequantised_values_are_evenly_spread_over_their_bin():
    values = torch.arange(256, dtype=torch.uint8).repeat(2000, 1)
    x = dequantise(values, seeded())
    assert x.dtype == torch.float32
    assert x.shape == values.shape
    assert x.min() >= 0
    assert x.max() < 1
    noise = (x.double() * 256 - values).numpy()
    assert noise.min() >= 0
    assert noise.max() < 1
    for value in (0, 1, 127, 128, 255):
        assert scipy.stats.kstest(noise[:, value], scipy.stats.uniform.cdf).pvalue > 1e-3
    neighbours = scipy.stats.pearsonr(noise[:, 100], noise[:, 101]).statistic
    assert abs(neighbours) < 0.1


def test_bytes_come_back_from_each_bin():
    values = torch.arange(256, dtype=torch.uint8).repeat(20_000, 1)
    back = quantise(dequantise(values, seeded()))
    assert back.dtype == np.uint8
    assert np.array_equal(back, values.numpy())


def test_bytes_come_back_from_both_ends_of_their_bins(monkeypatch):
    values = torch.arange(256, dtype=torch.uint8)
    for noise in (0.0, 1 - 2**-24):  # the least and the most that torch draws
        monkeypatch.setattr(torch, "rand", lambda shape, noise=noise, **_: torch.full(shape, noise))
        assert np.array_equal(quantise(dequantise(values, seeded())), values.numpy())


def test_values_that_are_none_become_bytes_too():
    x = torch.tensor([-1e9, -0.1, 0.0, 0.5, 1.0, 1.5, math.inf, -math.inf, math.nan])
    assert quantise(x).tolist() == [0, 0, 0, 128, 255, 255, 255, 0, 0]


class Known(nn.Module):
    """A model that knows the answer: each pixel has its own distribution over 256 values.

    Args:
        log_masses: nats, shape (c, h, w, 256).
    """

    context = 0

    def __init__(self, log_masses: Tensor) -> None:
        super().__init__()
        self.log_masses = log_masses
        self.features = log_masses[..., 0].numel()

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        place = (x * 256).floor().long()[..., None]  # (B, c, h, w, 1)
        masses = self.log_masses.expand(len(x), -1, -1, -1, -1).gather(-1, place)[..., 0]
        # As a density over [0, 1]: a bin is 1/256 wide.
        return (masses + math.log(256)).flatten(1).sum(1)


def known(side: int, seed: int = 0) -> tuple[Known, OwnImages, np.ndarray]:
    """Return a model, 400 images of it (half to test on), and its masses, (side^2, 256)."""
    random = np.random.default_rng(seed)
    masses = random.dirichlet(np.full(256, 0.05), size=side * side)
    draws = [random.choice(256, size=400, p=mass) for mass in masses]
    pixels = np.stack(draws, axis=1).astype(np.uint8).reshape(400, 1, side, side)
    log_masses = torch.from_numpy(np.log(masses.clip(1e-30))).float().view(1, side, side, 256)
    return Known(log_masses), own_images(pixels), masses


def test_an_even_density_has_eight_bits():
    model = Known(torch.full((3, 5, 4, 256), -math.log(256)))
    x = torch.rand(7, 3, 5, 4, generator=seeded())
    torch.testing.assert_close(bits_per_dim(model.log_prob(x), model, 60), torch.full((7,), 8.0))


@pytest.mark.parametrize("dataset", ["digits8", "digits"])
def test_a_flow_whose_density_is_even_has_eight_bits_on_any_images(dataset):
    # The logit of an evenly spread value is logistic.
    experiment = make("nice", dataset=dataset)
    shape = experiment.images.shape
    flow = Flow(Logistic(math.prod(shape)), [Logit(1e-6), Vectorise(shape)])
    experiment.model = flow
    assert experiment.measure()["bits_per_dim_test"] == pytest.approx(8, abs=1e-4)


def test_bits_of_a_known_distribution_are_its_entropy():
    model, own, masses = known(4)
    experiment = make("nice", own=own)
    experiment.model = model
    found = experiment.measure()["bits_per_dim_test"]
    # Exactly what the test images cost, whatever was added to them ...
    test = own.images[own.held_out].reshape(-1, 16)
    cost = -np.log2(masses[np.arange(16), test])  # (200, 16)
    assert found == pytest.approx(cost.mean(), abs=1e-5)
    # ... which is the entropy up to the choice of 200 images.
    entropy = scipy.stats.entropy(masses, base=2, axis=1).mean()
    assert found == pytest.approx(entropy, abs=5 * cost.mean(1).std() / 200**0.5)
    assert 1 < entropy < 5, "else the test could not tell"


def test_the_training_loss_and_the_held_out_one_are_in_the_same_units():
    model, own, _ = known(4)
    experiment = make("nice", own=own)
    experiment.model = model
    x, labels = experiment._batch(200)
    assert float(experiment.bits_per_dim(x, labels).mean()) == pytest.approx(
        experiment.measure()["bits_per_dim_test"], abs=0.1
    )


def test_a_frame_that_is_known_costs_nothing_and_its_pixels_do_not_count():
    model, own, _ = known(7)
    plain = make("nice", own=own)
    plain.model = model
    framed = make("glow", own=own, levels=3)
    assert framed.images.shape == (1, 8, 8)
    assert framed.dims == 49
    log_masses = torch.full((1, 8, 8, 256), -math.inf)
    log_masses[..., 0] = 0
    log_masses[:, :7, :7] = model.log_masses
    framed.model = Known(log_masses)
    found = framed.measure()["bits_per_dim_test"]
    assert found == pytest.approx(plain.measure()["bits_per_dim_test"], abs=1e-5)
    # A model that does not know the frame pays for it.
    framed.model = Known(torch.full((1, 8, 8, 256), -math.log(256)))
    assert framed.measure()["bits_per_dim_test"] == pytest.approx(8 * 64 / 49, abs=1e-5)


# -- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "levels", "padded"),
    [
        *[(28, 1, 28), (28, 2, 28), (28, 3, 32), (28, 4, 32)],
        *[(32, 4, 32), (8, 3, 8), (8, 1, 8), (7, 3, 8), (27, 0, 27)],
    ],
)
def test_images_are_padded_until_they_can_be_halved(side, levels, padded):
    assert squeezable((3, side, side), levels) == (3, padded, padded)


def test_what_fits_no_size_is_refused_with_what_would_fit():
    for side, levels in itertools.product(range(4, 70), range(1, 5)):
        try:
            channels, height, width = squeezable((1, side, side), levels)
        except ConfigError as error:
            text = str(error)
            assert text.endswith(".")
            assert "\n" not in text
            assert f"{side} x {side}" in text
            most = int(text.removesuffix(".").split()[-1])
            assert 1 <= most < levels
            squeezable((1, side, side), most)
            with pytest.raises(ConfigError):
                squeezable((1, side, side), most + 1)
        else:
            assert (channels, height) == (1, width)
            assert 0 <= height - side < 2**levels
            assert height % 2**levels == 0
            assert height**2 <= 1.5 * side**2


@pytest.mark.parametrize("variant", ["glow", "realnvp"])
def test_too_many_levels_are_refused_before_anything_is_built(variant):
    with pytest.raises(ConfigError, match="8 x 8 pixels cannot be halved 4 times"):
        make(variant, levels=4)


@pytest.mark.parametrize("inner", range(5, 12))
@pytest.mark.parametrize("side", [12, 13])
def test_cropping_undoes_padding(inner, side):
    pixels = np.random.default_rng(0).integers(1, 256, (40, 3, inner, inner)).astype(np.uint8)
    images = load_images("own", own_images(pixels))
    padded = images.pad_to(side)
    assert padded.shape == (3, side, side)
    assert torch.equal(crop(padded.train, inner, side), images.train)


@pytest.mark.parametrize("levels", [3, 4])
@pytest.mark.parametrize("variant", ["glow", "realnvp"])
def test_digits_get_a_frame_for_three_and_four_levels(variant, levels):
    experiment = make(variant, dataset="digits", levels=levels)
    assert experiment.images.shape == (1, 32, 32)
    assert experiment.model.features == 32 * 32
    assert experiment.dims == 28 * 28
    target = experiment.target()
    assert target["images"].shape == (60, 1, 28, 28)
    assert target["crop"].tolist() == [28, 32]
    assert experiment.snapshot()["samples"].shape == (60, 1, 28, 28)
    zeros = load_images("digits").train[:COLUMNS].numpy()
    assert np.array_equal(target["images"][:COLUMNS], zeros)


# -- images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_bytes_and_the_same_for_the_same_weights(variant):
    one, two = make(variant), make(variant)
    samples = one.snapshot()["samples"]
    assert samples.shape == (ROWS * COLUMNS, 1, 8, 8)
    assert samples.dtype == np.uint8
    assert len(np.unique(samples)) > 20
    assert np.array_equal(samples, one.snapshot()["samples"])
    assert np.array_equal(samples, two.snapshot()["samples"])
    assert np.array_equal(samples, make(variant, seed=0).snapshot()["samples"])


def test_rows_of_a_target_are_of_the_classes_of_the_samples():
    experiment, images = make("glow", conditional=True), load_images("digits8")
    assert experiment.image_labels().tolist() == [k for k in range(10) for _ in range(COLUMNS)]
    target = experiment.target()
    assert target["classes"].tolist() == list("0123456789")
    known_images = {
        image.numpy().tobytes(): int(k) for image, k in zip(images.train, images.train_labels)
    }
    found = [known_images[image.tobytes()] for image in target["images"]]
    assert found == experiment.image_labels().tolist()
    assert len({image.tobytes() for image in target["images"]}) > 50


@pytest.mark.parametrize("variant", ["nice", "glow-classless-float32"])
def test_without_classes_a_target_is_a_mixture_of_all(variant):
    # The built-in digits come sorted by class: the first sixty would all be zeros.
    images = load_images("digits")
    target = make(variant, dataset="digits").target()
    known_images = {
        image.numpy().tobytes(): int(k) for image, k in zip(images.train, images.train_labels)
    }
    found = [known_images[image.tobytes()] for image in target["images"]]
    assert len(found) == ROWS * COLUMNS
    assert len(set(found)) >= 8


def test_own_images_may_have_many_classes_or_one_or_none_to_train_on():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)
    labels = np.arange(60) % 20
    held_out = np.isin(labels, (1, 12))  # two classes are only in the test part
    experiment = make("glow", own=own_images(pixels, labels, held_out))
    assert experiment.model.context == 20
    target = experiment.target()
    assert target["images"].shape == experiment.snapshot()["samples"].shape == (60, 1, 8, 8)
    rows = target["images"].reshape(10, COLUMNS, -1)
    assert rows.any(axis=(1, 2)).tolist() == [k != 1 for k in range(10)]
    assert math.isfinite(
        finish(train(make("glow", 2, own=own_images(pixels))))[-1].losses["bits_per_dim"]
    )


# -- the loop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_does_not_change_the_training(variant):
    looked, left = make(variant, total=6), make(variant, total=6)
    wishes = Wishes(snapshot=True, losses=True)
    state = torch.get_rng_state()
    for event in train(looked, wishes=wishes, log_every=1, measure_every=1):
        assert set(event.snapshot) == {"samples"}
        assert set(event.metrics) == set(looked.METRICS)
        assert not event.losses or set(event.losses) == set(looked.LOSSES)
        looked.target()
        looked.state_dict()
        wishes.snapshot = wishes.losses = True
    assert torch.equal(torch.get_rng_state(), state), "no training touches the global random state"

    torch.manual_seed(12345)
    for _ in range(6):
        left.update()
        left.step += 1
    assert torch.equal(weights(looked), weights(left))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_restored_training_ends_with_the_same_weights(variant):
    def change(experiment, step):
        if step == 3:
            experiment.set("learning_rate", 2e-3)

    whole = make(variant)
    for event in unseen(whole):
        change(whole, event.step)

    first = make(variant)
    for event in itertools.islice(unseen(first), 7):
        change(first, event.step)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)

    second = make(variant)
    finish(itertools.islice(unseen(second), 3))  # whatever it was before
    second.load_state_dict(torch.load(file, weights_only=True))
    assert (second.step, second.live) == (6, {"learning_rate": 2e-3})
    finish(unseen(second))
    assert second.step == 10
    assert torch.equal(weights(second), weights(whole))
    assert np.array_equal(second.snapshot()["samples"], whole.snapshot()["samples"])
    assert second.measure() == whole.measure()


@pytest.mark.parametrize("variant", ["glow", "nice"])
def test_the_same_seed_gives_the_same_training_and_another_seed_another(variant):
    results = []
    for seed in (1, 1, 2):
        experiment = make(variant, total=4, seed=seed)
        finish(unseen(experiment))
        results.append(weights(experiment))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_learning_rate_can_be_changed_while_it_runs():
    def lengths(change: bool) -> list[float]:
        experiment = make("nice", total=400)
        result, before = [], weights(experiment)
        for event in itertools.islice(train(experiment, snapshots=False), 81):
            if event.step == 60 and change:
                experiment.set("learning_rate", 1e-4)
            after = weights(experiment)
            result.append(float((after - before).norm()))
            before = after
        return result

    same, changed = lengths(False), lengths(True)
    assert same[:61] == changed[:61]
    assert changed[61] == pytest.approx(same[61] / 50, rel=0.02)
    assert sum(changed[61:]) < 0.05 * sum(same[61:])


def test_the_images_that_are_measured_are_the_same_each_time(monkeypatch):
    experiment = make("nice", total=10, dataset="digits")
    seen: list[Tensor] = []
    monkeypatch.setattr(
        experiment, "bits_per_dim", lambda x, labels: seen.append(x) or labels.double()
    )

    def measured(step: int) -> tuple[Tensor, float]:
        seen.clear()
        experiment.step = step
        value = experiment.measure()["bits_per_dim_test"]
        return torch.cat(seen), value

    (first, mean), (second, again), (last, all_mean) = (measured(step) for step in (0, 7, 10))
    assert torch.equal(first, second), "the same noise, too"
    assert mean == again
    assert len(first) == MEASURED
    test = experiment.images.test
    assert len({image.tobytes() for image in quantise(first)}) == MEASURED, "none comes twice"
    assert mean == pytest.approx(4.5, abs=0.5), "all classes are in it"
    assert np.array_equal(quantise(last), test.numpy())
    assert all_mean == pytest.approx(float(experiment.images.test_labels.double().mean()))


# -- precision --------------------------------------------------------------------------------


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("variant", ["glow", "glow-classless-float32", "realnvp"])
def test_networks_are_mixed_only_while_a_step_is_taken(variant, able, monkeypatch):
    monkeypatch.setattr(image_flow, "knows_bfloat16", lambda device: able)
    experiment = make(variant)
    wanted = able and experiment.config.precision == "mixed"
    during = []
    log_prob = experiment.model.log_prob

    def watch(*arguments):
        during.extend(net.mixed for net in networks(experiment))
        return log_prob(*arguments)

    monkeypatch.setattr(experiment.model, "log_prob", watch)
    experiment.update()
    assert during == [wanted] * len(networks(experiment))
    assert not any(net.mixed for net in networks(experiment))
    during.clear()
    experiment.measure()
    experiment.snapshot()
    assert not any(during), "what is told is measured in full precision"


def test_networks_are_not_mixed_after_a_step_that_failed(monkeypatch):
    monkeypatch.setattr(image_flow, "knows_bfloat16", lambda device: True)
    experiment = make("glow")

    def fail(*_):
        assert all(net.mixed for net in networks(experiment))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(experiment.model, "log_prob", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        experiment.update()
    assert len(networks(experiment)) > 4
    assert not any(net.mixed for net in networks(experiment))


def test_mixed_precision_leaves_the_rest_in_float32(monkeypatch):
    monkeypatch.setattr(image_flow, "knows_bfloat16", lambda device: True)
    experiment = make("glow", total=100)
    finish(itertools.islice(unseen(experiment), 6))  # a coupling that starts at zero tells nothing
    x, labels = experiment._batch(32)
    exact, _ = experiment.model.inverse(x, experiment.context(labels))
    with mixed_precision(experiment.model, True):
        latents, log_det = experiment.model.inverse(x, experiment.context(labels))
        mixed = experiment.bits_per_dim(x, labels).mean()
        # The way back computes the same networks from the same halves: exact to the last digits.
        back, _ = experiment.model.forward(latents, experiment.context(labels))
    assert latents.dtype == log_det.dtype == mixed.dtype == torch.float32
    assert not torch.equal(latents, exact)
    assert float(mixed.detach()) == pytest.approx(
        float(experiment.bits_per_dim(x, labels).mean().detach()), abs=0.01
    )
    assert (back - x).abs().max() < 1 / 256


def test_mixed_precision_costs_no_bits(monkeypatch):
    monkeypatch.setattr(image_flow, "knows_bfloat16", lambda device: True)
    bits = []
    for precision in ("mixed", "float32"):
        experiment = make("glow", total=40, precision=precision, learning_rate=2e-3)
        finish(unseen(experiment))
        bits.append(experiment.measure()["bits_per_dim_test"])
    assert bits[0] != bits[1]
    assert bits[0] == pytest.approx(bits[1], abs=0.03)


# -- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "dataset", "steps", "gain"),
    [
        ("glow", "digits", 30, 0.4),
        ("glow-classless-float32", "digits8", 40, 0.3),
        ("realnvp", "digits8", 40, 0.3),
        ("nice", "digits8", 100, 0.3),
    ],
)
def test_it_learns(variant, dataset, steps, gain):
    experiment = make(variant, total=steps, dataset=dataset)
    events = finish(train(experiment, snapshots=False, measure_every=steps))
    before, after = (events[i].metrics["bits_per_dim_test"] for i in (0, -1))
    assert after < before - gain
    assert after > 0.5, "so few bits no model has: the count would be wrong"
    assert events[-1].losses["bits_per_dim"] == pytest.approx(after, abs=0.5)
    assert events[-1].skipped == 0


# -- settings ---------------------------------------------------------------------------------

AXES: dict[str, dict[str, tuple]] = {
    "glow": {
        "levels": (1, 4),
        "steps": (4, 32),
        "hidden": (32, 512),
        "batch": (32, 256),
        "learning_rate": (1e-4, 5e-3),
        "precision": ("mixed", "float32"),
        "conditional": (False, True),
        "dequantisation": ("uniform", "variational"),
    },
    "realnvp_images": {
        "levels": (1, 4),
        "couplings": (2, 8),
        "hidden": (32, 512),
        "batch": (32, 256),
        "learning_rate": (1e-4, 5e-3),
        "precision": ("mixed", "float32"),
        "conditional": (False, True),
        "dequantisation": ("uniform", "variational"),
    },
    "nice_images": {
        "layers": (2, 8),
        "depth": (1, 6),
        "hidden": (100, 1500),
        "batch": (32, 256),
        "learning_rate": (1e-4, 5e-3),
        "prior": ("logistic", "gaussian"),
        "dequantisation": ("uniform", "variational"),
    },
    "maf_images": {
        "patch": (2, 8),
        "blocks": (2, 12),
        "layers": (1, 8),
        "width": (32, 512),
        "batch": (32, 256),
        "learning_rate": (1e-4, 5e-3),
        "precision": ("mixed", "float32"),
        "conditional": (False, True),
        "dequantisation": ("uniform", "variational"),
        "left_out": (0.0, 0.5),
    },
}
ENDS = [(stem, name, end) for stem, axes in AXES.items() for name in axes for end in axes[name]]


@pytest.mark.parametrize(("stem", "name", "end"), ENDS, ids=["-".join(map(str, e)) for e in ENDS])
def test_a_model_is_built_at_both_ends_of_every_setting(stem, name, end):
    module = FAMILIES[stem].training
    config = module.config(**{**LEAST[stem], name: end})
    for shape in ((1, 28, 28), (3, 32, 32)):
        padded = config.padded(shape)
        flow = module.model(config, padded, 10, generator=seeded())
        context = torch.zeros(1, flow.context) if flow.context else None
        assert flow.sample(1, context=context).shape == (1, *padded)
        assert flow.context == (10 if getattr(config, "conditional", False) else 0)
        if "levels" in AXES[stem]:
            assert len(flow.latent_shapes) == config.levels
        assert sum(map(math.prod, flow.latent_shapes)) == math.prod(padded)


def corners(stem: str) -> list[dict]:
    """Settings in which each end meets each end of any other slider: eight for seven sliders.

    An orthogonal array; steps, hidden and batch are never all at their high ends.
    """
    result = []
    more = (0, 1) if len(AXES[stem]) > 7 else (0,)
    for a, b, c, d in itertools.product((0, 1), (0, 1), (0, 1), more):
        bits = (a, b, c, b ^ c, a ^ b ^ c, a ^ b, a ^ c, d, a ^ d, b ^ d, c ^ d)
        result.append({n: ends[bit] for (n, ends), bit in zip(AXES[stem].items(), bits)})
    return result


def test_the_corners_are_the_ends_of_the_sliders():
    flows = {s for s, f in FAMILIES.items() if issubclass(f.training.config, ImageConfig)}
    assert set(AXES) == flows
    for stem, axes in AXES.items():
        knobs = {k.name: k for k in FAMILIES[stem].training.config.knobs()}
        assert set(axes) == set(knobs) - {"dataset", "iterations", "seed"}
        for name, ends in axes.items():
            knob = knobs[name]
            expected = knob.choices or (
                (False, True) if knob.kind == "bool" else (knob.low, knob.high)
            )
            assert tuple(ends) == tuple(expected)
        for one, two in itertools.combinations(axes, 2):
            met = {(values[one], values[two]) for values in corners(stem)}
            assert len(met) == 4, (one, two)
        for name, least in LEAST[stem].items():
            assert least == axes[name][0]


def survives(stem: str, values: dict, steps: int, total: int, device: str = "cpu") -> None:
    """Train for some steps: all numbers stay finite, and no step has to be skipped."""
    module = FAMILIES[stem].training
    experiment = module.build(module.config(**values), device=device)
    experiment.total = total  # the learning rate is highest after a tenth of it
    events = train(experiment, snapshots=False, measure_every=steps)
    events = finish(itertools.islice(events, steps + 1))
    assert events[-1].step == steps
    assert all(math.isfinite(v) for e in events for v in e.losses.values())
    assert all(math.isfinite(v) for e in events for v in e.metrics.values())
    assert experiment.skipped == 0
    assert torch.isfinite(weights(experiment)).all()
    # Before they are bytes, too.
    rows = experiment.context(experiment.image_labels())
    with torch.no_grad():
        assert torch.isfinite(experiment.model.forward(experiment.latents, rows)[0]).all()


FAST = {"batch": 32, "learning_rate": 5e-3}
EXTREME: dict[str, tuple[str, dict]] = {
    "glow-least": ("glow", {**LEAST["glow"], "precision": "float32"}),
    "glow-deep": ("glow", {**LEAST["glow"], "levels": 3, "steps": 8}),
    "realnvp-deep": ("realnvp_images", {**LEAST["realnvp_images"], "levels": 3, "couplings": 4}),
    "nice-deep": ("nice_images", {"layers": 8, "depth": 6, "hidden": 100, "prior": "gaussian"}),
    "nice-wide": ("nice_images", {"layers": 2, "depth": 1, "hidden": 1500}),
}


@pytest.mark.parametrize("case", EXTREME)
def test_extreme_corners(case):
    stem, values = EXTREME[case]
    survives(stem, {**values, **FAST, "dataset": "digits8"}, steps=12, total=60)


@pytest.mark.parametrize(
    ("stem", "values"), [("glow", {"steps": 16}), ("realnvp_images", {"couplings": 8})]
)
def test_the_first_steps_of_a_deep_flow_do_not_explode(stem, values):
    # It is inside the sliders, not at their ends, that flows are both deep and wide enough.
    module = FAMILIES[stem].training
    experiment = module.build(module.config(dataset="digits", **values, **FAST))
    losses = [float(experiment.update()["bits_per_dim"]) for _ in range(12)]
    assert max(losses) < 1.2 * losses[0]
    assert losses[-1] < losses[0]


SLOW = [(stem, values, seed) for stem in AXES for values in corners(stem) for seed in range(5)]
SLOW_IDS = ["-".join([s, *map(str, v.values()), f"seed{seed}"]) for s, v, seed in SLOW]


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)  # wide and deep ones take an hour on one core, seconds on a GPU
@pytest.mark.parametrize(("stem", "values", "seed"), SLOW, ids=SLOW_IDS)
def test_every_corner(stem, values, seed):
    values = {**values, "dataset": "digits", "seed": seed}
    survives(stem, values, steps=200, total=1000, device=best_device("gpu"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stem", AXES)
def test_small_batches_at_the_highest_learning_rate(stem, seed):
    values = {**FAST, "dataset": "digits", "seed": seed}  # the rest as the page offers it
    if stem == "nice_images":
        values["hidden"] = 500
    survives(stem, values, steps=200, total=1000, device=best_device("gpu"))


# -- as a run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["glow", "nice_images"])
def test_a_run_stopped_and_resumed_is_the_run_that_never_was(tmp_path, stem):
    family = FAMILIES[stem]
    config = family.training.config(**{**SMALL, **LEAST[stem], "batch": 32})

    def go(run: Run, *stops: int) -> dict[str, Tensor]:
        for steps in stops:
            left = iter([None] * steps)

            def receive(timeout, left=left):
                return next(left, ("stop",))

            status = drive(run, device="cpu", send=lambda report: None, receive=receive)
            assert (status.state, status.message) == ("stopped", "")
        experiment = run.experiment()
        assert run.weights.load_into(experiment.model) == run.status().step
        return experiment.model.state_dict()

    one = Run.create(tmp_path / "one", family, config)
    two = Run.create(tmp_path / "two", family, config)
    parts, whole = go(one, 3, 1, 4), go(two, 8)
    assert one.status().step == two.status().step == 8
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
    assert set(one.snapshots.target()) == {"images", "shape", "crop", "classes"}
    assert set(one.snapshots.load(0)) == {"samples"}
    assert one.metrics.rows()[0]["bits_per_dim_test"] == two.metrics.rows()[0]["bits_per_dim_test"]
