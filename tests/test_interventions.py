"""What is done to a training while it runs is written to its folder, and its command repeats it."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys

import pytest
from test_driver import create, go, same, weights

from cli.train import main
from figures.charts import curves
from lab.runs.interventions import Intervention, Interventions
from lab.store import Run
from paths import ROOT
from registry import FAMILIES
from ui.lab_pages.side_by_side import _done_to

GAN = {"dataset": "ring", "hidden": 16, "batch": 64, "iterations": 1000}


def repeated(run: Run, folder) -> Run:
    """What the command of a run makes, in a process of its own."""
    words = shlex.split(run.command())
    words[words.index("--out") + 1] = str(folder)
    words = [sys.executable, *words[1:], "--quiet", "--device", "cpu"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Run(folder)


def test_a_run_with_three_interventions_and_a_pause_is_repeated_by_its_command(tmp_path):
    run = create(tmp_path / "run")
    status, _ = go(
        run,
        {
            40: [("set", "learning_rate", 0.0123)],
            60: [("pause",), ("step",), ("resume",)],
            90: [("set", "learning_rate", 0.002), ("set", "learning_rate", 0.001)],
            150: [("stop",)],
        },
    )
    assert status.state == "stopped"
    assert [(one.what, one.value) for one in run.interventions.load()] == [
        ("set", 0.0123),
        ("pause", None),
        ("set", 0.001),
        ("stop", None),
    ]
    again = repeated(run, tmp_path / "again")
    assert same(weights(run), weights(again))
    assert again.status().state == "stopped"
    assert again.command() == run.command(), "and its own command says the same"
    plain = create(tmp_path / "plain")
    go(plain, {150: [("stop",)]})
    assert not same(weights(run), weights(plain)), "they did change something"


@pytest.mark.slow
def test_steps_of_one_side_alone_are_repeated(tmp_path):
    family = FAMILIES["gan"]
    run = Run.create(tmp_path / "run", family, family.training.config(**GAN))
    side = [("step", "discriminator"), ("step", "discriminator"), ("step", "generator")]
    plan = {50: [("pause",), *side, ("resume",)], 80: [("set", "loss", "wasserstein")]}
    plan |= {120: [("set", "learning_rate_d", 0.0005), ("set", "delay", 0.01)], 121: [("stop",)]}
    go(run, plan)
    parts = [(one.step, one.name) for one in run.interventions.load() if one.what == "part"]
    assert [name for _, name in parts] == ["discriminator", "discriminator", "generator"]
    assert len({step for step, _ in parts}) == 3
    assert "delay" not in run.command(), "slow motion changes nothing"
    assert same(weights(run), weights(repeated(run, tmp_path / "again")))


@pytest.mark.slow
def test_what_a_kill_undid_is_not_remembered_and_a_stop_that_was_resumed_is_not_repeated(tmp_path):
    run = create(tmp_path / "run")
    go(run, {30: [("set", "learning_rate", 0.002)], 31: [("stop",)]})
    # A process that is killed leaves what was done after its last checkpoint.
    past = run.interventions.load()
    later = Intervention(run.status().step + 5, "set", "learning_rate", 0.01)
    run.interventions.save([*past, later])
    go(run)
    assert run.status().state == "finished"
    assert run.interventions.load() == past
    assert "stop" not in run.command()
    assert same(weights(run), weights(repeated(run, tmp_path / "again")))


def test_each_row_has_the_learning_rate_of_its_step(tmp_path):
    run = create(tmp_path / "run", learning_rate=0.01)
    go(run, {500: [("set", "learning_rate", 0.002)]})
    rates = {row["step"]: row["learning_rate"] for row in run.metrics.rows() if row["step"]}
    # One cycle: a line to the peak at a tenth, then half a cosine to zero.
    assert rates[10] == pytest.approx(0.01 * (0.1 + 0.9 * 9 / 100), rel=1e-5)
    cosine = 0.5 * (1 + math.cos(math.pi * (749 / 1000 - 0.1) / 0.9))
    assert rates[750] == pytest.approx(0.002 * cosine, rel=1e-5)
    assert rates[1000] < 1e-6


def test_both_sides_of_a_gan_have_their_rate_in_the_table(tmp_path):
    family = FAMILIES["gan"]
    config = family.training.config(**GAN, learning_rate=0.002, learning_rate_d=0.004)
    run = Run.create(tmp_path / "run", family, config)
    go(run, {200: [("stop",)]})
    last = run.metrics.rows()[-1]
    left = 1 - (last["step"] - 1) / 1000
    assert last["learning_rate"] == pytest.approx(0.002 * left, rel=1e-5)
    assert last["learning_rate_d"] == pytest.approx(0.004 * left, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["x", "stop"], "takes a step"),
        (["5"], "takes a step"),
        (["5", "layers=3"], "it can do learning_rate="),
        (["5", "part=generator"], "it can do learning_rate="),
        (["5", "learning_rate=7"], "learning_rate must be a number from"),
    ],
)
def test_what_cannot_be_done_at_a_step_is_one_line(tmp_path, capsys, words, told):
    out = tmp_path / "run"
    assert main(["nice", "--at", *words, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_file_that_a_stranger_made_gives_what_makes_sense_and_a_command_that_is_safe(tmp_path):
    lines = [
        '{"step": 3, "what": "set", "name": "loss", "value": "wasserstein"}',
        '{"step": 3, "what": "set", "name": "x; rm -rf ~", "value": 1}',
        '{"step": 3, "what": "set", "name": "x", "value": "$(id)"}',
        '{"step": 3, "what": "set", "name": "--data", "value": "secret.csv"}',
        '{"step": 3, "what": "set", "name": "x", "value": "\\u0015rm -rf ~\\n"}',
        '{"step": 3, "what": "set", "name": "x", "value": NaN}',
        '{"step": 3, "what": "set", "name": "x", "value": 1%s}' % ("0" * 4000),
        '{"step": 3, "what": "part", "name": "\\u001b[201~"}',
        '{"step": -1, "what": "stop"}',
        '{"step": 4, "what": "explode"}',
        '{"step": 5, "what": "set", "name": ["a"], "value": 1}',
        '{"step": 6, "what": "set", "name": "a", "value": {}}',
        '{"step": true, "what": "pause"}',
        "[" * 10_000,
        "5",
        "",
    ]
    run = create(tmp_path / "run")
    (run.path / "interventions.jsonl").write_text("\n".join(lines))
    assert [one.step for one in run.interventions.load()] == [3]
    assert shlex.split(run.command())[-5:-2] == ["--at", "3", "loss=wasserstein"]
    assert Interventions(tmp_path / "none").load() == []


def test_curves_and_comparisons_show_what_was_done(tmp_path):
    run = create(tmp_path / "run")
    assert _done_to(run) == "nothing was changed"
    run.interventions.save(
        [Intervention(240, "set", "learning_rate", 0.002), Intervention(1300, "pause")]
    )
    assert _done_to(run) == "step 240: learning_rate set to 0.002; step 1,300: paused"
    rows = [{"step": step, "nll": 1 / step} for step in (1, 2, 3)]
    chart = {"names": {"nll": "NLL"}, "unit": "nats", "theme": "light", "total": 2000}
    marks = [(one.step, one.words()) for one in run.interventions.load()]
    _, plain = curves(rows, **chart)
    _, marked = curves(rows, **chart, marks=marks)
    assert len(marked["layer"]) == len(plain["layer"]) + 1
    values = marked["layer"][-1]["data"]["values"]
    assert [value["step"] for value in values] == [240, 1300]
    assert "learning_rate set to 0.002" in values[0]["done"]
