"""The door of a lab with sign-in."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from ui.common.lab import STRANGER, person, rules

SET_UP = (
    "This lab asks for a sign-in, but does not know whom to ask. Who runs it has to fill in the "
    "section `[auth]` of `.streamlit/secrets.toml`; the README says how."
)


def door() -> None:
    """Let in who has signed in, and end the page for others."""
    if not rules().sign_in or person() != STRANGER:
        return
    st.title("Generative Lab", anchor=False)
    if not _knows_whom_to_ask():
        st.error(SET_UP)
        st.stop()
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


def _knows_whom_to_ask() -> bool:
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return False
