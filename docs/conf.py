"""How Sphinx builds these pages: ``make docs``.

What follows from the code is written when they are built: a page of docstrings per module, and a
table of settings per family of the registry.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from registry import FAMILIES, PAGES, Family  # noqa: E402
from training.core.config import RunConfig  # noqa: E402

project = "Generative Lab"
author = "the authors of Generative Lab"
project_copyright = "2026, the authors of Generative Lab. MIT licence"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"  # every browser draws it, and nothing is loaded from elsewhere
myst_dmath_double_inline = True
myst_heading_anchors = 3
copybutton_prompt_text = "$ "

autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = True
# Other people's classes, whose documentation is elsewhere.
ELSEWHERE = ["torch", "numpy", "pydantic", "pydantic_core", "PIL", "filelock"]
ELSEWHERE += ["annotated_types", "prometheus_client", "threading"]
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(ELSEWHERE)})(\..*)?"),
    (
        "py:.*",
        r"(abc|argparse|ast|collections|pathlib|enum|typing|types|contextlib|multiprocessing|hashlib|zipfile)\..*",
    ),
    ("py:.*", r".*\._\w+"),  # private
    ("py:.*", r"datasets\.files\.apart\.T"),  # a type variable
    ("py:class", r"(dict|list|tuple)\[.*|Tensor"),  # what a docstring writes out by itself
    ("py:class", "NoneType|FieldInfo|_PydanticGeneralMetadata"),  # as pydantic shows its fields
]

html_theme = "furo"
html_title = "Generative Lab"
html_logo = "../assets/mark.svg"
html_favicon = "../assets/mark.svg"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0F6B73", "color-brand-content": "#0F6B73"},
    "dark_css_variables": {"color-brand-primary": "#4FC3C7", "color-brand-content": "#4FC3C7"},
}

LAB = "http://localhost:8501"  # where `make app` opens the lab
PACKAGES = {
    "models": "architectures and their maths",
    "datasets": "where data comes from",
    "metrics": "arrays in, numbers out",
    "training": "generators that train",
    "lab": "run folders, workers, the queue",
    "analysis": "what is asked of a trained model",
    "cli": "the command line",
}


# -- pages from the code -------------------------------------------------------------------------


def modules(package: str) -> list[str]:
    """Return the public modules of a package, in alphabetical order."""
    paths = (path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))
    names = sorted(".".join(path.with_suffix("").parts) for path in paths)
    return [name for name in names if not name.split(".")[-1].startswith("_")]


def module_page(name: str) -> str:
    """Return the page with the docstrings of a module."""
    return f"# `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"


def package_page(package: str, what: str) -> str:
    """Return the page that lists the modules of a package."""
    listed = "\n".join(modules(package))
    return f"# `{package}/`: {what}\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"


def settings_page() -> str:
    """Return the page with all settings of all families."""
    parts = [
        "# Settings of every family\n",
        "Each is a widget on the page, a flag of the command line, a value in the address of the "
        "page, and a line in `config.json`. A value out of its range is refused at each of them.\n",
    ]
    for family in FAMILIES.values():
        parts += [f"## {family.title}\n", f"`python -m training {family.stem}`\n"]
        parts += [_table(family), ""]
    return "\n".join(parts)


def _table(family: Family) -> str:
    rows = ["| Flag | Default | What it is | Allowed |", "|---|---|---|---|"]
    for knob in family.training.config.knobs():
        flag = f"`--{knob.name.replace('_', '-')}`"
        default = f"{knob.default:g}" if knob.kind == "float" else str(knob.default)
        about = f"**{knob.label}.** {knob.help}".replace("|", r"\|")
        rows.append(f"| {flag} | `{default}` | {about} | {knob.range} |")
    return "\n".join(rows)


def families_page() -> str:
    """Return the list of the families, each with its theory and its paper."""
    lines = ["# The families\n"]
    for family in PAGES:
        lines.append(
            f"- [{family.title}](../theory/{family.stem}.md): {family.promise} "
            f"[{family.paper}]({family.url})"
        )
    listed = "\n".join(f"../theory/{family.stem}" for family in PAGES)
    return "\n".join(lines) + f"\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def write_pages(*_: object) -> None:
    """Write the pages that follow from the code into ``docs/api``, which git does not keep."""
    folder = HERE / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pages = {"settings": settings_page(), "families": families_page()}
    pages["registry"] = module_page("registry")
    for package, what in PACKAGES.items():
        pages[package] = package_page(package, what)
        pages |= {name: module_page(name) for name in modules(package)}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


# -- theory files are written for the pages of the lab -------------------------------------------


def adapt_theory(_app: object, name: str, source: list[str]) -> None:
    """Turn links to pages of the lab into addresses, and names of the code into references."""
    if not name.startswith(("theory/", "generative_models")):
        return
    text = re.sub(r"\]\(/(?!/)", f"]({LAB}/", source[0])
    source[0] = re.sub(
        r"`((?:models|datasets|metrics|training|lab|analysis)\.[\w.]+)`", r"{py:obj}`\1`", text
    )


def shorten(_app, what: str, _name: str, found, *_: object) -> tuple[str, None] | None:
    """Leave out the signature of a config: its fields and bounds are on the page of settings."""
    if what == "class" and issubclass(found, RunConfig):
        return "", None
    return None


def inline_math(self, node) -> None:
    """Write a formula of a line as MathML."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_math(self, node) -> None:
    """Write a formula of its own as MathML."""
    formula = convert(node.astext(), display="block")
    self.body.append(self.starttag(node, "div", CLASS="math") + formula + "</div>\n")
    raise nodes.SkipNode


def setup(app) -> None:
    """Hook into Sphinx."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("config-inited", write_pages)
    app.connect("source-read", adapt_theory)
    app.connect("autodoc-process-signature", shorten)
