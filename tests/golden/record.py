"""Golden losses: the first 20 steps of each family on the CPU, kept number for number.

``python -m tests.golden`` writes them anew. Do that only when a change is meant to move them, and
say in its commit which and why.
"""

from __future__ import annotations

import hashlib
import json
import platform
from itertools import islice
from pathlib import Path

import torch

from registry import FAMILIES
from tests.golden.cases import CASES, SMALL
from training.core.loop import train

FOLDER = Path(__file__).parent
STEPS = 20


def machine() -> dict[str, str]:
    """Return what bits depend on: torch, the processor, and the instructions that torch takes."""
    return {
        "torch": torch.__version__.split("+")[0],
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": str(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }


def _processor() -> str:
    """Return maker, family and model; kernels choose their blocks by these."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
    names = ("vendor_id", "cpu family", "model", "cache size")
    return ", ".join(told[name] for name in names if name in told) or platform.machine()


def path_of(case: str) -> Path:
    """Return the file that keeps a case."""
    return FOLDER / f"{case}.json"


def record(case: str) -> dict:
    """Train a case for 20 steps on one thread.

    Returns:
        The machine, the losses of each step by name, the norm of all final weights, and a checksum
        of their bits that knows neither their names nor their order.
    """
    stem, values = CASES[case]
    family = FAMILIES[stem]
    torch.set_num_threads(1)
    config = family.training.config.parse({**SMALL[stem], **values})
    experiment = family.training.build(config)
    experiment.measure = dict  # what is measured before the first step costs more than all steps
    steps = train(experiment, log_every=1, snapshots=False)
    losses: dict[str, list[float]] = {}
    for event in islice(steps, 1, STEPS + 1):
        for name, value in event.losses.items():
            losses.setdefault(name, []).append(value)
    steps.close()
    weights = [p.detach().contiguous() for p in experiment.model.parameters()]
    prints = sorted(hashlib.sha256(w.numpy().tobytes()).hexdigest() for w in weights)
    norm = torch.stack([w.double().square().sum() for w in weights]).sum().sqrt()
    return {
        "machine": machine(),
        "losses": losses,
        "norm": float(norm),
        "weights": hashlib.sha256("".join(prints).encode()).hexdigest(),
    }


def write(case: str) -> None:
    """Write the file of a case."""
    path_of(case).write_text(json.dumps(record(case), indent=1) + "\n", encoding="utf-8")
