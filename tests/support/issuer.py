"""An issuer of identity tokens for tests: keys, tokens, and a real HTTP server on loopback that publishes them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jwt

AUDIENCE = "affidavit"


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
                body = json.dumps({"issuer": issuer.name, "jwks_uri": f"{issuer.name}/keys"}).encode()
            else:
                issuer.asked += 1
                body = issuer.jwks()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            given = base64.b64decode(self.headers.get("authorization", "").removeprefix("Basic ")).decode()
            client, _, secret = given.partition(":")
            known = self.path == "/token" and issuer.secrets.get(client) == secret
            answer = {"access_token": issuer.token(sub=client), "token_type": "Bearer", "expires_in": 600}
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
