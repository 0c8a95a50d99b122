"""GANs: their networks, their duel in 2-D and on images, and what a classifier says of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis import frechet
from analysis.gan_latents import directions, path, plane
from datasets.images import ImageSet, load_images
from datasets.own import OwnData
from datasets.own_images import OwnImages, fixed_fifth
from datasets.rendered.shapes import CLASSES, render_shapes
from lab.store import Run
from models.blocks.augmentation import KINDS, augmented
from models.fast.by_hand import ByHand
from models.gan import GAN, dcgan, dcgan_side, image_gan, plane_gan, residual_gan
from registry import FAMILIES
from training.core.config import ConfigError
from training.core.gan_losses import LOSSES
from training.core.loop import train
from training.gan import lattice

LEAST = {
    "gan": {"hidden": 16, "batch": 32, "depth": 1},
    "gan_images": {"dataset": "digits8", "hidden": 64, "latent": 8, "batch": 32, "epochs": 1},
    "dcgan": {"dataset": "digits8", "maps": 8, "latent": 8, "batch": 32, "epochs": 1},
}


CLEAR = {stem: {"veil": 0.0} for stem in ("gan_images", "dcgan")}  # no noise on images


def make(stem: str, total: int = 8, own=None, **values):
    module = FAMILIES[stem].training
    experiment = module.build(module.config(**{**LEAST[stem], **values}), own=own)
    experiment.total = total
    return experiment


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([w.flatten().float() for w in network.state_dict().values()]).clone()


def colours(side: int = 12) -> OwnImages:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 3, side, side), dtype=np.uint8)
    labels = np.arange(40) % 2
    return OwnImages(images, labels, fixed_fifth(labels), ("left", "right"), "mine")


# -- networks ------------------------------------------------------------------------------------


def networks() -> dict[str, tuple[GAN, tuple[int, ...]]]:
    seed = torch.Generator().manual_seed(0)
    made = {"plane": (plane_gan(hidden=16, depth=2, generator=seed), (2,))}
    grey, colour = (1, 28, 28), (3, 32, 32)
    made["dense"] = image_gan(shape=grey, hidden=64, latent=8, generator=seed), grey
    for side in (8, 28, 32, 48, 64):
        shape = (3, side, side)
        made[f"dcgan {side}"] = dcgan(shape=shape, maps=8, latent=10, generator=seed), shape
        made[f"residual {side}"] = (
            residual_gan(shape=shape, latent=10, blocks=1, generator=seed),
            shape,
        )
    assert colour in [shape for _, shape in made.values()]
    return made


@pytest.mark.parametrize("name", networks())
def test_latents_become_examples_and_examples_scores(name):
    model, shape = networks()[name]
    z = model.draw(5, torch.Generator().manual_seed(1))
    x = model(z)
    assert x.shape == (5, *shape)
    scores = model.discriminator(x)
    assert scores.shape == (5,)
    if len(shape) == 3:
        assert x.min() >= -1 and x.max() <= 1
    scores.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()


def test_sides_that_can_be_halved():
    assert [dcgan_side(n) for n in (8, 9, 16, 28, 30, 31, 32, 48, 64)] == [
        8, 10, 16, 28, 32, 32, 32, 48, 64,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="8 x 8 is the least"):
        FAMILIES["dcgan"].training.config().padded((1, 4, 4))


def test_latents_come_from_where_they_should():
    seed = torch.Generator().manual_seed(0)
    square = plane_gan(hidden=16, depth=1, prior="uniform").draw(4000, seed)
    assert square.abs().max() <= 1 and square.std() == pytest.approx(3**-0.5, abs=0.02)
    normal = plane_gan(hidden=16, depth=1, prior="gaussian").draw(4000, seed)
    assert normal.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("prior", ["uniform", "gaussian"])
def test_the_cells_of_the_lattice_are_drawn_equally_often(prior):
    edges = lattice(prior).view(25, 25, 2)[:, 0, 0]
    z = plane_gan(hidden=16, depth=1, prior=prior).draw(200_000, torch.Generator().manual_seed(0))
    counts = torch.histogram(z[:, 0], edges).hist
    assert float(counts.std() / counts.mean()) < 0.05


# -- duel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", LEAST)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_moves_both_networks(stem, loss):
    experiment = make(stem, loss=loss)
    before = weights(experiment.model.generator), weights(experiment.model.discriminator)
    events = list(train(experiment, log_every=4, measure_every=8))
    after = weights(experiment.model.generator), weights(experiment.model.discriminator)
    for old, new in zip(before, after, strict=True):
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)
    last = events[-1]
    assert set(last.losses) == set(experiment.LOSSES)
    assert all(math.isfinite(value) for value in last.losses.values())
    assert 0 <= last.losses["d_fake"] <= 1 and 0 <= last.losses["d_real"] <= 1
    assert set(last.metrics) == set(experiment.METRICS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "turns",
    [
        {},
        {"d_steps": 3, "g_steps": 2, "smoothing": 0.2},
        {"penalty": "r1", "gamma": 2.0, "penalty_every": 3},
    ],
)
def test_gradients_by_hand_train_as_those_of_autograd(loss, turns, monkeypatch):
    # A gradient of a gradient parts at rounding errors sooner than the others.
    total = 4 if loss == "relativistic" else 20
    settings = {"loss": loss, "depth": 3, "hidden": 32, "total": total, **turns}
    by_hand, autograd = make("gan", **settings), make("gan", **settings)
    assert by_hand.by_hand == (by_hand.penalty != "wgan-gp")
    list(train(by_hand, measure_every=5))  # measuring in between must not disturb either
    monkeypatch.setattr(type(autograd), "by_hand", False)
    list(train(autograd, measure_every=5))
    torch.testing.assert_close(
        weights(by_hand.model), weights(autograd.model), rtol=1e-3, atol=1e-4
    )


def float64(experiment):
    """Return a duel in 2-D in double precision, with its gradients by hand."""
    experiment.model.double()
    for who, optimiser in experiment.optimisers.items():
        vector = optimiser.gradient.double()
        net = getattr(experiment.model, who)
        fast = ByHand(net[0] if who == "discriminator" else net, vector)
        setattr(experiment, f"fast_{who}", fast)
    return experiment


def test_the_gradients_of_r3gan_are_those_of_autograd_in_double_precision():
    experiment = float64(make("gan", loss="relativistic", gamma=0.7, penalty_every=2, hidden=32))
    experiment.step = 2  # a step with penalties
    model, found = experiment.model, {}
    experiment._descend = lambda who, loss, _rate: found.update(
        {who: experiment.gradients(who, loss).clone()}
    )
    source = torch.Generator().manual_seed(4)
    real, z = torch.randn(2, 32, 2, generator=source).double()
    fake = experiment.fast_generator.forward(z)
    experiment.update_discriminator(real, fake)
    experiment.update_generator(fake, real)

    x = torch.cat([real, model.generator(z).detach()]).requires_grad_()
    scores = model.discriminator(x)
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    weight = 2 * 0.7 * 0.1 ** (2 / 8)
    pay = torch.log1p((scores[32:] - scores[:32]).exp()).mean()
    pay = pay + weight / 2 * (slope[:32].square().sum() + slope[32:].square().sum()) / 32
    of_fake, of_real = model.discriminator(model.generator(z)), model.discriminator(real)
    cost = torch.log1p((of_real - of_fake).exp()).mean()
    for who, loss in (("discriminator", pay), ("generator", cost)):
        wanted = torch.autograd.grad(loss, list(getattr(model, who).parameters()))
        wanted = torch.cat([part.flatten() for part in wanted])
        torch.testing.assert_close(found[who], wanted, rtol=1e-10, atol=1e-12)


def test_the_penalty_comes_every_few_steps_and_its_weight_falls_to_a_tenth():
    experiment = make("gan", total=8, loss="relativistic", gamma=2.0, penalty_every=4)
    weights = []
    for experiment.step in range(9):
        weights.append(experiment.penalty_weight())
    assert weights == pytest.approx([8, 0, 0, 0, 8 * 0.1**0.5, 0, 0, 0, 0.8])
    experiment.set("penalty", "none")
    assert experiment.penalty_weight() == 0
    assert make("gan", loss="wasserstein").penalty == "wgan-gp"
    assert make("gan", loss="wasserstein", penalty="r1").penalty_weight() > 0


# -- the average of the generator ----------------------------------------------------------------


@pytest.mark.parametrize("stem", LEAST)
def test_the_average_is_shown_and_the_training_does_not_see_it(stem):
    plain, averaged = make(stem, total=12), make(stem, total=12, ema=20)
    for experiment in (plain, averaged):
        list(train(experiment, snapshots=False, measure_every=10**9))
    trained = averaged.model.generator
    assert torch.equal(weights(plain.model.generator), weights(trained))
    assert not torch.equal(weights(averaged.model.average), weights(trained))
    z = averaged.model.draw(4, torch.Generator().manual_seed(0))
    averaged.model.eval()
    assert torch.equal(averaged.model(z), averaged.model.average(z))
    if stem == "gan":
        assert averaged.summary()["parameters"] == plain.summary()["parameters"]


def test_the_average_has_the_half_life_that_was_asked_for():
    from training.core.optimiser import follow

    average, module = torch.nn.Linear(1, 1).double(), torch.nn.Linear(1, 1).double()
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(module.weight)
    for _ in range(7):
        follow(average, module, 7.0)
    assert average.weight.item() == pytest.approx(0.5)
    follow(average, module, 0)
    assert average.weight.item() == 1


@pytest.mark.parametrize("stem", LEAST)
def test_a_checkpoint_of_before_the_penalties_and_averages_goes_on(stem):
    first, second = make(stem), make(stem)
    for event in train(first, snapshots=False, measure_every=10**9):
        if event.step == 3:
            break
    state = first.state_dict()
    for name in ("penalty", "gamma", "penalty_every", "augment"):
        state["live"].pop(name, None)
    second.load_state_dict(state)
    assert [event.step for event in train(second)][-1] == 8


# -- augmentation --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_leaves_the_gradient_to_the_generator_intact(kind):
    x = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()

    def score(images: Tensor) -> Tensor:
        changed = augmented(images, kind, torch.Generator().manual_seed(3))
        return changed.square().sum()

    x.requires_grad_()
    (slope,) = torch.autograd.grad(score(x), x)
    with torch.no_grad():
        step = 1e-6 * way
        numeric = (score(x + step) - score(x - step)) / 2e-6
    assert float((slope * way).sum()) == pytest.approx(float(numeric), rel=1e-6)
    assert slope.flatten(1).abs().amax(1).min() > 0, "each image still hears of its faults"


def test_each_image_is_changed_in_its_own_way_and_within_bounds():
    x = torch.ones(400, 1, 16, 16) + torch.arange(256.0).view(16, 16) / 256
    source = torch.Generator().manual_seed(0)
    moved = augmented(x, "translation", source)
    assert len({tuple(image.flatten().tolist()) for image in moved}) == 25  # -2 to 2, both ways
    assert x[0, 0, 8, 8] in moved[0] and moved.amax() <= x.amax()
    cut = augmented(x, "cutout", source)
    share = (cut == 0).double().mean((1, 2, 3))
    assert share.max() == 64 / 256 and share.min() >= 16 / 256
    assert torch.equal(cut[cut != 0], x[cut != 0])
    grey = augmented(x, "colour", source).mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert grey.abs().max() <= 0.5 and grey.std() > 0.2
    assert augmented(x, "none", source) is x


def test_the_generator_is_taught_through_the_augmentation():
    experiment = make("gan_images", augment="colour-translation-cutout", veil=0.0)
    fake = experiment.made(32)
    (slope,) = torch.autograd.grad(experiment.scores(fake).sum(), fake)
    assert slope.flatten(1).abs().amax(1).min() > 0
    experiment.live["augment"] = "none"
    assert torch.equal(experiment.seen(fake), fake)


def test_a_loss_can_be_changed_to_one_with_a_penalty_and_back():
    experiment = make("gan", total=9)
    for event in train(experiment):
        experiment.set("loss", "wasserstein" if event.step % 2 else "hinge")
    assert experiment.step == 9 and experiment.skipped == 0


def leak(experiment) -> float:
    """The largest gradient of an image's score at its neighbours."""
    x = torch.rand(8, *experiment.images.shape, requires_grad=True)
    (slope,) = torch.autograd.grad(experiment.model.discriminator(x)[0], x)
    assert slope[0].abs().max() > 0
    return float(slope[1:].abs().max())


def test_a_critic_whose_gradient_is_penalised_sees_each_image_alone():
    own, exact = colours(16), {"dataset": "own", "precision": "float32"}
    experiment = make("dcgan", own=own, loss="wasserstein", total=12, **exact)
    names = list(experiment.model.state_dict())
    for event in train(experiment, snapshots=False, measure_every=10**9):
        if event.step:
            # The loss is a knob that can be turned while the duel runs.
            assert (leak(experiment) == 0) == (experiment.live["loss"] == "wasserstein")
            experiment.set("loss", "hinge" if event.step % 4 == 2 else "wasserstein")
    assert experiment.step == 12 and experiment.skipped == 0
    assert list(experiment.model.state_dict()) == names, "whatever the loss, all weights load"
    assert any("running_mean" in name for name in names if name.startswith("discriminator"))


@pytest.mark.parametrize("stem", ["gan_images", "dcgan"])
def test_the_penalty_is_taken_where_the_critic_looks(stem):
    experiment = make(stem, loss="wasserstein", veil=1.0)
    points = []
    experiment.model.discriminator.register_forward_pre_hook(lambda _, x: points.extend(x))
    grey = torch.zeros(256, *experiment.images.shape)
    experiment.update_discriminator(grey, grey)
    (between,) = (x for x in points if x.requires_grad)
    # Between two images with noise of their own, at a place that is drawn evenly.
    assert float(between.detach().std()) == pytest.approx((2 / 3) ** 0.5, abs=0.02)


@pytest.mark.parametrize("stem", LEAST)
def test_a_part_moves_only_its_network(stem):
    experiment = make(stem)
    list(train(experiment, snapshots=False, measure_every=10**9))
    for part, other in (("discriminator", "generator"), ("generator", "discriminator")):
        own, others = getattr(experiment.model, part), getattr(experiment.model, other)
        before = weights(own), list(map(torch.clone, others.parameters()))
        experiment.part = part
        experiment.step = 0
        told = experiment.update()
        assert not torch.equal(before[0], weights(own))
        for old, new in zip(before[1], others.parameters(), strict=True):
            assert torch.equal(old, new)
        assert ("d_loss" in told, "g_loss" in told) == (
            part == "discriminator",
            part == "generator",
        )


def test_k_d_and_k_g_are_how_often_each_moves(monkeypatch):
    experiment, calls = make("gan", d_steps=3, g_steps=2), []
    for name in ("update_discriminator", "update_generator"):
        method = getattr(experiment, name)

        def counted(*args, method=method, name=name):
            calls.append(name)
            return method(*args)

        monkeypatch.setattr(experiment, name, counted)
    experiment.update()
    assert calls == ["update_discriminator"] * 3 + ["update_generator"] * 2


@pytest.mark.parametrize("stem", LEAST)
def test_evaluation_changes_nothing(stem):
    seen, unseen = make(stem), make(stem)
    list(train(seen, log_every=1, measure_every=1))
    list(train(unseen, snapshots=False, measure_every=10**9))
    assert torch.equal(weights(seen.model), weights(unseen.model))


@pytest.mark.parametrize("stem", LEAST)
def test_resume_is_bit_for_bit(stem):
    whole, first, second = make(stem), make(stem), make(stem)
    list(train(whole, snapshots=False, measure_every=10**9))
    for event in train(first, snapshots=False, measure_every=10**9):
        if event.step == 3:
            break
    second.load_state_dict(first.state_dict())
    list(train(second, snapshots=False, measure_every=10**9))
    assert torch.equal(weights(whole.model), weights(second.model))


def test_arrows_point_where_the_loss_falls():
    experiment = make("gan")
    for loss in LOSSES:
        experiment.set("loss", loss)
        x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
        push = experiment.push(x)
        generator = LOSSES[loss].generator
        for point, way in zip(x, push, strict=True):
            here = generator(experiment.model.discriminator(point[None]))
            there = generator(experiment.model.discriminator((point + 1e-3 * way)[None]))
            assert there <= here + 1e-7


def test_momentum_and_rule_are_followed():
    experiment = make("gan", optimiser="gradient-descent", momentum=0.0, learning_rate_d=0.01)
    discriminator = experiment.model.discriminator
    x, fake = experiment.real(), torch.zeros(32, 2)
    loss = LOSSES["non-saturating"].discriminator(discriminator(x), discriminator(fake), 0.0)
    gradients = torch.autograd.grad(loss, list(discriminator.parameters()))
    before = [p.clone() for p in discriminator.parameters()]
    experiment.update_discriminator(x, fake)
    for old, new, gradient in zip(before, discriminator.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.01 * gradient)


@pytest.mark.parametrize("stem", LEAST)
@pytest.mark.parametrize("part", ["discriminator", "generator"])
def test_the_learning_rate_falls_in_a_line_to_nothing(stem, part):
    def moved(step: int) -> Tensor:
        experiment = make(stem, total=4, optimiser="gradient-descent", **CLEAR.get(stem, {}))
        experiment.part, experiment.step = part, step
        network = getattr(experiment.model, part)
        before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
        experiment.update()
        return torch.cat([p.detach().flatten() for p in network.parameters()]) - before

    first = moved(0)
    assert first.any()
    for step, rate in ((1, 0.75), (3, 0.25), (4, 0.0)):
        torch.testing.assert_close(moved(step), rate * first, rtol=1e-3, atol=1e-7)


def test_own_points_and_own_images_are_learned():
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).numpy()
    experiment = make("gan", own=OwnData("points", points, "mine"), dataset="own")
    assert list(train(experiment))[-1].metrics.keys() == {"diversity"}
    for stem in ("gan_images", "dcgan"):
        experiment = make(stem, own=colours(9), dataset="own")
        last = list(train(experiment))[-1]
        assert last.snapshot["samples"].shape[1:] == (3, 9, 9)
        assert experiment.target()["images"].shape[1:] == (3, 9, 9)


def test_mixed_precision_keeps_weights_and_losses_in_full():
    experiment = make("dcgan", precision="mixed")
    told = experiment.update()
    assert all(value.dtype == torch.float32 for value in told.values())
    assert all(p.dtype == torch.float32 for p in experiment.model.parameters())


def test_pixels_come_back_as_bytes():
    from training.core.image_gan import shown
    from training.core.images import signed

    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert np.array_equal(shown(signed(levels), 16), levels.numpy())


# -- latent ways -----------------------------------------------------------------------------------


def test_a_path_goes_through_its_corners():
    corners = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    for spherical in (False, True):
        way = path(corners, 5, spherical=spherical)
        assert way.shape == (16, 50)
        torch.testing.assert_close(way[::5], corners, atol=1e-5, rtol=0)
    lengths = path(corners[:2] / corners[:2].norm(dim=1, keepdim=True), 8, spherical=True).norm(
        dim=1
    )
    torch.testing.assert_close(lengths, torch.ones(9))


def test_directions_are_at_right_angles_and_the_plane_starts_at_its_base():
    ways = directions(30, 4)
    torch.testing.assert_close(ways @ ways.T, torch.eye(2), atol=1e-5, rtol=0)
    base = torch.randn(30, generator=torch.Generator().manual_seed(0))
    places = plane(base, ways, torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(places[0], base)
    torch.testing.assert_close((places[1] - base) @ ways.T, torch.tensor([2.0, -1.0]))


# -- the classifier --------------------------------------------------------------------------------


def test_the_distance_of_gaussians_is_known():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    a = (a - a.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(a.T))).T
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert frechet.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet.frechet(a, a + shift) == pytest.approx(float(shift.square().sum()), abs=1e-9)
    # Of centred Gaussians with variances 1 and s^2: the sum of (1 - s)^2.
    assert frechet.frechet(a, 3 * a) == pytest.approx(3 * (1 - 3) ** 2, abs=1e-9)
    assert frechet.frechet(3 * a, a) == pytest.approx(3 * (1 - 3) ** 2, abs=1e-9)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_the_shipped_classifiers_know_their_images(name):
    images = load_images(name)
    classifier = frechet.load_classifier(frechet.SHIPPED / f"{name}.safetensors", images)
    assert frechet.accuracy(classifier, images) > 0.93
    real, noise = frechet.yardsticks(classifier, images, 300)
    assert real.distance < noise.distance / 20
    assert real.spread > 0.95 * len(images.classes)
    assert real.sure > 0.9
    one = frechet.compare(classifier, images.test[:1].expand(50, -1, -1, -1), images.test[:500])
    assert one.spread == pytest.approx(1)
    assert one.distance > real.distance


def test_a_classifier_is_trained_kept_and_found_again(tmp_path):
    images = load_images("digits8")
    model = frechet.train_classifier(images, steps=60)
    assert frechet.accuracy(model, images) > 0.5
    frechet.save_classifier(model, tmp_path / "a.safetensors")
    again = frechet.load_classifier(tmp_path / "a.safetensors", images)
    assert torch.equal(weights(model), weights(again))
    with pytest.raises(frechet.NoClassifier, match="not of these images"):
        frechet.load_classifier(tmp_path / "a.safetensors", load_images("shapes"))
    with pytest.raises(frechet.NoClassifier, match="no classifier"):
        frechet.load_classifier(tmp_path / "b.safetensors", images)
    (tmp_path / "c.safetensors").write_bytes(b"\x80 no weights")
    with pytest.raises(frechet.NoClassifier):
        frechet.load_classifier(tmp_path / "c.safetensors", images)


def test_one_class_makes_no_classifier():
    x, y = torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.zeros(30, dtype=torch.int64)
    with pytest.raises(frechet.NoClassifier, match="one class"):
        frechet.train_classifier(ImageSet("own", "own", x, y, x, y, ("all",), ""))


def test_the_classifier_of_own_images_lies_in_the_run(tmp_path, monkeypatch):
    family, own = FAMILIES["dcgan"], colours()
    config = family.training.config(**{**LEAST["dcgan"], "dataset": "own"})
    run = Run.create(tmp_path / "run", family, config, own)
    whole = frechet.train_classifier
    monkeypatch.setattr(frechet, "train_classifier", lambda images: whole(images, steps=3))
    assert frechet.main(str(run.path)) == 0
    found = frechet.classifier_path("own", run)
    assert found.parent == run.path
    frechet.load_classifier(found, load_images("own", own))


# -- shapes ----------------------------------------------------------------------------------------


def test_shapes_are_what_they_are_called():
    images, labels = render_shapes(200)
    again, _ = render_shapes(200)
    assert images.shape == (200, 3, 32, 32) and images.dtype == np.uint8
    assert np.array_equal(images, again)
    assert not np.array_equal(images, render_shapes(200, seed=1)[0])
    assert np.bincount(labels).tolist() == [50] * len(CLASSES)
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200
    # Every corner is ground: darker than the shape, and fading downwards.
    assert images[:, :, 0, 0].max() < 140
    assert (images[:, :, 0, 0] >= images[:, :, -1, 0]).all()
