"""A value out of range is refused at every door, in a sentence with the field and its range."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from cli.train import main
from lab.store import Run, RunError
from registry import FAMILIES
from training.core.adversarial import DuelConfig
from training.core.config import ConfigError, RunConfig
from training.core.experiment import Experiment
from training.core.images import ImageDataConfig

CONFIGS = {stem: family.training.config for stem, family in FAMILIES.items()}
EVERY_FAMILY = pytest.mark.parametrize("stem", CONFIGS)


def just_outside(knob) -> list:
    if knob.kind == "int":
        return [int(knob.low) - 1, int(knob.high) + 1]
    return [math.nextafter(knob.low, -math.inf), math.nextafter(knob.high, math.inf)]


def outside(knob) -> list[str]:
    """Values, as a person would write them, that the knob must refuse."""
    if knob.kind == "choice":
        return ["", "Two moons", "None", "0"]
    if knob.kind == "bool":
        return ["", "maybe", "2", "nan"]
    words = [*map(repr, just_outside(knob)), "nan", "inf", "-inf", "1e999", "", "much", "0x10"]
    return [*words, "2.5"] if knob.kind == "int" else words


def outside_of_a_widget(knob) -> list:
    """Values of other types than text that the knob must refuse."""
    if knob.kind not in ("int", "float"):
        return [None, [1]]
    return [*just_outside(knob), math.nan, math.inf, -math.inf, None, [1], 10**400]


def is_of_images(stem: str) -> bool:
    return issubclass(CONFIGS[stem], ImageDataConfig)


def inside(knob) -> list:
    if knob.kind == "choice":
        return list(knob.choices)
    if knob.kind == "bool":
        return [True, False]
    return [knob.low, knob.high, knob.default]


def refused(knob, error: type[Exception], take: Callable, *given: object) -> None:
    """Check that something is refused in one line that says which setting, and its limits."""
    try:
        take(*given)
    except error as refusal:
        says_what_is_wrong(str(refusal), knob)
    else:
        pytest.fail(f"{knob.name} is taken: {given}")


def says_what_is_wrong(message: str, knob) -> None:
    limits = knob.choices if knob.choices else [f"{v:g}" for v in (knob.low, knob.high) if v]
    assert "\n" not in message
    assert all(word in message for word in (knob.name, *limits)), message


# -- the four doors: the form and the URL, the command line, a file, a running training -------
# All of them come to RunConfig.parse, which is tried with all; the others, whether they ask it.


@EVERY_FAMILY
def test_the_form_and_the_url_are_refused(stem):
    for knob in CONFIGS[stem].knobs():
        for value in [*outside(knob), *outside_of_a_widget(knob)]:
            refused(knob, ConfigError, CONFIGS[stem].parse, {knob.name: value})


@EVERY_FAMILY
def test_a_flag_is_refused(stem, tmp_path, capsys):
    for i, knob in enumerate(CONFIGS[stem].knobs()):
        value = outside(knob)[i % len(outside(knob))]
        flag = f"--{knob.name.replace('_', '-')}={value}"
        assert main([stem, flag, "--out", str(tmp_path / "run")]) == 2, flag
        told = capsys.readouterr()
        assert told.out == ""
        says_what_is_wrong(told.err.removesuffix("\n"), knob)
    assert not (tmp_path / "run").exists()


@EVERY_FAMILY
def test_a_file_is_refused(stem, tmp_path):
    run = Run.create(tmp_path / "run", FAMILIES[stem], CONFIGS[stem]())
    file = run.path / "config.json"
    good = json.loads(file.read_text())
    for knob in CONFIGS[stem].knobs():
        for value in ("much", None, math.nan):
            bad = {**good, "config": {**good["config"], knob.name: value}}
            file.write_text(json.dumps(bad))
            refused(knob, RunError, getattr, run, "config")


@EVERY_FAMILY
def test_a_running_training_refuses(stem):
    experiment = Experiment(CONFIGS[stem](), "cpu", total=10)
    before, knobs = dict(experiment.live), CONFIGS[stem].knobs()
    for knob in knobs:
        for value in outside(knob) if knob.live else ():
            refused(knob, ConfigError, experiment.set, knob.name, value)
    for name in [*(knob.name for knob in knobs if not knob.live), "generator", "step", ""]:
        with pytest.raises(ValueError, match="cannot be changed"):
            experiment.set(name, 1)
    assert experiment.live == before
    experiment.set("learning_rate", "0.001")
    assert experiment.live["learning_rate"] == 0.001


# -- what is accepted -------------------------------------------------------------------------


@EVERY_FAMILY
def test_the_whole_range_is_accepted_also_as_words(stem):
    for knob in CONFIGS[stem].knobs():
        for value in inside(knob):
            assert getattr(CONFIGS[stem].parse({knob.name: value}), knob.name) == value
            word = str(value).lower() if isinstance(value, bool) else str(value)
            parsed = getattr(CONFIGS[stem].parse({knob.name: word}), knob.name)
            assert parsed == value
            assert type(parsed) is type(knob.default)


@EVERY_FAMILY
def test_every_wrong_field_is_named_and_unknown_ones_too(stem):
    with pytest.raises(ConfigError) as error:
        CONFIGS[stem].parse({"batch": "0", "seed": "x", "dataset": "cats", "colour": "red"})
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in ("batch", "seed", "dataset", "colour"))
    assert "learning_rate" in message, "what is known is listed"


@EVERY_FAMILY
def test_a_hostile_value_does_not_flood_the_message(stem):
    for values in ({"batch": "9" * 100_000}, {"a" * 100_000: 1}, {"dataset": "<b>" * 100_000}):
        with pytest.raises(ConfigError) as error:
            CONFIGS[stem].parse(values)
        assert len(str(error.value)) < 500


@EVERY_FAMILY
def test_configs_are_values(stem):
    config = CONFIGS[stem]()
    assert CONFIGS[stem].parse(config.model_dump()) == config
    assert CONFIGS[stem].parse(json.loads(config.model_dump_json())) == config
    other = config.replace(batch=16 if stem == "cyclegan" else 128, learning_rate="0.001")
    assert (other.batch, other.learning_rate) == (16 if stem == "cyclegan" else 128, 0.001)
    assert config.batch == CONFIGS[stem]().batch
    assert type(other) is CONFIGS[stem]
    with pytest.raises(ConfigError, match="batch"):
        config.replace(batch=0)
    with pytest.raises(ConfigError, match="batches"):
        config.replace(batches=128)
    with pytest.raises(ValidationError):
        config.batch = 64


# -- what forms and flags are made of ---------------------------------------------------------


def is_of_its_own(config: type[RunConfig]) -> bool:
    return RunConfig in config.__bases__ or issubclass(config, DuelConfig)


@EVERY_FAMILY
def test_knobs_are_the_fields_own_ones_first(stem):
    names = [knob.name for knob in CONFIGS[stem].knobs()]
    assert sorted(names) == sorted(CONFIGS[stem].model_fields)
    if is_of_its_own(CONFIGS[stem]):
        return  # it shares none with another family
    alike = [c for s, c in CONFIGS.items() if is_of_images(s) == is_of_images(stem)]
    alike = [c for c in alike if not is_of_its_own(c)]
    shared = set.intersection(*(set(config.model_fields) for config in alike))
    shared |= {
        "precision",
        "iterations",
        "dequantisation",
    }  # of some families only, from a base of theirs
    own = [name for name in names if name not in shared]
    assert own
    assert max(map(names.index, own)) < names.index("dataset")


@EVERY_FAMILY
def test_knobs_say_all_that_a_form_needs(stem):
    for knob in CONFIGS[stem].knobs():
        check_form(knob)
        assert knob.default == getattr(CONFIGS[stem](), knob.name), knob.name


def check_form(knob) -> None:
    assert knob.label
    assert knob.label != knob.name
    assert knob.help.endswith(".")
    assert knob.group in ("Model", "Data", "Training")
    assert knob.range
    if knob.kind in ("int", "float"):
        assert knob.low <= knob.default <= knob.high
        assert knob.step is None or 0 < knob.step < knob.high - knob.low
        assert knob.scale == "linear" or knob.low > 0
        # The slider can show the default.
        steps = (knob.default - knob.low) / knob.step if knob.step else 0
        assert steps == pytest.approx(round(steps), abs=1e-6)
    if knob.kind == "choice":
        assert knob.default in knob.choices


def test_labels_are_not_used_twice():
    for config in CONFIGS.values():
        labels = [knob.label for knob in config.knobs()]
        assert len(set(labels)) == len(labels)


def test_only_the_learning_rate_is_live_but_for_duels():
    weights = {"cyclegan": {"cycle", "identity", "contrast"}}  # of its losses
    for stem, config in CONFIGS.items():
        if issubclass(config, DuelConfig):
            continue
        live = {knob.name for knob in config.knobs() if knob.live}
        assert live == {"learning_rate"} | weights.get(stem, set()), stem


# What the issue promises a user can set, and how far.
PROMISED = {
    "nice": {"layers": (2, 12), "hidden": (32, 256), "iterations": (1000, 5000)},
    "realnvp": {"blocks": (2, 12), "iterations": (1000, 5000)},
    "glow": {"levels": (1, 4), "steps": (4, 32), "batch": (32, 256), "iterations": (1000, 20_000)},
    "vae": {"latent": (2, 512), "hidden": (64, 1024), "batch": (16, 512), "epochs": (1, 50)},
}


@pytest.mark.parametrize("stem", PROMISED)
def test_the_promised_ranges(stem):
    knobs = {knob.name: knob for knob in CONFIGS[stem].knobs()}
    for name, (low, high) in PROMISED[stem].items():
        assert (knobs[name].low, knobs[name].high) == (low, high)
    more = {"noise", "weight_decay"}
    if is_of_images(stem):
        more = {"hidden", "likelihood", "beta", "warm_up"} if stem == "vae" else {"conditional"}
    assert {"dataset", "batch", "learning_rate", "seed", *more} <= set(knobs)


# Small enough for two steps, and what of a setting is tried where not all of it is.
BASE = {
    "nice": {"hidden": 32, "dataset": "ring", "weight_decay": 0.05, "batch": 64},
    "realnvp": {"hidden": 32, "dataset": "ring", "weight_decay": 0.05, "batch": 64},
    "glow": {"levels": 1, "steps": 4, "hidden": 32, "dataset": "digits8", "batch": 32},
    "realnvp_images": {"levels": 1, "couplings": 2, "hidden": 32, "dataset": "digits8"},
    "nice_images": {"layers": 2, "hidden": 100, "depth": 1, "dataset": "digits8"},
    "maf_images": {"blocks": 2, "layers": 1, "width": 32, "dataset": "digits8"},
    "vae": {"hidden": 64, "dataset": "digits8"},
    "glow_plane": {"hidden": 32, "dataset": "ring", "weight_decay": 0.05, "batch": 64},
    "maf_plane": {"hidden": 32, "dataset": "ring", "weight_decay": 0.05, "batch": 64},
}
TRIED = {"dataset": ["digits", "digits8"], "levels": [1, 2], "steps": [4, 8], "hidden": [128, 192]}


@pytest.mark.parametrize("stem", BASE)
def test_every_setting_matters(stem, monkeypatch):
    """A setting that changes neither the weights at the start nor the first steps does nothing."""
    for name in ("core.image_flow", "vae"):
        monkeypatch.setattr(f"training.{name}.knows_bfloat16", lambda device: True)
    module = FAMILIES[stem].training

    def after_two_steps(**values):
        experiment = module.build(module.config(**{**BASE[stem], **values}))
        for _ in range(2):
            experiment.update()
            experiment.step += 1
        flat = torch.cat([p.detach().flatten() for p in experiment.model.parameters()])
        if is_of_images(stem):
            return flat
        probe = experiment.model.log_prob(torch.zeros(1, 2)).detach()
        return torch.cat([flat, probe])

    for knob in module.config.knobs():
        values = [value for value in inside(knob) if value != "own"][:3]
        if is_of_images(stem):
            values = TRIED.get(knob.name, values)
        results = [after_two_steps(**{knob.name: value}) for value in values]
        different = [not torch.equal(a, b) for a, b in itertools.combinations(results, 2)]
        assert any(different), knob.name
