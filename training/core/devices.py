"""Where trainings run: each family where it is faster, as far as the machine has that.

One at a time on each GPU; on CPUs as many as there are cores to spare.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from training.core.config import ConfigError

MAX_SLOTS = 512
DEVICE = "GENLAB_DEVICE"

FasterOn = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to train on.

    Attributes:
        gpus: the name of each; on a cluster they have no numbers.
        cores: of processors, to spare for trainings; 0 where these are to be on GPUs alone.
    """

    gpus: tuple[str, ...]
    cores: int

    def only(self, wanted: str) -> Machine:
        """Return the part of it that somebody asks for.

        Args:
            wanted: ``cpu``; ``cuda``, ``mps`` or ``xpu``, perhaps with a number; empty for all.

        Raises:
            ConfigError: there is no such device, here or anywhere.
        """
        if wanted in ("", "cpu"):
            return replace(self, gpus=()) if wanted else self
        if not re.fullmatch(r"(cuda|mps|xpu)(:\d{1,3})?", wanted, re.ASCII):
            known = "cpu, cuda, cuda:1 (the second GPU), mps or xpu"
            raise ConfigError(f"{DEVICE} must be {known}; {wanted[:40]!r} is not.")
        gpus = tuple(gpu for gpu in self.gpus if wanted in (gpu, gpu.partition(":")[0]))
        if not gpus:
            there = ", ".join(["cpu", *dict.fromkeys(self.gpus)])
            raise ConfigError(f"{DEVICE} is {wanted}, which is not here. There is: {there}.")
        return Machine(gpus, 0)


def this_machine() -> Machine:
    """Return what this machine has, or the part of it that ``GENLAB_DEVICE`` names.

    Raises:
        ConfigError: it has no such device.
    """
    # Counting does not create a context on the GPU: only the trainings themselves touch it.
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    gpus += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    gpus += ["mps"] if torch.backends.mps.is_available() else []
    cores = len(usable_cores()) or os.cpu_count() or 2
    return Machine(tuple(gpus), max(2, cores - 1)).only(os.environ.get(DEVICE, ""))


def slots(machine: Machine, on_cpu: int = 0, on_each_gpu: int = 1) -> list[str]:
    """Return the devices that may train at the same time, one entry per training, GPUs first.

    ``GENLAB_SLOTS`` sets the number on the CPU.

    Args:
        machine: what there is.
        on_cpu: trainings at a time on processors; 0 for as many as have cores to spare, besides
            the one that each training on a GPU needs.
        on_each_gpu: trainings at a time on each GPU.

    Raises:
        ConfigError: ``GENLAB_SLOTS`` is no number of trainings.
    """
    on_gpus = list(machine.gpus) * on_each_gpu
    if not machine.cores:
        return on_gpus
    return on_gpus + ["cpu"] * slots_wanted(on_cpu or max(1, machine.cores - len(on_gpus)))


def suited(devices: Sequence[str], faster_on: FasterOn) -> list[str]:
    """Return those of some devices on which a family is faster; all of them if none is such.

    Examples:
        >>> suited(["cuda:0", "cpu", "cpu"], "cpu")
        ['cpu', 'cpu']
        >>> suited(["cpu", "cpu"], "gpu")
        ['cpu', 'cpu']
    """
    return [d for d in devices if (d == "cpu") == (faster_on == "cpu")] or list(devices)


def slots_wanted(otherwise: int) -> int:
    """Return the trainings at a time on CPUs that ``GENLAB_SLOTS`` names.

    Args:
        otherwise: what counts where it is not set.

    Raises:
        ConfigError: it is no such number.
    """
    text = os.environ.get("GENLAB_SLOTS") or str(otherwise)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_SLOTS):
        raise ConfigError(
            f"GENLAB_SLOTS must be a whole number from 1 to {MAX_SLOTS}; {text[:40]!r} is not."
        )
    return int(text)


def usable_cores() -> list[int]:
    """Return the cores this process may use; none where the system does not say (macOS)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def best_device(faster_on: FasterOn) -> str:
    """Return the device of this machine that a single training should use.

    Raises:
        ConfigError: ``GENLAB_DEVICE`` or ``GENLAB_SLOTS`` is nothing of the kind.
    """
    return suited(slots(this_machine()), faster_on)[0]


def threads_for(wanted: int, trainings: int = 1, cores: int = 0) -> int:
    """Return the threads for a training that has ``cores`` to itself, or a part of them.

    Without ``cores``, those of this machine.

    Args:
        wanted: by how many its family gains.
        trainings: how many run on these cores.
        cores: that they have.
    """
    cores = cores or len(usable_cores()) or os.cpu_count() or 1
    return max(1, min(wanted, cores // trainings))


def knows_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Lanes:
    """Tasks beside each other on a CPU, each on its part of torch's threads.

    Nets on a core each are faster than nets one after the other on all cores, which wait for the
    slowest core after every layer. On other devices, and with fewer threads than lanes, tasks run
    one after the other. The results are the same but for the rounding that torch itself changes
    with its threads.

    It is entered around all that happens between the tasks, too. Torch's own threads spin for a
    while after each operation in case another one follows, and they would do so on the core of
    another lane.

    Args:
        device: where the tensors of the tasks lie.
        count: tasks at a time, two or more.

    Examples:
        >>> with Lanes(torch.device("cpu"), 2) as lanes:
        ...     lanes.run(lambda: "one", lambda: "two")
        ['one', 'two']
    """

    def __init__(self, device: torch.device, count: int) -> None:
        self.device = device
        self.count = count
        self._threads = self._each = 0
        # A thread has memory of its own; a new one at each step would have to ask for it again.
        self._pool = ThreadPoolExecutor(count - 1, "lane")

    def __enter__(self) -> Lanes:
        self._threads = torch.get_num_threads()
        self._each = self._threads // self.count if self.device.type == "cpu" else 0
        if self._each:
            torch.set_num_threads(self._each)
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)

    def run(self, *tasks: Callable[[], Any]) -> list[Any]:
        """Return the results of tasks that do not need one another, as many as there are lanes.

        An error in one is raised when all are done. Contexts such as autocast have to be entered
        inside of each.
        """
        if not self._each:
            return [task() for task in tasks]
        others = [self._pool.submit(self._alone, task) for task in tasks[1:]]
        try:
            first = tasks[0]()
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]

    def _alone(self, task: Callable[[], Any]) -> Any:
        torch.set_num_threads(self._each)  # each thread has its own number of them
        return task()
