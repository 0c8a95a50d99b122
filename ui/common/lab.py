"""The lab behind all pages, as the visitor has it, and the door of one with sign-in."""

from __future__ import annotations

import logging

import streamlit as st

from lab.lab import Lab, get_lab
from lab.rules import Rules, RulesError
from lab.runs.access import EVERYBODY, Person
from lab.seat import Seat
from lab.telemetry import serve_as_ruled
from ui.server.secrets import check_secrets

logger = logging.getLogger(__name__)

SET_UP = "This lab asks for a sign-in, but its settings are not in order. Its log says which."
STRANGER = Person("")  # has not signed in: nothing is theirs


def lab() -> Seat:
    """Return this visitor's seat in the lab of this server."""
    return Seat(_lab(), person())


def rules() -> Rules:
    """Return what this lab allows."""
    return _lab().rules


@st.cache_resource(show_spinner=False)
def _lab() -> Lab:
    """Return the lab of this server; the object itself outlives the cache."""
    return get_lab(serve_as_ruled)


def person() -> Person:
    """Return who the visitor is: everybody, where there is no sign-in."""
    if not rules().sign_in:
        return EVERYBODY
    user = st.user.to_dict()
    if user.get("is_logged_in") is not True or not user.get("sub"):
        return STRANGER
    # A subject is unique only for its issuer, and only ever one person's; an address is neither.
    key = f"{user.get('iss', '')} {user['sub']}"
    address = str(user.get("email") or "")
    # Anyone can claim an address. Who runs the lab can also name a person by this key.
    known = [key, address] if user.get("email_verified") is True else [key]
    return Person(key, address or str(user.get("name") or key), rules().is_admin(known))


# -- the door -------------------------------------------------------------------------------------


def door() -> None:
    """Let in who has signed in, and end the page for others."""
    if not rules().sign_in:
        return
    try:
        check_secrets()  # again, because Streamlit takes up a file that has changed
    except RulesError as error:
        logger.error("%s", error)
        st.error(SET_UP)
        st.stop()
    if person() != STRANGER:
        return
    st.title("Generative Lab", anchor=False)
    st.markdown(
        "Train generative models, watch them learn, and take them apart.\n\n"
        "Sign in, so that your runs stay yours: nobody else can stop, change or delete them, and "
        "only those that you share can be seen by others."
    )
    st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)
    st.stop()


def who_is_here() -> None:
    """Say who has signed in, with a way out."""
    if not rules().sign_in:
        return
    st.divider()
    # As code: names come from people, and Markdown in them must not be drawn.
    st.caption(f"Signed in as `{person().name.replace('`', '')}`")
    st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
