"""The house is as its plan says: one way through the rooms, one stem per family, small parts."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import suppress
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

from registry import FAMILIES, PAGES
from training.core.family import Training

ROOT = Path(__file__).parent.parent
# From the ground up: a room may import what stands before it.
TOWER = ("models", "datasets", "metrics", "training", "lab", "analysis", "figures")
ROOMS = (*TOWER, "cli", "ui", "pages")
HOUSE = {*ROOMS, "app", "registry", "paths"}
FRONT = "training/__main__.py"  # of the command line, so that `python -m training` starts it

# What each room may import of the house; all but the models may ask `paths` where it lies.
ALLOWED = {room: {*TOWER[:i], "paths"} for i, room in enumerate(TOWER)}
ALLOWED |= {room: {*TOWER, "paths"} for room in ("cli", "ui")}
for room in ("training", "lab", "analysis", "figures", "cli", "ui"):
    ALLOWED[room].add("registry")
ALLOWED |= {
    "models": set(),
    "datasets": {"paths"},
    "paths": set(),
    "registry": {"training"},
    "pages": {*TOWER, "ui", "registry", "paths"},
    "app": {"ui", "registry"},
    FRONT: {"cli"},
}
# The rooms that must work without a page, on a machine without a browser.
HEADLESS = (*TOWER, "cli")
PAGE_LIBRARIES = {"streamlit", "altair", "matplotlib", "seaborn"}
DRAWING = {"figures": {"matplotlib"}}

LARGEST_ROOM = 0.25  # of all lines; `ui/common` and the folders of pages count apart
WIDEST = 17  # files in one folder
LONGEST_FILE = 450
LONGEST_FUNCTION = 50
LONGEST_PAGE = 160


def sources() -> list[Path]:
    found = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [
        *found,
        ROOT / "registry.py",
        ROOT / "paths.py",
        *([ROOT / "app.py"] if (ROOT / "app.py").exists() else []),
    ]


SOURCES = {str(path.relative_to(ROOT)): path for path in sources()}


def room_of(path: Path) -> str:
    name = str(path.relative_to(ROOT))
    return FRONT if name == FRONT else name.split("/")[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The dotted names of all that a file imports, wherever in it, and by whatever means."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = node.module
            if node.level:
                above = path.relative_to(ROOT).parts[: -node.level]
                home = ".".join([*above, *filter(None, [node.module])])
            found |= {f"{home}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            found |= {str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)}
    return found


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_the_search_for_imports_misses_none(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "lab").mkdir()
    path = tmp_path / "lab" / "x.py"
    path.write_text(
        "import a.b as c\n"
        "from d import e\n"
        "from . import f\n"
        "def g():\n"
        "    import_module('h.i'), importlib.import_module('j')\n"
        "    from k.l import m\n"
    )
    assert imports_of(path) == {"a.b", "d.e", "lab.f", "h.i", "j", "k.l.m"}


def programs() -> list[tuple[str, ast.ImportFrom]]:
    """What strings import of the house: programs for `python -c` and for other processes."""
    found = []
    folders = (ROOT / "tests", ROOT / "benchmarks")
    for path in [*SOURCES.values(), *(p for f in folders for p in sorted(f.rglob("*.py")))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if not isinstance(text, str) or "import " not in text:
                continue
            with suppress(SyntaxError):  # most strings are no program
                inside = ast.walk(ast.parse(textwrap.dedent(text)))
                found += [(path.name, n) for n in inside if isinstance(n, ast.ImportFrom)]
    return [(name, n) for name, n in found if (n.module or "").split(".")[0] in HOUSE]


def test_programs_in_strings_import_what_there_is():
    found = programs()
    assert any(name == "cluster.py" for name, _ in found), "else they were not found"
    for name, node in found:
        module = importlib.import_module(node.module)
        for alias in node.names:
            there = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
            assert there, f"{name}: {ast.unparse(node)}"


def modules() -> dict[str, str]:
    """The modules of the house by their dotted names; the folder, or the file, that each is in."""
    found = {}
    for name in SOURCES:
        parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
        folder = name if "/" not in name else name.rpartition("/")[0]
        # The tricks are parts of models, and made of their layers; Ray's part is one of the lab's.
        found[".".join(parts)] = {"models/fast": "models", "lab/ray": "lab"}.get(folder, folder)
    return found


def arrows() -> dict[str, set[str]]:
    """Which modules of the house each of them imports."""
    known = modules()
    graph = {}
    for name, path in SOURCES.items():
        this = ".".join(name.removesuffix(".py").removesuffix("/__init__").split("/"))
        found = imports_of(path)
        graph[this] = ({n for n in found | {n.rpartition(".")[0] for n in found} if n in known}) - {
            this
        }
    return graph


def test_no_two_modules_import_each_other_on_whatever_way():
    graph = arrows()
    assert sum(map(len, graph.values())) > 500, "else they were not found"
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


def test_no_two_folders_import_each_other_on_whatever_way():
    home = modules()
    graph: dict[str, set[str]] = {}
    for module, found in arrows().items():
        if home[module] + "/__main__.py" != FRONT or not module.endswith("__main__"):
            graph.setdefault(home[module], set()).update(home[n] for n in found)
    TopologicalSorter({folder: found - {folder} for folder, found in graph.items()}).prepare()


def test_no_room_is_too_large():
    lines: Counter[str] = Counter()
    for name, path in SOURCES.items():
        room = "ui/common" if name.startswith("ui/common/") else room_of(path)
        lines[room] += len(path.read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) <= LARGEST_ROOM * lines.total(), lines.most_common(3)


def test_no_folder_is_too_wide():
    files = Counter(str(Path(n).parent) for n in SOURCES if "/" in n and "__init__" not in n)
    files["training"] -= len(FAMILIES)  # one for each, however many there are
    assert not {folder: n for folder, n in files.items() if n > WIDEST}


def test_no_file_is_too_long():
    lengths = {n: len(p.read_text(encoding="utf-8").splitlines()) for n, p in SOURCES.items()}
    assert not {n for n, length in lengths.items() if length > LONGEST_FILE}


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_one_way(name):
    path = SOURCES[name]
    room = room_of(path)
    found = {module.split(".")[0] for module in imports_of(path)}
    wrong = (found & HOUSE) - ALLOWED[room] - {room}
    assert not wrong, f"{name} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("name", [n for n, p in SOURCES.items() if room_of(p) in HEADLESS])
def test_rooms_below_the_pages_import_nothing_of_pages(name):
    found = {module.split(".")[0] for module in imports_of(SOURCES[name])}
    assert not found & PAGE_LIBRARIES - DRAWING.get(room_of(SOURCES[name]), set())


@pytest.mark.parametrize("name", [n for n, p in SOURCES.items() if room_of(p) == "models"])
def test_models_need_torch_and_nothing_else(name):
    found = {module.split(".")[0] for module in imports_of(SOURCES[name])}
    wrong = found - sys.stdlib_module_names
    assert not wrong - {"torch", "models"}


def test_the_lab_without_pages_does_not_load_streamlit():
    # One process that imports all of it, whatever imports whatever.
    script = """
import importlib, pkgutil, sys
for room in ("models", "datasets", "metrics", "training", "lab", "analysis", "figures", "cli"):
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        importlib.import_module(module.name)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"models", "datasets", "training", "figures", "torch"} <= loaded
    assert "streamlit" not in loaded
    assert not loaded & {"ui", "pages", "app"}


@pytest.mark.parametrize("stem", FAMILIES)
def test_a_family_has_the_same_stem_everywhere(stem):
    family = FAMILIES[stem]
    assert family.stem == stem
    assert stem.isidentifier()
    # A variant is the same model on other data: only its training is its own.
    page = family.page
    for file in (f"models/{page}.py", f"training/{stem}.py", f"pages/{page}.py"):
        assert (ROOT / file).is_file(), file
    theory = ROOT / "docs" / "theory" / f"{page}.md"
    assert theory.is_file(), theory
    assert theory.read_text(encoding="utf-8").lstrip().startswith("#")
    assert isinstance(family.training, Training)
    assert family.promise.endswith(".")
    assert family.icon.startswith(":material/")
    assert family.url.startswith("https://arxiv.org/abs/")


def test_every_page_is_of_a_family_or_of_the_lab_itself():
    stems = {path.stem for path in (ROOT / "pages").glob("*.py")} - {"__init__"}
    assert stems == {family.stem for family in PAGES} | {"admin", "arena", "runs", "theory"}


def test_variants_share_the_page_of_a_family_that_has_one():
    assert [family.stem for family in PAGES] == [s for s, f in FAMILIES.items() if f.page == s]
    for stem, family in FAMILIES.items():
        owner = FAMILIES[family.page]
        assert owner in PAGES
        if family is not owner:
            # A variant may have grown up in a paper of its own.
            assert stem.startswith(f"{family.page}_") or family.paper != owner.paper
            assert family.icon == owner.icon
            assert family.title != owner.title
            assert family.training is not owner.training
            for room in ("models", "pages"):
                assert not (ROOT / room / f"{stem}.py").exists()


def functions() -> dict[str, int]:
    """The length of each function in lines, what stands inside counted with it."""
    lengths = {}
    for name, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{name}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    return lengths


def test_functions_fit_on_a_screen():
    lengths = functions()
    assert len(lengths) > 100, "else they were not found"
    too_long = {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
    assert not too_long


@pytest.mark.parametrize("name", [n for n, p in SOURCES.items() if room_of(p) == "pages"])
def test_pages_are_short_scripts(name):
    assert len(SOURCES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST_PAGE


@pytest.mark.parametrize("name", [n for n in SOURCES if n != "cli/train.py"])
def test_only_the_command_line_prints(name):
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert not [f.lineno for f in calls if isinstance(f, ast.Name) and f.id == "print"]


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_says_what_it_is(name):
    doc = ast.get_docstring(ast.parse(SOURCES[name].read_text(encoding="utf-8")))
    assert doc or not SOURCES[name].read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("name", SOURCES)
def test_nobody_draws_from_the_global_random_state(name):
    # Many runs share one machine: a seed is somebody's own.
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            assert text not in ("torch.manual_seed", "np.random.seed", "random.seed"), node.lineno
            assert text != "torch.cuda.manual_seed_all", node.lineno
