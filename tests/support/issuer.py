"""A test issuer of identity tokens: keys, tokens, and a real HTTP server on loopback that publishes them.

It is also an OpenID provider with the authorization code flow: whoever comes to `/authorize` is `subject`, at once, or with
`asks` once they have said so on its page. It is for tests alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwk, jwt

AUDIENCE = "affidavit"
PAGE = (
    '<!doctype html><html lang="en"><title>Provider</title><link rel="icon" href="data:,"><h1>Log in at the provider</h1>'
    '<p><a href="/authorize/yes?{asked}">I am {subject}</a> <a href="/authorize/no?{asked}">Cancel</a></p></html>'
)


class Issuer:
    """Signs with `key`; publishes `published`. `asked` counts how often the key set was fetched."""

    def __init__(self, name: str = "https://idp.example") -> None:
        self.name = name
        self.key: jwk.Key = jwk.ECKey.generate_key("P-256", {"kid": "k1"})
        self.published: list[jwk.Key] = [self.key]
        self.asked = 0
        self.secrets = {"affidavit-proxy": "client-secret-9Qd2"}
        """Clients that get tokens for themselves (RFC 6749 section 4.4) at `/token`, and their secrets."""
        self.down = False
        self.answers = threading.Event()
        """Cleared, the discovery document waits."""
        self.answers.set()
        self.clients = {"affidavit-page": ""}
        """Clients of the authorization code flow, and their secrets; empty: a public client."""
        self.codes: dict[str, dict[str, str]] = {}
        self.subject = "dana"
        self.asks = False
        """Whether people are asked on a page, rather than sent back at once."""
        self.changed: dict[str, Any] = {}
        """Claims of the next identity tokens that are otherwise than they should be."""

    def jwks(self) -> bytes:
        """Return the key set's JSON."""
        return json.dumps({"keys": [k.as_dict(private=False) for k in self.published]}).encode()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return ordinary claims, some changed; None takes one out."""
        now = int(time.time())
        plain = {
            "iss": self.name,
            "aud": AUDIENCE,
            "sub": "dana",
            "iat": now,
            "exp": now + 600,
            "groups": ["engineering", "oncall"],
        }
        return {name: value for name, value in {**plain, **changed}.items() if value is not None}

    def authorize(self, asked: Mapping[str, str]) -> str:
        """Return where `/authorize` leads: back to the client, with a code."""
        assert asked["response_type"] == "code" and "openid" in asked["scope"].split()
        assert asked["client_id"] in self.clients and asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = dict(asked)
        answer = {"code": code, "state": asked["state"], "iss": self.name}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def refused(self, asked: Mapping[str, str]) -> str:
        """Return where the page's refusal leads."""
        answer = {"error": "access_denied", "state": asked["state"], "iss": self.name}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def redeemed(self, form: Mapping[str, str], secret: str) -> dict[str, Any] | None:
        """Return the answer of `/token` to a code, which counts once; None refuses it."""
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        same = ("client_id", "redirect_uri")
        if asked is None or asked["code_challenge"] != challenge or any(asked[n] != form.get(n) for n in same):
            return None
        if self.clients[asked["client_id"]] != secret:
            return None
        claims = {"sub": self.subject, "aud": asked["client_id"], "nonce": asked["nonce"], **self.changed}
        return {"id_token": self.token(**claims), "access_token": "x", "token_type": "Bearer", "expires_in": 600}

    def token(self, header: Mapping[str, Any] | None = None, key: jwk.Key | None = None, **changed: Any) -> str:
        """Return a signed token."""
        key = key or self.key
        head = {"alg": "ES256", "kid": key.kid, **(header or {})}
        return jwt.encode({k: v for k, v in head.items() if v is not None}, self.claims(**changed), key, algorithms=[head["alg"]])


@contextmanager
def published(issuer: Issuer) -> Iterator[str]:
    """Serve an issuer's discovery document and keys; yield the address, which becomes its name."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if issuer.down:
                self.send_error(503)
                return
            if self.path == "/.well-known/openid-configuration":
                issuer.answers.wait(30)
                body = json.dumps(
                    {
                        "issuer": issuer.name,
                        "jwks_uri": f"{issuer.name}/keys",
                        "authorization_endpoint": f"{issuer.name}/authorize",
                        "token_endpoint": f"{issuer.name}/token",
                    }
                ).encode()
            elif self.path.startswith("/authorize?") and issuer.asks:
                asked = urlsplit(self.path).query
                body = PAGE.format(subject=issuer.subject, asked=escape(asked)).encode()
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            elif self.path.startswith("/authorize"):
                said = issuer.refused if self.path.startswith("/authorize/no?") else issuer.authorize
                self.send_response(302)
                self.send_header("location", said(dict(parse_qsl(urlsplit(self.path).query))))
                self.send_header("content-length", "0")
                self.end_headers()
                return
            else:
                issuer.asked += 1
                body = issuer.jwks()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            given = base64.b64decode(self.headers.get("authorization", "").removeprefix("Basic ")).decode()
            client, _, secret = given.partition(":")
            known = self.path == "/token" and issuer.secrets.get(client) == secret
            answer = {"access_token": issuer.token(sub=client), "token_type": "Bearer", "expires_in": 600}
            form = dict(parse_qsl(sent.decode()))
            if form.get("grant_type") == "authorization_code":
                answer = issuer.redeemed(form, unquote_plus(secret)) or {}
                known = bool(answer)
            body = json.dumps(answer if known else {"error": "invalid_client"}).encode()
            self.send_response(200 if known else 401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    issuer.name = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield issuer.name
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
