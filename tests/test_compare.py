"""Comparisons: equal terms, the same numbers wherever they are trained, no invented likelihood."""

from __future__ import annotations

import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_until

from analysis.comparison_results import (
    Row,
    curves,
    overfitted,
    row_of,
    rows_of,
    runs_csv,
    spread,
    table,
    table_csv,
    table_markdown,
    verdict,
    verdicts,
)
from cli.train import main
from figures.arena.figures import colour_of, encoded, entropy_of, metrics_of, nll_figure, write_all
from lab.comparison import (
    CLASSIC,
    ENTRANTS,
    CompareConfig,
    Comparison,
    Entry,
    Terms,
    compare,
    comparisons_in,
    entries_for,
    epochs_of,
    new_path,
    prepare,
    steps_for,
    steps_of_epochs,
)
from lab.lab import Lab
from lab.store import Run, RunError, RunStore
from registry import FAMILIES
from training.core.config import ConfigError

SMALL = {
    "realnvp": {"blocks": 2, "hidden": 32},
    "gan": {"hidden": 16, "depth": 1},
    "vae": {"hidden": 32, "depth": 1},
}
TERMS = Terms(("realnvp", "vae", "gan"), CompareConfig(seeds=1, steps=1000, batch=64))
TIMES = {"seconds", "steps_per_second", "sample_seconds", "run"}


def small(terms: Terms = TERMS) -> list[Entry]:
    """The trainings of some terms, with networks that learn in seconds."""
    return [replace(e, config=e.config.replace(**SMALL[e.entrant.key])) for e in entries_for(terms)]


def prepared(folder: Path) -> Comparison:
    store, entries = RunStore(folder / "runs"), []
    for entry in small():
        name = f"{entry.entrant.key}-seed{entry.seed}"
        Run.create(store.root / name, entry.entrant.family, entry.config)
        entries.append(replace(entry, run=name))
    return Comparison.create(folder / "comparison.json", store, TERMS, entries)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Comparison:
    """A comparison that was interrupted in the middle of its first training and went on."""
    comparison = prepared(tmp_path_factory.mktemp("compare"))
    patience = iter([None] * 400 + [("interrupt", "Interrupted.")])
    ended = [e.entrant.key for e in compare(comparison, receive=lambda _: next(patience))]
    assert ended == ["realnvp"]
    assert [row.state for row in rows_of(comparison)] == ["interrupted", "queued", "queued"]
    assert [e.entrant.key for e in compare(comparison)] == ["realnvp", "vae", "gan"]
    assert list(compare(comparison)) == [], "what is done is not done again"
    return comparison


def numbers(row: Row) -> dict:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__ if name not in TIMES}


# -- terms --------------------------------------------------------------------------------------


def test_the_classic_comparison_is_a_thousand_epochs_of_eight_hundred_points():
    config = CLASSIC.config
    assert CLASSIC.entrants == ("realnvp", "glow")
    assert (config.dataset, config.seeds) == ("mixture", 5)
    assert steps_of_epochs(config, 1000) == config.steps
    assert epochs_of(config, config.steps) == 1000
    with pytest.raises(ConfigError, match="--steps"):
        steps_of_epochs(config.replace(dataset="ring"), 10)
    assert epochs_of(config.replace(dataset="ring"), 1000) is None


def test_all_are_trained_on_the_same_terms():
    terms = Terms(tuple(ENTRANTS), CompareConfig(dataset="ring", seeds=2, steps=1500, batch=128))
    entries = entries_for(terms)
    assert [e.entrant.key for e in entries] == [*ENTRANTS, *ENTRANTS], "seed by seed"
    assert [e.seed for e in entries] == [0] * len(ENTRANTS) + [1] * len(ENTRANTS)
    for name in ("dataset", "noise", "batch", "iterations"):
        assert len({getattr(e.config, name) for e in entries}) == 1, name
    assert {e.config.seed for e in entries} == {0, 1}
    assert next(e for e in entries if e.entrant.key == "spline").config.coupling == "spline"


def test_every_entrant_is_a_family_of_the_lab_with_a_colour():
    for entrant in ENTRANTS.values():
        assert entrant.family is FAMILIES[entrant.stem]
        for shade in ("light", "dark"):
            assert colour_of(entrant.key, shade).startswith("#")
    assert len({colour_of(key, "light") for key in ENTRANTS}) == len(ENTRANTS)


@pytest.mark.parametrize(
    ("entrants", "seeds", "word"),
    [
        ((), 1, "realnvp"),
        (("nicer",), 1, "nicer"),
        (("nice", "nice"), 1, "once"),
        (tuple(ENTRANTS), 10, "fewer"),
    ],
)
def test_terms_that_cannot_be_are_refused_in_a_sentence(entrants, seeds, word):
    with pytest.raises(ConfigError, match=word) as error:
        Terms(entrants, CompareConfig(seeds=seeds))
    assert "\n" not in str(error.value)


def test_equal_seconds_become_steps_within_their_range():
    equal = Terms(("gan",), CompareConfig(seconds=300.0, batch=64))
    assert steps_for(equal)["gan"] in range(1000, 5001, 100)
    short = Terms(("gan",), CompareConfig(seconds=0.1, batch=64))
    assert steps_for(short) == {"gan": 1000}
    assert entries_for(short, {"gan": 1200})[0].config.iterations == 1200


# -- the same numbers ---------------------------------------------------------------------------


def test_the_lab_gives_the_same_numbers_as_the_command_line(done, tmp_path):
    lab = Lab(tmp_path / "runs", ["cpu", "cpu"])
    try:
        entries = [e for e in small() if e.entrant.key != "vae"]
        ids = lab.submit_all([(e.entrant.family, e.config) for e in entries])
        made = [replace(e, run=i) for e, i in zip(entries, ids, strict=True)]
        comparison = Comparison.create(new_path(lab.store), lab.store, TERMS, made)
        wait_until(lambda: not lab.active(), timeout=120)
    finally:
        lab.close()
    assert [c.id for c in comparisons_in(lab.store)] == [comparison.id]
    there = rows_of(comparison)
    here = [row for row in rows_of(done) if row.entrant != "vae"]
    # The one here was killed and went on besides: that must not show.
    assert [numbers(row) for row in there] == [numbers(row) for row in here]
    assert {row.state for row in here} == {"finished"}


def test_runs_of_a_comparison_let_single_ones_pass_and_stop_together(tmp_path):
    nice = FAMILIES["nice"]
    config = nice.training.config(layers=4, hidden=32, iterations=5000)
    lab = Lab(tmp_path / "runs", ["cpu"])
    try:
        ids = lab.submit_all([(nice, config.replace(seed=seed)) for seed in range(3)])
        single = lab.submit(nice, config)
        assert lab.view(single).ahead == 0
        assert [lab.view(run_id).ahead for run_id in ids[1:]] == [1, 2]
        lab.command(single, "stop")
        lab.stop_all(ids)
        wait_until(lambda: not lab.active(), timeout=60)
        assert [lab.view(run_id).status.state for run_id in ids] == ["stopped"] * 3
        assert [lab.view(run_id).status.step for run_id in ids[1:]] == [0, 0], "none took a turn"
        lab.resume_all(ids)
        assert {lab.view(run_id).status.active for run_id in ids} == {True}
        lab.stop_all(ids)
        wait_until(lambda: not lab.active(), timeout=60)
    finally:
        lab.close()


def test_half_a_comparison_is_none(tmp_path, monkeypatch):
    nice = FAMILIES["nice"]
    lab = Lab(tmp_path / "runs", ["cpu"])
    create = lab.store.create

    def full(family, config, own):
        if config.seed == 2:
            raise RunError("no space left")
        return create(family, config, own)

    monkeypatch.setattr(lab.store, "create", full)
    try:
        with pytest.raises(RunError, match="no space"):
            lab.submit_all([(nice, nice.training.config(seed=seed)) for seed in range(4)])
        assert list(lab.store) == lab.active() == []
    finally:
        lab.close()


# -- what is told -------------------------------------------------------------------------------


def test_a_gan_never_has_a_likelihood_and_a_vae_only_a_bound(done):
    flow, vae, gan = rows_of(done)
    assert None not in (flow.nll_test, flow.kl_to_truth, flow.nll_split_test)
    assert flow.bound_test is flow.tight_bound is None
    assert vae.nll_test is vae.kl_to_truth is vae.nll_split_test is None
    assert vae.tight_bound < vae.bound_test + 0.05
    # Its own metrics have a `kl_to_truth`, by counting samples: not what the others' is.
    assert "kl_to_truth" in done.run_of(done.entries[2]).metrics.rows()[-1]
    likelihoods = ("nll_test", "kl_to_truth", "bound_test", "tight_bound")
    assert [getattr(gan, name) for name in likelihoods] == [None] * 4
    for row in (flow, vae, gan):
        assert row.kl_samples > row.kl_floor > 0
        assert row.sample_seconds > 0
        assert row.parameters > 100
        assert 0 <= row.modes <= 5
    lines = {line["Model"]: line for line in table([flow, vae, gan])}
    assert lines["GAN"]["Test NLL [nats]"] == lines["GAN"]["KL [nats]"] == "no likelihood"
    assert lines["VAE"]["Test NLL [nats]"].startswith("≤ ")
    assert lines["VAE"]["KL [nats]"] == "a bound only"
    cells = {row["entrant"]: row for row in csv.DictReader(io.StringIO(runs_csv(rows_of(done))))}
    assert cells["gan"]["nll_test"] == cells["gan"]["kl_to_truth"] == ""
    assert cells["gan"]["likelihood"] == "none"
    assert float(cells["realnvp"]["nll_test"]) == pytest.approx(flow.nll_test, rel=1e-6)
    means = {row["entrant"]: row for row in csv.DictReader(io.StringIO(table_csv([flow, gan])))}
    assert means["gan"]["nll_test_mean"] == ""
    assert means["realnvp"]["nll_test_seeds"] == "1"
    assert curves([(e, done.run_of(e).metrics.rows()) for e in done.entries[2:]]) == []


def test_what_is_not_finished_or_gone_has_no_numbers(done, tmp_path):
    entry = done.entries[0]
    assert row_of(entry, None).state == "deleted"
    run = Run.create(tmp_path / "run", entry.entrant.family, done.run_of(entry).config)
    row = row_of(entry, run)
    assert (row.state, row.nll_test, row.seconds) == ("queued", None, None)
    assert table([row])[0]["Test NLL [nats]"] == "-"
    assert verdicts([row]) == []


def rows(key: str, values: list[float]) -> list[Row]:
    title = ENTRANTS[key].title
    return [
        Row(key, title, seed, "exact", "finished", 1000, nll_test=value)
        for seed, value in enumerate(values)
    ]


def test_who_wins_is_said_only_if_the_seeds_say_so():
    glow = rows("glow", [1.0, 1.1, 1.05, 1.02])
    clear = verdict([*glow, *rows("realnvp", [1.5, 1.62, 1.54, 1.5])], "realnvp", "glow")
    assert (clear.better, clear.other, clear.wins, clear.seeds) == ("glow", "realnvp", 4, 4)
    assert clear.difference == pytest.approx(0.4975)
    # Student's t with 3 degrees of freedom: 3.1824 standard errors.
    assert clear.half_width == pytest.approx(3.18245 * 0.0170783 / 2, rel=1e-3)
    assert clear.clear
    assert "Glow wins against RealNVP" in clear.words()
    close = verdict([*glow, *rows("realnvp", [1.2, 0.9, 1.3, 1.0])], "realnvp", "glow")
    assert not close.clear
    assert "nobody wins" in close.words()
    one = verdict([*glow[:1], *rows("realnvp", [1.2])], "glow", "realnvp")
    assert not one.clear
    assert math.isinf(one.half_width)
    assert "too little" in one.words()
    assert verdict([*glow[:1], *rows("realnvp", [1.2])[1:]], "glow", "realnvp") is None


def test_the_best_two_are_compared_beside_the_classic_pair():
    every = [*rows("realnvp", [2, 2.1]), *rows("glow", [1.9, 2]), *rows("nice", [1.0, 1.1])]
    pairs = [{found.better, found.other} for found in verdicts(every)]
    assert pairs == [{"glow", "realnvp"}, {"nice", "glow"}]


def test_a_curve_is_the_mean_over_seeds_with_its_range():
    entries = [Entry(ENTRANTS["glow"], seed) for seed in (0, 1)]
    steps = range(0, 1001, 10)
    metrics = [
        [{"step": s, "seconds": s / 100, "nll": 3 + seed, "nll_test": 2 + seed} for s in steps]
        for seed in (0, 1)
    ]
    metrics[1] = metrics[1][:51]  # the second seed is only half-way
    points = curves(list(zip(entries, metrics, strict=True)))
    test = [p for p in points if p.part == "test"]
    assert [p.step for p in test] == list(steps)
    assert (test[0].low, test[0].mean, test[0].high) == (2, 2.5, 3)
    assert (test[-1].low, test[-1].mean, test[-1].high) == (2, 2, 2)
    train = [p for p in points if p.part == "train"]
    assert 40 <= len(train) <= 60
    assert train[0].mean == 3.5
    # Once the second seed has dropped out the mean falls: that is no rise.
    assert overfitted(points) == []
    rising = [replace(p, mean=p.mean + p.step / 1000) for p in test[:51]]
    assert [key for key, *_ in overfitted(rising)] == ["glow"]


# -- files and the command line -----------------------------------------------------------------


def test_figures_and_tables_are_written_beside_the_data(done, tmp_path):
    files = {path.name: path for path in write_all(done, tmp_path)}
    expected = {f"{name}.{form}" for name in ("nll", "samples") for form in ("pdf", "svg")}
    assert set(files) == expected | {"runs.csv", "table.csv"}
    first = {name: path.read_bytes() for name, path in files.items()}
    for name, data in first.items():
        if name.endswith("pdf"):
            assert data.startswith(b"%PDF")
        elif name.endswith("svg"):
            assert ET.fromstring(data).tag.endswith("svg")  # noqa: S314 - our own figure
    again = nll_figure(curves(metrics_of(done)), entropy_of(done))
    assert first["nll.pdf"] == encoded(again, "pdf"), "the same data, the same file"
    assert spread(rows_of(done), "realnvp", "nll_test").count == 1
    assert "no likelihood" in table_markdown(rows_of(done))


def test_a_folder_is_gone_on_with_only_on_the_same_terms(done):
    folder = done.path.parent
    assert prepare(folder, TERMS).id == done.id
    with pytest.raises(RunError, match="other terms"):
        prepare(folder, CLASSIC)
    done_again = Comparison(folder / "gone.json", done.store)
    with pytest.raises(RunError, match="no comparison"):
        _ = done_again.terms


def test_the_command_line_refuses_and_plans_without_a_trace(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in (
        ["--families", "nicer"],
        ["--seeds", "0"],
        ["--dataset", "ring", "--epochs", "10"],
        ["--epochs", "1"],
        ["--steps", "many"],
    ):
        assert main(["compare", *flags, "--device", "cpu"]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
    assert main(["compare", "--epochs", "400", "--plan", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out) == {"realnvp": 1000, "glow": 1000}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_line_trains_writes_and_tells(tmp_path, capsys):
    flags = ["--families", "gan", "--seeds", "2", "--steps", "1000", "--batch", "64"]
    out = tmp_path / "figures"
    assert main(["compare", *flags, "--out", str(out), "--device", "cpu"]) == 0
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    assert [run["state"] for run in json.loads(line)["runs"]] == ["finished"] * 2
    assert "no likelihood" in told.err
    assert (out / "samples.pdf").exists()
