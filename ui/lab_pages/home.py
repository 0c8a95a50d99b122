"""The front door: what the lab is, a card per family, what is running now."""

from __future__ import annotations

from html import escape

import streamlit as st

from figures.palette import DARK
from lab.view import View
from paths import ASSETS
from registry import PAGES, Family
from ui.common.data import data_title
from ui.common.lab import lab
from ui.common.plain import plain
from ui.common.run_words import address, badge, duration, line_words, owner_words, time_left
from ui.lab_pages.first_visit import watch, watch_button

CARDS_IN_A_ROW = 3
RECENT = 6  # finished and interrupted runs on the front page


def hero() -> None:
    """Say what the lab is, beside a model that learns."""
    words, stage = st.columns([1, 1.35], vertical_alignment="center", gap="large")
    with words:
        st.title("Generative Lab", anchor=False)
        st.markdown(
            "#### Train generative models, watch them learn, and take them apart.\n"
            "See a density take shape while the loss falls. Pause it, step it, look at what each "
            "layer does to space, and check the numbers that prove it right."
        )
        watch_button()
    with stage:
        watch()


def cards() -> None:
    """Draw a card per family, in rows of equal height."""
    st.subheader("Families", anchor=False)
    for start in range(0, len(PAGES), CARDS_IN_A_ROW):
        row = PAGES[start : start + CARDS_IN_A_ROW]
        for family, column in zip(row, st.columns(CARDS_IN_A_ROW), strict=False):
            with column.container(border=True, height="stretch"):
                page = f"pages/{family.stem}.py"
                st.image(_card_image(family), width="stretch", alt="")
                st.page_link(page, label=f"**{family.title}**", icon=family.icon)
                st.markdown(family.promise)
                st.caption(f"[{family.paper}]({family.url})")


def _card_image(family: Family) -> str:
    """Return the path of the image on a family's card, or a plain image with its name."""
    path = ASSETS / "cards" / f"{family.stem}.svg"
    if path.exists():
        return str(path)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360">'
        f'<rect width="640" height="360" rx="18" fill="{DARK.surface}"/>'
        f'<text x="320" y="180" fill="{DARK.accent}" font-family="sans-serif" font-size="56" '
        f'text-anchor="middle" dominant-baseline="central">{escape(family.title)}</text></svg>'
    )


def runs_now() -> None:
    """List the runs at work and the latest ones that ended."""
    active = lab().active()
    ticking = st.fragment(run_every=1.0 if active else None)
    ticking(_runs)(len(active))


def _runs(drawn: int) -> None:
    active = lab().active()
    if len(active) != drawn:
        st.rerun()
    ended = _recent({view.run.id for view in active})
    hidden = lab().hidden()
    if hidden:
        st.caption(f"{hidden} more of others {'is' if hidden == 1 else 'are'} at work or waiting.")
    if not active and not ended:
        what = "Nothing of yours" if hidden else "Nothing"
        st.info(f"{what} is running yet. Open a family below and press **Train**.")
        return
    st.subheader("Running now" if active else "Latest runs", anchor=False)
    for view in active:
        _row(view)
    if active and ended:
        st.markdown("**Latest runs**")
    for view in ended:
        _row(view)


def _recent(active: set[str]) -> list[View]:
    views = []
    for run in lab().runs():
        if run.id not in active and run.opens():
            views.append(View(run, run.status(), access=run.notes.access()))
        if len(views) == RECENT:
            break
    return views


def _row(view: View) -> None:
    family, status = view.run.family, view.status
    name, state, bar = st.columns([2.4, 3, 3], vertical_alignment="center")
    what = f"{family.title}: {plain(data_title(view.run))}"
    page, link = f"pages/{family.page}.py", address(view.run)
    name.page_link(page, label=what, icon=family.icon, query_params=link)
    words = [badge(status), f"step {status.step:,} of {status.total:,}"]
    if view.rate:
        words.append(time_left(view))
    elif status.state == "queued":
        words = [badge(status), line_words(view)]
    else:
        words.append(duration(status.seconds))
    if whose := owner_words(view):
        words.append(whose)
    state.markdown(" · ".join(words))
    bar.progress(min(status.step / status.total, 1.0) if status.total else 0.0)
