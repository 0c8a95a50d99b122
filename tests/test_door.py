"""Who is at the door of a lab with sign-in, as the pages see it; without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from provider import AUTH
from streamlit.testing.v1 import AppTest

from lab.lab import Lab
from lab.rules import Rules
from ui.common.lab import _lab as cached

EVE = {"iss": "https://issuer", "sub": "7", "email": "eve@school.org"}


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    rules = Rules(sign_in=True, admins=("eve@school.org", "https://issuer 42"))
    lab = Lab(tmp_path / "runs", ["cpu"], rules)
    monkeypatch.setitem(sys.__dict__, "_generative_lab", lab)
    cached.clear()
    yield lab
    lab.close()
    cached.clear()


def page():
    import streamlit as st

    from ui.common.lab import door, person

    st.session_state["who"] = person()
    door()
    st.session_state["inside"] = True


def opened(user: dict) -> AppTest:
    tester = AppTest.from_function(page, default_timeout=60)
    tester.user = user
    tester.secrets["auth"] = AUTH
    tester.session_state["inside"] = False
    tester.run()
    assert not tester.exception
    return tester


@pytest.mark.parametrize(
    ("claims", "admin"),
    [
        ({}, False),
        ({"email_verified": False}, False),
        ({"email_verified": "true"}, False),
        ({"email_verified": True}, True),
        ({"email_verified": True, "email": "ann@school.org"}, False),
        ({"sub": "42", "email": "ann@school.org"}, True),
        ({"sub": "42", "iss": "https://elsewhere"}, False),
    ],
)
def test_only_a_verified_address_or_a_known_key_makes_an_admin(claims, admin):
    tester = opened({"is_logged_in": True, **EVE, **claims})
    assert tester.session_state["inside"]
    assert tester.session_state["who"].admin is admin
    assert tester.session_state["who"].id.endswith(claims.get("sub", "7"))


@pytest.mark.parametrize(
    "user", [{}, {"is_logged_in": False}, {**EVE}, {"is_logged_in": True, "iss": "x"}]
)
def test_who_has_not_signed_in_stays_outside(user):
    tester = opened(user)
    assert tester.session_state["who"].id == ""
    assert not tester.session_state["who"].admin
    assert not tester.session_state["inside"]
