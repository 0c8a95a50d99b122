"""Weights from a file that a stranger may have made: checked first, then made a run folder.

The file is the ``model.safetensors`` of a run. Its metadata say which model it is: family,
settings, step and what else it has to know, the shape of images and the names of their classes say.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from datasets.own import DataError
from datasets.plane import OWN
from lab.runs.safetensors_header import Header, check_fit, read_header
from lab.store import Run, RunError, RunStore
from registry import FAMILIES, Family
from training.core.config import ConfigError, RunConfig
from training.core.family import Own
from training.core.former import current_weights

MAX_STEP = 10**9


@dataclass(frozen=True)
class Weights:
    """Weights that have been found to fit the model that their file says they are of.

    Attributes:
        family: the family of the model.
        config: its settings.
        step: optimiser step of the weights.
        tensors: the weights by name.
    """

    family: Family
    config: RunConfig
    step: int
    tensors: dict[str, Tensor]


def read_weights(file: bytes | Path) -> Weights:
    """Read weights from the bytes of a file, or from its path.

    Nothing of it is executed, and no weight is read before the names, types, shapes and places of
    all of them have been compared with the model.

    Raises:
        DataError: it cannot be used; the message says why in one sentence.
    """
    if isinstance(file, bytes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights"
            path.write_bytes(file)
            return read_weights(path)
    header = read_header(file)
    family, config, step, model = model_of(header)
    tensors = current_weights(safetensors.torch.load_file(file), model)
    for name, weight in tensors.items():
        if not torch.isfinite(weight).all():
            raise DataError(f"The weights are of no use: {name} is not finite everywhere.")
    return Weights(family, config, step, tensors)


def model_of(header: Header) -> tuple[Family, RunConfig, int, torch.nn.Module]:
    """Return the model that a file says its weights are of, having compared it with them.

    Returns:
        Family, settings, step, and the model without memory behind its weights.

    Raises:
        DataError: it says nothing of use, or they are of another; says why.
    """
    metadata = header.metadata
    family = FAMILIES.get(metadata.get("family", ""))
    if family is None or "config" not in metadata:
        raise DataError("The file does not say which model of this lab its weights are of.")
    values = _json(metadata["config"])
    if not isinstance(values, dict):
        raise DataError("The settings in the file are damaged.")
    try:
        config = family.training.config.of_run(values)
    except ConfigError as error:
        raise DataError(f"The settings in the file cannot be used: {error}") from error
    model = _blueprint(family, config, metadata)
    check_fit(header, model)
    return family, config, _step(metadata.get("step", "")), model


def _blueprint(family: Family, config: RunConfig, metadata) -> torch.nn.Module:
    """Return the model of these settings, without memory behind its weights."""
    training = family.training
    values = {name: _json(metadata.get(name, "")) for name in training.data.facts}
    facts = training.data.facts_of(values)
    try:
        with torch.device("meta"):
            return training.model(config, *facts)
    except (ConfigError, ValueError) as error:
        raise DataError("The settings in the file do not fit the size of its images.") from error


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _step(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= MAX_STEP):
        raise DataError("The file does not say which step its weights are of.")
    return int(text)


def run_from_weights(store: RunStore, weights: Weights, name: str, own: Own | None = None) -> Run:
    """Make a finished run of weights: with a first snapshot, but without a past.

    Args:
        store: where to make it.
        weights: what :func:`read_weights` returned.
        name: of the file, for people.
        own: the user's own data; needed where the weights were trained on such.

    Raises:
        DataError: the data is not here, or not what the weights were trained on.
        RunError: the folder cannot be written.
    """
    family, config = weights.family, weights.config
    trained_on_own = getattr(config, "dataset", "") == OWN
    if trained_on_own and own is None:
        raise DataError(
            "These weights were trained on data of somebody's own, which is not in the file: "
            "choose My own data in the form, upload it, then load the weights again."
        )
    # Before there is a folder: the data may be missing.
    experiment = family.training.build(config, device="cpu", own=own if trained_on_own else None)
    try:
        experiment.model.load_state_dict(weights.tensors)
    except RuntimeError as error:
        raise DataError(
            "The weights do not fit the data here: it has images of another size or other classes."
        ) from error
    run = store.create(family, config, own if trained_on_own else None)
    try:
        _fill(run, experiment, weights.step, name)
    except OSError as error:
        store.delete(run)
        raise RunError(f"{run.path} cannot be written: {error.strerror}.") from error
    # Finite numbers may still be out of all range, indices above all.
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        store.delete(run)
        raise DataError("The weights are of no use: the model fails when it draws.") from error
    return run


def _fill(run: Run, experiment, step: int, name: str) -> None:
    experiment.step = step
    experiment.model.eval()
    run.notes.mark_foreign()
    run.metrics.start(["step", "seconds", *experiment.LOSSES, *experiment.METRICS], 0)
    run.snapshots.save_target(experiment.target())
    run.snapshots.save(step, experiment.snapshot(), {step})
    run.weights.save(experiment.model, step)
    status = replace(
        run.status(),
        state="finished",
        step=step,
        total=max(experiment.total, step),
        seconds=0.0,
        message=f"Weights of step {step:,}, loaded from {name[:80]}: not trained here, so there "
        "are no curves.",
        device="cpu",
    )
    run.write_status(status)
