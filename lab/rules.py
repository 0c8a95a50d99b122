"""What a lab allows: one TOML file for a class, none for a person's own lab."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DAY = 24.0  # hours


# What a browser takes for a site: nothing that could begin another rule of the header.
Site = Annotated[str, Field(pattern=r"^https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?$")]


class RulesError(RuntimeError):
    """The configuration file cannot be used; the message says where and why."""


class Rules(BaseModel):
    """The limits of a lab; 0 means that there is none.

    As they stand here they are those of a person's own lab, which trusts whoever can reach it.
    """

    # Strict: "30", "yes" and inf are slips, and a lab that guesses would hide them.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    sign_in: bool = Field(False, description="ask everybody to sign in; runs are then their own")
    admins: tuple[str, ...] = Field(
        (), strict=False, description="addresses or ids of who may do all"
    )
    slots_cpu: int = Field(0, ge=0, le=512, description="trainings at a time on the processor")
    slots_gpu: int = Field(1, ge=1, le=64, description="trainings at a time on each GPU")
    running: int = Field(0, ge=0, description="trainings of one person at a time")
    waiting: int = Field(0, ge=0, description="runs of one person in the queue")
    queue: int = Field(20, ge=1, le=1000, description="runs in the queue in all")
    runs: int = Field(0, ge=0, description="runs kept of one person")
    person_gb: float = Field(0, ge=0, description="gigabytes that one person's runs may take")
    run_hours: float = Field(0, ge=0, description="hours that one run may train")
    run_memory_mb: int = Field(0, ge=0, description="megabytes of memory that one run may hold")
    run_mb: float = Field(0, ge=0, description="megabytes that one run may take on disk")
    disk_gb: float = Field(0, ge=0, description="gigabytes that all runs may take")
    warning_hours: float = Field(DAY, ge=0, description="hours from warning to deletion")
    park_minutes: float = Field(0, ge=0, description="minutes until a run without viewer is parked")
    exercises: str = Field("", description="folder of your own exercises")
    frame_sites: tuple[Site, ...] = Field(
        (), strict=False, description="sites that may show the lab in a frame"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="port of the Prometheus endpoint")

    @property
    def is_class(self) -> bool:
        """Whether anything differs from a person's own lab."""
        return self != Rules()

    def is_admin(self, keys: Sequence[str]) -> bool:
        """Return whether one of a person's keys (verified address, id) is an admin's."""
        known = {key.casefold() for key in self.admins if key.strip()}
        return any(key.casefold() in known for key in keys)


def load_rules(path: Path | str | None = None) -> Rules:
    """Return the rules of a file, by default the one that ``GENLAB_CONFIG`` names.

    Raises:
        RulesError: it cannot be read, or says something that no rule is.
    """
    path = path or os.environ.get("GENLAB_CONFIG")
    if not path:
        return Rules()
    try:
        text = Path(path).read_text(encoding="utf-8")
        return _placed(Rules(**tomllib.loads(text)), Path(path).parent)
    except OSError as error:
        raise RulesError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RulesError(f"The configuration {path} is not TOML: {error}.") from None
    except ValidationError as error:
        raise RulesError(f"The configuration {path}, {_fault(error, text)}") from None


def _placed(rules: Rules, folder: Path) -> Rules:
    """Return rules whose folder of exercises is meant from where their file lies."""
    if not rules.exercises:
        return rules
    return rules.model_copy(update={"exercises": str((folder / rules.exercises).resolve())})


def _fault(error: ValidationError, text: str) -> str:
    """Say in which line of a configuration which rule is wrong, and why."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    stands = re.compile(rf"""[\s\[]*["']?{re.escape(name)}["']?\s*[=.\]]""")
    lines = (i for i, line in enumerate(text.splitlines(), 1) if stands.match(line))
    line = next(lines, "?")  # a key that is written with escapes
    if first["type"] == "extra_forbidden":
        return f"line {line}: {name} is no rule. Rules are {', '.join(Rules.model_fields)}."
    return f"line {line}: {name} cannot be {first['input']!r}: {first['msg'].lower()}."
