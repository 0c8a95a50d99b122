"""The lab's own text without what is not reached, and with names that are good in one file.

Comments and layout stay as they were written: text is cut and replaced, not printed from a tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from lab.code.reach import ONE_PROCESS, Reach
from lab.code.sources import Name, Source, source
from lab.code.types_of import Scope, class_of
from training.core.config import RunConfig

Edit = tuple[int, int, str]  # from where in the text to where, and what stands there then
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?(?:[\w.]*\.)?(\w+)`")
EXAMPLES = re.compile(
    r"\n[ \t]*\n([ \t]*)Examples:\n(?:\1[ \t]+.*\n|[ \t]*\n)*?(?=\1?\S|[ \t]*\"\"\"|\Z)"
)


class Rewriter:
    """Writes what is reached.

    Args:
        reach: what is.
        called: what names of the lab are called in the script.
        order: all of these names in the order in which they are defined there.
    """

    def __init__(self, reach: Reach, called: Mapping[Name, str], order: Iterable[Name]) -> None:
        self.reach, self.called = reach, called
        self.place = {name: place for place, name in enumerate(order)}

    def text(self, name: Name) -> str:
        """Return the statement that defines a name, with the comment above it."""
        there, node = source(name.module), self.reach.live[name]
        start, end = self._whole(node, there)
        edits = list(self._statement(node, there, Scope(there), self.place[name]))
        return _edited(there.text, start, end, edits).rstrip()

    def methods(self, cls: type, parts: Iterable[ast.stmt], place: int) -> str:
        """Return some methods of a class."""
        there = source(cls.__module__)
        found = []
        for part in parts:
            start, end = self._whole(part, there)
            edits = list(self._function(part, there, Scope(there, part, cls), place))
            found.append(_edited(there.text, start, end, edits).rstrip())
        return "\n\n".join(found)

    # -- statements -------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt, there: Source, scope: Scope, place: int) -> Iterator[Edit]:
        if isinstance(node, ast.ClassDef):
            yield from self._class(node, there, place)
        elif isinstance(node, ast.FunctionDef):
            yield from self._function(node, there, Scope(there, node), place)
        else:
            yield from self._annotation(node, there, place)
            yield from self._expression(node, there, scope)

    def _class(self, node: ast.ClassDef, there: Source, place: int) -> Iterator[Edit]:
        cls = class_of(Name(there.name, node.name))
        kept = self.reach.members[Name(there.name, node.name)]
        yield from self._new_name(node, there, "class ")
        for part in (*node.decorator_list, *node.bases):
            yield from self._expression(part, there, Scope(there))
        yield from self._doc(node, there)
        rest = [p for p in node.body if p in kept]
        for part in node.body:
            if part in kept and isinstance(part, ast.FunctionDef):
                yield from self._function(part, there, Scope(there, part, cls), place)
            elif part in kept:
                yield from self._annotation(part, there, place, field=True)
                yield from self._expression(part, there, Scope(there))
            elif not _is_doc(part):
                yield self._cut(part, there)
        if not rest and not _is_doc(node.body[0]):
            yield there.span(node)[1], there.span(node)[1], "\n    pass"

    def _function(
        self, node: ast.FunctionDef, there: Source, scope: Scope, place: int
    ) -> Iterator[Edit]:
        yield from self._new_name(node, there, "def ")
        yield from self._doc(node, there)
        for part in node.decorator_list:
            yield from self._expression(part, there, Scope(there))
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            yield from self._expression(default, there, Scope(there))
        arguments = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        for argument in filter(None, arguments):
            if argument.annotation is not None:
                start = there.span(argument)[0] + len(argument.arg)
                yield from self._typed(argument.annotation, there, place, start)
        if node.returns is not None:
            start = there.text.rindex(")", 0, there.span(node.returns)[0]) + 1
            yield from self._typed(node.returns, there, place, start)
        yield from self._block(node.body, there, scope)

    def _new_name(self, node: ast.stmt, there: Source, word: str) -> Iterator[Edit]:
        new = self.called.get(Name(there.name, node.name), node.name)
        if new != node.name and there.defined.get(node.name) is node:
            start = there.span(node)[0] + len(word)
            yield start, start + len(node.name), new

    def _block(self, body: list[ast.stmt], there: Source, scope: Scope) -> Iterator[Edit]:
        kept = [node for node in body if node in self.reach.alive or _is_doc(node)]
        for node in body:
            if node not in kept:
                start, end, _ = self._cut(node, there)
                first = not kept and node is body[0]
                yield start, end, " " * node.col_offset + "pass\n" if first else ""
            elif isinstance(node, ast.If) and node in self.reach.taken:
                yield from self._branch(node, there, scope)
            else:
                yield from self._kept(node, there, scope)

    def _kept(self, node: ast.stmt, there: Source, scope: Scope) -> Iterator[Edit]:
        if isinstance(node, ast.FunctionDef):
            yield from self._function(node, there, scope, -1)
            return
        alone = self._one_process(node, there)
        if alone is not None:
            yield alone
            return
        for name, value in ast.iter_fields(node):
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                if value:
                    yield from self._block(value, there, scope)
            elif name == "handlers":
                for handler in value:
                    yield from self._block(handler.body, there, scope)
            elif name == "annotation" and value is not None:
                yield from self._typed(value, there, -1, there.span(node.target)[1])
            else:
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.AST):
                        yield from self._expression(part, there, scope)

    def _branch(self, node: ast.If, there: Source, scope: Scope) -> Iterator[Edit]:
        """Put the branch that is taken in place of both."""
        body = node.body if self.reach.taken[node] else node.orelse
        start, end, _ = self._cut(node, there, above=False)
        if not body:
            yield start, end, ""
            return
        first = self._start(body[0], there)
        last = there.starts[body[-1].end_lineno]
        inner = len(there.text[first:]) - len(there.text[first:].lstrip(" "))
        by = inner - node.col_offset
        yield start, first, ""
        yield last, end, ""
        for line in range(there.text.count("\n", 0, first) + 1, body[-1].end_lineno + 1):
            if by > 0 and there.lines[line - 1].startswith(" " * by):
                yield there.starts[line - 1], there.starts[line - 1] + by, ""
        if there.text.startswith("elif", there.span(body[0])[0]):
            start = there.span(body[0])[0]
            yield start, start + len("elif"), "if"
        yield from self._block(body, there, scope)

    def _cut(self, node: ast.stmt, there: Source, above: bool = True) -> Edit:
        """Cut the lines of a statement, and the comment above it."""
        start = self._start(node, there) if above else there.starts[node.lineno - 1]
        end = there.starts[node.end_lineno]
        # A gap before and one behind would be two.
        while (
            above
            and start
            and there.text[end : end + 1] == "\n"
            and (there.text[:start].endswith("\n\n"))
        ):
            end += 1
        return start, end, ""

    def _start(self, node: ast.stmt, there: Source) -> int:
        line = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        while line > 1 and re.match(r"\s*#(?! --)", there.lines[line - 2]):
            line -= 1
        return there.starts[line - 1]

    def _whole(self, node: ast.stmt, there: Source) -> tuple[int, int]:
        return self._start(node, there), there.starts[node.end_lineno]

    # -- expressions ------------------------------------------------------------------------------

    def _expression(self, node: ast.AST, there: Source, scope: Scope) -> Iterator[Edit]:
        match node:
            case ast.IfExp() if node in self.reach.taken:
                kept = node.body if self.reach.taken[node] else node.orelse
                (start, end), (first, last) = there.span(node), there.span(kept)
                yield start, first, ""
                yield last, end, ""
                yield from self._expression(kept, there, scope)
            case ast.Name() if node.id not in scope.locals:
                yield from self._named(there.meaning(node.id), node, there)
            case ast.Attribute(value=ast.Name(id=name)) if name not in scope.locals and isinstance(
                module := there.meaning(name), str
            ):
                yield from self._named(Name(module, node.attr), node, there)
            case ast.Call() if (alone := self._one_process(node, there)) is not None:
                yield alone
            case ast.Dict() if node in self.reach.dropped:
                yield from self._table(node, there, scope)
            case _:
                for name, value in ast.iter_fields(node):
                    for part in value if isinstance(value, list) else [value]:
                        if isinstance(part, ast.AST) and name != "annotation":
                            yield from self._expression(part, there, scope)

    def _named(self, meaning: object, node: ast.expr, there: Source) -> Iterator[Edit]:
        if not isinstance(meaning, Name):
            return
        meaning = self.reach.instead.get(meaning, meaning)
        new = self.called.get(meaning, meaning.name)
        start, end = there.span(node)
        if there.text[start:end] != new:
            yield start, end, new

    def _table(self, node: ast.Dict, there: Source, scope: Scope) -> Iterator[Edit]:
        dropped = self.reach.dropped[node]
        kept = [i for i in range(len(node.keys)) if i not in dropped]
        starts = [there.span(key)[0] for key in node.keys]
        for i in kept:
            yield from self._expression(node.values[i], there, scope)
        for i in dropped:
            if i < kept[-1]:
                yield starts[i], starts[i + 1], ""
        if kept[-1] < len(starts) - 1:
            yield there.span(node.values[kept[-1]])[1], there.span(node.values[-1])[1], ""

    def _one_process(self, node: ast.AST, there: Source) -> Edit | None:
        """Return what stands for a call by which several processes would share a batch."""
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign) and isinstance(value, ast.Call):
            given = [ast.unparse(arg) for arg in value.args]
            same = f"{', '.join(given)}" == ast.unparse(node.targets[0]).strip("()")
            if _shared(value, there) == "shard" and same:
                return self._cut(node, there)
        if not isinstance(node, ast.Call) or not (call := _shared(node, there)):
            return None
        start, end = there.span(node)
        texts = [there.text[slice(*there.span(arg))].removeprefix("*") for arg in node.args]
        return start, end, f"{texts[0]}.mean()" if call == "mean" else ", ".join(texts)

    # -- annotations and docstrings ---------------------------------------------------------------

    def _annotation(
        self, node: ast.stmt, there: Source, place: int, field: bool = False
    ) -> Iterator[Edit]:
        if isinstance(node, ast.AnnAssign):
            start = there.span(node.target)[1]
            yield from self._typed(node.annotation, there, place, start, field)

    def _typed(
        self, node: ast.expr, there: Source, place: int, start: int, field: bool = False
    ) -> Iterator[Edit]:
        """Leave out an annotation that names what is not here; quote one of what comes later.

        Args:
            node: the annotation.
            there: the module.
            place: of what it stands in, in the order of the script; -1 where nobody reads it.
            start: where what it annotates ends.
            field: whether it has to have some.
        """
        first, last = there.span(node)
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        quoted = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if quoted:
            names = [n for n in ast.walk(ast.parse(node.value)) if isinstance(n, ast.Name)]
        meant = {n.id: m for n in names if isinstance(m := there.meaning(n.id), Name)}
        meant |= {n.id: m for n in names if isinstance(m := there.meaning(n.id), str)}
        new, late = {}, False
        for name, meaning in meant.items():
            found = self._annotated(meaning)
            if found is None:
                yield _untyped(there, start, first, last, field)
                return
            new[name] = self.called.get(found, found.name)
            late |= place >= 0 and self.place.get(found, -1) >= place
        text = there.text[first:last].strip("\"'") if quoted else there.text[first:last]
        text = re.sub(r"\b[A-Za-z_]\w*\b", lambda m: new.get(m[0], m[0]), text)
        if late:
            text = repr(text).replace("\n", " ") if '"' in text else f'"{text}"'
        if text != there.text[first:last]:
            yield first, last, text

    def _annotated(self, meaning: Name | str) -> Name | None:
        if isinstance(meaning, str):
            return None
        cls = class_of(meaning)
        if cls is not None and issubclass(cls, RunConfig):
            config = type(self.reach.settings.config)
            return Name(config.__module__, config.__name__)
        return meaning if meaning in self.place else None

    def _doc(self, node: ast.ClassDef | ast.FunctionDef, there: Source) -> Iterator[Edit]:
        if _is_doc(node.body[0]):
            start, end = there.span(node.body[0])
            text = there.text[start:end]
            new = ROLE.sub(r"``\1``", EXAMPLES.sub("\n", text))
            if new != text:
                yield start, end, re.sub(r"\n\s*\n(\s*)\"\"\"$", r'\n\1"""', new)


def _shared(node: ast.Call, there: Source) -> str:
    """Return which of the calls it is by which processes share a batch, if it is one."""
    module = there.meaning(getattr(getattr(node.func, "value", None), "id", ""))
    return node.func.attr if module == ONE_PROCESS else ""


def _untyped(there: Source, start: int, first: int, last: int, field: bool) -> Edit:
    """Leave out an annotation from ``first`` to ``last``, of something that ends at ``start``."""
    if field:
        return first, last, "object"
    default = there.text.startswith(" = ", last) and there.text[start:first].strip() == ":"
    at_top = there.text[:start].rpartition("\n")[2].strip().isidentifier() is False
    return (start, last + 3, "=") if default and at_top else (start, last, "")


def _is_doc(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _edited(text: str, start: int, end: int, edits: list[Edit]) -> str:
    """Return a part of a text with all edits made; one within a cut is of no use."""
    done, at = [], start
    for first, last, new in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if at <= first <= end:
            done += [text[at:first], new]
            at = min(last, end)
    whole = "".join([*done, text[at:end]])
    whole = re.sub(r"\n[ \t]*(\w+) = \1(?=\n)", "", whole)  # what a branch leaves that is not taken
    return re.sub(r"\n\n\n+(?=[ \t])", "\n\n", whole)
