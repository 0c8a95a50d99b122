"""Out of trouble: which settings are known to train well, and the links to them and back."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest
from test_pages import opened, own_lab  # noqa: F401

from analysis.healthy import SHIPPED, TRIALS, config_of, differing, known, measured, nearest
from lab.lab import get_lab
from paths import ASSETS
from registry import FAMILIES

GAN = FAMILIES["gan"]
SHIPPED_RUNS = {path.parent.name for path in (ASSETS / "runs").glob("*/config.json")}


def test_every_trial_was_measured_and_of_each_family_some_went_well_and_some_did_not():
    values = measured()
    assert set(values) == set(TRIALS)
    for stem, trial in TRIALS.items():
        assert set(values[stem]) == set(trial.changed)
        assert all(len(found) == 3 for found in values[stem].values())
        assert {one.healthy for one in known(FAMILIES[stem])} == {True, False}


def test_the_nearest_settings_differ_least_and_trained_well():
    config = config_of(GAN, "momentum 0.9", seed=5)
    found = nearest(GAN, config)
    assert (found.name, found.healthy) == ("nothing", True)
    assert differing(found.config, config) == ["momentum"], "the seed does not count"
    other = GAN.training.config(
        dataset="spirals", momentum=0.9, batch=32, loss="wasserstein", d_steps=5
    )
    distance = len(differing(nearest(GAN, other).config, other))
    healthy = [one for one in known(GAN) if one.healthy]
    assert distance == min(len(differing(one.config, other)) for one in healthy)


@pytest.mark.parametrize("stem", [s for s in FAMILIES if s not in TRIALS and s in SHIPPED_RUNS])
def test_elsewhere_the_run_that_ships_is_known_to_have_trained_well(stem):
    family = FAMILIES[stem]
    (found,) = known(family)
    assert (found.name, found.healthy) == (SHIPPED, True)
    assert any(sign.isdigit() for sign in found.outcome)
    assert nearest(family, family.training.config()) == found


def diverged(config) -> AppTest:
    """The page of GANs on a run that has diverged."""
    run = get_lab().store.create(GAN, config)
    run.write_status(replace(run.status(), state="diverged", message="It diverged.", total=3000))
    tester = opened(GAN, run=run.id).run()
    assert not tester.exception
    return tester


def links(tester: AppTest) -> list:
    return [link.proto for link in tester.get("page_link") if "settings" in link.proto.label]


def test_a_run_in_trouble_gets_a_link_out_of_it_and_back_and_the_table():
    tester = diverged(config_of(GAN, "momentum 0.9"))
    there, back = links(tester)
    assert there.label == "Set up those settings"
    told = "The nearest settings known to train well have momentum 0.0."
    assert told in [caption.value for caption in tester.caption]
    there, back = (dict(parse_qsl(link.query_string)) for link in (there, back))
    assert (there["momentum"], back["momentum"]) == ("0.0", "0.9")
    assert there["hidden"] == back["hidden"] == "64", "all are set, not only what differs"
    assert there["run"] == back["run"], "the run stays in sight"
    (found,) = [part for part in tester.expander if part.label == "What was measured"]
    table = found.markdown[0].value
    assert all(name in table for name in TRIALS["gan"].changed)
    assert "**nothing**" in table
    for address, momentum in ((there, 0.0), (back, 0.9)):
        tester = opened(GAN, **address).run()
        assert not tester.exception
        assert tester.session_state["gan.momentum"] == momentum


def test_who_trained_with_good_settings_is_told_to_try_another_seed():
    tester = diverged(config_of(GAN, "nothing", seed=3))
    assert not links(tester)
    assert any("try another seed" in caption.value for caption in tester.caption)
