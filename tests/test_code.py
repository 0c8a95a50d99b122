"""A run as one file of Python: it needs no lab, and takes the same steps."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_driver import go
from test_repeat import drawn, images, pairs, parts, points

from cli.train import main
from lab.code.notebook import notebook_of, python_of
from lab.code.words import PACKAGES
from lab.runs.interventions import Intervention
from lab.store import Run
from registry import FAMILIES
from tests.golden.cases import CASES, SMALL
from training.core.loop import train

STEPS = 20
GOLDEN = {stem for stem, _ in CASES.values()}
ALL = {**CASES, **{stem: (stem, {}) for stem in FAMILIES if stem not in GOLDEN}}
QUICK = {"vae_plane"}
HOUSE = {"models", "datasets", "metrics", "training", "lab", "analysis", "registry", "paths"}


def create(folder: Path, stem: str, own=None, **values) -> Run:
    family = FAMILIES[stem]
    config = family.training.config.parse({**SMALL.get(stem, {}), **values})
    return Run.create(folder / "run", family, config, own)


def first_steps(run: Run) -> tuple[dict[str, torch.Tensor], dict[int, dict[str, float]]]:
    """The weights after a few steps in the lab, and the losses on the way."""
    torch.set_num_threads(1)
    experiment = run.experiment()
    experiment.measure = dict
    losses = {}
    for event in train(experiment, snapshots=False):
        if event.losses:
            losses[event.step] = dict(event.losses)
        if event.step == STEPS:
            return experiment.model.state_dict(), losses
    raise AssertionError("it is shorter than that")


def carried_out(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """What a script does in an empty folder, in a process that knows nothing of the lab."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(script, encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-I", "script.py", *words]
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def told(output: str) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for step, name, value in re.findall(r"step +([\d,]+)  (\w+) (\S+)", output):
        found.setdefault(int(step.replace(",", "")), {})[name] = float(value)
    return found


def assert_it_takes_the_same_steps(run: Run, folder: Path) -> str:
    script = python_of(run)
    done = carried_out(script, folder, str(STEPS))
    assert done.returncode == 0, done.stderr
    weights, losses = first_steps(run)
    assert same(torch.load(folder / "model.pt", weights_only=True), weights)
    shown = {step: {k: float(f"{v:.6g}") for k, v in row.items()} for step, row in losses.items()}
    assert told(done.stdout) == shown != {}
    return script


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in ALL]
)
def test_a_script_takes_the_same_steps_as_the_lab_and_needs_nothing_of_it(case, tmp_path):
    stem, values = ALL[case]
    script = assert_it_takes_the_same_steps(create(tmp_path, stem, **values), tmp_path / "away")
    tree = ast.parse(script)
    imported = {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    names = {
        a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    imported |= names
    assert not imported & HOUSE
    needed = {PACKAGES.get(name, name) for name in imported - sys.stdlib_module_names}
    header = script[: script.index("# ///\n", 10)]
    assert set(re.findall(r'"([\w-]+)",', header)) == needed
    loop = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "train")
    assert loop.end_lineno - loop.lineno + tree.body[-1].end_lineno - tree.body[-1].lineno < 40
    ruff = [shutil.which("ruff") or "ruff", "check", "--select", "E9,F", "--isolated", "-"]
    if shutil.which("ruff"):
        done = subprocess.run(ruff, input=script, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout


def test_what_was_changed_while_a_run_trained_is_in_its_script(tmp_path):
    run = create(tmp_path, "gan", hidden=16, depth=1)
    alone = [("pause",), ("step", "generator"), ("step", "discriminator"), ("resume",)]
    changed = {1: [("set", "loss", "wasserstein")], 4: [("set", "learning_rate", 0.0004)]}
    go(run, {**changed, 6: alone, 30: [("stop",)]})
    run.interventions.save([*run.interventions.load(), Intervention(40, "pause")])
    script = python_of(run)
    assert "wasserstein" in script
    assert "least-squares" not in script.replace("Least Squares", ""), "that loss is not taken"
    done = carried_out(script, tmp_path / "away")
    assert done.returncode == 0, done.stderr
    state = run.checkpoints.last()["experiment"]
    assert same(torch.load(tmp_path / "away" / "model.pt", weights_only=True), state["model"])


@pytest.mark.slow
def test_a_script_tells_what_the_run_logged_beside_its_own_losses(tmp_path):
    run = create(tmp_path, "vae_plane")
    go(run, {25: [("stop",)]})
    done = carried_out(python_of(run), tmp_path / "away", "20")
    pairs_of = re.findall(r" (\S+)  \(the run: (\S+)\)", done.stdout)
    assert len(pairs_of) == 6, "three losses, twice"
    assert all(here == there for here, there in pairs_of)


OWN = {
    "points": ("nice", {}, points),
    "drawn": ("realnvp", {}, drawn),
    "images": ("vae", {}, images),
    "parts": ("maf", {}, parts),
    "pairs": ("cyclegan", {}, pairs),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OWN)
def test_ones_own_data_lie_beside_the_script(kind, tmp_path):
    stem, values, make = OWN[kind]
    run = create(tmp_path, stem, make(), dataset="own", **values)
    away = tmp_path / "away"
    lost = carried_out(python_of(run), away, str(STEPS))
    assert "data.npz" in lost.stderr
    assert "Put `data.npz` beside this script" in python_of(run)
    shutil.copy(run.path / "data.npz", away)
    assert_it_takes_the_same_steps(run, away)


@pytest.mark.parametrize(
    ("stem", "dataset", "told"),
    [
        ("vae", "mnist", "downloaded by torchvision"),
        ("cyclegan", "horse2zebra", "`data/horse2zebra/trainA`"),
        ("maf", "mvtec_capsule", "`data/capsule/train/good`"),
        ("nice", "spirals", None),
    ],
)
def test_a_script_says_where_data_have_to_lie_that_it_does_not_make(stem, dataset, told, tmp_path):
    script = python_of(create(tmp_path, stem, dataset=dataset))
    compile(script, "script", "exec")
    assert told is None or told in script
    assert ("Put " in script or "downloaded by" in script) == (told is not None)


def test_the_notebook_is_of_the_format_and_has_the_cells_of_the_script(tmp_path):
    run = create(tmp_path, "gan")
    book = json.loads(notebook_of(run))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert set(book) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    cells = book["cells"]
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", one) for one in ids)
    code = {"cell_type", "execution_count", "id", "metadata", "outputs", "source"}
    for cell in cells:
        wanted = code if cell["cell_type"] == "code" else code - {"execution_count", "outputs"}
        assert set(cell) == wanted
        assert all(line.endswith("\n") for line in cell["source"][:-1])
    python = [ast.parse("".join(c["source"])) for c in cells if c["cell_type"] == "code"]
    whole = ast.parse(python_of(run))
    assert [ast.dump(n) for tree in python for n in tree.body] == [ast.dump(n) for n in whole.body]
    # marimo takes no name that two cells set.
    set_by = [name for tree in python for name in names_of(tree)]
    assert len(set(set_by)) == len(set_by)


def names_of(cell: ast.Module) -> set[str]:
    """The names that a cell sets at its top."""
    found = set()
    inner = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
    waiting: list[ast.AST] = list(cell.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        if not isinstance(node, inner):
            waiting += ast.iter_child_nodes(node)
    return {name for name in found if not name.startswith("_")}


def test_the_command_line_writes_either_and_refuses_what_it_cannot(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = create(tmp_path, "gan")
    assert main(["code", str(run.path)]) == 0
    assert capsys.readouterr().out == "run.py\n"
    assert (tmp_path / "run.py").read_text() == python_of(run)
    assert main(["code", str(run.path), "--out", "run.ipynb"]) == 0
    assert json.loads((tmp_path / "run.ipynb").read_text())["nbformat"] == 4
    capsys.readouterr()
    for words, said in (
        ([str(run.path)], "exists already"),
        ([str(run.path), "--out", "run.txt"], "must end in .py or .ipynb"),
        ([str(run.path), "--out", "no/such/folder.py"], "cannot be written"),
        ([str(tmp_path)], "is not a run"),
    ):
        assert main(["code", *words]) == 2
        assert said in capsys.readouterr().err
