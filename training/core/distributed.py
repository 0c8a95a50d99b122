"""One training by several processes, one per GPU: ``torchrun --nproc_per_node 2 -m training ...``.

Each process holds the whole model, draws the whole batch with the same generator, computes its
share of the rows, and the gradients are added up. So the training is that of one process with the
same batch: same data, same noise, same checkpoint; only the order of some sums differs.

The first process, the leader, does all the rest: folder, metrics, snapshots, progress bar. The
others follow it step by step.

``DistributedDataParallel`` hooks into ``backward()``, which :class:`~training.core.loop.Optimiser`
does not call: it has the gradient as one vector, and adds that up in one go. What DDP does better,
sending the first gradients while the last are computed, pays for models larger than these.

References:
    PyTorch Distributed: Experiences on Accelerating Data Parallel Training (Li et al., 2020),
    section 3. https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from training.core.config import ConfigError
from training.core.devices import threads_for

if TYPE_CHECKING:
    from lab.store import Run
    from registry import Family
    from training.core.loop import Experiment

PATIENCE = timedelta(hours=1)  # followers wait while the leader measures and draws


class LostProcess(ConnectionError):
    """Another process of the training has ended."""


def size() -> int:
    """Return how many processes train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def leads() -> bool:
    """Tell whether this process is the one that keeps the run's folder."""
    return size() == 1 or dist.get_rank() == 0


# -- what an experiment needs: nothing changes for one process alone -------------------------------


def share(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each batch ``(B, ...)`` that are this process's; together they are all."""
    if size() == 1:
        return tensors
    return tuple(t.tensor_split(size())[dist.get_rank()] for t in tensors)


def mean(values: Tensor, of: int) -> Tensor:
    """Return this process's part of a mean.

    Args:
        values: one value per row of its share, ``(b,)``.
        of: rows of the whole batch. The parts add up to the mean over these.
    """
    return values.mean() if size() == 1 else values.sum() / of


def total(gradient: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient ``(P,)`` and scalar loss, added up over all processes."""
    if size() == 1:
        return gradient, loss
    both = torch.cat([gradient, loss.reshape(1).to(gradient.dtype)])
    _with_all(dist.all_reduce, both)
    return both[:-1], both[-1]


# -- what the loop needs ---------------------------------------------------------------------------


def begin(experiment: Experiment) -> None:
    """Have all processes start from what the leader has: initialised weights or a checkpoint."""
    if size() == 1:
        return
    state = [_packed(experiment.state_dict())]
    _with_all(dist.broadcast_object_list, state, src=0)
    if not leads():
        experiment.load_state_dict(_unpacked(state[0]))


def update(experiment: Experiment) -> Mapping[str, Tensor]:
    """Take one optimiser step together; return the losses over the whole batch, each a scalar."""
    if size() == 1:
        return experiment.update()
    if leads():
        _agree(True)
    losses = experiment.update()
    both = torch.stack([value.float() for value in losses.values()])
    _with_all(dist.all_reduce, both)
    return dict(zip(losses, both, strict=True))


def end() -> None:
    """Let the followers go, however the training has ended."""
    if size() > 1 and leads():
        with suppress(LostProcess):
            _agree(False)


# -- what the command line needs -------------------------------------------------------------------


def check(family: Family) -> None:
    """Refuse what cannot be shared out.

    Raises:
        ConfigError: several processes, and a family that trains in one.
    """
    if size() > 1 and not getattr(family.training, "PARALLEL", False):
        raise ConfigError(f"{family.title} trains in one process: start it without torchrun.")


def threads(family: ModuleType) -> int:
    """Return the threads of each process on this machine."""
    return threads_for(family, share=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def launched() -> bool:
    """Tell whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def join(wanted: str | None) -> str:
    """Meet the other processes; return the device of this one.

    Args:
        wanted: what the command line says: ``"cpu"``, ``"cuda"`` or ``None`` for the best.

    Raises:
        ConfigError: there are fewer GPUs than processes, or no such device.
    """
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if wanted not in (None, "cpu", "cuda"):
        raise ConfigError(f"--device {wanted} is for one process; with torchrun it is cpu or cuda.")
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
        _with_all(dist.broadcast_object_list, [str(run.path.absolute())], src=0)


def leave() -> None:
    """Part from the other processes. Followers that wait for a word end with an error."""
    if dist.is_initialized():
        dist.destroy_process_group()


def follow(device: str) -> int:
    """Do this process's share until the leader says that it is over; return the exit code."""
    from lab.store import Run

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the leader gets it, too, and ends in order
    try:
        where = [""]
        _with_all(dist.broadcast_object_list, where, src=0)
        run = Run(Path(where[0]))
        torch.set_num_threads(threads(run.family.training))
        experiment = run.experiment(device)
        begin(experiment)
        while _agree():
            update(experiment)
            experiment.step += 1
    except LostProcess:
        return 1  # the leader says why
    return 0


# -- between processes -----------------------------------------------------------------------------


def _agree(go_on: bool = False) -> bool:
    """Return what the leader says: whether there is one more step."""
    word = torch.tensor(float(go_on))
    _with_all(dist.broadcast, word, src=0)
    return bool(word)


def _with_all(call: Callable, values: object, **options: int) -> None:
    """Call something that all processes call at the same time.

    Raises:
        LostProcess: one of them has ended.
    """
    try:
        call(values, **options)
    except RuntimeError as error:  # so say gloo and NCCL
        raise LostProcess(
            "Another process of this training has ended. Resume goes on from the last checkpoint."
        ) from error


def _packed(state: Mapping) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def _unpacked(blob: bytes) -> dict:
    return torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
