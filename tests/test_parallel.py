"""One training by two processes: the same as by one with the same batch."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import wait_until

from cli import torchrun
from lab.store import Run
from lab.workers import PRELOAD
from registry import FAMILIES
from training.core import collectives, distributed
from training.core.config import ConfigError
from training.core.experiment import Experiment
from training.core.loop import train

ROOT = Path(__file__).parent.parent

SMALL = {
    "glow": {"levels": 1, "steps": 4, "hidden": 32, "batch": 32},
    "realnvp_images": {"batch": 32},
    "nice_images": {"batch": 32},
    "maf_images": {"batch": 32, "blocks": 2, "layers": 1, "width": 32},
    # An odd batch: one of the two has an image more.
    "vae": {"network": "conv", "hidden": 64, "batch": 127},
}
STEPS = 5
ROWS = (8, 5, 1)  # of batches whose means are taken; of 1 row, one of the two has none


def experiment(stem: str) -> Experiment:
    family = FAMILIES[stem].training
    values = {k: v for k, v in SMALL[stem].items() if k in family.config.model_fields}
    extra = {"precision": "float32"} if "precision" in family.config.model_fields else {}
    return family.build(family.config(**values, **extra, seed=5))


def some_steps(learner: Experiment) -> list[dict]:
    training = train(learner, log_every=1, snapshots=False, measure_every=10**9)
    return [dict(next(training).losses) for _ in range(STEPS + 1)][1:]


@pytest.mark.parametrize(("device", "reason"), [("cuda:1", "cpu or cuda"), ("cuda", "0 GPUs")])
def test_a_device_of_the_environment_counts_for_several_processes_too(device, reason, monkeypatch):
    monkeypatch.setenv("GENLAB_DEVICE", device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=reason):
        torchrun.join(None)


def first_or_second(rank: int, port: int, stems: list[str], folder: str) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({k: str(v) for k, v in place.items()}, MASTER_ADDR="127.0.0.1")
    torchrun.join("cpu")
    parts = [collectives.mean(*collectives.shard(torch.arange(n) ** 2.0), of=n) for n in ROWS]
    torch.save(parts, f"{folder}/means-{rank}.pt")
    for stem in stems:
        learner = experiment(stem)
        if collectives.leads():
            losses = some_steps(learner)
        else:
            learner.generator.manual_seed(99)  # what differs is put right at the start
            next(learner.model.parameters()).data.zero_()
            distributed.begin(learner)
            losses = []
            for _ in range(STEPS):
                assert distributed.agree()
                losses.append({k: float(v) for k, v in distributed.update(learner).items()})
                learner.step += 1
            assert not distributed.agree()
        state = {"model": learner.model.state_dict(), "generator": learner.generator.get_state()}
        torch.save({**state, "losses": losses}, f"{folder}/{stem}-{rank}.pt")
    torchrun.leave()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_two_processes(stems: list[str], folder: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    port = free_port()
    both = [
        context.Process(target=first_or_second, args=(rank, port, stems, str(folder)))
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]


def check_same(stem: str, folder: Path) -> None:
    alone = experiment(stem)
    losses = some_steps(alone)
    results = [torch.load(folder / f"{stem}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in alone.model.state_dict().items():
        first, second = (result["model"][name] for result in results)
        assert torch.equal(first, second), name
        torch.testing.assert_close(first, value, rtol=1e-4, atol=1e-5, msg=f"{stem} {name}")
    for result in results:
        assert torch.equal(result["generator"], alone.generator.get_state())
        for found, expected in zip(result["losses"], losses, strict=True):
            assert found == pytest.approx(expected, rel=1e-4)
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3), "it learns"


def test_two_processes_train_like_one_with_the_same_batch(tmp_path):
    in_two_processes(["glow", "vae"], tmp_path)
    check_same("glow", tmp_path)
    check_same("vae", tmp_path)
    parts = [torch.load(tmp_path / f"means-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for n, first, second in zip(ROWS, *parts, strict=True):
        assert first + second == (torch.arange(n) ** 2.0).mean()


@pytest.mark.slow
def test_the_other_families_too(tmp_path):
    in_two_processes(["realnvp_images", "nice_images"], tmp_path)
    check_same("realnvp_images", tmp_path)
    check_same("nice_images", tmp_path)


def test_one_process_alone_changes_nothing():
    x = torch.randn(7, 3, requires_grad=True)
    assert collectives.size() == 1
    assert collectives.leads()
    assert collectives.shard(x)[0] is x
    assert torch.equal(collectives.mean(x[:, 0], of=7), x[:, 0].mean())
    assert collectives.total(x, x.sum())[0] is x
    assert not torchrun.launched()


# -- the command line ---------------------------------------------------------------------------


def by_torchrun(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    where = ["--master_addr", "127.0.0.1", "--master_port", str(free_port()), "-m", "training"]
    return subprocess.Popen(
        [*command, *where, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


SHORT = ["vae", "--network", "mlp", "--hidden", "64", "--batch", "512", "--seed", "3"]
COMMON = ["--device", "cpu", "--quiet"]


@pytest.mark.slow
def test_from_the_command_line_interrupted_and_resumed_it_ends_like_one_never_interrupted(tmp_path):
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    words = [*SHORT, "--epochs", "50", *COMMON]
    process = by_torchrun(*words, "--out", str(run.path))
    wait_until(lambda: run.status().step > 20, timeout=90)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    status = run.status()
    assert status.state == "interrupted", errors
    assert "resume" in status.message
    assert run.checkpoints.last()["experiment"]["step"] == status.step < status.total
    assert "LostProcess" not in errors

    process = by_torchrun("resume", str(run.path), *COMMON)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert len(output.splitlines()) == 1, "the leader alone tells"
    assert json.loads(output)["state"] == "finished"
    steps = [row["step"] for row in run.metrics.rows()]
    assert steps == sorted(set(steps)), "metrics are written once"

    output, errors = by_torchrun(*words, "--out", str(whole.path)).communicate(timeout=120)
    assert json.loads(output)["state"] == "finished"
    for name, value in whole.checkpoints.last()["experiment"]["model"].items():
        assert torch.equal(value, run.checkpoints.last()["experiment"]["model"][name])


@pytest.mark.slow
def test_a_killed_process_ends_all_with_a_message(tmp_path):
    run = Run(tmp_path / "run")
    process = by_torchrun(*SHORT, "--epochs", "50", *COMMON, "--out", str(run.path))
    wait_until(lambda: run.status().step > 20, timeout=90)
    follower = next(
        pid
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    )
    os.kill(int(follower), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    status = run.status()
    assert status.state == "interrupted"
    assert "has ended" in status.message or "Interrupted" in status.message
    assert status.message in errors
    assert not run.is_trained_now()
    assert run.checkpoints.last()["experiment"]["step"] <= status.step


@pytest.mark.slow
def test_what_cannot_be_shared_out_is_refused_in_a_sentence(tmp_path):
    for words in (["nice"], ["glow", "--batch", "31"]):
        process = by_torchrun(*words, *COMMON, "--out", str(tmp_path / "run"))
        _, errors = process.communicate(timeout=90)
        assert process.returncode != 0
        assert "one process" in errors if words == ["nice"] else "batch" in errors
        assert not (tmp_path / "run").exists()
