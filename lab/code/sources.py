"""The lab's own modules as text and syntax trees, and what the names in them mean."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from paths import ROOT


@dataclass(frozen=True, slots=True)
class Name:
    """A name at the top of one of the lab's modules."""

    module: str
    name: str


@dataclass(eq=False)
class Source:
    """A module of the lab.

    Attributes:
        name: dotted.
        text: of its file.
        tree: the same, parsed.
        module: the same, imported.
        lab: what a name means that it has imported from the lab: a name there, or a whole module.
        outside: the line that imports a name from elsewhere.
        defined: the statement that defines a name at the top.
    """

    name: str
    text: str
    tree: ast.Module
    module: ModuleType
    lab: dict[str, Name | str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    defined: dict[str, ast.stmt] = field(default_factory=dict)

    @cached_property
    def starts(self) -> list[int]:
        """Where each line starts in the text, and where the text ends."""
        starts = [0]
        for line in self.text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.splitlines()

    def place(self, line: int, column: int) -> int:
        """Return where in the text a line, counted from 1, has a column, counted in bytes."""
        before = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(before)

    def span(self, node: Any) -> tuple[int, int]:
        """Return where in the text a part of the tree starts and ends."""
        start = self.place(node.lineno, node.col_offset)
        return start, self.place(node.end_lineno, node.end_col_offset)

    def meaning(self, name: str) -> Name | str | None:
        """Return the lab's name, or module, that a name at the top means, or ``None``."""
        if name in self.defined:
            return Name(self.name, name)
        there = self.lab.get(name)
        if isinstance(there, Name):  # that module may only have imported it, too
            return source(there.module).meaning(there.name) or there
        return there

    def value(self, name: str) -> Any:
        """Return what a name at the top stands for; ``AttributeError`` if there is none."""
        return getattr(self.module, name)


def path_of(module: str) -> Path | None:
    """Return the file of a module of the lab, or ``None`` if it is not one of its modules."""
    place = ROOT.joinpath(*module.split("."))
    found = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in found if path.is_file()), None)


@cache
def source(module: str) -> Source:
    """Return a module of the lab."""
    text = path_of(module).read_text(encoding="utf-8")
    found = Source(module, text, ast.parse(text), importlib.import_module(module))
    for statement in found.tree.body:
        for name in _defines(statement):
            found.defined[name] = statement
    above = [
        part for part in found.tree.body if not isinstance(part, ast.FunctionDef | ast.ClassDef)
    ]
    at_top = {part for statement in above for part in ast.walk(statement)}
    for statement in ast.walk(found.tree):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _take_imports(found, statement, at_top=statement in at_top)
    return found


def _defines(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _take_imports(found: Source, statement: ast.Import | ast.ImportFrom, *, at_top: bool) -> None:
    for alias in statement.names:
        name, renamed = alias.asname or alias.name, f" as {alias.asname}" if alias.asname else ""
        if isinstance(statement, ast.Import) and at_top:
            found.outside[name.partition(".")[0]] = f"import {alias.name}{renamed}"
        elif isinstance(statement, ast.Import):
            continue
        elif path_of(inner := f"{statement.module}.{alias.name}"):
            found.lab[name] = inner
        elif path_of(statement.module):
            found.lab[name] = Name(statement.module, alias.name)
        elif at_top and statement.module != "__future__":
            found.outside[name] = f"from {statement.module} import {alias.name}{renamed}"


def is_lab_import(node: ast.AST) -> bool:
    """Return whether a statement imports from the lab."""
    return isinstance(node, ast.ImportFrom) and path_of(node.module or "") is not None
