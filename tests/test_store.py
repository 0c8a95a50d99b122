"""A run is a folder: whole or not there, readable whatever happened to it, and safe to open."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import shlex
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from datasets.files import write_atomic
from datasets.own import OwnData
from lab.driver import drive
from lab.runs.files import read_json, write_json
from lab.runs.snapshots import FRAMES
from lab.store import FORMAT, Run, RunError, RunStore, Status
from registry import FAMILIES

ROOT = Path(__file__).parent.parent
NICE = FAMILIES["nice"]
SMALL = {"layers": 2, "hidden": 32, "batch": 64, "iterations": 1000}


def small(**values):
    return NICE.training.config(**{**SMALL, **values})


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", NICE, small())


def one_sentence(error) -> bool:
    text = str(error.value)
    return "\n" not in text and text.endswith(".") and len(text) < 400


# -- files ------------------------------------------------------------------------------------


def test_a_file_that_fails_half_way_is_as_it_was_before(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def half(file):
        file.write(b"{ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, half)
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_file_is_never_seen_half_written(tmp_path):
    path = tmp_path / "a.bin"
    write_atomic(path, lambda file: file.write(b"old"))

    def slowly(file):
        for _ in range(100):
            file.write(b"n" * 10_000)
            file.flush()
            assert path.read_bytes() == b"old"

    os.link(path, tmp_path / "held")  # as if someone had the old file open
    write_atomic(path, slowly)
    assert path.read_bytes() == b"n" * 1_000_000
    assert (tmp_path / "held").read_bytes() == b"old", "put in place in one step, not copied"


FULL_DISK = """
import json, os, resource, sys
from pathlib import Path
import torch
from registry import FAMILIES
from lab import driver
from datasets.files import write_atomic
from lab.store import Run

torch.set_num_threads(1)
driver.CHECKPOINT_EVERY = driver.SNAPSHOT_EVERY = 0.05

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

root, told = Path(sys.argv[1]), {}

# 1. One file.
path = root / "file"
write_atomic(path, lambda file: file.write(b"old" * 1000))
limit(4000)
try:
    write_atomic(path, lambda file: file.write(b"new" * 100_000))
except OSError as error:
    told["errno"] = error.errno
limit(resource.RLIM_INFINITY)

# 2. One row of metrics, of which only a part finds room.
nice = FAMILIES["nice"]
run = Run.create(root / "rows", nice, nice.training.config())
run.metrics.start(["step", "nll"], 0)
run.metrics.append(["step", "nll"], {"step": 1, "nll": 1.5})
limit((run.path / "metrics.csv").stat().st_size + 3)
try:
    run.metrics.append(["step", "nll"], {"step": 123456, "nll": 2.5})
except OSError:
    told["row"] = "refused"
limit(resource.RLIM_INFINITY)
run.metrics.append(["step", "nll"], {"step": 3, "nll": 3.5})

# 3. A training, on a disk that is full from step 300 on.
config = nice.training.config(layers=2, hidden=32, batch=64, iterations=1000)
run = Run.create(root / "run", nice, config)
messages = []

def send(report):
    if report.status.step >= 300:
        limit(100)
    messages.append((report.status.step, report.status.state, report.status.message))

final = driver.drive(run, device="cpu", send=send, receive=lambda timeout: None)
limit(resource.RLIM_INFINITY)
told.update(state=final.state, step=final.step, message=final.message, messages=messages)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """What happens in a process that cannot write files larger than a limit."""
    root = tmp_path_factory.mktemp("full")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(root)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


def test_a_full_disk_leaves_the_old_file(full_disk):
    root, told = full_disk
    assert told["errno"]
    assert (root / "file").read_bytes() == b"old" * 1000
    assert sorted(p.name for p in root.iterdir()) == ["file", "rows", "run"]


def test_a_full_disk_leaves_no_half_row(full_disk):
    root, told = full_disk
    assert told["row"] == "refused"
    assert Run(root / "rows").metrics.rows() == [{"step": 1, "nll": 1.5}, {"step": 3, "nll": 3.5}]


def test_a_training_goes_on_when_the_disk_is_full_but_does_not_call_itself_finished(full_disk):
    root, told = full_disk
    assert (told["state"], told["step"]) == ("failed", 1000)
    assert "Saving failed" in told["message"]
    assert any(
        state == "running" and "Saving failed" in text for _, state, text in told["messages"]
    )

    run = Run(root / "run")
    step = run.checkpoints.last()["experiment"]["step"]
    assert 0 <= step < 1000
    assert f"step {step}" in told["message"], "it says which checkpoint is there"
    assert not [p for p in run.path.rglob(".*") if p.name != ".lock"], "nothing half written"

    # There is room again: the run goes on from its checkpoint.
    final = drive(run, device="cpu", send=lambda report: None, receive=lambda timeout: None)
    assert (final.state, final.step, final.message) == ("finished", 1000, "")
    assert run.weights.load_into(run.experiment().model) == 1000


# -- creating and finding ---------------------------------------------------------------------


def test_a_run_is_what_it_was_made_of(tmp_path):
    own = OwnData("points", np.random.default_rng(0).normal(size=(50, 2)).astype("f4"), "mine.csv")
    config = small(dataset="own", noise=0.3)
    run = Run.create(tmp_path / "deep" / "down" / "run", NICE, config, own)
    again = Run(run.path)
    assert again.family is NICE
    assert again.config == config
    assert np.array_equal(again.own_data().array, own.array)
    assert again.status().state == "queued"
    assert again.experiment().config == config
    assert again.checkpoints.last() is None
    assert again.snapshots.target() is None
    assert again.metrics.rows() == []
    assert again.snapshots.steps() == []
    assert again.weights.version() == 0


@pytest.mark.parametrize("taken", ["a file", "a full folder", "under a file"])
def test_what_is_there_is_not_overwritten(tmp_path, taken):
    path = tmp_path / "x"
    if taken == "a full folder":
        path.mkdir()
        (path / "thesis.tex").write_text("years of work")
    else:
        path.write_text("years of work")
    with pytest.raises(RunError) as error:
        Run.create(path / "run" if taken == "under a file" else path, NICE, small())
    assert one_sentence(error)
    kept = path / "thesis.tex" if taken == "a full folder" else path
    assert kept.read_text() == "years of work"


def test_an_empty_folder_will_do(tmp_path):
    (tmp_path / "x").mkdir()
    assert Run.create(tmp_path / "x", NICE, small()).config == small()


HOSTILE = [
    "",
    ".",
    "..",
    "/",
    "//",
    "a/b",
    "../secret",
    "secret/../secret",
    "/etc",
    "..\\secret",
    "a\\b",
    "secret\0",
    "\0",
    "secret\n",
    " secret",
    "secret.",
    ".secret",
    "-rf",
    "%2e%2e",
    "~",
    "ｓecret",
    "é",
    "x" * 81,
    "x" * 100_000,
    "sec ret",
    "sec?ret",
]


@pytest.mark.parametrize("run_id", HOSTILE, ids=[repr(h[:20]) for h in HOSTILE])
def test_ids_that_are_no_plain_name_lead_nowhere(tmp_path, run_id):
    Run.create(tmp_path / "secret", NICE, small())
    store = RunStore(tmp_path / "runs")
    Run.create(tmp_path / "runs" / "good", NICE, small())
    assert store.get(run_id) is None
    assert store.get("good") is not None
    assert store.get("secret") is None


def test_a_store_lists_its_runs_newest_first(tmp_path):
    store = RunStore(tmp_path / "runs")
    assert list(store) == []
    runs = [store.create(NICE, small(seed=seed)) for seed in range(3)]
    for age, run in enumerate(runs):
        run.write_status(Status(state="finished", created=1000.0 - age))
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    (tmp_path / "runs" / "empty").mkdir()
    assert [run.id for run in store] == [run.id for run in runs]
    assert len({run.id for run in runs}) == 3
    assert all(store.get(run.id) is not None for run in runs)
    store.delete(runs[1])
    assert [run.id for run in store] == [runs[0].id, runs[2].id]
    assert not runs[1].path.exists()


def test_names_of_runs_cannot_be_guessed(tmp_path):
    store = RunStore(tmp_path)
    tails = {store.create(NICE, small()).id.rsplit("-", 1)[1] for _ in range(20)}
    assert len(tails) == 20
    assert min(map(len, tails)) >= 10


def test_a_run_says_which_format_it_has_and_by_which_lab_it_was_written(run):
    values = read_json(run.path / "config.json")
    assert values["format"] == FORMAT
    assert {"lab", "torch", "numpy"} <= values["versions"].keys()
    # Runs of before have no number, and are read.
    del values["format"]
    write_json(run.path / "config.json", values)
    assert Run(run.path).config == small()
    assert Run(run.path).trouble() == ""
    write_json(run.path / "config.json", {**values, "format": FORMAT + 1})
    with pytest.raises(RunError, match="later version") as error:
        Run(run.path).config  # noqa: B018
    assert one_sentence(error)
    assert "later version" in Run(run.path).trouble()
    assert not Run(run.path).opens()


def test_a_run_without_settings_is_seen_and_can_be_deleted(run):
    store = RunStore(run.path.parent)
    (run.path / "config.json").unlink()
    (found,) = store
    assert "no config.json" in found.trouble()
    store.delete(found)
    assert list(store) == []


@pytest.mark.parametrize("year", [1970, 1979, 2108, 2200])
def test_a_file_of_a_year_that_zip_does_not_know_is_packed(run, year):
    when = datetime(year, 6, 1, tzinfo=UTC).timestamp()
    os.utime(run.path / "config.json", (when, when))
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as archive:
        assert archive.testzip() is None
        assert "run/config.json" in archive.namelist()


def test_an_import_that_was_killed_is_swept(tmp_path):
    store = RunStore(tmp_path)
    (tmp_path / ".import-0123/snapshots").mkdir(parents=True)
    (tmp_path / ".import-0123/data.npz").write_bytes(b"half")
    lock = store.claim()
    store.sweep()
    lock.release()
    assert not (tmp_path / ".import-0123").exists()


# -- damage -----------------------------------------------------------------------------------

GOOD_CONFIG = {"family": "nice", "config": SMALL}
BAD_CONFIGS = {
    "empty": b"",
    "torn": json.dumps(GOOD_CONFIG).encode()[:30],
    "binary": bytes(range(256)),
    "list": b"[1, 2]",
    "null": b"null",
    "number": b"7",
    "no family": json.dumps({"config": SMALL}).encode(),
    "other family": json.dumps({**GOOD_CONFIG, "family": "gan"}).encode(),
    "family as list": json.dumps({**GOOD_CONFIG, "family": ["nice"]}).encode(),
    "a path as family": json.dumps({**GOOD_CONFIG, "family": "../nice"}).encode(),
    "no config": json.dumps({"family": "nice"}).encode(),
    "config as list": json.dumps({**GOOD_CONFIG, "config": [1]}).encode(),
    "config as null": json.dumps({**GOOD_CONFIG, "config": None}).encode(),
    "out of range": json.dumps({**GOOD_CONFIG, "config": {"batch": 0}}).encode(),
    "unknown field": json.dumps({**GOOD_CONFIG, "config": {"bacth": 64}}).encode(),
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_damaged_config_is_refused_in_a_sentence(run, case):
    (run.path / "config.json").write_bytes(BAD_CONFIGS[case])
    for read in (lambda: run.config, lambda: run.family, run.experiment, run.command):
        with pytest.raises(RunError) as error:
            read()
        assert one_sentence(error)
    assert RunStore(run.path.parent).get("run") is not None, "it can still be listed and deleted"
    assert [r.id for r in RunStore(run.path.parent)] == ["run"]


def test_no_config_is_no_run(tmp_path):
    with pytest.raises(RunError) as error:
        Run(tmp_path).config  # noqa: B018
    assert one_sentence(error)
    assert RunStore(tmp_path.parent).get(tmp_path.name) is None


BAD_STATUSES = {
    "missing": None,
    "empty": b"",
    "torn": b'{"state": "runn',
    "binary": bytes(range(256)),
    "list": b"[]",
    "null": b"null",
    "string": b'"running"',
    "nothing in it": b"{}",
    "words for numbers": b'{"state": "running", "step": "many"}',
    "a list for a number": b'{"state": "running", "created": [1]}',
    "null for a number": b'{"state": "running", "seconds": null}',
    "endless": b'{"state": "running", "step": Infinity}',
    "nested": b"[" * 100_000,
    "below zero": b'{"state": "finished", "step": 5, "total": -3}',
    "not a number": b'{"state": "finished", "step": 5, "seconds": NaN}',
}


@pytest.mark.parametrize("case", BAD_STATUSES)
def test_a_damaged_status_counts_as_interrupted(run, case):
    path = run.path / "status.json"
    path.unlink()
    if BAD_STATUSES[case] is not None:
        path.write_bytes(BAD_STATUSES[case])
    status = run.status()
    assert status.state == "interrupted"
    assert not status.active
    assert status.message
    store = RunStore(run.path.parent)
    store.create(NICE, small())
    assert len(list(store)) == 2, "one bad status must not hide the others"
    store.mark_interrupted()


def test_a_status_of_a_later_version_is_understood(run):
    write_json(run.path / "status.json", {"state": "finished", "step": 7, "mood": "good"})
    assert (run.status().state, run.status().step) == ("finished", 7)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {shlex.quote(str(self.path))}",)


def test_a_damaged_checkpoint_is_refused_and_never_run(run, tmp_path):
    file = io.BytesIO()
    torch.save({"experiment": run.experiment().state_dict()}, file)
    good = file.getvalue()
    evil = io.BytesIO()
    torch.save(Evil(tmp_path / "owned"), evil)
    cases = [
        b"",
        b"\0",
        good[: len(good) // 2],
        good[:-10],
        bytes(range(256)) * 10,
        pickle.dumps(Evil(tmp_path / "owned")),
        evil.getvalue(),
    ]
    for case in cases:
        (run.path / "checkpoint.pt").write_bytes(case)
        with pytest.raises(RunError) as error:
            run.checkpoints.last()
        assert one_sentence(error)
    assert not (tmp_path / "owned").exists()


def test_metrics_survive_a_torn_end_and_garbage(run):
    columns = ["step", "nll", "kl"]
    run.metrics.start(columns, 0)
    for step in range(3):
        run.metrics.append(columns, {"step": step, "nll": 1 / 3, "kl": None})
    path = run.path / "metrics.csv"
    whole = path.read_bytes()
    expected = [{"step": step, "nll": 0.3333333} for step in range(3)]
    assert run.metrics.rows() == expected
    for cut in range(1, len(whole.splitlines(True)[-1])):
        path.write_bytes(whole[:-cut])
        # Also a number of which the last digits are missing is a wrong number.
        assert run.metrics.rows() == expected[:2], cut
    for tail in (b"x,y,z\n", b"\xff\xfe\n", b"9\n9,9,9,9,9\n", b"\n\n", b"nan,1,1\n", b"\0" * 4096):
        path.write_bytes(whole + tail)
        steps = [row["step"] for row in run.metrics.rows()]
        assert steps in ([0, 1, 2], [0, 1, 2, 9]), tail
    for junk in (b"", b"\n", b"\xff" * 100, b"a,b\n1,2\n", b"x" * 300_000 + b"\n1\n"):
        path.write_bytes(junk)
        assert run.metrics.rows() == []


def test_metrics_after_a_step_are_dropped_on_a_resume(run):
    columns = ["step", "nll", "kl"]
    run.metrics.start(columns, 0)
    for step in range(0, 100, 10):
        run.metrics.append(
            columns, {"step": step, "nll": step / 7, "kl": step / 3 if step % 20 else None}
        )
    before = run.metrics.rows()
    run.metrics.start(columns, 50)
    assert run.metrics.rows() == before[:6]
    run.metrics.append(columns, {"step": 60, "nll": float("nan")})
    assert [row["step"] for row in run.metrics.rows()] == [0, 10, 20, 30, 40, 50, 60]
    run.metrics.start(columns, 0)
    assert run.metrics.rows() == []


# -- snapshots ---------------------------------------------------------------------------------


def test_snapshots_stay_few_and_spread_out_and_milestones_stay(run):
    keep = set(range(0, 3001, 300))
    arrays = {"density": np.ones((4, 4), np.float16)}
    for step in range(3001):
        if step % 3 == 0:
            run.snapshots.save(step, arrays, keep)
            assert len(run.snapshots.steps()) <= FRAMES + len(keep) + 2
    steps = run.snapshots.steps()
    assert keep <= set(steps)
    assert steps[0] == 0
    assert steps[-1] == 3000
    assert len(steps) > FRAMES // 2
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) <= 4 * 3000 / len(steps), "the history has no hole"


def test_the_newest_snapshot_is_always_there(run):
    for step in range(1, 400):
        run.snapshots.save(step, {"a": np.array([step])}, set())
        assert run.snapshots.load(step)["a"] == step
    run.snapshots.drop(after=350)
    assert run.snapshots.steps()[-1] <= 350


def test_snapshots_come_back_as_they_were(run):
    arrays = {"density": np.random.default_rng(0).random((5, 5)).astype(np.float16)}
    run.snapshots.save(12, arrays, set())
    run.snapshots.save_target({"box": np.arange(4.0)})
    back = Run(run.path).snapshots.load(12)
    assert back.keys() == arrays.keys()
    assert np.array_equal(back["density"], arrays["density"])
    assert np.array_equal(Run(run.path).snapshots.target()["box"], np.arange(4.0))


def test_what_is_no_snapshot_is_not_taken_for_one(run):
    folder = run.path / "snapshots"
    for name in ("readme.npz", "1.txt", ".00000007.npz.abc", "-3.npz"):
        (folder / name).write_bytes(b"")
    assert run.snapshots.steps() == []


# -- weights ----------------------------------------------------------------------------------


def test_weights_come_back(run):
    experiment = run.experiment()
    with torch.no_grad():
        for parameter in experiment.model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    run.weights.save(experiment.model, 77)
    assert run.weights.version() > 0
    other = run.experiment()
    assert run.weights.load_into(other.model) == 77
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(other.model.log_prob(x), experiment.model.log_prob(x))


def foreign_weights(case: str, good: dict[str, torch.Tensor]) -> bytes:
    name = next(iter(good))
    match case:
        case "one more":
            return safetensors.torch.save({**good, "extra": torch.zeros(1)})
        case "one less":
            return safetensors.torch.save({k: v for k, v in good.items() if k != name})
        case "another shape":
            return safetensors.torch.save({**good, name: torch.zeros(999)})
        case "another type":
            return safetensors.torch.save({**good, name: good[name].double()})
        case "another name":
            renamed = {k: v for k, v in good.items() if k != name}
            return safetensors.torch.save({**renamed, name + "x": good[name]})
        case "another model":
            other = NICE.training.build(small(layers=4))
            return safetensors.torch.save(
                {k: v.contiguous() for k, v in other.model.state_dict().items()}
            )
        case "torn":
            return safetensors.torch.save(good)[:-20]
        case "no step":
            return safetensors.torch.save(good, {"step": "many"})
        case "a header without end":
            return (2**62).to_bytes(8, "little") + b"{}"
        case _:
            return b""


@pytest.mark.parametrize(
    "case",
    [
        "one more",
        "one less",
        "another shape",
        "another type",
        "another name",
        "another model",
        "torn",
        "no step",
        "a header without end",
        "empty",
    ],
)
def test_weights_of_another_model_are_refused_in_a_sentence(run, case):
    experiment = run.experiment()
    good = {k: v.clone().contiguous() for k, v in experiment.model.state_dict().items()}
    (run.path / "model.safetensors").write_bytes(foreign_weights(case, good))
    with pytest.raises(RunError) as error:
        run.weights.load_into(experiment.model)
    assert one_sentence(error)
    for name, value in experiment.model.state_dict().items():
        assert torch.equal(value, good[name]), "nothing of it is taken"


def test_no_weights_yet_is_a_sentence_too(run):
    with pytest.raises(RunError) as error:
        run.weights.load_into(run.experiment().model)
    assert one_sentence(error)


# -- as a whole -------------------------------------------------------------------------------


def test_the_zip_is_the_folder(run):
    run.metrics.start(["step"], 0)
    run.snapshots.save(3, {"a": np.zeros(2)}, set())
    run.snapshots.save_target({"b": np.ones(2)})
    run.checkpoints.save({"experiment": {}, "seconds": 0.0})
    run.weights.save(run.experiment().model, 3)
    (run.path / ".lock").touch()
    (run.path / ".status.json.x7").write_text("half")
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as archive:
        assert archive.testzip() is None
        content = {name: archive.read(name) for name in archive.namelist()}
    expected = {
        f"{run.id}/{path.relative_to(run.path)}": path.read_bytes()
        for path in run.path.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert content == expected
    names = {Path(name).name for name in content}
    assert {"config.json", "status.json", "metrics.csv", "checkpoint.pt"} <= names
    assert {"model.safetensors", "target.npz", "00000003.npz"} <= names
    assert run.size() >= sum(map(len, expected.values()))


def test_a_zipped_run_opens_elsewhere(run, tmp_path):
    run.weights.save(run.experiment().model, 3)
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as archive:
        archive.extractall(tmp_path / "elsewhere")
    again = Run(tmp_path / "elsewhere" / run.id)
    assert again.config == run.config
    assert again.weights.load_into(again.experiment().model) == 3


@pytest.mark.parametrize(
    ("stem", "values"),
    [
        ("nice", {}),
        ("nice", {"prior": "logistic", "weight_decay": 0.005, "learning_rate": 1e-4, "seed": 7}),
        ("realnvp", {"coupling": "spline", "actnorm": True, "noise": 0.31, "dataset": "grid"}),
        ("glow", {"levels": 3, "conditional": False, "precision": "float32", "batch": 32}),
        ("realnvp_images", {"couplings": 3, "dataset": "digits8", "iterations": 20_000}),
        ("nice_images", {"depth": 2, "prior": "gaussian", "learning_rate": 5e-3}),
    ],
)
def test_the_command_repeats_the_settings(tmp_path, monkeypatch, stem, values):
    from cli import train as cli

    family = FAMILIES[stem]
    run = Run.create(tmp_path / "run", family, family.training.config(**values))
    words = shlex.split(run.command())
    assert words[:3] == ["python", "-m", "training"]
    # Not trained here: what counts is the run that the command would make.
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(
        cli, "_train", lambda run, *_, **__: made.append(run) or {"state": "finished"}
    )
    assert cli.main(words[3:]) == 0
    assert made[0].config == run.config
    assert made[0].family is family


# -- who trains it ----------------------------------------------------------------------------


def test_only_runs_that_nobody_trains_are_marked_interrupted(tmp_path):
    store = RunStore(tmp_path)
    states = ["queued", "starting", "running", "paused", "finished", "stopped", "diverged"]
    runs = {state: store.create(NICE, small()) for state in states}
    for state, run in runs.items():
        run.write_status(Status(state=state, step=5, created=1.0))
    held = store.create(NICE, small())
    held.write_status(Status(state="running", created=1.0))
    with held.lock():
        assert held.is_trained_now()
        store.mark_interrupted()
    assert not held.is_trained_now()
    assert held.status().state == "running"
    for state, run in runs.items():
        if state in ("finished", "stopped", "diverged"):
            assert run.status().state == state
        else:
            assert run.status().state == "interrupted"
            assert state in run.status().message
            assert run.status().step == 5


def test_what_a_killed_process_left_is_swept_away(run):
    (run.path / ".checkpoint.pt.abc123").write_bytes(b"half")
    (run.path / "snapshots" / ".00000010.npz.abc123").write_bytes(b"half")
    run.snapshots.save(10, {"a": np.zeros(1)}, set())
    with run.lock():
        run.sweep()
        assert run.is_trained_now(), "the lock itself stays"
    assert not [p for p in run.path.rglob(".*") if p.name != ".lock"]
    assert run.snapshots.steps() == [10]
    assert run.config == small()
