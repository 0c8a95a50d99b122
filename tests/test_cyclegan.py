"""CycleGAN: its networks, pool, losses and numbers; neither evaluation nor a kill changes it."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.cyclegan_speed import Standard, make_double
from cli.train import main
from datasets.own_pairs import OwnPairs
from datasets.pairs import load_pairs
from lab.store import Run
from metrics.cyclegan_health import translation_health
from metrics.samples import noise_like
from metrics.spectrum import checkerboard
from metrics.two_sets import APART, two_sets
from models.cut import cut, patch_nce
from models.cyclegan import CycleGAN, InstanceNorm, ToImage, cyclegan, receptive_field
from paths import ASSETS
from registry import FAMILIES
from training.core.config import ConfigError
from training.core.images import bytes_of_signed, signed
from training.core.loop import Wishes, train
from training.core.unpaired import POOL, Epochs, ImagePool, compared, jittered, likeness, yardsticks
from training.cyclegan import CycleGANConfig, CycleGANTraining, build, model

SMALL = {"image_size": 32, "width": 8, "discriminator_width": 8, "precision": "float32"}


def own(counts=(7, 5, 2, 2)) -> OwnPairs:
    random = np.random.default_rng(0)
    parts = [random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for n in counts]
    return OwnPairs(*parts, ("left", "right"), "mine")


def make(total: int = 6, **values) -> CycleGANTraining:
    """A small experiment over the user's own sets, cut to ``total`` steps."""
    config = CycleGANConfig(**{**SMALL, "dataset": "own", **values})
    experiment = build(config, own=own())
    experiment.total = total
    return experiment


def weights(experiment: CycleGANTraining) -> Tensor:
    return torch.cat([w.flatten() for w in experiment.model.state_dict().values()]).clone()


def networks(**values):
    settings = {"width": 8, "blocks": 3, "discriminator_width": 8, **values}
    return cyclegan(**settings, generator=torch.Generator().manual_seed(0))


# -- networks ----------------------------------------------------------------------------------


def test_the_receptive_field_of_a_discriminator_is_70_by_70():
    discriminator = networks().discriminator_b
    # An instance norm lets every output know the whole image; it is the convolutions that count.
    convolutions = nn.Sequential(
        *[m for m in discriminator.layers if not isinstance(m, InstanceNorm)]
    )
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)).requires_grad_()
    scores = convolutions(x)
    assert scores.shape == (1, 1, 30, 30)
    for row, column in ((15, 12), (14, 20)):
        (gradient,) = torch.autograd.grad(scores[0, 0, row, column], x, retain_graph=True)
        seen = gradient[0].abs().sum(0) > 0
        rows, columns = (seen.any(dim).nonzero()[:, 0] for dim in (1, 0))
        for found, place in ((rows, row), (columns, column)):
            first, last = int(found.min()), int(found.max())
            assert (first, last) == receptive_field(discriminator, place)
            assert last - first + 1 == 70
    first, last = receptive_field(discriminator, 0)
    assert first < 0
    assert last - first + 1 == 70


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (36, 48)])
def test_translations_are_as_large_as_images_and_as_bounded(size):
    net = networks()
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y = net.a_to_b(x)
    assert y.shape == x.shape
    assert y.abs().max() <= 1
    height, width = size
    assert net.discriminator_a(x).shape == (2, 1, height // 8 - 2, width // 8 - 2)


@pytest.mark.parametrize("size", [(33, 32), (32, 30), (31, 31)])
def test_odd_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}"):
        networks().a_to_b(torch.zeros(1, 3, *size))


def test_the_networks_of_the_paper_have_their_number_of_weights():
    net = CycleGAN(width=64, blocks=9, discriminator_width=64)
    # The published 11.378 and 2.765 million, less the biases that an instance norm takes away.
    count = [
        sum(p.numel() for p in part.parameters()) for part in (net.a_to_b, net.discriminator_a)
    ]
    assert count == [11_378_179 - 5248, 2_764_737 - 896]


def test_weights_start_normal_with_width_one_fiftieth():
    net = networks(width=16, discriminator_width=16)
    for name, weight in net.named_parameters():
        if name.endswith("bias"):
            assert not weight.any()
        elif weight.numel() > 5000:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
            assert float(weight.detach().mean()) == pytest.approx(0, abs=1e-3)
    again = networks(width=16, discriminator_width=16)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters()))


def test_the_last_layer_is_a_convolution_however_it_is_computed():
    layer = ToImage(5).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, 14, 18, dtype=torch.float64)
    plain = layer(x)  # in double precision it is the convolution itself
    assert torch.allclose(plain, nn.functional.conv2d(x, layer.weight, layer.bias))
    assert torch.allclose(layer.float()(x.float()).double(), plain, atol=1e-4)


def test_resizing_leaves_no_checkerboard_and_transposed_convolutions_do():
    images = signed(load_pairs("fruits", 64).test_a[:16])

    def peak(upsampling: str) -> float:
        sizes = {"width": 8, "blocks": 3, "discriminator_width": 8}
        model = cyclegan(**sizes, upsampling=upsampling, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return checkerboard(bytes_of_signed(model.a_to_b(images)))

    assert checkerboard(bytes_of_signed(images)) < 2
    assert peak("resize") < 10
    assert peak("transposed") > 100


def test_a_checkerboard_is_found_however_faint_and_noise_is_none():
    noise = torch.randint(
        90, 160, (8, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    assert checkerboard(noise) < 2
    squares = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    for pattern in (squares, (torch.arange(64) % 4 < 2).expand(64, 64)):
        assert checkerboard(noise + 4 * pattern.byte()) > 10


def test_runs_of_old_keep_their_transposed_convolutions_and_new_ones_do_not_begin_with_them():
    old = CycleGANConfig().model_dump(exclude={"upsampling"})
    assert CycleGANConfig.of_run(old).upsampling == "transposed"
    assert CycleGANConfig.of_run({**old, "upsampling": "resize"}).upsampling == "resize"
    assert CycleGANConfig.parse(old).upsampling == "resize"
    shipped = Run(ASSETS / "runs" / "cyclegan")
    model = shipped.family.training.model(shipped.config)
    assert shipped.weights.load_into(model) > 0


def test_an_instance_norm_is_torchs_own():
    x = torch.randn(3, 4, 9, 7, dtype=torch.float64)
    assert torch.allclose(InstanceNorm()(x), nn.functional.instance_norm(x))


def test_nothing_in_a_batch_looks_at_its_neighbours():
    net = networks()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for part in (net.a_to_b, net.discriminator_a):
        assert torch.allclose(part(x)[1:2], part(x[1:2]), atol=1e-5)


def test_every_weight_gets_a_gradient():
    experiment = make()
    before = weights(experiment)
    experiment.update()
    after = weights(experiment)
    assert (before != after).float().mean() > 0.99


# -- pool, order, jitter -----------------------------------------------------------------------


def test_the_pool_behaves_as_in_the_paper():
    generator = torch.Generator().manual_seed(0)
    pool = ImagePool(POOL, "cpu")
    images = [torch.full((1, 3, 2, 2), float(i)) for i in range(1050)]
    # Until it is full it gives back what comes in.
    for image in images[:POOL]:
        assert torch.equal(pool.exchange(image, generator), image)
    held = set(range(POOL))
    older, ages = 0, []
    for i, image in enumerate(images[POOL:], POOL):
        given = int(pool.exchange(image, generator)[0, 0, 0, 0])
        if given == i:
            continue
        older += 1
        ages.append(i - given)
        assert given in held, "an older one, and each only once"
        held = (held - {given}) | {i}
    assert {int(v) for v in pool.images[:, 0, 0, 0]} == held
    assert older / 1000 == pytest.approx(0.5, abs=0.05)
    assert sum(ages) / len(ages) == pytest.approx(2 * POOL, rel=0.25)


def test_a_pool_does_not_keep_what_is_not_finite():
    pool, generator = ImagePool(2, "cpu"), torch.Generator().manual_seed(0)
    fresh = torch.tensor([1.0, torch.nan, torch.inf, 2.0]).view(4, 1, 1, 1)
    given = torch.cat([pool.exchange(fresh, generator) for _ in range(20)])
    assert torch.isfinite(pool.images).all()
    assert given.isnan().any(), "a step with such an image is skipped, not taken with another one"


def test_a_pool_goes_on_where_it_was():
    def ten(pool: ImagePool, start: int, generator: torch.Generator) -> Tensor:
        fresh = torch.arange(start, start + 10.0).view(10, 1, 1, 1)
        return pool.exchange(fresh, generator)

    one, generator = ImagePool(6, "cpu"), torch.Generator().manual_seed(3)
    ten(one, 0, generator)
    state, drawn = one.state_dict(), generator.get_state()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    expected = ten(one, 10, generator)
    two = ImagePool(6, "cpu")
    buffer.seek(0)
    two.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(ten(two, 10, generator.set_state(drawn)), expected)


@pytest.mark.parametrize(("count", "batch"), [(10, 1), (4, 1), (10, 3), (4, 3)])
def test_in_an_epoch_images_are_seen_equally_often(count, batch):
    length = -(-10 // batch) * batch
    epoch, generator = Epochs(count, length, "cpu"), torch.Generator().manual_seed(0)
    for _ in range(2):
        seen = [epoch.next(step, batch, generator) for step in range(length // batch)]
        assert all(len(places) == batch for places in seen)
        counts = torch.cat(seen).bincount(minlength=count)
        assert counts.max() - counts.min() <= 1


def test_jitter_mirrors_and_shifts_and_invents_nothing():
    x = torch.arange(3 * 20 * 20, dtype=torch.int32).view(1, 3, 20, 20).expand(64, -1, -1, -1)
    y = jittered(x, torch.Generator().manual_seed(0))
    assert y.shape == x.shape
    assert torch.isin(y, x).all()
    middle = y[:, :, 5:15, 5:15]  # nothing is filled in there
    steps = middle[:, 0, 0, 1] - middle[:, 0, 0, 0]
    assert 0.3 < (steps == -1).float().mean() < 0.7, "half of them are mirrored"
    assert ((steps == 1) | (steps == -1)).all()
    rows = (middle[:, 0, 0, 0] // 20 - 5).unique()
    assert rows.min() == -2
    assert rows.max() == 2
    assert len({tuple(image.flatten().tolist()) for image in y[:20]}) > 10


def test_bytes_survive_the_way_to_signed_and_back():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(bytes_of_signed(signed(values)), values)
    assert signed(values).min() == -1
    assert signed(values).max() == 1


# -- training ----------------------------------------------------------------------------------


def test_all_losses_and_metrics_are_told():
    last = list(train(make(total=2), measure_every=2))[-1]
    assert set(last.losses) == set(CycleGANTraining.LOSSES)
    assert set(last.metrics) == set(make().METRICS)
    assert not any(name.startswith(("hue", "iou")) for name in last.metrics)
    fruits = build(CycleGANConfig(**SMALL))
    assert {"hue_ab", "hue_ba", "iou_ab", "iou_ba"} < set(fruits.METRICS)
    assert set(fruits.measure()) == set(fruits.METRICS)


def test_evaluation_does_not_change_the_training():
    looked, left = make(total=3), make(total=3)
    for event in train(looked, wishes=Wishes(snapshot=True, losses=True), measure_every=1):
        assert event.metrics
        looked.target()
        looked.state_dict()
    go_on(left, 3)
    assert torch.equal(weights(looked), weights(left))


def with_small_pools() -> CycleGANTraining:
    """A training whose pools are full after two of its four steps."""
    experiment = make(total=4, batch=2)
    experiment.pools = [ImagePool(3, "cpu") for _ in range(2)]
    return experiment


def go_on(experiment: CycleGANTraining, until: int) -> CycleGANTraining:
    while experiment.step < until:
        experiment.update()
        experiment.step += 1
    return experiment


def test_a_training_goes_on_bit_for_bit():
    whole = go_on(with_small_pools(), 4)
    stopped = with_small_pools()
    for step in (1, 3):
        buffer = io.BytesIO()
        torch.save(go_on(stopped, step).state_dict(), buffer)
        buffer.seek(0)
        again = with_small_pools()
        again.load_state_dict(torch.load(buffer, weights_only=True))
        assert again.step == step
        go_on(again, 4)
        assert torch.equal(weights(again), weights(whole))
        for one, other in zip(again.pools, whole.pools):
            assert torch.equal(one.images, other.images)


def test_the_same_seed_gives_the_same_training_and_another_seed_another():
    results = []
    for seed in (1, 1, 2):
        experiment = make(seed=seed)
        experiment.update()
        results.append(weights(experiment))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_learning_rate_stays_and_then_falls_to_nothing():
    experiment = make(total=100, decay=0.4)
    factors = []
    for experiment.step in range(101):
        factors.append(experiment.rate_factor())
    assert factors[:61] == [1.0] * 61
    assert factors[80] == pytest.approx(0.5)
    assert factors[100] == 0
    assert make(decay=0.0).rate_factor() == 1


@pytest.mark.parametrize("name", ["cycle", "identity", "learning_rate"])
def test_weights_of_losses_can_be_changed_while_it_runs(name):
    same, changed = make(), make()
    for experiment in (same, changed):
        experiment.update()
        experiment.step += 1
    assert torch.equal(weights(same), weights(changed))
    changed.set(name, 1e-3 if name == "learning_rate" else 0.0)
    for experiment in (same, changed):
        experiment.update()
    assert not torch.equal(weights(same), weights(changed))


def test_losses_are_the_standard_ones_in_the_standard_order():
    # In double precision nothing but the order of sums is between them.
    ours, twin = (make(total=50, upsampling="transposed") for _ in range(2))
    for experiment in (ours, twin):
        make_double(experiment)
    standard = Standard(twin)
    for _ in range(4):
        mine, theirs = ours.update(), standard.update()
        ours.step += 1
        assert set(mine) == set(theirs)
        for name in mine:
            assert float(mine[name]) == pytest.approx(float(theirs[name]), abs=1e-6), name


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_two_cores_take_the_very_steps_that_one_takes(precision, monkeypatch):
    monkeypatch.setattr("training.core.unpaired.WIDE", 8)  # in bfloat16, if the processor knows it
    before = torch.get_num_threads()
    ends, told = [], []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            experiment = make(precision=precision)
            for _ in range(4):
                told.append({name: float(v) for name, v in experiment.update().items()})
                experiment.step += 1
            ends.append(weights(experiment))
    finally:
        torch.set_num_threads(before)
    assert told[:4] == told[4:]
    assert torch.equal(*ends)


def test_a_training_on_unequal_sets_sees_all_of_the_larger():
    experiment = make()
    assert experiment.landmarks == (7,)
    config = CycleGANConfig(**SMALL, dataset="own", batch=4, epochs=3)
    assert build(config, own=own()).total == 6


def test_a_size_that_cannot_be_halved_twice_is_refused():
    with pytest.raises(ConfigError, match="multiple of 4; 62"):
        build(CycleGANConfig(image_size=62))


def test_a_step_that_is_not_finite_is_skipped():
    experiment = make()
    experiment.update()
    before = weights(experiment)
    clean = experiment.batch
    experiment.batch = lambda: [x * math.nan for x in clean()]
    experiment.update()
    assert torch.equal(weights(experiment), before)
    assert experiment.skipped == 2


def test_the_snapshot_of_the_first_epoch_is_kept():
    events = train(make(total=20), measure_every=20)
    steps = [event.step for event in events if event.snapshot]
    assert steps == sorted({*range(0, 21, 2), 7})


def test_a_model_is_built_without_its_data():
    config = CycleGANConfig(**SMALL)
    assert set(model(config).state_dict()) == set(build(config).model.state_dict())


# -- numbers -----------------------------------------------------------------------------------


def test_numbers_tell_translation_from_doing_nothing():
    pairs = load_pairs("fruits", 32)

    def nothing(x: Tensor, _: bool) -> Tensor:
        return signed(x) if x.dtype == torch.uint8 else x

    def grey(x: Tensor, _: bool) -> Tensor:
        return nothing(x, True).mean(1, keepdim=True).expand(-1, 3, -1, -1)

    def same(x: Tensor, _: bool) -> Tensor:
        return nothing(pairs.train_a[:1], True).expand(len(x), -1, -1, -1)

    def negative(x: Tensor, _: bool) -> Tensor:
        return -nothing(x, True)

    found = compared(pairs, 20, nothing)
    assert found["cycle_error_a"] == found["cycle_error_b"] == 0
    assert found["hue_ab"] == found["hue_ba"] == 0
    assert min(found["iou_ab"], found["iou_ba"]) > 0.95
    assert found["likeness_ab"] == pytest.approx(1)
    found = compared(pairs, 20, grey)
    assert found["iou_ab"] == found["hue_ba"] == 0
    found = compared(pairs, 20, same)
    assert found["variety_ab"] == pytest.approx(0)
    assert found["hue_ba"] == 1
    found = compared(pairs, 20, negative)
    assert found["likeness_ab"] == pytest.approx(-1)
    assert found["cycle_error_a"] == pytest.approx(0, abs=1e-7), "back is back"


def test_likeness_does_not_trip_over_a_blank_image():
    blank = torch.zeros(2, 3, 4, 4)
    assert likeness(blank, torch.rand(2, 3, 4, 4)) == 0


# -- health ------------------------------------------------------------------------------------


def rows(count: int = 40, **values: float) -> list[dict[str, float]]:
    usual = {
        "discriminator_a": 0.2,
        "discriminator_b": 0.22,
        "likeness_ab": 0.8,
        "likeness_ba": 0.8,
    }
    usual |= {"variety_ab": 0.9, "variety_ba": 1.1, "taken_ab": 0.9, "taken_ba": 0.8}
    return [{"step": 10 * i, **usual, **values} for i in range(count)]


TAKEN = {"ab": (0.1, 0.9), "ba": (0.05, 0.95)}  # of images as they are, and of real ones


def test_the_light_shows_what_the_numbers_say():
    assert translation_health(rows(), 400, TAKEN).state == "balanced"
    assert translation_health(rows(4), 400).state == "unknown"
    assert translation_health([], 400).state == "unknown"
    assert translation_health(rows(), 400_000).state == "unknown"
    for values, state, words in (
        ({"discriminator_b": 0.001}, "won", "discriminator of B"),
        ({"discriminator_a": 0.0}, "won", "from B to A"),
        ({"likeness_ba": -0.6}, "inversion", "B to A"),
        ({"variety_ab": 0.1}, "collapse", "A to B"),
        ({"taken_ba": 0.1}, "far", "B to A"),
    ):
        found = translation_health(rows(**values), 400, TAKEN)
        assert found.state == state
        assert words in found.words
        assert found.advice


def test_early_blurs_and_a_single_snapshot_are_no_collapse():
    blurs = rows(12, variety_ab=0.1)
    assert translation_health(blurs, 2000, TAKEN).state == "unknown"
    once = {**rows(1, variety_ab=0.1)[0], "step": 400}
    assert translation_health([*rows(), once], 400, TAKEN).state == "balanced"


def test_the_light_looks_at_the_recent_past():
    past = rows(40, discriminator_a=0.0, likeness_ab=-0.9)
    now = [{**row, "step": 400 + row["step"]} for row in rows(40)]
    assert translation_health(past + now, 1000, TAKEN).state == "balanced"
    # A spike is no state.
    spike = [*now[:-1], {**now[-1], "discriminator_a": 0.0}]
    assert translation_health(past + spike, 1000, TAKEN).state == "balanced"


def test_calm_losses_alone_are_no_balance():
    found = translation_health(rows(taken_ab=0.12), 400, TAKEN)
    assert found.state == "far"
    for number in ("12%", "10%", "90%", "80%", "5%", "95%"):
        assert number in found.words, "what it looked at, and both yardsticks"
    early = translation_health(rows(taken_ab=0.12), 10_000, TAKEN)
    assert early.state == "unknown"
    alike = {"ab": (0.45, 0.6), "ba": (0.4, 0.55)}
    assert translation_health(rows(), 400, alike).state == "unknown", "A and B are too much alike"


def test_runs_of_old_are_asked_for_their_hues_if_they_have_any():
    old = [{k: v for k, v in row.items() if "taken" not in k} for row in rows()]
    found = translation_health(old, 400)
    assert found.state == "unknown"
    assert "Check" in found.words
    for hue, state in ((1.0, "balanced"), (0.1, "far")):
        hues = [{**row, "hue_ab": hue, "hue_ba": hue} for row in old]
        assert translation_health(hues, 400).state == state


# -- likeness to the other set -----------------------------------------------------------------


def test_real_images_are_told_apart_and_translations_are_asked_the_same():
    pairs = load_pairs("fruits", 32)
    for nothing, real in yardsticks(pairs, 100).values():
        assert nothing < 0.05
        assert real > 0.95
    left = compared(pairs, 40, lambda x, _: signed(x) if x.dtype == torch.uint8 else x)
    assert left["taken_ab"] < 0.05
    assert left["taken_ba"] < 0.05

    def swapped(x, to_b):
        return signed((pairs.test_b if to_b else pairs.test_a)[: len(x)])

    other = compared(pairs, 40, swapped)
    assert other["taken_ab"] > 0.95
    assert other["taken_ba"] > 0.95


def test_two_sets_of_the_same_kind_are_not_told_apart():
    apples = load_pairs("fruits", 32).train_a
    found = two_sets(apples[:60], apples[60:120])
    gain = found.taken_for(apples[200:], second=True) - found.taken_for(apples[200:], second=False)
    assert abs(gain) < APART


def test_what_poor_generators_make_is_of_neither():
    pairs = load_pairs("fruits", 32)
    found = two_sets(pairs.train_a, pairs.train_b)
    both = torch.cat([pairs.test_a, pairs.test_b]).float()
    mush = torch.stack([both[i::12].mean(0) for i in range(12)]).byte()
    noise = noise_like(pairs.test_a[:20])
    for spoiled in (mush, noise, torch.full((5, 3, 32, 32), 128, dtype=torch.uint8)):
        assert found.taken_for(spoiled, second=False) < 0.3
        assert found.taken_for(spoiled, second=True) < 0.3


def test_sets_count_the_same_whatever_their_size():
    pairs = load_pairs("fruits", 32)
    found = two_sets(pairs.train_a, pairs.train_b[:12])
    assert found.taken_for(pairs.test_a, second=False) > 0.9
    assert found.taken_for(pairs.test_b, second=True) > 0.9


# -- as a run ----------------------------------------------------------------------------------


def test_a_run_holds_what_its_page_needs(tmp_path):
    config = CycleGANConfig(**SMALL, dataset="own", epochs=1)
    run = Run.create(tmp_path / "run", FAMILIES["cyclegan"], config, own())
    experiment = run.experiment()
    run.snapshots.save_target(experiment.target())
    run.weights.save(experiment.model, 3)
    target = run.snapshots.target()
    assert target["a"].shape == (2, 3, 32, 32)
    assert [str(name) for name in target["classes"]] == ["left", "right"]
    loaded = model(config)
    assert run.weights.load_into(loaded) == 3
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, experiment.model.state_dict()[name])


def test_the_command_line_takes_own_sets_and_refuses_what_cannot_be(tmp_path, capsys):
    images = own((6, 6, 1, 1))
    images.save(tmp_path / "data.npz")
    start = ["cyclegan", "--quiet", "--device", "cpu", "--out", str(tmp_path / "run")]
    small = ["--image-size", "32", "--width", "8", "--discriminator-width", "8", "--epochs", "1"]
    assert main([*start, "--image-size", "62"]) == 2
    assert "multiple of 4" in capsys.readouterr().err
    assert main([*start, "--dataset", "own"]) == 2
    assert "two folders of images" in capsys.readouterr().err
    assert main([*start, *small, "--data", str(tmp_path / "data.npz")]) == 0
    run = Run(tmp_path / "run")
    assert run.status().state == "finished"
    assert run.own_data().domains == ("left", "right")
    assert run.snapshots.steps() == list(range(7))


# -- one generator, by contrast ------------------------------------------------------------------


def test_the_contrast_of_patches_is_the_cross_entropy_of_their_places():
    source = torch.Generator().manual_seed(0)
    keys = torch.randn(2, 6, 9, generator=source)
    same = patch_nce(keys, keys, 0.07)
    k = keys / keys.norm(dim=-1, keepdim=True)
    likeness = (k @ k.mT / 0.07).exp()
    wanted = -(likeness.diagonal(dim1=1, dim2=2) / likeness.sum(-1)).log().mean()
    assert float(same) == pytest.approx(float(wanted), rel=1e-4)
    flat = torch.ones(2, 6, 9)
    assert float(patch_nce(flat, flat)) == pytest.approx(math.log(6), rel=1e-5)
    assert float(patch_nce(keys.roll(1, 1), keys)) > 3 * float(same) + 1


def test_features_are_those_of_the_pass_that_paints():
    net = cut(width=8, blocks=3, discriminator_width=8, upsampling="resize", generator=None)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        made, found = net.translated(x)
        again = net.features(x)
        assert torch.equal(made, net.a_to_b(x))
    assert len(found) == len(again) == len(net.heads)
    for one, other in zip(found, again, strict=True):
        assert torch.equal(one, other)


def test_no_gradient_flows_into_what_was_translated():
    net = cut(width=8, blocks=3, discriminator_width=8, upsampling="resize", generator=None)
    x = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    made, keys = net.translated(x)
    queries = net.features(made.detach())
    loss = net.contrast(queries, keys, torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad(loss, x, allow_unused=True)
    assert slope is None


def test_cut_trains_one_direction_and_goes_on_bit_for_bit():
    whole, first, second = (make(tie="contrast") for _ in range(3))
    *_, last = train(whole)
    assert set(last.losses) == set(whole.LOSSES)
    assert set(last.metrics) == {"likeness_ab", "variety_ab", "taken_ab"}
    assert set(last.snapshot) == {"ab"}
    for event in train(first, snapshots=False, measure_every=10**9):
        if event.step == 3:
            break
    second.load_state_dict(first.state_dict())
    list(train(second, snapshots=False, measure_every=10**9))
    assert torch.equal(weights(whole), weights(second))
    moved = make(tie="contrast").model.state_dict()
    assert all(not torch.equal(moved[k], v) for k, v in whole.model.state_dict().items())


def test_the_light_of_one_direction_does_not_ask_for_the_other():
    rows = [{"step": i, "discriminator_b": 0.2} for i in range(1, 101)]
    for row in rows[9::10]:
        row |= {"likeness_ab": 0.9, "variety_ab": 1.0, "hue_ab": 1.0}
    found = translation_health(rows, 100)
    assert found.state == "balanced" and "0.20 (B)" in found.words
    for row in rows:
        row["discriminator_b"] = 0.001
    assert translation_health(rows, 100).state == "won"
