"""The server's half of SCRAM-SHA-256 (RFC 5802, 3), written apart from the client's so that each checks the other."""

from __future__ import annotations

import base64
import hashlib
import hmac


class ScramServer:
    """One exchange against `password`; `end_point_hash` makes it PLUS. Raises AssertionError where a server would refuse."""

    def __init__(
        self, password: bytes, salt: bytes = b"0123456789abcdef", iterations: int = 4096, end_point_hash: bytes = b""
    ) -> None:
        self.password, self.salt, self.iterations, self.end_point_hash = password, salt, iterations, end_point_hash
        self.gs2 = self.client_first_bare = self.first = b""

    def server_first(self, client_first: bytes) -> bytes:
        flag, authzid, bare = client_first.split(b",", 2)
        assert authzid == b""
        assert flag == (b"p=tls-server-end-point" if self.end_point_hash else flag) and flag in (
            b"n",
            b"y",
            b"p=tls-server-end-point",
        )
        self.gs2, self.client_first_bare = flag + b",,", bare
        nonce = bare.split(b",r=", 1)[1]
        self.first = b"r=%sSERVER,s=%s,i=%d" % (nonce, base64.b64encode(self.salt), self.iterations)
        return self.first

    def server_final(self, client_final: bytes) -> bytes:
        without_proof, proof = client_final.rsplit(b",p=", 1)
        channel, nonce = without_proof.split(b",")
        assert base64.b64decode(channel[2:]) == self.gs2 + self.end_point_hash
        assert nonce == self.first.split(b",")[0]
        salted = hashlib.pbkdf2_hmac("sha256", self.password, self.salt, self.iterations)
        auth = b",".join((self.client_first_bare, self.first, without_proof))
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        signature = hmac.digest(stored, auth, "sha256")
        client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        assert hashlib.sha256(client_key).digest() == stored, "wrong password"
        return b"v=" + base64.b64encode(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth, "sha256"))
