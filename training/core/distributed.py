"""One training by several processes, one per GPU: ``torchrun --nproc_per_node 2 -m training ...``.

Each process holds the whole model, draws the whole batch with the same generator, computes its
shard of the rows, and the gradients are added up. So the training is that of one process with the
same batch: same data, same noise, same checkpoint; only the order of some sums differs.

The first process, the leader, does all the rest: folder, metrics, snapshots, progress bar. The
others follow it step by step.

``DistributedDataParallel`` hooks into ``backward()``, which
:class:`~training.core.optimiser.Optimiser` does not call: it has the gradient as one vector, and
adds that up in one go. What DDP does better, sending the first gradients while the last are
computed, pays for models larger than these.

References:
    PyTorch Distributed: Experiences on Accelerating Data Parallel Training (Li et al., 2020),
    section 3. https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from training.core.collectives import LostProcess, leads, size, with_all

if TYPE_CHECKING:
    from training.core.experiment import Experiment


# -- what the loop needs ---------------------------------------------------------------------------


def begin(experiment: Experiment) -> None:
    """Have all processes start from what the leader has: initialised weights or a checkpoint."""
    if size() == 1:
        return
    state = [_packed(experiment.state_dict())]
    with_all(dist.broadcast_object_list, state, src=0)
    if not leads():
        experiment.load_state_dict(_unpacked(state[0]))


def update(experiment: Experiment) -> Mapping[str, Tensor]:
    """Take one optimiser step together; return the losses over the whole batch, each a scalar."""
    if size() == 1:
        return experiment.update()
    if leads():
        agree(True)
    losses = experiment.update()
    both = torch.stack([value.float() for value in losses.values()])
    with_all(dist.all_reduce, both)
    return dict(zip(losses, both, strict=True))


def end() -> None:
    """Let the followers go, however the training has ended."""
    if size() > 1 and leads():
        with suppress(LostProcess):
            agree(False)


# -- between processes -----------------------------------------------------------------------------


def agree(go_on: bool = False) -> bool:
    """Return what the leader says: whether there is one more step."""
    word = torch.tensor(float(go_on))
    with_all(dist.broadcast, word, src=0)
    return bool(word)


def _packed(state: Mapping) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def _unpacked(blob: bytes) -> dict:
    return torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
