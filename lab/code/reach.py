"""What of the lab's code a training comes to: names, methods, statements, branches.

Everything else is left out of a script. A statement that only sets a name or an attribute is needed
if that is read; a branch if the settings of the run take it. What draws from the training's own
generator is always needed, since all that is drawn after it depends on it.
"""

from __future__ import annotations

import ast
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch

from lab.code.known import Settings, Unknown
from lab.code.sources import Name, Source, is_lab_import, source
from lab.code.types_of import OUTSIDE, Each, Gives, Scope, class_of, home, kind_of
from training.core.config import RunConfig

ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
ONE_PROCESS = "training.core.collectives"  # a script trains in one: see ``rewrite``


class Reach:
    """What is reached from a few roots.

    Args:
        settings: of the run.
        instead: names that stand in for others.

    Attributes:
        live: names at the top of modules.
        members: methods and assignments of classes, by class.
        alive: statements of functions.
        taken: which way each branch goes that the settings decide.
        dropped: entries of tables that this run does not take.
    """

    def __init__(self, settings: Settings, instead: Mapping[Name, Name]) -> None:
        self.settings, self.instead = settings, instead
        self._given: dict[tuple[str, str, str], Any] = {}  # module, function, parameter: its value
        self._start()

    def _start(self) -> None:
        self.live: dict[Name, ast.stmt] = {}
        self.members: defaultdict[Name, set[ast.stmt]] = defaultdict(set)
        self.alive: set[ast.stmt] = set()
        self.taken: dict[ast.If | ast.IfExp, bool] = {}
        self.dropped: dict[ast.Dict, set[int]] = {}
        self._asked: set[tuple[type | None, str]] = set()
        self._read: set[tuple[Scope, str]] = set()
        self._if_read: defaultdict[tuple[Scope, str], list] = defaultdict(list)
        self._if_asked: list[tuple[type, str, Any]] = []
        self._todo: deque = deque()
        self._again = False

    def follow(self, names: Iterable[Name], asked: Iterable[tuple[type, str]]) -> Reach:
        """Find all that is reached from names, and from methods and attributes of classes."""
        names, asked = list(names), list(asked)
        while True:
            self._start()
            for name in names:
                self._forget(name)  # who calls it is not seen here
                self._mark(name)
            self._asked.update(asked)
            self._work()
            if not self._again:  # a value that was taken for the only one is not: once more
                return self

    def fix(self, function: Name, parameter: str, value: Any) -> None:
        """Say which value a parameter has, in every call."""
        self._given[function.module, function.name, parameter] = value

    def _work(self) -> None:
        while True:
            while self._todo:
                self._todo.popleft()()
            if not self._take_asked():
                return

    def _take_asked(self) -> bool:
        """Take what has been asked for since, of classes that are live; return whether any was."""
        found = False
        for name in [name for name, node in self.live.items() if isinstance(node, ast.ClassDef)]:
            cls = class_of(name)
            for part in self.live[name].body:
                if part not in self.members[name] and self._is_wanted(cls, part):
                    self.members[name].add(part)
                    self._take_member(cls, part)
                    found = True
        waiting, self._if_asked = self._if_asked, []
        for cls, attribute, take in waiting:
            if self._is_asked(cls, attribute):
                take()
                found = True
            else:
                self._if_asked.append((cls, attribute, take))
        return found

    def _is_asked(self, cls: type, attribute: str) -> bool:
        if (None, attribute) in self._asked:
            return True
        return any(
            name == attribute and of is not None and (issubclass(of, cls) or issubclass(cls, of))
            for of, name in self._asked
        )

    def _is_wanted(self, cls: type, part: ast.stmt) -> bool:
        if isinstance(part, ast.FunctionDef):
            if _is_blank(part):
                return False
            special = part.name.startswith("__") and part.name.endswith("__")
            return special or _is_called_outside(cls, part.name) or self._is_asked(cls, part.name)
        if issubclass(cls, RunConfig):
            return False  # settings are written out
        if isinstance(part, ast.AnnAssign):
            fields = hasattr(cls, "__dataclass_fields__") or issubclass(cls, tuple)
            return fields or self._is_asked(cls, part.target.id)
        targets = part.targets if isinstance(part, ast.Assign) else []
        return any(self._is_asked(cls, target.id) for target in targets)

    def _take_member(self, cls: type, part: ast.stmt) -> None:
        there = source(cls.__module__)
        if isinstance(part, ast.FunctionDef):
            self._function(part, Scope(there, part, cls))
        elif getattr(part, "value", None) is not None:
            self._expression(part.value, Scope(there, cls=cls))

    # -- names ------------------------------------------------------------------------------------

    def _mark(self, name: Name) -> None:
        name = self.instead.get(name, name)
        if name in self.live or name.module == ONE_PROCESS:
            return
        there = source(name.module)
        node = there.defined.get(name.name)
        if node is None:
            return
        self.live[name] = node
        match node:
            case ast.FunctionDef():
                self._todo.append(partial(self._function, node, Scope(there, node)))
            case ast.ClassDef() if issubclass(cls := class_of(name), RunConfig):
                for base in cls.__mro__[1 : cls.__mro__.index(RunConfig)]:
                    self._mark(home(base))  # for their methods; fields are written out
            case ast.ClassDef():
                for part in (*node.bases, *node.decorator_list, *(k.value for k in node.keywords)):
                    self._todo.append(partial(self._expression, part, Scope(there)))
            case ast.Assign() | ast.AnnAssign() if node.value is not None:
                self._todo.append(partial(self._expression, node.value, Scope(there)))

    def _function(self, node: ast.FunctionDef, scope: Scope) -> None:
        self._set_known(node, scope)
        self._inside(node, scope, Scope(scope.source, cls=scope.cls))

    def _inside(self, node: ast.FunctionDef, scope: Scope, around: Scope) -> None:
        """Go through a function; ``around`` is where its defaults are looked up."""
        defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        for part in (*node.decorator_list, *defaults):
            self._expression(part, around)
        for said in (node.returns, *(argument.annotation for argument in _all(node.args))):
            self._alias(said, scope.source)
        self._block(node.body, scope)

    def _alias(self, said: ast.expr | None, there: Source) -> None:
        """Take the names of types that an annotation uses; classes come for other reasons."""
        for part in ast.walk(said) if said is not None else ():
            meaning = there.meaning(part.id) if isinstance(part, ast.Name) else None
            if isinstance(meaning, Name):
                node = source(meaning.module).defined.get(meaning.name)
                if isinstance(node, ast.Assign) and isinstance(
                    node.value, ast.Subscript | ast.BinOp
                ):
                    self._mark(meaning)

    def _set_known(self, node: ast.FunctionDef, scope: Scope) -> None:
        scope.known = dict.fromkeys(scope.locals, Unknown)
        of = f"{scope.cls.__name__}.{node.name}" if scope.cls else node.name
        for name in scope.locals:
            if (key := (scope.source.name, of, name)) in self._given:
                scope.known[name] = self._given[key]
        if "config" in scope.locals and "config" in {a.arg for a in _all(node.args)}:
            scope.known["config"] = self.settings.config
        if scope.me:
            scope.known[scope.me] = self.settings.me(scope.cls)

    # -- statements -------------------------------------------------------------------------------

    def _block(self, statements: Iterable[ast.stmt], scope: Scope) -> bool:
        """Go through statements; return whether nothing after them is reached."""
        return any(self._statement(statement, scope) for statement in statements)

    def _statement(self, node: ast.stmt, scope: Scope) -> bool:
        if is_lab_import(node):
            return False
        if isinstance(node, ast.If) and (way := self._way(node, scope)) is not None:
            self.alive.add(node)
            return self._block(node.body if way else node.orelse, scope)
        if isinstance(node, ast.FunctionDef):
            self._when_read([(None, node.name)], scope, node)
            return False
        places = self._places(node, scope)
        if places is not None and not _draws(node):
            self._when_read(places, scope, node)
            return False
        return self._take(node, scope)

    def _take(self, node: ast.stmt, scope: Scope) -> bool:
        self.alive.add(node)
        if isinstance(node, ast.FunctionDef):
            self._inside(node, scope, scope)
            return False
        ended = []
        for name, value in ast.iter_fields(node):
            if name == "orelse" and _is_elif(node):
                ended.append(self._take(value[0], scope))
            elif name in ("body", "orelse", "finalbody") and isinstance(value, list):
                ended.append(self._block(value, scope))
            elif name == "handlers":
                for handler in value:
                    if handler.type is not None:
                        self._expression(handler.type, scope)
                    self._block(handler.body, scope)
            elif name != "annotation":
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.AST):
                        self._expression(part, scope)
        both = isinstance(node, ast.If) and bool(node.orelse) and all(ended)
        return both or isinstance(node, ENDS)

    def _way(self, node: ast.If | ast.IfExp, scope: Scope) -> bool | None:
        """Return which way a branch goes, if the settings say."""
        try:
            way = bool(self.settings.value(node.test, scope.source, scope.known))
        except Unknown:
            return None
        self.taken[node] = way
        return way

    def _places(self, node: ast.stmt, scope: Scope) -> list[tuple[type | None, str]] | None:
        """Return the names and attributes that a statement sets, if that is all it does."""
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            return None  # `x += 1` may change an array that others hold, too
        flat = [n for t in targets for n in (t.elts if isinstance(t, ast.Tuple) else [t])]
        places: list[tuple[type | None, str]] = []
        for target in flat:
            target = target.value if isinstance(target, ast.Starred) else target
            if isinstance(target, ast.Name):
                places.append((None, target.id))
            elif isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == scope.me:
                if not scope.me or issubclass(scope.cls, torch.nn.Module):
                    return None  # a module counts its parts whether they are read or not
                places.append((scope.cls, target.attr))
            else:
                return None
        return places

    def _when_read(self, places: list, scope: Scope, node: ast.stmt) -> None:
        def take() -> None:
            if node not in self.alive:
                self._take(node, scope)

        for cls, name in places:
            if cls is not None:
                self._if_asked.append((cls, name, take))
            elif (scope, name) in self._read:
                take()
            else:
                self._if_read[scope, name].append(take)

    # -- expressions ------------------------------------------------------------------------------

    def _expression(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Name(ctx=ast.Load()):
                self._name(node.id, scope)
                meaning = scope.source.meaning(node.id) if node.id not in scope.locals else None
                if isinstance(meaning, Name):  # it may be called with anything
                    self._forget(self.instead.get(meaning, meaning))
            case ast.Attribute(ctx=ast.Load()):
                self._attribute(node, scope)
            case ast.IfExp() if (way := self._way(node, scope)) is not None:
                self._expression(node.body if way else node.orelse, scope)
            case ast.Call():
                self._call(node, scope)
            case ast.Dict() if scope.function is None and (kept := self.settings.wanted(node)):
                self._table(node, kept, scope)
            case _:
                for name, value in ast.iter_fields(node):
                    for part in value if isinstance(value, list) else [value]:
                        if isinstance(part, ast.AST) and name not in ("annotation", "ctx", "ops"):
                            self._expression(part, scope)

    def _table(self, node: ast.Dict, kept: list[str], scope: Scope) -> None:
        keys = [key.value for key in node.keys]
        self.dropped[node] = {i for i, key in enumerate(keys) if key not in kept}
        for key, value in zip(keys, node.values, strict=True):
            if key in kept:
                self._expression(value, scope)

    def _name(self, name: str, scope: Scope) -> None:
        if name in scope.locals:
            if (scope, name) not in self._read:
                self._read.add((scope, name))
                self._todo.extend(self._if_read.pop((scope, name), ()))
            return
        meaning = scope.source.meaning(name)
        if isinstance(meaning, Name):
            self._mark(meaning)
        elif scope.function is None and scope.cls is not None:
            self._asked.add((scope.cls, name))  # in the body of a class

    def _attribute(self, node: ast.Attribute, scope: Scope) -> None:
        if isinstance(node.value, ast.Name) and node.value.id not in scope.locals:
            meaning = scope.source.meaning(node.value.id)
            if isinstance(meaning, str):
                self._mark(Name(meaning, node.attr))
                return
        self._ask(kind_of(node.value, scope), node.attr)
        self._expression(node.value, scope)

    def _ask(self, kind: Any, attribute: str) -> None:
        if isinstance(kind, Gives):
            kind = kind.kind  # of a class: what its instances have
        if kind != OUTSIDE and not isinstance(kind, Each):
            of_lab = isinstance(kind, type) and home(kind) is not None
            self._asked.add((kind if of_lab else None, attribute))

    def _call(self, node: ast.Call, scope: Scope) -> None:
        name = getattr(node.func, "id", "")
        if name in ("getattr", "hasattr", "setattr"):
            self._ask(None, getattr(node.args[1], "value", ""))
        meaning = scope.source.meaning(name) if name not in scope.locals else None
        if isinstance(meaning, Name):
            self._give(self.instead.get(meaning, meaning), node, scope)
            self._mark(meaning)
        else:
            self._expression(node.func, scope)
        for part in (*node.args, *(keyword.value for keyword in node.keywords)):
            self._expression(part, scope)

    # -- values of parameters ---------------------------------------------------------------------

    def _give(self, function: Name, call: ast.Call, scope: Scope) -> None:
        """Take note of what a function of the lab is called with."""
        node = source(function.module).defined.get(function.name)
        if not isinstance(node, ast.FunctionDef):
            return
        if any(isinstance(arg, ast.Starred) for arg in call.args) or None in (
            keyword.arg for keyword in call.keywords
        ):
            self._forget(function)
            return
        given = {p.arg: value for p, value in zip(node.args.args, call.args)}
        given |= {keyword.arg: keyword.value for keyword in call.keywords}
        for parameter, default in _defaults(node.args).items():
            value = given.get(parameter, default)
            where = scope if parameter in given else Scope(source(function.module))
            self._learn(function, parameter, self._value(value, where))

    def _value(self, node: ast.expr | None, scope: Scope) -> Any:
        if node is None:
            return Unknown
        try:
            return self.settings.value(node, scope.source, scope.known)
        except Unknown:
            return Unknown

    def _forget(self, function: Name) -> None:
        node = source(function.module).defined.get(function.name)
        for parameter in _defaults(node.args) if isinstance(node, ast.FunctionDef) else ():
            self._learn(function, parameter, Unknown)

    def _learn(self, function: Name, parameter: str, value: Any) -> None:
        key = function.module, function.name, parameter
        before = self._given.get(key, value)
        same = type(before) is type(value) and before == value
        self._given[key] = value if same else Unknown
        self._again |= not same and before is not Unknown


def _is_elif(node: ast.stmt) -> bool:
    """Return whether what follows a branch is an ``elif``, which cannot stand alone."""
    after = node.orelse if isinstance(node, ast.If) else []
    return (
        len(after) == 1
        and isinstance(after[0], ast.If)
        and (after[0].col_offset == node.col_offset)
    )


def _all(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _defaults(arguments: ast.arguments) -> dict[str, ast.expr | None]:
    """Return the parameters of a function and their defaults, ``None`` where there is none."""
    places = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(places) - len(arguments.defaults))
    found = dict(zip((p.arg for p in places), [*missing, *arguments.defaults], strict=True))
    names = (p.arg for p in arguments.kwonlyargs)
    return found | dict(zip(names, arguments.kw_defaults, strict=True))


def _draws(node: ast.stmt) -> bool:
    """Return whether a statement may draw from a source that others draw from after it."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return not names.isdisjoint(("generator", "rng"))


def _is_blank(node: ast.FunctionDef) -> bool:
    """Return whether a method is left to those who inherit it."""
    last = node.body[-1]
    return (
        len(node.body) <= 2
        and isinstance(last, ast.Raise)
        and (getattr(last.exc, "id", "") == "NotImplementedError")
    )


def _is_called_outside(cls: type, name: str) -> bool:
    """Return whether a method is one that torch or Python calls."""
    if issubclass(cls, torch.nn.Module):
        return name == "forward"
    bases = (base for base in cls.__mro__ if home(base) is None and base is not object)
    return any(name in vars(base) for base in bases)
