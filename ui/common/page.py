"""What every page begins and ends with: set-up, menu, title, theory, source code."""

from __future__ import annotations

import base64
import functools
import importlib
import inspect
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import streamlit as st

from lab.rules import RulesError
from lab.store import RunError
from paths import ASSETS, ROOT
from registry import FAMILIES, PAGES, Family
from ui.common.form import address_is_new
from ui.common.lab import door, lab, rules, who_is_here
from ui.common.plain import refuse
from ui.common.uploads import expect_none

SIDEBAR = 280  # pixels
IN_THE_CODE = "Where in the code"  # heading of the table of formulas in a theory file


def begin_page(stem: str, variants: Mapping[str, str] | None = None) -> Family:
    """Set up a family's page; draw menu, title, promise and paper. The first call of a page.

    Args:
        stem: of the family.
        variants: of the family and its variants, by what they are called here; the first is shown
            where the address names none.

    Returns:
        The family, or the variant that the visitor chose.
    """
    family = FAMILIES[stem]
    set_up(family.title)
    with st.container(horizontal=True, vertical_alignment="center", key="head"):
        st.title(family.title, anchor=False, width="content")
        chosen = _variant(family, variants) if variants else family
    st.caption(f"{chosen.promise} Paper: [{chosen.paper}]({chosen.url})")
    return chosen


def _variant(page: Family, variants: Mapping[str, str]) -> Family:
    """Let the visitor choose between a family and its variants; return the chosen one."""
    key = f"{page.stem}.variant"
    if key not in st.session_state or address_is_new():
        asked = st.query_params.get("on", page.stem)
        names = [name for name, stem in variants.items() if stem == asked]
        st.session_state[key] = names[0] if names else next(iter(variants))
    chosen = st.segmented_control(
        "Data",
        list(variants),
        required=True,
        key=key,
        persist_state="session",
        label_visibility="collapsed",
        width="content",
    )
    return FAMILIES[variants[chosen]]


def set_up(title: str) -> None:
    """Set title and layout of a page, and draw the menu.

    Each page does this itself, so that a link to it works as the first request to a fresh server.
    """
    expect_none()
    st.set_page_config(
        page_title=title if title == "Generative Lab" else f"{title} · Generative Lab",
        page_icon=str(ASSETS / "mark.svg"),
        layout="wide",
        initial_sidebar_state=SIDEBAR,
        menu_items={"About": "**Generative Lab**: train generative models and watch them learn."},
    )
    st.html(Path(__file__).with_name("page.css"))
    # An address that another page wrote says nothing of this one.
    if st.session_state.get("address.page") != title:
        st.session_state["address.page"] = title
        st.session_state.pop("address", None)
    st.logo(str(ASSETS / "mark.svg"), size="large")
    try:
        seat = lab()  # so that its workers are warm before the first click
    except (RulesError, RunError) as error:
        refuse(error)
        st.stop()
    door()
    with st.sidebar:
        st.page_link("app.py", label="Home", icon=":material/home:")
        st.page_link("pages/theory.py", label="Theory", icon=":material/menu_book:")
        st.page_link("pages/arena.py", label="Arena", icon=":material/stadium:")
        st.page_link("pages/runs.py", label="Runs", icon=":material/folder_open:")
        st.caption("Families")
        for family in PAGES:
            st.page_link(f"pages/{family.stem}.py", label=family.title, icon=family.icon)
        if seat.who.admin and rules().is_class:
            st.caption("For who runs the lab")
            st.page_link("pages/admin.py", label="Admin", icon=":material/admin_panel_settings:")
        who_is_here()


def theme() -> str:
    """Return ``"light"`` or ``"dark"``, as the browser shows the page."""
    return st.context.theme.type or "light"


def show_image(where, image: bytes | str, alt: str, caption: str = "") -> None:
    """Draw an image (PNG, or SVG as text) as wide as its place.

    Args:
        where: ``st`` or a column.
        image: its bytes, or SVG as text.
        alt: what it shows, for those who cannot see it.
        caption: what stands below it.
    """
    where.image(carried(image), alt=alt, width="stretch")
    if caption:
        where.caption(caption)


def carried(image: bytes | str) -> str:
    """Return an image (PNG, or SVG as text) as what ``st.image`` sends with the page itself.

    Left to itself Streamlit keeps a file, and drops it as soon as the page shows another: a browser
    that asks for it a moment later gets a 404. What is sent again unchanged costs nothing.
    """
    if isinstance(image, str):
        return image
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def theory(family: Family) -> None:
    """Show ``docs/theory/<page>.md``, one tab per second-level heading."""
    parts = sections(ROOT / "docs" / "theory" / f"{family.page}.md")
    for tab, (title, text) in zip(st.tabs(list(parts)), parts.items(), strict=True):
        tab.markdown(text)
        if title == IN_THE_CODE:
            with tab:
                _source_of_a_formula(family, text)


def _source_of_a_formula(family: Family, table: str) -> None:
    """Show the source of what the reader chooses of a table of formulas and names."""
    name = st.selectbox(
        "Show the source of",
        dict.fromkeys(named_in(table)),
        index=None,
        placeholder="Choose a function",
        key=f"{family.stem}.formula",
    )
    if name:
        show_source(resolve(name))


def named_in(table: str) -> list[str]:
    """Return the dotted names in backticks in a table of formulas, in their order."""
    return re.findall(r"`((?:models|datasets|metrics|training|lab|analysis)\.[\w.]+)`", table)


def resolve(name: str) -> object:
    """Return the function or class of a dotted name such as ``models.flow.Flow.log_prob``.

    Raises:
        ModuleNotFoundError, AttributeError: there is none.
    """
    found: object = importlib.import_module(name.partition(".")[0])
    for part in name.split(".")[1:]:
        if isinstance(found, ModuleType) and not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found.fget if isinstance(found, property) else found


@st.cache_data(show_spinner=False)
def sections(path: Path) -> dict[str, str]:
    """Return the text below each second-level heading of a Markdown file, ready for a page.

    Links to pages, ``/nice`` say, become relative: a lab may stand below a path of its server.
    """
    text = re.sub(r"\]\(/(?!/)", "](./", path.read_text(encoding="utf-8"))
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {title.strip(): body.strip() for title, body in zip(parts[1::2], parts[2::2])}


def show_source(*objects: object) -> None:
    """Show the source of classes and functions, each with its place in the project."""
    for thing in map(inspect.unwrap, objects):  # a decorated function's file is its decorator's
        with _READING:
            place, line, text = _source(thing)
        st.caption(f"`{place}`, from line {line}")
        st.code(text, language="python")


_READING = threading.Lock()


@functools.cache
def _source(thing: object) -> tuple[Path, int, str]:
    """Return file, first line and text of a class or function.

    To find a class, ``inspect`` parses its file. Two threads that do so at once can get a
    SystemError (CPython 3.11 counts the depth of all parsers together), so one reads at a time.
    """
    path = Path(inspect.getsourcefile(thing)).relative_to(ROOT)
    return path, inspect.getsourcelines(thing)[1], inspect.getsource(thing)
