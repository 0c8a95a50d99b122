"""Every command line that a page prints is copied into a real shell, and makes the same run."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from conftest import wait_until
from streamlit.testing.v1 import AppTest

from cli.train import main, parser
from datasets.defect_set import DefectSet
from datasets.own import OwnData
from datasets.own_images import OwnImages, fixed_fifth
from datasets.own_pairs import OwnPairs
from lab.comparison import CLASSIC, CompareConfig, Terms
from lab.lab import Lab
from lab.runs import repeat
from lab.store import Run
from paths import ASSETS, ROOT
from registry import FAMILIES
from training.core.loop import train
from ui.arena.live import command_of

WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RANDOM = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def points() -> OwnData:
    return OwnData("points", RANDOM.normal(size=(60, 2)).astype(np.float32), "Größe & 'x'.csv")


def drawn() -> OwnData:
    mass = np.zeros((9, 12), np.float32)
    mass[2:6, 1:5] = 1
    return OwnData("picture", mass, "drawn.png")


def images() -> OwnImages:
    labels = np.arange(40) % 2
    return OwnImages(pixels(40, 3, 8, 8), labels, fixed_fifth(labels), ("cat", "dog"), "pets.zip")


def parts() -> DefectSet:
    masks = np.zeros((4, 32, 32), bool)
    masks[2:, 5:9, 5:9] = True
    kinds = ("good", "good", "crack", "it's broken")
    return DefectSet("parts", pixels(8, 3, 32, 32), pixels(4, 3, 32, 32), kinds, masks)


def pairs() -> OwnPairs:
    return OwnPairs(*(pixels(n, 3, 32, 32) for n in (6, 7, 1, 2)), ("day", "night"), "two folders")


SMALL = {"iterations": 1000, "batch": 64, "hidden": 32}
# A family, settings of which some are no defaults, and what of one's own it learns.
CASES = {
    "points": ("nice", {**SMALL, "layers": 2, "prior": "logistic", "learning_rate": 3e-4}, points),
    "a drawing": ("realnvp", {**SMALL, "blocks": 2, "actnorm": True, "seed": 7}, drawn),
    "images": ("vae", {"hidden": 64, "epochs": 2, "batch": 16, "latent": 2}, images),
    "defects": ("maf", {"epochs": 1, "resolution": 32, "hidden": 32, "blocks": 1}, parts),
    "pairs": ("cyclegan", {"width": 8, "image_size": 32, "epochs": 1, "jitter": False}, pairs),
    "a set of the lab": ("gan", {"iterations": 1000, "hidden": 16, "dataset": "ring"}, None),
}
MORE = {
    "glow_plane": ("glow_plane", {**SMALL, "steps": 2}, points),
    "maf_plane": ("maf_plane", {**SMALL, "blocks": 1}, drawn),
    "vae_plane": ("vae_plane", SMALL, points),
    "gan": ("gan", {"iterations": 1000, "hidden": 16}, drawn),
    "nice_images": ("nice_images", {"layers": 2, "hidden": 100, "batch": 32}, images),
    "realnvp_images": ("realnvp_images", {"batch": 32, "hidden": 32, "couplings": 2}, images),
    "glow": ("glow", {"levels": 1, "steps": 4, "hidden": 32, "batch": 32}, images),
    "gan_images": ("gan_images", {"hidden": 64, "epochs": 2, "batch": 16}, images),
    "dcgan": ("dcgan", {"maps": 8, "epochs": 2, "batch": 16}, images),
    "whole image": ("maf", {"model": "image", "image_size": 8, "hidden": 32, "epochs": 2}, parts),
}


@pytest.fixture(params=[*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def run(request, tmp_path) -> Run:
    """A run in a folder of runs that no shell would take without quotes."""
    stem, values, make = (CASES | MORE)[request.param]
    family, own = FAMILIES[stem], make() if make else None
    if own is not None:
        values = {**values, "dataset": "own"}
    config = family.training.config(**values)
    return Run.create(tmp_path / 'the lab\'s "runs" $HOME' / "a run", family, config, own)


@pytest.fixture(scope="module", autouse=True)
def own_lab(tmp_path_factory) -> Iterator[None]:
    """A lab whose runs are nobody else's, in place of the one of this process."""
    before = sys.__dict__.pop("_generative_lab", None)
    lab = sys.__dict__["_generative_lab"] = Lab(tmp_path_factory.mktemp("runs"))
    st.cache_resource.clear()
    yield
    lab.close()
    st.cache_resource.clear()
    sys.__dict__.pop("_generative_lab", None)
    if before is not None:
        sys.__dict__["_generative_lab"] = before


def printed(run: Run) -> str:
    """The command as the page shows it."""

    def page(path: str) -> None:
        from lab.store import Run
        from ui.common.downloads import show_command

        show_command(Run(path))

    tester = AppTest.from_function(page, args=(str(run.path),)).run()
    assert not tester.exception
    assert "in the folder of the lab:" in tester.caption[0].value
    return tester.code[0].value


def in_a_shell(line: str, folder: Path, **env: str) -> subprocess.Popen:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "GENLAB_DEVICE": "cpu", **env}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([shutil.which("bash"), "-c", line], cwd=folder, env=env, **pipes)


def made_by(line: str, folder: Path, **env: str) -> Run:
    """The run that a command makes, with its first losses; it is not trained to its end."""
    out = Path(shlex.split(line)[-1])
    run = Run(out if out.is_absolute() else folder / out)
    process = in_a_shell(line, folder, **env)
    try:
        wait_until(lambda: run.metrics.rows()[1:] or process.poll() is not None, 180)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (0, 130), err
    return run


def first_losses(run: Run) -> tuple[int, dict[str, float]]:
    for event in train(run.experiment(), snapshots=False, measure_every=10**9):
        if event.losses:
            return event.step, event.losses
    raise AssertionError("no losses")


def test_the_command_under_a_run_makes_the_same_run(run):
    line = printed(run)
    again = made_by(line, ROOT)
    assert again.config == run.config
    assert again.family is run.family
    if run.config.dataset == "own":
        assert again.own_data().name == run.own_data().name
    step, losses = first_losses(run)
    row = next(row for row in again.metrics.rows() if row["step"] == step)
    assert {name: row[name] for name in losses} == pytest.approx(losses, rel=1e-3, nan_ok=True)


def test_copied_a_second_time_it_makes_another_run(tmp_path):
    run = Run.create(tmp_path / "runs" / "a", FAMILIES["nice"], FAMILIES["nice"].training.config())
    outs = []
    for _ in range(3):
        outs.append(Path(shlex.split(run.command())[-1]))
        outs[-1].mkdir()
    assert outs == [tmp_path / "runs" / f"nice-again{end}" for end in ("", "-2", "-3")]


def test_in_the_folder_of_the_lab_the_paths_are_short(tmp_path, monkeypatch):
    monkeypatch.setattr(repeat, "ROOT", tmp_path)
    config = FAMILIES["nice"].training.config(**SMALL, layers=2, dataset="own")
    run = Run.create(tmp_path / "runs" / "mine", FAMILIES["nice"], config, points())
    line = run.command()
    assert line.endswith("--data runs/mine/data.npz --out runs/nice-again")
    assert made_by(line, tmp_path, PYTHONPATH=str(ROOT)).config == run.config


def test_who_has_brought_a_run_home_finds_its_data_there(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_DATA", "/of/the/server")
    config = FAMILIES["nice"].training.config(**SMALL, layers=2, dataset="own")
    run = Run.create(tmp_path / "srv" / "nice-1", FAMILIES["nice"], config, points())
    line = run.command(here=False)
    assert "srv" not in line, "where the server keeps it is nobody's business"
    assert "of/the/server" not in line
    home = tmp_path / "home"
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as archive:
        archive.extractall(home)
    assert made_by(line, home, PYTHONPATH=str(ROOT)).config == run.config


def test_a_shipped_run_is_not_repeated_among_what_ships():
    line = Run(ASSETS / "runs" / "nice").command()
    assert shlex.split(line)[-1] == "runs/nice-again"


def test_where_known_sets_were_found_is_part_of_the_command(tmp_path, monkeypatch):
    roots = [tmp_path / "my data", tmp_path / "gone", tmp_path / "more"]
    roots[0].mkdir()
    roots[2].mkdir()
    monkeypatch.setenv("GENLAB_DATA", os.pathsep.join(map(str, roots)))
    line = {}
    for dataset in ("mnist", "digits"):
        config = FAMILIES["vae"].training.config(dataset=dataset)
        line[dataset] = Run.create(tmp_path / dataset, FAMILIES["vae"], config).command()
    process = in_a_shell(line["mnist"].replace("python -m training", "env #"), tmp_path)
    found = process.communicate(timeout=60)[0]
    assert f"GENLAB_DATA={roots[0]}{os.pathsep}{roots[2]}\n" in found
    assert line["digits"].startswith("python "), "it comes with the lab"


@pytest.mark.parametrize(
    "terms",
    [
        CLASSIC,
        Terms(("realnvp", "gan"), CompareConfig(dataset="ring", seeds=1, steps=1000, batch=64)),
        Terms(("nice",), CompareConfig(seconds=12.345678)),
    ],
)
def test_the_command_of_a_comparison_names_its_terms(terms):
    from cli.compare import terms_of

    options = parser().parse_args(shlex.split(command_of(terms))[3:])
    assert terms_of(options) == terms
    others = [command_of(Terms(("vae",), CompareConfig(seeds=n))) for n in (1, 2)]
    folders = {shlex.split(line)[-1] for line in (*others, command_of(terms))}
    assert len(folders) == 3, "one folder holds one comparison"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_the_commands_in_the_docs_are_taken(page):
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"python -m training ([^`|\n]*)", text):
        if "--help" in line or "planar" in line or line.isupper():
            continue
        options = parser().parse_args(shlex.split(line))
        if options.word in FAMILIES:
            config = FAMILIES[options.word].training.config
            given = {knob.name: getattr(options, knob.name) for knob in config.knobs()}
            config.parse({name: value for name, value in given.items() if value is not None})


# -- what is missing ------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["nice", "glow", "maf", "cyclegan"])
@pytest.mark.parametrize("name", ["gone.npz", "gone.csv", "gone.zip", "a folder"])
def test_what_is_missing_is_not_called_damaged(stem, name, tmp_path, capsys):
    place = tmp_path / name
    assert main([stem, "--data", str(place), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.strip() == (
        f"training {stem}: There is no file or folder {place}."
    )


def test_a_run_whose_data_are_gone_says_so(tmp_path, capsys):
    config = FAMILIES["nice"].training.config(dataset="own")
    run = Run.create(tmp_path / "run", FAMILIES["nice"], config, points())
    (run.path / "data.npz").unlink()
    assert main(["resume", str(run.path), "--device", "cpu", "--quiet"]) == 1
    assert f"data.npz is missing in {run.path}" in capsys.readouterr().err
