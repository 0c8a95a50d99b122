"""What is known of an expression before it is run: the settings of the run decide it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from lab.code.sources import Source
from training.core.config import RunConfig

PLAIN = (str, int, float, bool, tuple, frozenset, type(None))
PARTS = (
    ast.Expression,
    ast.Compare,
    ast.cmpop,
    ast.BoolOp,
    ast.boolop,
    ast.UnaryOp,
    ast.Not,
    ast.Name,
    ast.Attribute,
    ast.Constant,
    ast.Tuple,
    ast.expr_context,
)


class Unknown(Exception):
    """Only the training itself will tell."""


class Settings:
    """The settings of a run, as what decides branches.

    Args:
        config: the settings.
        changed: values that settings get while it trains.
    """

    def __init__(self, config: RunConfig, changed: Mapping[str, set] | None = None) -> None:
        self.config = config
        self.changed = changed or {}

    def value(self, node: ast.expr, source: Source, known: Mapping[str, Any]) -> Any:
        """Return what an expression comes to.

        Args:
            node: the expression.
            source: the module it stands in.
            known: values of local names; a name that is only in there to hide others has no value.

        Raises:
            Unknown: that depends on more than the settings.
        """
        if not all(isinstance(part, PARTS) for part in ast.walk(node)):
            raise Unknown
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        values = {name: self._named(name, source, known) for name in names}
        code = compile(ast.Expression(node), "<settings>", "eval")
        try:
            found = eval(code, {"__builtins__": {}}, values)  # noqa: S307 - the lab's own code
        except (AttributeError, TypeError) as error:
            raise Unknown from error
        if not isinstance(found, PLAIN):
            raise Unknown
        return found

    def _named(self, name: str, source: Source, known: Mapping[str, Any]) -> Any:
        if name in known:
            if known[name] is Unknown:
                raise Unknown
            return known[name]
        try:
            value = source.value(name)
        except AttributeError:
            raise Unknown from None
        if not isinstance(value, PLAIN):
            if isinstance(value, dict) and all(isinstance(key, str) for key in value):
                return frozenset(value)  # good for the question what is in it
            raise Unknown
        return value

    def me(self, cls: type | None) -> Any:
        """Return what ``self`` is, as far as the settings go, in the methods of a class."""
        if cls is not None and issubclass(cls, RunConfig):
            return self.config
        return SimpleNamespace(config=self.config)

    def wanted(self, table: ast.Dict) -> list[str] | None:
        """Return which keys of a table of choices this run takes, or ``None`` if it is none."""
        keys = [getattr(key, "value", None) for key in table.keys]
        for knob in self.config.knobs():
            if len(keys) > 1 and set(keys) <= set(knob.choices):
                return [getattr(self.config, knob.name), *self.changed.get(knob.name, ())]
        return None
