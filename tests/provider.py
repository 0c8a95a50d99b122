"""A provider of OpenID Connect for tests: anyone signs in as whoever they say, on a real port."""

from __future__ import annotations

import html
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "generative-lab"
AUTH = {  # a section [auth] that is filled in, of a provider that nobody asks
    "redirect_uri": "https://lab.school.edu/oauth2callback",
    "cookie_secret": secrets.token_urlsafe(32),
    "client_id": CLIENT,
    "client_secret": secrets.token_urlsafe(16),
    "server_metadata_url": "https://id.school.edu/.well-known/openid-configuration",
}


def section(values: dict[str, object]) -> str:
    """Return a secrets.toml with this section [auth]."""
    return "[auth]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items()) + "\n"


class Provider:
    """The code flow with discovery, signed tokens and a page on which to say who one is."""

    def __init__(self, people: tuple[str, ...]) -> None:
        self.people = people
        self.key = RSAKey.generate_key(2048, {"kid": "test", "use": "sig"}, private=True)
        self.codes: dict[str, dict[str, str]] = {}
        handler = type("Handler", (_Handler,), {"provider": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def secrets_toml(self, lab_url: str) -> str:
        """Return what the lab's secrets.toml has to say."""
        values = {
            "redirect_uri": f"{lab_url}/oauth2callback",
            "cookie_secret": secrets.token_urlsafe(32),
            "client_id": CLIENT,
            "client_secret": secrets.token_urlsafe(16),
            "server_metadata_url": f"{self.url}/.well-known/openid-configuration",
        }
        return section(values)

    def metadata(self) -> dict:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def form(self, query: dict[str, str]) -> str:
        """Return a page with one link per person, each leading back with a code."""
        links = []
        for person in self.people:
            code = secrets.token_urlsafe(8)
            self.codes[code] = {"person": person, "nonce": query.get("nonce", "")}
            back = urlencode({"code": code, "state": query["state"]})
            href = html.escape(f"{query['redirect_uri']}?{back}")
            links.append(f'<p><a href="{href}">{person}</a></p>')
        return "<h1>Who are you?</h1>" + "".join(links)

    def token(self, code: str) -> dict:
        asked = self.codes.pop(code)
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": asked["person"],
            "aud": CLIENT,
            "iat": now,
            "exp": now + 600,
            "nonce": asked["nonce"],
            "email": f"{asked['person']}@school.example",
            "email_verified": True,
        }
        signed = jwt.encode({"alg": "RS256", "kid": "test"}, claims, self.key)
        return {
            "access_token": secrets.token_urlsafe(8),
            "token_type": "Bearer",
            "expires_in": 600,
            "id_token": signed,
        }


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        match address.path:
            case "/.well-known/openid-configuration":
                self._json(self.provider.metadata())
            case "/jwks":
                self._json({"keys": [self.provider.key.as_dict(private=False)]})
            case "/authorize":
                self._answer("text/html", self.provider.form(query))
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        fields = parse_qs(self.rfile.read(length).decode())
        self._json(self.provider.token(fields["code"][0]))

    def _json(self, value: dict) -> None:
        self._answer("application/json", json.dumps(value))

    def _answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass
