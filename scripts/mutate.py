"""Break the lab on purpose, one line at a time, and see whether an everyday test notices.

``python scripts/mutate.py`` tries all of ``scripts/mutations``, each in a copy of the working
tree, and ends with 1 if one survives. Some minutes on two cores with ``-j 2``; names of mutations
as arguments try only these.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.mutations import MUTATIONS, Mutation  # noqa: E402

NO_ROOMS = {"tests", "scripts", "benchmarks", "docs", "assets", "deploy", "runs"}
PATIENCE = 300.0  # seconds for the tests of one mutation
PASSED, FAILED = 0, 1  # exit codes of pytest: anything else says nothing about a mutation


class Lost(LookupError):
    """The text that a mutation changes is not there, or there more than once."""


# -- where a mutation is -------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a mutation changes a file: characters ``start`` to ``end`` of its text."""

    path: Path
    text: str
    start: int
    end: int

    @property
    def words(self) -> str:
        """File and line, as editors read it."""
        return f"{self.path}:{self.text.count(chr(10), 0, self.start) + 1}"


def sources(root: Path) -> dict[Path, str]:
    """Return the text of each source file of the lab, by its path below ``root``."""
    files = (path.relative_to(root) for path in sorted(root.rglob("*.py")))
    chosen = (p for p in files if p.parts[0] not in NO_ROOMS and not p.parts[0].startswith("."))
    return {path: (root / path).read_text(encoding="utf-8") for path in chosen}


def find(mutation: Mutation, texts: dict[Path, str]) -> Place:
    """Return where a mutation is, in whatever file: code may move.

    Raises:
        Lost: nowhere, or in several places.
    """
    words = map(re.escape, mutation.old.split())
    wanted = re.compile(r"\s+".join(words))  # lines may be broken elsewhere
    found = [
        Place(path, text, first + match.start(), first + match.end())
        for path, text in texts.items()
        for first, last in _spans(text, mutation.within)
        for match in wanted.finditer(text[first:last])
    ]
    if len(found) != 1:
        where = ", ".join(place.words for place in found) or "nowhere"
        raise Lost(f"{mutation.name}: {mutation.old!r} in {mutation.within or 'a file'}: {where}.")
    return found[0]


def _spans(text: str, name: str) -> list[tuple[int, int]]:
    """Return where the definitions of a name begin and end in a file; without a name, the file."""
    if not name:
        return [(0, len(text))]
    if not re.search(rf"(def|class) {name.rpartition('.')[2]}\b", text):
        return []  # to parse it would take longer
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    return [
        (starts[node.lineno - 1], starts[node.end_lineno])
        for path, node in _definitions(_parsed(text))
        if f".{path}".endswith(f".{name}")
    ]


_parsed = cache(ast.parse)


def _definitions(tree: ast.AST, above: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yield classes and functions with their path, ``Class.method`` say."""
    for node in ast.iter_child_nodes(tree):
        path = above
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            path = f"{above}.{node.name}" if above else node.name
            yield path, node
        yield from _definitions(node, path)


# -- what the tests say of it ---------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of a mutation.

    Attributes:
        name: of the mutation.
        caught: whether a test failed; ``None`` if the tests could not be run.
        words: where it was, and the test that caught it or the end of what pytest said.
        seconds: how long the tests took.
    """

    name: str
    caught: bool | None
    words: str
    seconds: float


def attempt(mutation: Mutation, tree: Path) -> Verdict:
    """Try one mutation in a copy of the tree, which is as before in the end."""
    began = time.monotonic()
    try:
        place = find(mutation, sources(tree))
    except Lost as error:
        return Verdict(mutation.name, None, str(error), 0.0)
    file = tree / place.path
    file.write_text(place.text[: place.start] + mutation.new + place.text[place.end :], "utf-8")
    try:
        code, output = run_tests(mutation.tests, tree)
    finally:
        file.write_text(place.text, "utf-8")
    caught = {PASSED: False, FAILED: True}.get(code)
    words = f"{place.words}  {_failed(output) if caught else ''}"
    if caught is None:
        words += output[-2000:]
    return Verdict(mutation.name, caught, words, time.monotonic() - began)


def run_tests(tests: Sequence[str], tree: Path) -> tuple[int, str]:
    """Run some tests in a tree, until the first that fails; return exit code and output."""
    names = [f"tests/{name}" for name in tests]
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", f"--timeout={PATIENCE:g}"]
    command = [sys.executable, "-m", "pytest", *options, *names]
    # A second change within a second, of the same length, would not be seen beside a .pyc.
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _failed(output: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", output, re.MULTILINE)
    return f"caught by {found[1]}" if found else ""


# -- all of them ----------------------------------------------------------------------------------


@contextmanager
def copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """Make copies of the working tree to break: all files but those that git ignores."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for i in range(count):
            tree = Path(folder) / str(i)
            for name in filter(None, names.split("\0")):
                if (ROOT / name).is_file():  # neither deleted nor a link to a folder
                    (tree / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, tree / name)
            trees.put(tree)
        yield trees


def try_all(mutations: Sequence[Mutation], trees: SimpleQueue[Path], jobs: int) -> list[Verdict]:
    """Try mutations in several copies at a time, and report each as it is done."""

    def one(mutation: Mutation) -> Verdict:
        tree = trees.get()
        try:
            verdict = attempt(mutation, tree)
        finally:
            trees.put(tree)
        word = {True: "caught", False: "SURVIVED", None: "BROKEN"}[verdict.caught]
        print(f"{word:9} {verdict.seconds:4.0f} s  {verdict.name}  {verdict.words}", flush=True)
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, mutations))


def main(arguments: list[str] | None = None) -> int:
    """Try the mutations that are named, or all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="mutation", help="only these")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="only list where they are")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        parser.error(f"no mutation is called {', '.join(sorted(unknown))}")
    chosen = [m for m in MUTATIONS if not options.names or m.name in options.names]
    if options.list:
        texts = sources(ROOT)
        for mutation in chosen:
            print(f"{mutation.name}: {find(mutation, texts).words}")
        return 0
    with copies(options.jobs) as trees:
        tree = trees.get()
        # What fails without a mutation catches none.
        code, output = run_tests(sorted({name for m in chosen for name in m.tests}), tree)
        trees.put(tree)
        if code != PASSED:
            print(output[-4000:], "The tests fail without any mutation.", sep="\n")
            return 2
        verdicts = try_all(chosen, trees, options.jobs)
    lost = [verdict.name for verdict in verdicts if not verdict.caught]
    print(f"{len(verdicts) - len(lost)} of {len(verdicts)} caught.")
    if lost:
        print(f"Not caught: {', '.join(lost)}.")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
