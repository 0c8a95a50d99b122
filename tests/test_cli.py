"""The command line, as a person or a script meets it: in a process of its own."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import wait_until
from PIL import Image

from benchmarks.kills import start
from cli.train import main
from lab.lab import Lab
from lab.rules import RulesError
from lab.store import Run
from registry import FAMILIES
from training.core.devices import threads_for
from training.core.loop import train
from training.core.unpaired import PAIR_DATA

ROOT = Path(__file__).parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "GENLAB_DEVICE": "cpu"}
SMALL = {
    "nice": {"layers": 2, "hidden": 32, "batch": 64, "iterations": 1000, "seed": 5},
    "realnvp": {"blocks": 2, "hidden": 32, "batch": 64, "iterations": 1000, "actnorm": True},
    "glow": {"levels": 1, "steps": 4, "hidden": 32, "batch": 32, "dataset": "digits8"},
    "nice_images": {"layers": 2, "hidden": 100, "depth": 1, "batch": 32, "dataset": "digits8"},
}
SMALL["glow"]["iterations"] = SMALL["nice_images"]["iterations"] = 1000


def flags(values: dict) -> list[str]:
    return [f"--{k.replace('_', '-')}={str(v).lower()}" for k, v in values.items()]


def call(*arguments: object, **options) -> subprocess.CompletedProcess:
    process = start(*arguments, **options)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def quickly(capsys):
    """Call the command line in this process, which saves the time to import torch once more."""
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def main_quickly(*arguments: object, code: int = 0) -> tuple[dict, str]:
        assert main([*map(str, arguments), "--device", "cpu"]) == code
        told = capsys.readouterr()
        return only_json_line(told.out), told.err

    yield main_quickly
    for name, handler in handlers.items():
        signal.signal(name, handler)


def only_json_line(text: str) -> dict:
    assert text.count("\n") == 1
    assert text.endswith("\n")

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@cache
def undisturbed(stem: str) -> dict[str, torch.Tensor]:
    """The weights at the end of a training in this process, that nobody watches or interrupts."""
    module = FAMILIES[stem].training
    torch.set_num_threads(
        threads_for(module.threads)
    )  # as the command line does: other sums are others
    experiment = module.build(module.config(**SMALL[stem]))
    for _ in train(experiment, snapshots=False, measure_every=10**9):
        pass
    return experiment.model.state_dict()


def weights(run: Run) -> dict[str, torch.Tensor]:
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    return experiment.model.state_dict()


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def say(text: str) -> None:
    """Tell what was drawn; pytest shows it when the test fails."""
    sys.stderr.write(text + "\n")


def checkpoint_step(run: Run) -> int:
    state = run.checkpoints.last()
    return -1 if state is None else state["experiment"]["step"]


# -- a run ------------------------------------------------------------------------------------


def test_a_run_tells_its_end_on_one_line_and_its_progress_elsewhere(tmp_path, quickly):
    path = tmp_path / "a run"
    final, progress = quickly("nice", *flags(SMALL["nice"]), "--out", path)
    assert final["state"] == "finished"
    assert final["step"] == 1000
    assert final["family"] == "nice"
    assert final["run"] == str(path)
    assert final["device"] == "cpu"
    assert final["skipped"] == 0
    assert 0 < final["kl_to_truth"] < 5
    assert final["nll_test"] == pytest.approx(Run(path).metrics.rows()[-1]["nll_test"], rel=1e-5)
    assert "NICE" in progress
    assert "1000/1000" in progress
    assert same(weights(Run(path)), undisturbed("nice"))


def test_help_lists_the_families(capsys):
    with pytest.raises(SystemExit) as ending:
        main(["--help"])
    assert ending.value.code == 0
    told = capsys.readouterr()
    assert told.err == ""
    for family in FAMILIES.values():
        assert re.search(rf"^\s+{family.stem}\s+\w", told.out, re.MULTILINE)
    assert "resume" in told.out


@pytest.mark.parametrize("stem", FAMILIES)
def test_help_of_a_family_explains_every_setting(stem, capsys):
    with pytest.raises(SystemExit) as ending:
        main([stem, "--help"])
    assert ending.value.code == 0
    text = "".join(capsys.readouterr().out.split())  # lines are broken after hyphens, too
    for knob in FAMILIES[stem].training.config.knobs():
        assert f"--{knob.name.replace('_', '-')}" in text
        assert "".join(re.sub("[`*]", "", knob.help).split()) in text
        assert "".join(knob.range.split()) in text
    assert "`" not in text
    assert "**" not in text


# -- what is refused --------------------------------------------------------------------------

BAD = {
    "no word": [],
    "unknown family": ["nicer", "--out", "{new}"],
    "unknown flag": ["nice", "--colour", "red", "--out", "{new}"],
    "a flag of another family": ["nice", "--blocks", "4", "--out", "{new}"],
    "out of range": ["nice", "--layers", "13", "--out", "{new}"],
    "no number": ["nice", "--batch", "many", "--out", "{new}"],
    "not a number": ["realnvp", "--noise", "nan", "--out", "{new}"],
    "unknown data set": ["nice", "--dataset", "cats", "--out", "{new}"],
    "no folder": ["nice"],
    "existing folder": ["nice", "--out", "{full}"],
    "folder under a file": ["nice", "--out", "{full}/thesis.tex/run"],
    "own without data": ["nice", "--dataset", "own", "--out", "{new}"],
    "data that is not there": ["nice", "--data", "{new}.csv", "--out", "{new}"],
    "data that is a folder": ["nice", "--data", "{full}", "--out", "{new}"],
    "data that is text": ["nice", "--data", "{full}/thesis.tex", "--out", "{new}"],
    "an image that is none": ["nice", "--data", "{full}/fake.png", "--out", "{new}"],
    "saved data that is none": ["nice", "--data", "{full}/fake.npz", "--out", "{new}"],
    "unknown device": ["nice", "--device", "abacus", "--out", "{new}"],
    "a device that is not here": ["nice", "--device", "cuda:63", "--out", "{new}"],
    "resume nothing": ["resume"],
    "resume what is not there": ["resume", "{new}"],
    "resume a file": ["resume", "{full}/thesis.tex"],
    "resume what is no run": ["resume", "{full}"],
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_value_ends_with_2_and_one_line(case, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    for name in ("thesis.tex", "fake.png", "fake.npz"):
        (full / name).write_text("years of work")
    arguments = [a.format(new=tmp_path / "new", full=full) for a in BAD[case]]
    try:
        code = main(arguments)
    except SystemExit as ending:
        code = ending.code
    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert len(told.err) > 20
    assert "Traceback" not in told.err
    assert not (tmp_path / "new").exists(), "nothing is left behind"
    assert sorted(p.name for p in full.iterdir()) == ["fake.npz", "fake.png", "thesis.tex"]


@pytest.mark.parametrize("stem", ["nice", "glow", "maf", "cyclegan"])
@pytest.mark.parametrize("ending", ["", ".csv", ".zip", ".npz"])
def test_data_that_is_missing_is_not_called_damaged(stem, ending, tmp_path, capsys):
    path = tmp_path / f"mine{ending}"
    assert main([stem, "--data", str(path), "--out", str(tmp_path / "run")]) == 2
    assert f"There is no file or folder {path}." in capsys.readouterr().err


def test_a_finished_run_cannot_be_resumed(tmp_path, capsys):
    run = Run.create(tmp_path / "run", FAMILIES["nice"], FAMILIES["nice"].training.config())
    run.write_status(replace(run.status(), state="finished"))
    assert main(["resume", str(run.path)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "finished" in told.err


def test_a_diverged_run_ends_with_1_and_still_tells_in_json(tmp_path, quickly):
    run = Run.create(
        tmp_path / "run", FAMILIES["nice"], FAMILIES["nice"].training.config(**SMALL["nice"])
    )
    state = run.experiment().state_dict()
    for weight in state["model"].values():
        weight.fill_(math.nan)
    run.checkpoints.save({"experiment": state, "seconds": 0.0})
    final, told = quickly("resume", run.path, "--quiet", code=1)
    assert final["state"] == "diverged"
    assert final["nll"] is None
    assert final["skipped"] >= 5
    assert told.count("\n") == 1
    assert "learning rate" in told


# -- killed -----------------------------------------------------------------------------------


def kill_and_resume(tmp_path: Path, stem: str, moment: random.Random, *, early: bool) -> None:
    """Kill a run with signal 9 at a moment drawn at random, resume it, compare its weights."""
    run = Run(tmp_path / "run")
    process = start(stem, *flags(SMALL[stem]), "--quiet", "--out", run.path, often=True)
    try:
        # From the first file on, or only once there is something to go on from.
        if early:
            wait_until((run.path / "config.json").exists)
        else:
            wait_until(lambda: checkpoint_step(run) > 0 or process.poll() is not None)
        delay = moment.uniform(0, 1.2 if early else 0.6)
        time.sleep(delay)
    finally:
        process.kill()
    out, err = process.communicate(timeout=60)
    # The machine was faster than the draw: it had ended, or was on its way out after its last word.
    if process.returncode == 0 or out:
        assert same(weights(run), undisturbed(stem))
        return
    assert process.returncode == -signal.SIGKILL, err
    step = checkpoint_step(run)
    say(f"{stem}: killed {delay:.3f} s on; its checkpoint is of step {step}")
    if not early:
        assert 0 < step < 1000

    done = call("resume", run.path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    final = only_json_line(done.stdout)
    assert (final["state"], final["step"]) == ("finished", 1000)
    assert same(weights(run), undisturbed(stem)), f"killed after {delay} s, resumed at {step}"
    steps = [row["step"] for row in run.metrics.rows()]
    assert steps == list(range(0, 1001, 5))
    assert set(range(0, 1001, 100)) <= set(run.snapshots.steps())


@pytest.mark.parametrize("stem", ["nice", pytest.param("realnvp", marks=pytest.mark.slow)])
def test_killed_and_resumed_it_ends_with_the_same_weights(tmp_path, stem):
    seed = random.SystemRandom().randrange(2**32)
    say(f"seed of the moment: {seed}")
    kill_and_resume(tmp_path, stem, random.Random(seed), early=False)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(5))
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("stem", SMALL)
def test_killed_and_resumed_again_and_again(tmp_path, stem, early, round_):
    seed = random.SystemRandom().randrange(2**32)
    say(f"seed of the moment: {seed}")
    kill_and_resume(tmp_path, stem, random.Random(seed), early=early)


# -- interrupted, and trained by two ----------------------------------------------------------


def test_an_interrupted_run_says_how_to_go_on_and_a_second_process_is_refused(tmp_path):
    path = tmp_path / "my run"
    run = Run(path)
    slow = {**SMALL["nice"], "iterations": 5000, "hidden": 128, "layers": 6, "batch": 512}
    first = start("nice", *flags(slow), "--out", path)
    try:
        wait_until(lambda: len(run.metrics.rows()) > 2 or first.poll() is not None)
        second = call("resume", path)
        assert second.returncode == 2
        assert second.stdout == ""
        assert second.stderr.splitlines()[-1].endswith("is being trained by another process.")
        assert first.poll() is None, "the first does not notice"
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 130
    final = only_json_line(out)
    assert final["state"] == run.status().state == "interrupted"
    assert 0 < final["step"] < 5000
    assert checkpoint_step(run) == final["step"]
    assert "Traceback" not in err

    # What it says to type is the command that the tests above resume with.
    advice = re.search(r"`python -m training (resume .+?)`", err.splitlines()[-1])
    assert advice
    assert shlex.split(advice[1]) == ["resume", str(path)]


# -- data of one's own ------------------------------------------------------------------------


def test_a_table_of_points_is_learned_and_the_command_repeats_it(tmp_path, quickly):
    points = np.random.default_rng(0).normal(size=(200, 2)) * [3, 0.5] + [100, -7]
    table = tmp_path / "my points.csv"
    table.write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in points))
    run = Run(tmp_path / "run")
    final, told = quickly(
        "nice", *flags(SMALL["nice"]), "--data", table, "--quiet", "--out", run.path
    )
    assert told == "", "quiet means quiet"
    assert "kl_to_truth" not in final, "nobody knows the truth"
    # A Gaussian: NLL = log(2 pi e sd1 sd2).
    assert final["nll_test"] == pytest.approx(np.log(2 * np.pi * np.e * 3 * 0.5), abs=0.5)
    assert run.config.dataset == "own"
    np.testing.assert_allclose(run.own_data().array, points, rtol=1e-5)

    words = shlex.split(run.command())
    assert words[:3] == ["python", "-m", "training"]
    other = Run(quickly(*words[3:])[0]["run"])
    assert other.config == run.config
    assert same(weights(other), weights(run))


def test_cyclegan_learns_from_any_two_folders_and_calls_them_as_it_is_told(tmp_path, quickly):
    random = np.random.default_rng(0)
    for name in ("my horses", "zebras", "third"):
        (tmp_path / "both" / name).mkdir(parents=True)
        for i in range(7):
            pixels = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "both" / name / f"{i}.png")
    small = ["cyclegan", "--epochs=1", "--width=8", "--image-size=32", "--discriminator-width=8"]
    two = [tmp_path / "both" / name for name in ("zebras", "my horses")]
    quickly(*small, "--data", *two, "--name-b", "horse", "--out", tmp_path / "one")
    run = Run(tmp_path / "one")
    assert run.own_data().domains == ("zebras", "horse")
    assert run.snapshots.target()["classes"].tolist() == ["zebras", "horse"]
    options = [*map(str, small), "--out", str(tmp_path / "two")]
    assert main([*options, "--data", str(tmp_path / "both")]) == 2, "these are three"
    assert main([*options, "--data", *map(str, two), str(tmp_path)]) == 2, "and so are these"
    saved = ["--data", str(run.path / "data.npz"), "--name-a", "horse"]
    assert main([*options, *saved]) == 2, "what was read before has its names"
    (tmp_path / "both" / "third").rename(tmp_path / "third")
    own = PAIR_DATA.read(run.config, tmp_path / "both", name_a="", name_b="")
    assert own.domains == ("my horses", "zebras")


def test_an_image_is_learned(tmp_path, quickly):
    image = np.full((8, 12), 255, np.uint8)
    image[2:6, 1:5] = 0
    file = tmp_path / "image.png"
    Image.fromarray(image).save(file)
    path = tmp_path / "run"
    final, _ = quickly("realnvp", *flags(SMALL["realnvp"]), "--data", file, "--out", path)
    assert Run(path).own_data().kind == "picture"
    assert final["kl_to_truth"] < 0.5


@pytest.mark.parametrize("slots", ["0", "-1", "two", "1e3", "9" * 5000])
def test_a_number_of_slots_that_is_none_is_a_line(tmp_path, capsys, monkeypatch, slots):
    monkeypatch.setenv("GENLAB_SLOTS", slots)
    monkeypatch.setenv("GENLAB_DEVICE", "cpu")
    assert main(["nice", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "GENLAB_SLOTS must be a whole number from 1 to 512" in told.err
    with pytest.raises(RulesError, match="GENLAB_SLOTS"):
        Lab(tmp_path / "runs")


@pytest.mark.parametrize(("device", "reason"), [("cuda:63", "not here"), ("abacus", "must be")])
def test_a_device_of_the_environment_that_is_none_is_a_line(
    tmp_path, capsys, monkeypatch, device, reason
):
    monkeypatch.setenv("GENLAB_DEVICE", device)
    assert main(["nice", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "GENLAB_DEVICE" in told.err
    assert reason in told.err
    assert not (tmp_path / "run").exists()
    with pytest.raises(RulesError, match="GENLAB_DEVICE"):
        Lab(tmp_path / "runs")


def test_the_flag_counts_more_than_the_environment(tmp_path, quickly, monkeypatch):
    monkeypatch.setenv("GENLAB_DEVICE", "cuda:63")
    final, _ = quickly("nice", *flags(SMALL["nice"]), "--out", tmp_path / "run")
    assert final["device"] == "cpu"


@pytest.mark.parametrize(
    "flags",
    [["--device", "meta"], ["--device", "nonsense"]],
    ids=lambda flags: flags[1],
)
def test_a_device_that_holds_no_numbers_is_a_line(tmp_path, capsys, flags):
    assert main(["nice", *flags, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["x" * 256, "y/" * 3000], ids=["name", "path"])
def test_an_output_whose_name_is_too_long_is_a_line(tmp_path, capsys, name):
    assert main(["nice", "--device", "cpu", "--out", str(tmp_path / name)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "name too long" in told.err
