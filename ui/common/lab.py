"""The lab behind all pages, as the visitor has it."""

from __future__ import annotations

import streamlit as st

from lab.lab import Lab, get_lab
from lab.rules import Rules
from lab.runs.access import EVERYBODY, Person
from lab.seat import Seat
from lab.telemetry import serve_as_ruled

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
