"""One frozen model per family: widgets, flags, URL values and ``config.json`` all come from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

MAX_PROBLEMS = 5  # that one message names

# What earlier versions wrote into settings, addresses, flags, tables, arrays and weights: its name
# today.
RENAMED = {
    "heat_usual": "map_threshold",
    "judge_a": "discriminator_a",
    "judge_b": "discriminator_b",
    "judge_width": "discriminator_width",
    "judges": "discriminators",
    "usual": "map_threshold",
}


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with old names replaced by those of today.

    Weights have dotted names, of which the first part may be old. Where a name comes in both forms,
    the old one stays, to be refused.

    Examples:
        >>> current_names({"judge_width": 8, "judge_a.layers.0.bias": 1, "seed": 0})
        {'discriminator_width': 8, 'discriminator_a.layers.0.bias': 1, 'seed': 0}
    """
    named = {}
    for name, value in values.items():
        first, dot, rest = name.partition(".")
        today = f"{RENAMED.get(first, first)}{dot}{rest}"
        named[name if today in values else today] = value
    return named


class ConfigError(ValueError):
    """A value that a person gave is not usable; the message names the field and what it may be."""


def knob(
    default: Any,
    *,
    label: str,
    help: str,
    bounds: tuple[float, ...] = (),
    group: str = "Training",
    live: bool = False,
    scale: Literal["linear", "log"] = "linear",
) -> Any:
    """Declare a field of a config with all that a form or a flag needs to show it.

    Args:
        default: its default value.
        label: a short name with its unit, if it has one.
        help: one or two sentences for someone who meets it for the first time.
        bounds: smallest and largest value allowed, and the step of its slider, if that has one.
        group: heading under which forms show it.
        live: it can be changed while a training runs.
        scale: ``"log"`` for values that are compared by their ratio.
    """
    low, high, step = (*bounds, None, None, None)[:3]
    extra = {"label": label, "step": step, "group": group, "live": live, "scale": scale}
    return Field(default, ge=low, le=high, description=help, json_schema_extra=extra)


def rate_knob(
    default: float,
    bounds: tuple[float, float],
    help: str = "Peak of the cycle. It can be changed while the training runs.",
    label: str = "Learning rate",
) -> Any:
    """Declare a learning rate; like all of them it can be changed while the training runs."""
    return knob(default, bounds=bounds, label=label, help=help, live=True, scale="log")


def seed_knob() -> Any:
    """Declare the seed, which every training has."""
    return knob(
        0,
        bounds=(0, 2**31 - 1, 1),
        label="Seed",
        help="Same seed, same machine, same settings: the same training, number for number.",
    )


@dataclass(frozen=True, slots=True)
class Knob:
    """A field of a config as forms and the command line see it."""

    name: str
    kind: Literal["int", "float", "bool", "choice"]
    default: Any
    label: str
    help: str
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[str, ...]
    group: str
    live: bool
    scale: str

    @property
    def range(self) -> str:
        """The values allowed, in words."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "bool":
            return "true or false"
        number = "a whole number" if self.kind == "int" else "a number"
        return f"{number} from {self.low:g} to {self.high:g}"


class RunConfig(BaseModel):
    """Base of all configs: frozen, no unknown fields, bounds enforced here and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    BEFORE: ClassVar[Mapping[str, Any]] = {}  # fields that came later: what settings of old meant

    @classmethod
    def of_run(cls, values: Mapping[str, Any]) -> Self:
        """Validate the settings that a run was made with, perhaps by an earlier version.

        Raises:
            ConfigError: as :meth:`parse` does.
        """
        return cls.parse({**cls.BEFORE, **values})

    @classmethod
    def knobs(cls) -> list[Knob]:
        """Return the fields in the order in which they are declared, base class last."""
        own = [n for n in cls.model_fields if n in cls.__annotations__]
        inherited = [n for n in cls.model_fields if n not in own]
        return [_knob(name, cls.model_fields[name]) for name in own + inherited]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Validate values from a person (numbers may be strings).

        Raises:
            ConfigError: naming each field that is wrong and its range.

        Examples:
            >>> from training.core.plane_flow import PlaneConfig
            >>> PlaneConfig.parse({"dataset": "ring", "batch": "128"}).batch
            128
            >>> PlaneConfig.parse({"batch": 7})
            Traceback (most recent call last):
            ...
            training.core.config.ConfigError: batch must be a whole number from 64 to 2048; ...
        """
        try:
            return cls.model_validate(current_names(dict(values)))
        except ValidationError as error:
            raise ConfigError(" ".join(cls._explain(error))) from None

    @classmethod
    def _explain(cls, error: ValidationError) -> list[str]:
        knobs = {k.name: k for k in cls.knobs()}
        sentences: list[str] = []
        known = f"; known are {', '.join(knobs)}"
        problems = error.errors()
        for problem in problems[:MAX_PROBLEMS]:
            name = str(problem["loc"][0]) if problem["loc"] else ""
            shown = str(problem["input"])[:40]
            if name in knobs:
                sentences.append(f"{name} must be {knobs[name].range}; {shown!r} is not.")
            elif name:
                sentences.append(f"{name[:40]!r} is not a setting{known}.")
                known = ""  # once is enough
            else:
                sentences.append(str(problem["msg"]))
        if len(problems) > MAX_PROBLEMS:
            sentences.append(f"{len(problems) - MAX_PROBLEMS:,} more are wrong.")
        return sentences

    def live_values(self) -> dict[str, Any]:
        """Return those that can be changed while a training runs, by name."""
        return {knob.name: getattr(self, knob.name) for knob in self.knobs() if knob.live}

    def replace(self, **values: Any) -> Self:
        """Return a validated copy with some values changed."""
        return self.parse({**self.model_dump(), **values})


def _knob(name: str, field: FieldInfo) -> Knob:
    extra: Any = field.json_schema_extra
    bounds = {type(m).__name__.lower(): m for m in field.metadata}
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    kind = "choice" if choices else field.annotation.__name__
    low = getattr(bounds.get("ge"), "ge", None)
    high = getattr(bounds.get("le"), "le", None)
    return Knob(
        name,
        kind,
        field.default,
        help=field.description,
        low=low,
        high=high,
        choices=choices,
        **extra,
    )
