"""What can be done with a trained flow over images, and the numbers that check it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from analysis import image_checks, image_latents
from analysis.image_checks import Measured
from datasets.images import ImageSet
from figures.image_figures import GAP, film_of_images, labelled_rows, tile
from models.flow import Flow
from models.glow import glow
from models.nice import nice_images
from training.core.image_flow import bits_per_dim
from training.core.images import dequantise

SHAPE = (1, 8, 8)
CLASSES = 3
DIMS = 64


def private(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (count, *SHAPE), generator=private(seed), dtype=torch.uint8)


def shaken(flow: Flow, size: float = 0.05) -> Flow:
    """Move all weights a little: as built, couplings are the identity and forget the class."""
    eval_generator = private(9)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += size * torch.randn(weight.shape, generator=eval_generator)
    return flow.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def conditional() -> Flow:
    flow = glow(
        shape=SHAPE, levels=2, steps=2, hidden=16, classes=CLASSES, alpha=0.05, generator=private(1)
    )
    return shaken(flow)


@pytest.fixture(scope="module")
def vectors() -> Flow:
    return shaken(nice_images(shape=SHAPE, layers=2, hidden=16, depth=1, generator=private(1)))


@pytest.fixture(params=["conditional", "vectors"])
def flow(request: pytest.FixtureRequest) -> Flow:
    return request.getfixturevalue(request.param)


# -- encode, decode, sample ----------------------------------------------------------------------


def test_encoding_and_decoding_gives_the_bytes_back(flow):
    x, labels = images(300), torch.arange(300) % CLASSES
    context = image_latents.context_of(flow, labels)
    z = image_latents.encode(flow, x, context)
    back = image_latents.decode(flow, z, context)
    assert ((back * 256).floor() == x).all()
    noisy = image_latents.encode(flow, x, context, seed=4)
    assert not torch.equal(z, noisy)
    assert torch.equal(noisy, image_latents.encode(flow, x, context, seed=4))


def test_samples_are_reproducible_and_colder_ones_have_smaller_latents(flow):
    labels = torch.arange(12) % CLASSES
    before = torch.get_rng_state()
    first = image_latents.sample(flow, labels, temperature=0.7, seed=3)
    assert torch.equal(first, image_latents.sample(flow, labels, temperature=0.7, seed=3))
    assert torch.equal(before, torch.get_rng_state())
    cold = image_latents.sample(flow, torch.zeros(5, dtype=torch.int64), temperature=0.0, seed=3)
    torch.testing.assert_close(cold, cold[:1].expand_as(cold))


# -- between images ------------------------------------------------------------------------------


@pytest.mark.parametrize("spherical", [False, True])
def test_both_ends_of_an_interpolation_are_the_images(flow, spherical):
    pair, labels = images(2), torch.tensor([0, 2])
    path = image_latents.interpolate(flow, pair, labels, steps=5, spherical=spherical)
    assert path.shape == (5, *SHAPE)
    assert ((path[[0, -1]] * 256).floor() == pair).all()


def test_the_arc_keeps_the_length_that_the_line_loses():
    start, end = torch.randn(2, 500, generator=private(2))
    half = torch.tensor([0.5])
    line = image_latents.blend(start, end, half)[0].norm()
    arc = image_latents.blend(start, end, half, spherical=True)[0].norm()
    lengths = torch.stack([start.norm(), end.norm()])
    assert lengths.min() * 0.98 < arc < lengths.max() * 1.02
    assert line < 0.8 * arc


def test_an_arc_between_equal_latents_stays_there():
    z = torch.randn(50, generator=private(2))
    path = image_latents.blend(z, z, torch.linspace(0, 1, 3), spherical=True)
    torch.testing.assert_close(path, z.expand(3, -1))


# -- attributes ----------------------------------------------------------------------------------


def test_directions_lead_from_one_mean_to_the_other(flow):
    x, labels = images(60), torch.arange(60) % CLASSES
    ways = image_latents.attributes(flow, x, labels, CLASSES)
    means = [
        image_latents.encode(
            flow, x[labels == k], image_latents.context_of(flow, labels[labels == k])
        ).mean(0)
        for k in range(CLASSES)
    ]
    torch.testing.assert_close(ways.towards(0, 2), means[2] - means[0])
    assert ways.count == 60


def test_the_thick_direction_is_blind_to_the_inks_of_classes(vectors):
    # Class 1 is bright and class 0 dark; within each, brighter images differ in the last pixel.
    x = torch.full((40, *SHAPE), 60, dtype=torch.uint8)
    labels = torch.arange(40) % 2
    x[labels == 1] = 200
    x[20:, :, -1, -1] += 50
    ways = image_latents.attributes(vectors, x, labels, 2)
    only = x[:1].clone().repeat(2, 1, 1, 1)
    only[1, :, -1, -1] += 50
    z = image_latents.encode(vectors, only)
    # A NICE without shifts would move one latent; with them the way stays far from that of ink.
    ink = ways.towards(0, 1)
    assert ways.thicker.norm() < 2 * (z[1] - z[0]).norm()
    assert ways.thicker.norm() < 0.5 * ink.norm()


def test_a_class_without_images_is_no_trouble(conditional):
    ways = image_latents.attributes(conditional, images(6), torch.zeros(6, dtype=torch.int64), 3)
    assert ways.towards(0, 1).isfinite().all()
    assert (ways.means[1:] == 0).all()


# -- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_resampling_a_level_leaves_the_other_latents(conditional, level):
    z = torch.randn(4, DIMS, generator=private(3))
    kept = z.clone()
    changed = image_latents.resample_level(conditional, z, level, temperature=0.7, seed=1)
    assert torch.equal(z, kept)
    for i, place in enumerate(conditional.latent_slices):
        same = changed[:, place] == z[:, place]
        assert same.all() if i != level else not same.any()


# -- likelihood ----------------------------------------------------------------------------------


def test_p_of_x_lies_between_the_likeliest_class_and_its_share(conditional):
    x = dequantise(images(20), private(5))
    by_class = image_latents.log_prob_by_class(conditional, x)
    assert by_class.shape == (20, CLASSES)
    best = by_class.max(dim=1).values
    value = image_latents.log_mean_exp(by_class)
    assert (value <= best + 1e-4).all()
    assert (value >= best - math.log(CLASSES) - 1e-4).all()


def test_the_posterior_sums_to_one_and_follows_bayes(conditional):
    x = dequantise(images(20), private(5))
    by_class = image_latents.log_prob_by_class(conditional, x).double()
    shares = image_latents.posterior(by_class)
    torch.testing.assert_close(shares.sum(1), torch.ones(20, dtype=torch.float64))
    joint = by_class - math.log(CLASSES)
    torch.testing.assert_close(
        shares, (joint - image_latents.log_mean_exp(by_class)[:, None]).exp()
    )


def test_a_flow_without_classes_has_one_likelihood(vectors):
    x = dequantise(images(5), private(5))
    by_class = image_latents.log_prob_by_class(vectors, x)
    assert by_class.shape == (5, 1)
    torch.testing.assert_close(image_latents.log_mean_exp(by_class), vectors.log_prob(x))
    assert (image_latents.posterior(by_class) == 1).all()


def test_bits_of_labels_and_of_none_differ_by_what_the_label_is_worth(conditional):
    x, labels = images(30), torch.arange(30) % CLASSES
    told = image_latents.bits(conditional, x, DIMS, labels)
    untold = image_latents.bits(conditional, x, DIMS)
    assert (untold - told <= math.log2(CLASSES) / DIMS + 1e-5).all()
    assert not torch.equal(told, untold)


# -- checks --------------------------------------------------------------------------------------


def measured(flow: Flow) -> Measured:
    return Measured(flow, images(40), torch.arange(40) % CLASSES, DIMS)


def test_all_checks_of_a_right_flow_pass(flow):
    results = image_checks.check_image_flow(measured(flow))
    assert len(results) >= 5
    assert not [check for check in results if check.passed is False]
    assert {"Inverse error", "Log-determinant against autograd"} <= {c.name for c in results}


def test_a_wrong_log_determinant_is_found(conditional):
    class Wrong(torch.nn.Module):
        def inverse(self, x):
            return 2 * x, x.new_zeros(len(x))

        def forward(self, z):
            return z / 2, z.new_zeros(len(z))

    flow = glow(shape=SHAPE, levels=1, steps=1, hidden=8, alpha=0.05, generator=private(1))
    flow.chain.append(Wrong())
    flow.eval().requires_grad_(False)
    failed = {c.name for c in image_checks.check_image_flow(measured(flow)) if c.passed is False}
    assert failed == {"Log-determinant against autograd"}
    x = dequantise(images(1), private(0))
    assert image_checks.log_det_error(flow, x) == pytest.approx(DIMS * math.log(2))


def test_a_flow_that_does_not_invert_is_found(vectors):
    class Lossy(torch.nn.Module):
        def inverse(self, x):
            return x.clamp(0.4, 0.6), x.new_zeros(len(x))

        def forward(self, z):
            return z, z.new_zeros(len(z))

    flow = nice_images(shape=SHAPE, layers=2, hidden=8, depth=1, generator=private(1))
    flow.chain.insert(0, Lossy())
    x = dequantise(images(8), private(0))
    assert image_checks.inverse_error(flow.requires_grad_(False), x) > 50


def test_terms_add_up_to_the_bits(flow):
    x, labels = dequantise(images(20), private(5)), torch.arange(20) % CLASSES
    context = image_latents.context_of(flow, labels)
    terms, whole = image_checks.accounting(flow, x, context, DIMS)
    assert sum(term.bits for term in terms) == pytest.approx(whole, abs=1e-5)
    expected = bits_per_dim(flow.log_prob(x, context), flow, DIMS).mean()
    assert whole == pytest.approx(float(expected), abs=1e-5)
    names = [term.name for term in terms]
    assert terms[0].bits == 8
    assert sum("p(z)" in name for name in names) == len(flow.latent_shapes)
    assert len(names) == len(set(names))


def test_each_kind_of_layer_has_its_term(conditional):
    x, context = dequantise(images(4), private(5)), torch.eye(CLASSES)[[0, 1, 2, 0]]
    terms, _ = image_checks.accounting(conditional, x, context, DIMS)
    names = " ".join(term.name for term in terms)
    for word in ("Logit", "ActNorm", "Invertible 1x1", "Affine couplings"):
        assert word in names
    assert "Squeeze" not in names


def test_padding_costs_bits_that_are_counted(conditional):
    x = dequantise(images(4), private(5))
    terms, whole = image_checks.accounting(conditional, x, torch.eye(CLASSES)[[0] * 4], 49)
    assert terms[0].bits == pytest.approx(8 * 64 / 49)
    assert sum(term.bits for term in terms) == pytest.approx(whole, abs=1e-5)


# -- nearest -------------------------------------------------------------------------------------


def test_a_training_image_is_nearest_to_itself():
    train = images(70)
    found = image_checks.nearest(train[:20], train, chunk=16)
    assert found.index.tolist() == list(range(20))
    assert (found.distance == 0).all()


def test_distances_are_those_of_pixels_from_zero_to_one():
    train, wanted = images(50), images(10, seed=1)
    found = image_checks.nearest(wanted, train, chunk=7)
    apart = (wanted[:, None].double() - train[None].double()).flatten(2) / 255
    distances, places = apart.square().sum(2).sqrt().min(1)
    assert torch.equal(found.index, places)
    torch.testing.assert_close(found.distance.double(), distances, rtol=1e-5, atol=0)


# -- surprise ------------------------------------------------------------------------------------


def some_set() -> ImageSet:
    x, labels = images(40), torch.arange(40) % CLASSES
    return ImageSet("own", "Mine", x, labels, x, labels, ("a", "b", "c"), "").pad_to(12)


def test_other_sets_are_what_they_are_called():
    sets = image_checks.other_sets(some_set(), 8, 6)
    assert {part.shape for part in sets.values()} == {(6, 1, 12, 12)}
    assert {part.dtype for part in sets.values()} == {torch.uint8}
    for part in sets.values():
        frame = part.clone()
        frame[:, :, 2:10, 2:10] = 0
        assert not frame.any()
    inside = {name: part[:, :, 2:10, 2:10].flatten(1) for name, part in sets.items()}
    test = inside["test images"]
    assert torch.equal(inside["inverted"], 255 - test)
    assert torch.equal(inside["pixels shuffled"].sort(1).values, test.sort(1).values)
    assert not torch.equal(inside["pixels shuffled"], test)
    assert (inside["one grey"] == inside["one grey"][:, :1]).all()
    assert not inside["black"].any()


def test_colours_of_a_pixel_stay_together_when_shuffled():
    x = images(6).repeat(1, 3, 1, 1)
    colour = ImageSet("own", "Mine", x, torch.zeros(6), x, torch.zeros(6), ("a",), "")
    shuffled = image_checks.other_sets(colour, 8, 6)["pixels shuffled"]
    assert torch.equal(shuffled[:, 0], shuffled[:, 2])


def test_each_image_of_each_set_is_rated(vectors):
    sets = {"one": images(3), "two": images(5)}
    rated = image_checks.ood_bits(vectors, sets, DIMS)
    assert {name: len(values) for name, values in rated.items()} == {"one": 3, "two": 5}


# -- images ------------------------------------------------------------------------------------


def test_a_sheet_repeats_pixels_and_nothing_else():
    x = images(5).numpy()
    sheet = np.asarray(tile(x, 3, "light", 4))
    assert sheet.shape == (2 * 32 + GAP, 3 * 32 + 2 * GAP, 3)
    second = sheet[:32, 32 + GAP : 64 + GAP]
    assert np.array_equal(second[::4, ::4, 0], x[1, 0])
    assert np.array_equal(second, second[::4, ::4].repeat(4, 0).repeat(4, 1))
    assert (sheet[32 + GAP :, 64 + 2 * GAP :] == sheet[32, 0]).all()  # no sixth image: paper


def test_a_sheet_keeps_colours_and_its_width():
    x = np.zeros((12, 3, 32, 32), np.uint8)
    x[:, 1] = 255
    sheet = tile(x, 6, "dark", width=500)
    assert sheet.width <= 500 + 6 * GAP
    assert sheet.getpixel((5, 5)) == (0, 255, 0)


def test_rows_have_names_and_long_ones_are_cut():
    x = images(6).numpy()
    plain = labelled_rows(x, 3, ["a", "b"], "light", 4)
    long = labelled_rows(x, 3, ["a", "a name that does not end so soon, or ever"], "light", 4)
    assert plain.height == long.height == 2 * 32 + GAP
    assert plain.width > tile(x, 3, "light", 4).width
    assert long.width < plain.width + 250


def test_a_film_has_a_frame_for_each_step():
    from io import BytesIO

    from PIL import Image

    x = images(6).numpy()
    data = film_of_images([(1, x), (2, 255 - x), (3, x)], x, 3, "dark", labels=["a", "b"])
    with Image.open(BytesIO(data)) as film:
        assert film.format == "GIF"
        assert film.n_frames == 3
