"""What a run has learned: ``model.safetensors``, which says by itself what model it is of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from datasets.files.errors import DataError
from datasets.files import write_atomic
from lab.runs.files import RunError
from lab.runs.safetensors_header import MAX_METADATA, Header, check_fit, read_header
from registry import Family
from training.core.config import RunConfig
from training.core.former import current_weights


class TrainedWeights:
    """The weights of the run in ``folder``.

    Args:
        folder: of the run.
        opened: returns its family and settings.
    """

    def __init__(self, folder: Path, opened: Callable[[], tuple[Family, RunConfig]]) -> None:
        self._folder, self._path = folder, folder / "model.safetensors"
        self._opened = opened

    def save(self, model: torch.nn.Module, step: int) -> None:
        """Write them, with all in their metadata that is needed to build the model again."""
        weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        blob = safetensors.torch.save(weights, self._metadata(step))
        write_atomic(self._path, lambda file: file.write(blob))

    def file(self) -> bytes:
        """Return a file that says by itself which model they are of."""
        header = self.header()
        if header == read_header(self._path):
            return self._path.read_bytes()
        return safetensors.torch.save(safetensors.torch.load_file(self._path), header.metadata)

    def header(self) -> Header:
        """Return what the file says of itself, and of which model it is even if it does not."""
        said = read_header(self._path)
        if "config" in said.metadata:
            return said
        # Runs of earlier versions did not write it.
        return replace(said, metadata=self._metadata(0) | dict(said.metadata))

    def version(self) -> float:
        """Return when they were last written (Unix time), or 0 if there are none."""
        return self._path.stat().st_mtime if self._path.exists() else 0.0

    def load_into(self, model: torch.nn.Module) -> int:
        """Load them into a model of the run's own config; return the step they are from.

        Raises:
            RunError: there are none, or they are damaged or of another model.
        """
        try:
            # Only the header is read before names, shapes and types have been compared.
            header = read_header(self._path)
            check_fit(header, model)
            step = int(header.metadata.get("step", 0))
            weights = safetensors.torch.load_file(self._path)
            model.load_state_dict(current_weights(weights, model))
            return step
        except FileNotFoundError:
            raise RunError(f"There are no weights in {self._folder} yet.") from None
        except DataError as error:
            raise RunError(f"The weights in {self._path} cannot be used: {error}") from error
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise RunError(f"The weights in {self._path} are damaged.") from error

    def _metadata(self, step: int) -> dict[str, str]:
        family, config = self._opened()
        values = {"family": family.stem, "step": str(step), "config": config.model_dump_json()}
        return {**values, **self.facts(family)}

    def facts(self, family: Family) -> dict[str, str]:
        """Return what its model has to know besides its settings, as JSON by name."""
        path = self._folder / "target.npz"
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as target:
            sizes = {member.filename: member.file_size for member in target.zip.infolist()}
            known = [
                name
                for name in family.training.data.facts
                if 0 < sizes.get(f"{name}.npy", 0) < MAX_METADATA
            ]
            return {name: json.dumps(target[name].tolist()) for name in known}
