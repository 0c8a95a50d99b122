"""Of which class of the lab an expression is, as far as annotations and assignments say.

It decides which methods a script needs: ``log_prob`` of a flow is not that of a data set.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lab.code.sources import Name, Source, path_of, source

OUTSIDE = "outside"  # something of Python, torch or numpy, without methods of the lab
OPEN = {"Module", "ABC", "object", "Any", "Self"}  # anything of the lab may be one of these
SAME = {"to", "double", "float", "eval", "train", "requires_grad_"}  # a module returns itself
HOLDERS = {"list", "tuple", "dict", "set", "Sequence", "Iterable", "Iterator", "Mapping"}


@dataclass(frozen=True)
class Each:
    """What holds others of a kind."""

    kind: Any


@dataclass(frozen=True)
class Gives:
    """What returns something of a kind when it is called; a class returns its instances."""

    kind: Any


@dataclass(eq=False)
class Scope:
    """Where a name is looked up: a function, a method or the top of a module.

    Attributes:
        source: the module.
        function: if it is one.
        cls: whose method it is.
        known: values of local names as far as the settings of the run say.
    """

    source: Source
    function: ast.FunctionDef | None = None
    cls: type | None = None
    known: dict[str, Any] = field(default_factory=dict)
    locals: set[str] = field(default_factory=set)
    types: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.function is None:
            return
        for node in ast.walk(self.function):
            if isinstance(node, ast.arg):
                self.locals.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.locals.add(node.id)
            elif isinstance(node, ast.FunctionDef) and node is not self.function:
                self.locals.add(node.name)

    @property
    def me(self) -> str:
        """The name of its instance, ``self``, or an empty text."""
        if self.cls is None or self.function is None or not self.function.args.args:
            return ""
        static = {getattr(d, "id", "") for d in self.function.decorator_list}
        return "" if static & {"staticmethod", "classmethod"} else self.function.args.args[0].arg


def class_of(name: Name) -> type | None:
    """Return the class that a name of the lab stands for, or ``None`` if it is none."""
    found = getattr(source(name.module).module, name.name, None)
    return found if isinstance(found, type) else None


def home(cls: type) -> Name | None:
    """Return the name of a class if it is one of the lab."""
    return Name(cls.__module__, cls.__name__) if path_of(cls.__module__) else None


def node_of(cls: type) -> ast.ClassDef | None:
    """Return the statement that defines a class of the lab."""
    name = home(cls)
    return source(name.module).defined.get(name.name) if name else None


def kind_of(node: ast.expr | None, scope: Scope) -> Any:
    """Return what an expression is: a class, ``Each``, ``Gives``, ``OUTSIDE``, or ``None``."""
    match node:
        case ast.Name():
            return _of_name(node.id, scope)
        case ast.Attribute():
            return _of_attribute(node, scope)
        case ast.Call():
            return _of_call(node, scope)
        case ast.Subscript():
            held = kind_of(node.value, scope)
            return held.kind if isinstance(held, Each) else None
        case ast.Constant() | ast.JoinedStr() | ast.Compare():
            return OUTSIDE
        case ast.BinOp():
            return kind_of(node.left, scope)
        case ast.ListComp():
            return Each(kind_of(node.elt, scope))
        case ast.Dict() if node.values:
            return Each(kind_of(node.values[0], scope))
    return None


def _of_name(name: str, scope: Scope) -> Any:
    if name == scope.me:
        return scope.cls
    if name in scope.locals:
        if name not in scope.types:
            scope.types[name] = None  # while it is looked for
            scope.types[name] = _of_local(name, scope)
        return scope.types[name]
    meaning = scope.source.meaning(name)
    if isinstance(meaning, Name):
        return _of_top(meaning)
    return OUTSIDE if name in scope.source.outside else None


def _of_top(name: Name) -> Any:
    cls, there = class_of(name), source(name.module)
    node = there.defined.get(name.name)
    if isinstance(node, ast.ClassDef):
        return Gives(cls)
    if isinstance(node, ast.FunctionDef):
        return Gives(annotated(node.returns, there))
    if isinstance(node, ast.AnnAssign):
        return annotated(node.annotation, there)
    return kind_of(node.value, Scope(there)) if isinstance(node, ast.Assign) else None


def _of_local(name: str, scope: Scope) -> Any:
    for node in ast.walk(scope.function):
        if isinstance(node, ast.arg) and node.arg == name:
            return annotated(node.annotation, scope.source)
    kinds = set(_assigned(name, scope))
    return kinds.pop() if len(kinds) == 1 else None


def _assigned(name: str, scope: Scope) -> Iterator[Any]:
    for node in ast.walk(scope.function):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            yield annotated(node.annotation, scope.source)
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and target.id == name:
                yield kind_of(node.value, scope)
            elif isinstance(target, ast.Tuple) and name in map(_id, target.elts):
                held = kind_of(node.value, scope)
                yield held.kind if isinstance(held, Each) else None
        for target in _others(node):
            if any(_id(inner) == name for inner in ast.walk(target)):
                yield None


def _id(node: ast.AST) -> str:
    return getattr(node, "id", "")


def _others(node: ast.AST) -> list[ast.expr]:
    """Return what loops, contexts and the like assign to."""
    if isinstance(node, ast.For | ast.comprehension | ast.NamedExpr):
        return [node.target]
    return [node.optional_vars] if getattr(node, "optional_vars", None) else []


def _of_attribute(node: ast.Attribute, scope: Scope) -> Any:
    if isinstance(node.value, ast.Name) and node.value.id not in scope.locals:
        meaning = scope.source.meaning(node.value.id)
        if isinstance(meaning, str):
            return _of_top(Name(meaning, node.attr))
    held = kind_of(node.value, scope)
    if not isinstance(held, type):
        return OUTSIDE if held == OUTSIDE else None
    if (found := member(held, node.attr)) is not None:
        return found
    return Gives(held) if node.attr in SAME else None


_members: dict[tuple[type, str], Any] = {}


def member(cls: type, name: str) -> Any:
    """Return what an attribute of a class of the lab is; methods give something."""
    if (cls, name) not in _members:
        _members[cls, name] = None  # while it is looked for
        _members[cls, name] = _member(cls, name)
    return _members[cls, name]


def _member(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        node, there = node_of(base), home(base)
        for part in node.body if node else ():
            if isinstance(part, ast.FunctionDef) and part.name == name:
                kind = annotated(part.returns, source(there.module))
                plain = {getattr(d, "id", "") for d in part.decorator_list}
                return kind if plain & {"property", "cached_property"} else Gives(kind)
            if isinstance(part, ast.AnnAssign) and _id(part.target) == name:
                return annotated(part.annotation, source(there.module))
        for method in node.body if node else ():
            if isinstance(method, ast.FunctionDef):
                found = _set_in(method, name, Scope(source(there.module), method, base))
                if found is not None:
                    return found
    return None


def _set_in(method: ast.FunctionDef, name: str, scope: Scope) -> Any:
    for node in ast.walk(method):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            if getattr(target, "attr", "") == name and _id(target.value) == scope.me:
                said = getattr(node, "annotation", None)
                kind = annotated(said, scope.source) if said else None
                return kind or kind_of(node.value, scope)
    return None


def _of_call(node: ast.Call, scope: Scope) -> Any:
    if _id(node.func) == "super":
        return scope.cls
    called = kind_of(node.func, scope)
    if isinstance(called, Gives):
        return called.kind
    if isinstance(called, type):  # a module: it is its forward that is called
        forward = member(called, "forward")
        return forward.kind if isinstance(forward, Gives) else None
    roots = {n.id for n in ast.walk(node.func) if isinstance(n, ast.Name)}
    return OUTSIDE if called == OUTSIDE and roots & {"torch", "np", "math", "F"} else None


def annotated(node: ast.expr | None, there: Source) -> Any:
    """Return what an annotation says."""
    match node:
        case ast.Constant(str()):
            return annotated(ast.parse(node.value, mode="eval").body, there)
        case ast.Name() | ast.Attribute():
            return _annotated_name(node, there)
        case ast.BinOp(ast.expr() as left, ast.BitOr(), ast.expr() as right):
            kinds = {annotated(n, there) for n in (left, right) if not _is_none(n)}
            return kinds.pop() if len(kinds) == 1 else None
        case ast.Subscript(value, inner):
            return _annotated_with(value, inner, there)
    return None


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _annotated_name(node: ast.Name | ast.Attribute, there: Source) -> Any:
    last = node.attr if isinstance(node, ast.Attribute) else node.id
    meaning = there.meaning(last) if isinstance(node, ast.Name) else None
    if last in OPEN:
        return None
    if not isinstance(meaning, Name):
        known = last in there.outside or hasattr(builtins, last) or isinstance(node, ast.Attribute)
        return OUTSIDE if known else None
    if (cls := class_of(meaning)) is not None and node_of(cls) is not None:
        return None if getattr(cls, "_is_protocol", False) else cls
    alias = source(meaning.module).defined.get(meaning.name)
    return annotated(getattr(alias, "value", None), source(meaning.module))


def _annotated_with(value: ast.expr, inner: ast.expr, there: Source) -> Any:
    name = getattr(value, "id", getattr(value, "attr", ""))
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return OUTSIDE
    if name in ("type", "Callable"):
        return Gives(annotated(parts[-1], there))
    if name in HOLDERS:
        kinds = {
            annotated(p, there)
            for p in parts[1 if name in ("dict", "Mapping") else 0 :]
            if getattr(p, "value", None) is not ...
        }
        return Each(kinds.pop() if len(kinds) == 1 else None)
    return None
