"""A run as a script: its settings, its data, its model, its training, and a loop that goes on.

The script is written out of the lab's own modules, cut down to what this run reaches; it takes the
same steps as the lab. It comes as a ``.py`` with cells (``# %%``) or as a notebook; see
``lab.code.notebook``.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from lab.code.known import Settings
from lab.code.reach import Reach
from lab.code.rewrite import Rewriter
from lab.code.sources import Name, source
from lab.code.types_of import Gives, Scope, class_of, kind_of, node_of
from lab.code.words import loop_of, main_of, opening
from lab.store import Run
from training.core.config import RunConfig

INSTEAD = "lab.code.instead"
LOADERS = {
    Name("datasets.images", "load_images"): Name(INSTEAD, "load_images"),
    Name("datasets.pairs", "load_pairs"): Name(INSTEAD, "load_pairs"),
    Name("training.maf", "load"): Name(INSTEAD, "load_defects"),
}
OWN_LOADERS = {Name("datasets.plane", "load_plane"): Name(INSTEAD, "load_own_plane")}
SECTIONS = {"datasets": "Data", INSTEAD: "Data", "models": "Model"}  # all else is training
ORDER = ("Data", "Model", "Training")
USED = ("update", "step", "total", "live", "part", "model")  # by the loop
RESERVED = {"train", "training", "steps", "step", "losses", "CHANGES", "ALONE", "LOGGED"}
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of a script.

    Attributes:
        text: Python or Markdown.
        code: whether it is Python.
    """

    text: str
    code: bool = True


def cells_of(run: Run) -> list[Cell]:
    """Return a run as cells of a script.

    Raises:
        RunError: its settings cannot be read.
    """
    with _one_at_a_time:  # types are looked up in tables that are filled on the way
        return _Script(run).cells()


class _Script:
    def __init__(self, run: Run) -> None:
        self.run, self.family, self.config = run, run.family, run.config
        self.changes = [one for one in run.interventions.load() if one.what == "set"]
        changed: dict[str, set] = {}
        for one in self.changes:
            changed.setdefault(one.name, set()).add(one.value)
        instead = LOADERS | (OWN_LOADERS if self.config.dataset == "own" else {})
        self.reach = Reach(Settings(self.config, changed), instead)
        self._follow()
        self.order = self._in_order()
        self.called = self._names()
        self.rewriter = Rewriter(self.reach, self.called, self.order)

    def _follow(self) -> None:
        """Reach from what builds the experiment all that its steps need."""
        build, given = self.family.training.build, {}
        if isinstance(build, partial):
            build, given = build.func, build.keywords
        self.root = Name(build.__module__, build.__qualname__)
        self.given = given
        experiment = build if isinstance(build, type) else _returned(self.root)
        for cls in experiment.__mro__:
            self.reach.fix(Name(cls.__module__, f"{cls.__name__}.__init__"), "own", None)
        config = type(self.config)
        handed = [name for value in given.values() for name in _names_in(value)]
        names = [self.root, *handed, Name(config.__module__, config.__name__)]
        self.reach.follow(names, [(experiment, name) for name in USED])

    # -- names ------------------------------------------------------------------------------------

    def _in_order(self) -> list[Name]:
        """Return what is reached in an order in which each can be defined."""
        modules = _by_imports({name.module for name in self.reach.live})
        modules.sort(key=lambda module: ORDER.index(_section(module)))
        names = [name for name in self.reach.live if not _is_config(name)]
        names.sort(key=lambda n: (modules.index(n.module), self.reach.live[n].lineno))
        return names

    def _names(self) -> dict[Name, str]:
        """Return what each name is called in the script: those that are there twice get another."""
        outside = {name for n in self.order for name in source(n.module).outside}
        taken = {*outside, *dir(builtins), *RESERVED, type(self.config).__name__}
        called: dict[Name, str] = {}
        for name in self.order:
            new = name.name
            if new in taken:
                new = f"{new}_of_{name.module.rpartition('.')[2]}"
            called[name] = new
            taken.add(new)
        return called

    # -- cells ------------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        code = [Cell(self._settings()), *self._modules(), Cell(self._loop()), Cell(self._main())]
        texts = [cell.text for cell in code if cell.code]
        imports = "\n".join(_imports(texts, {name.module for name in self.order}))
        words = opening(self.run, [imports, *texts])
        return [Cell(words, code=False), Cell(imports), *code]

    def _modules(self) -> Iterator[Cell]:
        section = ""
        for module in dict.fromkeys(name.module for name in self.order):
            if (new := _section(module)) != section:
                section = new
                yield Cell(f"## {section}", code=False)
            there = source(module)
            title = (ast.get_docstring(there.tree) or "").partition("\n")[0].rstrip(".")
            texts = []
            seen: set[int] = set()
            for name in self.order:
                line = self.reach.live[name].lineno
                if name.module == module and line not in seen:  # one statement may define several
                    seen.add(line)
                    texts.append((self.reach.live[name], self.rewriter.text(name)))
            yield Cell(f"# {module.replace('.', '/')}.py: {title}\n\n{_joined(texts)}")

    def _settings(self) -> str:
        """Return the settings as a class with the methods that are reached."""
        config = type(self.config)
        fields = [
            f"    {k.name}: {type(k.default).__name__} = {_literal(value)}  # {k.label}"
            for k in self.config.knobs()
            for value in [getattr(self.config, k.name)]
        ]
        doc = (config.__doc__ or "The settings.").partition("\n")[0]
        live = ", ".join(f'"{name}": self.{name}' for name in self.config.live_values())
        methods = [
            "    def live_values(self) -> dict:\n"
            '        """Return those that can be changed while it trains."""\n'
            f"        return {{{live}}}"
        ]
        known: set[str] = set()
        for cls in config.__mro__:
            if cls is RunConfig:
                break
            asked = [
                part
                for part in node_of(cls).body
                if isinstance(part, ast.FunctionDef)
                and part.name not in known
                and part in self.reach.members[Name(cls.__module__, cls.__name__)]
            ]
            known |= {part.name for part in asked}
            methods += [self.rewriter.methods(cls, asked, 0)] if asked else []
        head = f'@dataclass(frozen=True)\nclass {config.__name__}:\n    """{doc}"""\n\n'
        return head + "\n".join(fields) + "\n\n" + "\n\n".join(methods)

    def _built(self) -> str:
        """Return the expression that makes the experiment."""
        given = "".join(f", {key}={self._written(value)}" for key, value in self.given.items())
        return f"{self.called[self.root]}({type(self.config).__name__}(){given})"

    def _written(self, value: object) -> str:
        """Return the expression for what an experiment is made with, a function say."""
        if isinstance(value, partial):
            parts = [self._written(part) for part in (value.func, *value.args)]
            parts += [f"{key}={self._written(part)}" for key, part in value.keywords.items()]
            return f"partial({', '.join(parts)})"
        names = _names_in(value)
        return self.called[names[0]] if names else _literal(value)

    def _loop(self) -> str:
        changes: dict[int, dict[str, object]] = {}
        for one in self.changes:
            if one.name in self.config.live_values():
                changes.setdefault(one.step, {})[one.name] = one.value
        done = self.run.interventions.load()
        alone = {one.step: one.name for one in done if one.what == "part"}
        return loop_of(changes, alone)

    def _main(self) -> str:
        return main_of(self.run, self._built())


def _names_in(value: object) -> list[Name]:
    """Return the functions and classes of the lab that a value is, or is made of."""
    if isinstance(value, partial):
        parts = (value.func, *value.args, *value.keywords.values())
        return [name for part in parts for name in _names_in(part)]
    return [Name(value.__module__, value.__qualname__)] if hasattr(value, "__qualname__") else []


def _by_imports(live: set[str]) -> list[str]:
    """Return modules in an order in which each stands behind those that it imports."""
    found: dict[str, None] = {}
    waiting: set[str] = set()

    def visit(module: str) -> None:
        if module in waiting:
            return
        waiting.add(module)
        for there in source(module).lab.values():
            visit(there if isinstance(there, str) else there.module)
        if module in live:
            found[module] = None

    for module in sorted(live):
        visit(module)
    return list(found)


def _section(module: str) -> str:
    return SECTIONS.get(module) or SECTIONS.get(module.partition(".")[0], "Training")


def _is_config(name: Name) -> bool:
    cls = class_of(name)
    return cls is not None and issubclass(cls, RunConfig)


def _returned(name: Name) -> type:
    found = kind_of(ast.Name(name.name, ast.Load()), Scope(source(name.module)))
    return found.kind if isinstance(found, Gives) else object


def _joined(texts: list[tuple[ast.stmt, str]]) -> str:
    """Return statements with the room between them that ruff gives them."""
    parts: list[str] = []
    for i, (node, text) in enumerate(texts):
        large = isinstance(node, ast.FunctionDef | ast.ClassDef)
        before = i and isinstance(texts[i - 1][0], ast.FunctionDef | ast.ClassDef)
        parts.append(("\n\n\n" if large or before else "\n") if i else "")
        parts.append(text)
    return "".join(parts)


def _imports(texts: list[str], modules: set[str]) -> list[str]:
    """Return the lines that import what cells use from Python and its packages."""
    used = {n.id for text in texts for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
    used |= {word for text in texts for word in _quoted(text)}
    known = {"dataclass": "from dataclasses import dataclass", "sys": "import sys"}
    known |= {"torch": "import torch", "partial": "from functools import partial"}
    for module in modules:
        known |= source(module).outside
    return _merged({known[name] for name in used if name in known})


def _merged(lines: set[str]) -> list[str]:
    """Return lines of imports in the usual order, those from the same module as one."""
    parts: dict[str, list[str]] = {}
    for line in sorted(lines, key=_import_order):
        module, _, name = line.partition(" import ")
        parts.setdefault(module, []).extend([name] if name else [])
    return [
        f"{module} import {', '.join(sorted(names))}" if names else module
        for module, names in parts.items()
    ]


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> set[str]:
    """Return the names in annotations that are quoted."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        for said in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                found |= set(re.findall(r"\w+", said.value))
    return found


def _import_order(line: str) -> tuple:
    module = line.split()[1].partition(".")[0]
    return module not in sys.stdlib_module_names, line.startswith("from"), line
