"""The command line's side of a training by several processes: meeting, following, parting."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from lab.store import Run
from registry import Family
from training.core.collectives import LostProcess, size, with_all
from training.core.config import ConfigError
from training.core.devices import DEVICE, threads_for
from training.core.distributed import agree, begin, update

PATIENCE = timedelta(hours=1)  # followers wait while the leader measures and draws


def check(family: Family) -> None:
    """Refuse what cannot be shared out.

    Raises:
        ConfigError: several processes, and a family that trains in one.
    """
    if size() > 1 and not family.training.parallel:
        raise ConfigError(f"{family.title} trains in one process: start it without torchrun.")


def threads(family: Family) -> int:
    """Return the threads of each process on this machine."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return threads_for(family.training.threads, processes)


def launched() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def join(wanted: str | None) -> str:
    """Meet the other processes; return the device of this one.

    Args:
        wanted: what the command line says: ``"cpu"``, ``"cuda"`` or ``None`` for what the
            environment says, or the best.

    Raises:
        ConfigError: there are fewer GPUs than processes, or no such device.
    """
    place = int(os.environ.get("LOCAL_RANK", "0"))
    wanted = wanted or os.environ.get(DEVICE) or None
    if wanted not in (None, "cpu", "cuda"):
        raise ConfigError(f"{wanted} is for one process; with torchrun it is cpu or cuda.")
    gpus = torch.cuda.device_count() if wanted != "cpu" else 0
    device = f"cuda:{place}" if gpus or wanted == "cuda" else "cpu"
    if device != "cpu" and place >= gpus:
        raise ConfigError(f"This machine has {gpus} GPUs: start no more processes than that.")
    if device != "cpu":
        torch.cuda.set_device(place)
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)
    return device


def announce(run: Run) -> None:
    """Send the followers the path of the run."""
    if size() > 1:
        with_all(dist.broadcast_object_list, [str(run.path.absolute())], src=0)


def leave() -> None:
    """Part from the other processes. Followers that wait for a word end with an error."""
    if dist.is_initialized():
        dist.destroy_process_group()


def follow(device: str) -> int:
    """Do this process's part until the leader says that it is over; return the exit code."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the leader gets it, too, and ends in order
    try:
        where = [""]
        with_all(dist.broadcast_object_list, where, src=0)
        run = Run(Path(where[0]))
        torch.set_num_threads(threads(run.family))
        experiment = run.experiment(device)
        begin(experiment)
        while agree():
            update(experiment)
            experiment.step += 1
    except LostProcess:
        return 1  # the leader says why
    return 0
