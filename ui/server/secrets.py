"""The secrets of the sign-in: the section [auth] of secrets.toml, as Streamlit has read it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from lab.rules import RulesError

SHORTEST = 32  # characters of a secret that nobody can guess
FEWEST = 8  # different characters in it; a drawn one of 32 has 10 or more even in hexadecimal
FIELDS = ("cookie_secret", "redirect_uri", "client_id", "client_secret", "server_metadata_url")
ADDRESSES = ("redirect_uri", "server_metadata_url")
# What stands in examples, and by chance in less than one secret of a million.
EXAMPLE = re.compile(
    r"^your[-_ ]|^<.*>$|^(.)\1{2,}$|^\.{3}|example|secret|change|replace|placeholder|password", re.I
)
DRAW_ONE = 'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'


def check_secrets() -> None:
    """Refuse a sign-in that is not set up.

    Raises:
        RulesError: a sentence with file and field.
    """
    check_sign_in(auth_section(), _file())


def auth_section() -> object:
    """Return the section [auth] of the secrets, or ``None``.

    Raises:
        RulesError: a file of secrets is there and cannot be read.
    """
    try:
        return st.secrets.get("auth")
    except StreamlitSecretNotFoundError:
        _explain()
    except OSError as error:
        words = f"The file {error.filename} cannot be read: {error.strerror}."
        raise RulesError(words) from None
    return None


def _explain() -> None:
    """Say which file Streamlit could not read; none at all is no error."""
    for path in filter(Path.is_file, map(Path, st.get_option("secrets.files"))):
        try:
            tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RulesError(f"The file {path} is not TOML: {error}.") from None


def _file() -> str:
    """Return the file of secrets that counts, or that has to be made: the last of all."""
    files = st.get_option("secrets.files")
    return next((name for name in reversed(files) if Path(name).exists()), files[-1])


def check_sign_in(auth: object, file: str) -> None:
    """Refuse settings of the sign-in that are left out, unfilled or taken from an example.

    Whoever knows the secret that signs the cookies can be anybody.

    Args:
        auth: the section [auth].
        file: where it stands, for the message.

    Raises:
        RulesError: a sentence with file and field.
    """
    if not isinstance(auth, Mapping):
        raise RulesError(f"The file {file} has no section [auth], which sign_in = true asks for.")
    for field in FIELDS:
        if why := _fault(field, auth.get(field)):
            raise RulesError(f"The file {file}: {field} in [auth] {why}")


def _fault(field: str, value: object) -> str:
    """Return what is wrong with a field, or an empty string."""
    if value is None or value == "":
        return f"is empty. {_advice(field)}"
    if not isinstance(value, str):
        return "has to be text in quotes."
    if field in ADDRESSES:
        return _fault_of_address(value)
    if EXAMPLE.search(value):
        return f"is still that of an example. {_advice(field)}"
    return _fault_of_secret(value) if field == "cookie_secret" else ""


def _fault_of_address(value: str) -> str:
    address = urlsplit(value)
    if address.scheme not in ("http", "https") or not address.hostname:
        return "is no address that begins with https://."
    if re.search(r"(^|\.)example(\.(org|com|net))?$", address.hostname):
        return "is still that of an example."
    return ""


def _fault_of_secret(value: str) -> str:
    if len(value) < SHORTEST:
        return f"has {len(value)} characters, and less than {SHORTEST} can be guessed. {DRAW_ONE}"
    if len(set(value)) < FEWEST:
        return f"has fewer than {FEWEST} different characters: it can be guessed. {DRAW_ONE}"
    return ""


def _advice(field: str) -> str:
    return DRAW_ONE if field == "cookie_secret" else "Your provider gives it to you."
