"""The loop: one step per ``next``, undisturbed by who looks, honest about what goes wrong."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.own import OwnData
from registry import FAMILIES
from training.core.loop import PATIENCE, Progress, Tally, TrainingDiverged, Wishes, train
from training.core.optimiser import Optimiser, one_cycle
from training.core.plane_flow import PlaneFlow

SMALL = {"hidden": 32, "batch": 64, "dataset": "ring", "learning_rate": 1e-2}
VARIANTS: dict[str, tuple[str, dict]] = {
    "nice": ("nice", {"layers": 3}),
    "nice-logistic-decay": ("nice", {"layers": 2, "prior": "logistic", "weight_decay": 0.1}),
    "nice-finite-data": ("nice", {"layers": 2, "dataset": "mixture"}),
    "affine": ("realnvp", {"blocks": 3}),
    "spline-actnorm": ("realnvp", {"blocks": 2, "coupling": "spline", "actnorm": True}),
    "glow-plane": ("glow_plane", {"steps": 2}),
    "maf-plane": ("maf_plane", {"blocks": 2}),
    "vae-plane": ("vae_plane", {"depth": 1}),
}


def make(variant: str = "affine", total: int = 24, **values) -> PlaneFlow:
    """A small experiment, cut to ``total`` steps (a config has no less than 1000)."""
    stem, settings = VARIANTS[variant]
    module = FAMILIES[stem].training
    experiment = module.build(module.config(**{**SMALL, **settings, **values}))
    experiment.total = total
    return experiment


def weights(experiment: PlaneFlow) -> Tensor:
    return torch.cat([w.flatten() for w in experiment.model.state_dict().values()]).clone()


def unseen(experiment: PlaneFlow) -> Iterator[Progress]:
    """A training that nobody looks at, which is faster."""
    return train(experiment, snapshots=False, measure_every=10**9)


def finish(events: Iterable[Progress]) -> list[Progress]:
    return list(events)


# -- steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_step_zero_comes_first_then_one_event_per_step(variant):
    experiment = make(variant, total=10)
    before = weights(experiment)
    events = train(experiment)
    first = next(events)
    assert (first.step, first.total) == (0, 10)
    assert torch.equal(weights(experiment), before), "the untrained model must be seen"
    assert first.snapshot
    assert first.metrics

    for expected in range(1, 11):
        event = next(events)
        assert event.step == experiment.step == expected
        assert not torch.equal(weights(experiment), before), "an event comes after its step"
        before = weights(experiment)
    assert event.losses
    assert event.metrics
    assert event.snapshot
    assert next(events, None) is None


def test_only_plain_numbers_and_arrays_leave_the_trainer():
    for event in train(make(total=12), log_every=1, measure_every=1):
        assert type(event.step) is int
        for numbers in (event.losses, event.metrics):
            assert all(type(value) is float for value in numbers.values())
        assert all(type(value) is np.ndarray for value in (event.snapshot or {}).values())


def test_what_is_logged_is_what_the_metrics_file_has_columns_for():
    for variant in VARIANTS:
        experiment = make(variant, total=5)
        last = finish(train(experiment, measure_every=5))[-1]
        assert set(last.losses) == set(experiment.LOSSES)
        assert set(last.metrics) == set(experiment.METRICS)


def test_a_closed_training_is_as_if_it_had_never_been_asked_for_more():
    stopped, whole = make(total=40), make(total=40)
    events = train(stopped)
    finish(itertools.islice(events, 16))
    events.close()
    assert next(events, None) is None
    finish(itertools.islice(train(whole), 16))
    assert stopped.step == whole.step == 15
    assert torch.equal(weights(stopped), weights(whole))


def test_snapshots_come_each_tenth_and_when_wished_for():
    wishes = Wishes()
    snapshots, told = [], []
    for event in train(make(total=60), wishes=wishes, log_every=50):
        snapshots += [event.step] if event.snapshot else []
        told += [event.step] if event.losses else []
        if event.step == 33:
            wishes.snapshot = wishes.losses = True
    assert snapshots == sorted([*range(0, 61, 6), 34])
    assert told == [34, 50, 60]


def test_losses_are_means_since_they_were_last_logged():
    every = [e.losses["nll"] for e in train(make(total=30), log_every=1) if e.losses]
    tenth = [e.losses["nll"] for e in train(make(total=30), log_every=10) if e.losses]
    expected = [sum(every[i : i + 10]) / 10 for i in (0, 10, 20)]
    assert tenth == pytest.approx(expected, rel=1e-5)


# -- evaluation -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_does_not_change_the_training(variant):
    looked, left = make(variant, total=12), make(variant, total=12)
    wishes = Wishes(snapshot=True, losses=True)
    state = torch.get_rng_state()
    for event in train(looked, wishes=wishes, log_every=1, measure_every=1):
        assert event.snapshot
        assert event.metrics
        looked.target()
        looked.state_dict()
        wishes.snapshot = wishes.losses = True
    assert torch.equal(torch.get_rng_state(), state), "no training touches the global random state"

    torch.manual_seed(12345)
    for _ in range(12):
        left.update()
        left.step += 1
    assert torch.equal(weights(looked), weights(left))


def test_snapshots_of_the_same_weights_are_the_same():
    one, two = make(), make()
    for name, array in one.snapshot().items():
        assert np.array_equal(array, one.snapshot()[name])
        assert np.array_equal(array, two.snapshot()[name])


def test_two_trainings_in_one_process_do_not_disturb_each_other():
    alone = []
    for variant in ("nice", "spline-actnorm"):
        experiment = make(variant)
        finish(unseen(experiment))
        alone.append(weights(experiment))
    pair = [make("nice"), make("spline-actnorm")]
    for one, two in zip(*(unseen(experiment) for experiment in pair), strict=True):
        assert one.step == two.step
    assert torch.equal(weights(pair[0]), alone[0])
    assert torch.equal(weights(pair[1]), alone[1])


def test_the_same_seed_gives_the_same_training_and_another_seed_another():
    results = []
    for seed in (1, 1, 2):
        experiment = make(seed=seed)
        finish(unseen(experiment))
        results.append(weights(experiment))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


# -- the learning rate ------------------------------------------------------------------------


def test_the_learning_rate_can_be_changed_while_it_runs():
    def lengths(change: bool) -> list[float]:
        experiment = make(total=400)
        result, before = [], weights(experiment)
        for event in itertools.islice(train(experiment), 81):
            if event.step == 60 and change:
                experiment.set("learning_rate", 1e-4)
            after = weights(experiment)
            result.append(float((after - before).norm()))
            before = after
        return result

    same, changed = lengths(False), lengths(True)
    assert same[:61] == changed[:61]
    assert changed[61] == pytest.approx(same[61] / 100, rel=0.02)
    assert sum(changed[61:]) < 0.05 * sum(same[61:])


def test_one_cycle_warms_up_and_ends_at_nothing():
    rates = [one_cycle(i / 1000) for i in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[100] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(b > a for a, b in itertools.pairwise(rates[:101]))
    assert all(b < a for a, b in itertools.pairwise(rates[100:]))
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < 0.01, "no jump"


# -- what is not finite -----------------------------------------------------------------------


class Fragile(PlaneFlow):
    """Its loss, or only the gradient of it, is not finite at the steps named."""

    kind = "loss"
    bad: frozenset[int] = frozenset()

    def update(self) -> Mapping[str, Tensor]:
        x = self.plane.batch(self.config.batch, self.generator)
        loss = -self.model.log_prob(x).mean()
        if self.step in self.bad:
            weight = next(self.model.parameters())
            poison = {
                "loss": weight.sum() * math.nan,
                "infinite": weight.sum() * 0 + math.inf,
                "gradient": (weight * 0).sum().sqrt(),  # itself zero, its slope is not finite
            }
            loss = loss + poison[self.kind]
        self.optimisers["adam"].step(loss, 1e-3)
        return {"nll": loss.detach()}


def fragile(bad: Iterable[int], kind: str = "loss", total: int = 60) -> Fragile:
    module = FAMILIES["realnvp"].training
    config = module.config(**SMALL, blocks=2, weight_decay=0.1)

    def model(config, *, generator):
        return module.build(config).model

    experiment = Fragile(config, model)
    experiment.kind, experiment.bad, experiment.total = kind, frozenset(bad), total
    return experiment


@pytest.mark.parametrize("kind", ["loss", "infinite", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(kind):
    experiment = fragile({10, 11, 30}, kind)
    events = train(experiment, log_every=1)
    next(events)
    before = weights(experiment)
    for event in events:
        after = weights(experiment)
        assert torch.isfinite(after).all()
        # Skipped means skipped: no decay of the weights, no step of the momentum either.
        assert torch.equal(after, before) == (event.step in (11, 12, 31))
        assert event.skipped == sum(bad < event.step for bad in experiment.bad)
        before = after
    assert event.step == 60
    assert experiment.skipped == 3


def test_a_skipped_step_leaves_no_trace_in_the_optimiser():
    experiment = fragile({10})
    events = train(experiment)
    finish(itertools.islice(events, 11))

    def state():
        adam = experiment.state_dict()["optimisers"]["adam"]["adam"]["state"][0]
        return {name: value.clone() for name, value in adam.items()}

    before = state()
    assert next(events).step == 11
    after = state()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("clip", [math.inf, 1.0])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9)])
def test_the_optimiser_is_pytorchs_adam_but_for_steps_that_are_not_finite(betas, clip):
    ours, theirs = (nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimiser = Optimiser(ours, weight_decay=0.1, clip=clip, betas=betas)
    adam = torch.optim.AdamW(theirs.parameters(), weight_decay=0.1, betas=betas, fused=True)
    generator, lengths = torch.Generator().manual_seed(0), []
    for step in range(12):
        x = torch.randn(5, 3, generator=generator) * (0.2, 5.0)[step % 2]
        adam.param_groups[0]["lr"] = rate = 0.1 / (1 + step)
        if step not in (0, 4, 5):  # not a number
            adam.zero_grad()
            theirs(x).square().mean().backward()
            lengths.append(nn.utils.clip_grad_norm_(theirs.parameters(), clip))
            adam.step()
        loss = ours(x).square().mean()
        optimiser.step(loss * math.nan if step in (0, 4, 5) else loss, rate)
        for mine, known in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, known, rtol=1e-5, atol=1e-6)
    assert min(lengths) < 1 < max(lengths), "some are clipped, some are not"
    assert (int(optimiser.skipped), int(optimiser.streak)) == (3, 0)


def test_means_are_those_of_all_steps_however_many_came_before_they_were_logged():
    tally = Tally()
    values = [math.inf if i % 10 == 3 else float(i) for i in range(2 * Tally.AT_ONCE + 7)]
    for i, value in enumerate(values):
        losses = {"always": torch.tensor(value), "never": torch.tensor(math.nan)}
        if i % 2:
            losses["odd"] = torch.tensor(value)
        tally.add(losses)
    means = tally.log_means()
    assert means["always"] == pytest.approx(np.mean([v for v in values if math.isfinite(v)]))
    assert means["odd"] == pytest.approx(np.mean([v for v in values[1::2] if math.isfinite(v)]))
    assert math.isnan(means["never"])
    assert tally.log_means() == {}


def test_means_leave_out_what_is_not_finite():
    events = [e for e in train(fragile({3, 4, 20, 21}), log_every=10) if e.losses]
    assert all(math.isfinite(e.losses["nll"]) for e in events)
    every = [e for e in train(fragile({3}), log_every=1) if e.losses]
    assert [e.step for e in every if math.isnan(e.losses["nll"])] == [4]


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("log_every", [1, 10, None])
def test_a_training_that_stays_so_has_diverged(kind, log_every):
    experiment = fragile(range(25, 60), kind)
    seen = []
    with pytest.raises(TrainingDiverged, match="learning rate") as error:
        for event in train(experiment, log_every=log_every):
            seen.append(event.step)
            if event.step == 25:
                good = weights(experiment)
    assert "step 25" in str(error.value)
    assert 25 + PATIENCE <= seen[-1] <= 25 + PATIENCE + 10
    assert torch.equal(weights(experiment), good), "the last good weights are kept"


def test_a_few_bad_steps_now_and_then_are_no_divergence():
    bad = [i for i in range(60) if i % PATIENCE != 0]
    experiment = fragile(bad)
    assert finish(train(experiment, log_every=1))[-1].step == 60
    assert experiment.skipped == len(bad)


def test_weights_that_are_lost_are_reported_as_diverged():
    experiment = make(total=100)
    with torch.no_grad():
        next(experiment.model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingDiverged):
        finish(train(experiment))


# -- numbers ----------------------------------------------------------------------------------


class Truth(nn.Module):
    """A model that knows the answer."""

    def __init__(self, plane):
        super().__init__()
        self.log_prob = plane.log_prob


@pytest.mark.parametrize("dataset", ["two_moons", "ring", "grid", "pinwheel", "checkerboard"])
def test_the_truth_is_no_distance_from_itself(dataset):
    experiment = make(dataset=dataset, noise=0.1)
    experiment.model = Truth(experiment.plane)
    metrics = experiment.measure()
    assert metrics["kl_to_truth"] == pytest.approx(0, abs=1e-5)
    entropy = experiment.plane.entropy()
    assert metrics["nll_test"] == pytest.approx(entropy, abs=0.03)


@pytest.mark.parametrize("dataset", ["two_moons", "ring", "spirals", "circles"])
@pytest.mark.parametrize("variant", ["affine", "spline-actnorm"])
def test_kl_of_a_gaussian_is_what_paper_and_pencil_say(variant, dataset):
    # Untrained, q is the standard normal and p has mean 0 and variance 1 in each coordinate, so
    # -E log q = log 2 pi + 1 whatever p is.
    experiment = make(variant, dataset=dataset, noise=0.1)
    plane = experiment.plane
    cross_entropy = math.log(2 * math.pi) + 1 + plane.log_volume
    metrics = next(train(experiment)).metrics
    tolerance = 0.03 if variant == "affine" else 0.05  # the batch that actnorm saw is finite
    assert metrics["nll_test"] == pytest.approx(cross_entropy, abs=tolerance)
    assert metrics["kl_to_truth"] == pytest.approx(cross_entropy - plane.entropy(), abs=tolerance)


def test_the_error_of_a_kl_is_how_far_it_moves_from_draw_to_draw():
    experiment = make("affine", dataset="ring", noise=0.1)
    error, found = experiment.summary()["kl_error"], []
    for seed in range(40):
        x = experiment.plane.held_out(20_000, torch.Generator().manual_seed(100 + seed))
        experiment._measured = x, experiment.plane.log_prob(x)
        found.append(experiment.measure()["kl_to_truth"])
    assert np.std(found, ddof=1) == pytest.approx(error, rel=0.35)
    own = make("nice-finite-data")
    assert ("kl_error" in own.summary()) == (own.plane.density is not None)


def test_the_training_loss_and_the_held_out_one_are_in_the_same_units():
    experiment = make("affine", total=2, dataset="grid", learning_rate=1e-4, batch=2048)
    last = finish(train(experiment, log_every=2))[-1]
    assert abs(experiment.plane.log_volume) > 0.3, "else the test could not tell"
    assert last.losses["nll"] == pytest.approx(last.metrics["nll_test"], abs=0.1)


@pytest.mark.parametrize(
    ("variant", "dataset"),
    [("nice", "two_moons"), ("nice", "ring"), ("affine", "ring"), ("spline-actnorm", "two_moons")],
)
def test_it_learns(variant, dataset):
    experiment = make(variant, total=150, dataset=dataset, batch=128, noise=0.1)
    events = finish(train(experiment, snapshots=False, measure_every=150))
    assert events[-1].metrics["kl_to_truth"] < events[0].metrics["kl_to_truth"] - 0.15


def test_the_density_snapshot_is_upright_and_whole():
    # Neither the mixture nor these weights have a symmetry: a mirrored or turned snapshot shows.
    experiment = make(dataset="mixture")
    with torch.no_grad():
        for parameter in experiment.model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=experiment.generator)
    x0, x1, y0, y1 = experiment.target()["box"].astype(float)
    centres = (np.arange(96) + 0.5) / 96
    x, y = x0 + centres * (x1 - x0), y1 - centres * (y1 - y0)  # the top row comes first
    area = (x1 - x0) * (y1 - y0) / 96**2
    for arrays in (experiment.target(), experiment.snapshot()):
        mass, points = arrays["density"].astype(float) * area, arrays["samples"].astype(float)
        assert mass.shape == (96, 96)
        assert points.shape == (1000, 2)
        points = points[((points > (x0, y0)) & (points < (x1, y1))).all(1)]
        assert mass.sum() == pytest.approx(len(points) / 1000, abs=0.05)
        clear = []
        for p, q in ((1, 0), (0, 1), (2, 1), (1, 2), (3, 0), (0, 3)):
            each = points[:, 0] ** p * points[:, 1] ** q
            moment = (mass * np.outer(y**q, x**p)).sum() / mass.sum()
            error = each.std() / len(points) ** 0.5
            assert moment == pytest.approx(each.mean(), abs=5 * error)
            clear.append(abs(moment) > 5 * error)
        assert any(clear), "else a wrong sign would pass"


def test_points_of_ones_own_have_no_truth_but_a_held_out_loss():
    array = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    module = FAMILIES["nice"].training
    config = module.config(**{**SMALL, "dataset": "own"}, layers=2)
    experiment = module.build(config, own=OwnData("points", array, "mine.csv"))
    experiment.total = 10
    last = finish(train(experiment))[-1]
    assert set(last.metrics) == {"nll_test"}
    assert math.isfinite(last.metrics["nll_test"])
    assert "density" not in experiment.target()


def test_a_density_without_limit_does_not_break_the_snapshot():
    # On points that repeat, or lie on a line, the density of a flow grows for ever.
    experiment = make()
    experiment.model.log_prob = lambda x: torch.full((len(x),), 40.0)
    density = experiment.snapshot()["density"]
    assert np.isfinite(density).all()
    assert (density > 1e4).all()


# -- saved and restored -----------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_restored_training_ends_with_the_same_weights(variant):
    def change(experiment, step):
        if step == 10:
            experiment.set("learning_rate", 2e-3)

    whole = make(variant)
    for event in unseen(whole):
        change(whole, event.step)

    first = make(variant)
    for event in itertools.islice(unseen(first), 18):
        change(first, event.step)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)

    second = make(variant)
    finish(itertools.islice(unseen(second), 3))  # whatever it was before
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.step == 17
    assert second.live == {"learning_rate": 2e-3}
    events = finish(unseen(second))
    assert events[0].step == 17
    assert events[-1].step == 24
    assert torch.equal(weights(second), weights(whole))


def test_a_state_is_a_copy_on_disk_not_a_window_into_the_training():
    experiment = fragile(range(5, 9))
    events = train(experiment, log_every=1)
    finish(itertools.islice(events, 9))
    file = io.BytesIO()
    torch.save(experiment.state_dict(), file)
    finish(events)
    file.seek(0)
    again = fragile(())
    again.load_state_dict(torch.load(file, weights_only=True))
    assert (again.step, again.skipped, again.live) == (8, 3, experiment.live)


# -- the corners of the sliders ---------------------------------------------------------------

AXES = {
    "nice": {
        "layers": (2, 12),
        "hidden": (32, 256),
        "prior": ("gaussian", "logistic"),
        "batch": (64, 2048),
        "learning_rate": (1e-4, 2e-2),
        "weight_decay": (0.0, 0.1),
        "noise": (0.02, 0.5),
    },
    "realnvp": {
        "blocks": (2, 12),
        "hidden": (32, 256),
        "coupling": ("affine", "spline"),
        "batch": (64, 2048),
        "learning_rate": (1e-4, 2e-2),
        "actnorm": (False, True),
        "weight_decay": (0.0, 0.1),
        "noise": (0.02, 0.5),
    },
}


def corners(stem: str) -> list[dict]:
    """Ends of all sliders.

    All combinations for the first five; the others follow from them by parity, so that each end
    still meets each end of any other slider.
    """
    names = list(AXES[stem])
    result = []
    for bits in itertools.product((0, 1), repeat=5):
        extra = [
            (bits[0] + bits[1] + bits[3]) % 2,
            (bits[1] + bits[2] + bits[4]) % 2,
            (bits[0] + bits[2] + bits[3] + bits[4]) % 2,
        ]
        chosen = [*bits, *extra][: len(names)]
        result.append({name: AXES[stem][name][bit] for name, bit in zip(names, chosen)})
    return result


def survives(stem: str, values: dict, steps: int, total: int) -> None:
    """Train for some steps: all numbers stay finite, or the training says that it diverged."""
    module = FAMILIES[stem].training
    experiment = module.build(module.config(**values))
    experiment.total = total  # the learning rate is highest after a tenth of it
    try:
        events = train(experiment, snapshots=False, measure_every=steps)
        events = finish(itertools.islice(events, steps + 1))
    except TrainingDiverged as error:
        assert "step" in str(error)
    else:
        assert events[-1].step == steps
        assert all(math.isfinite(v) for e in events for v in e.losses.values())
        assert all(math.isfinite(v) for e in events for v in e.metrics.values())
    assert torch.isfinite(weights(experiment)).all()
    assert all(np.isfinite(a).all() for a in experiment.snapshot().values())


ENDS = {
    "nice-deep-and-fast": ("nice", {"layers": 12, "hidden": 256, "prior": "gaussian"}),
    "nice-shallow-and-heavy-tailed": ("nice", {"layers": 2, "hidden": 32, "prior": "logistic"}),
    "affine-deep-and-fast": ("realnvp", {"blocks": 12, "hidden": 256, "actnorm": True}),
    "spline-deep-and-fast": ("realnvp", {"blocks": 12, "hidden": 32, "coupling": "spline"}),
}


@pytest.mark.parametrize("case", ENDS)
def test_extreme_corners(case):
    stem, values = ENDS[case]
    extreme = {"learning_rate": 2e-2, "batch": 64, "noise": 0.02, "dataset": "checkerboard"}
    survives(stem, {**values, **extreme}, steps=30, total=150)


SLOW = [(stem, values) for stem in AXES for values in corners(stem)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("stem", "values"), SLOW, ids=["-".join([s, *map(str, v.values())]) for s, v in SLOW]
)
def test_every_corner(stem, values):
    survives(stem, {**values, "dataset": "checkerboard"}, steps=200, total=1000)


def test_the_corners_are_the_ends_of_the_sliders():
    for stem, axes in AXES.items():
        knobs = {k.name: k for k in FAMILIES[stem].training.config.knobs()}
        free = {"dataset", "iterations", "seed"}
        assert set(axes) == set(knobs) - free
        for name, ends in axes.items():
            knob = knobs[name]
            expected = knob.choices or (
                (False, True) if knob.kind == "bool" else (knob.low, knob.high)
            )
            assert tuple(ends) == tuple(expected)
        pairs = itertools.combinations(axes, 2)
        for one, two in pairs:
            met = {(values[one], values[two]) for values in corners(stem)}
            assert len(met) == 4, (one, two)
