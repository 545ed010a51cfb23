"""How does the proxy prove that it knows a database password without sending it? SCRAM-SHA-256 and -PLUS, client side.

RFC 5802 (SCRAM), RFC 7677 (SHA-256), RFC 5929 (tls-server-end-point), RFC 4013 (SASLprep), with PostgreSQL's habits:
the user name in the exchange is empty (the startup message has it), and a password that SASLprep refuses is used as it
is. Pure: the nonce comes in from outside. Both sides prove themselves; `verify_final` must have passed before anything
the server says is believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from collections import OrderedDict

from ingest.core.errors import AuthenticationError

SCRAM_SHA_256 = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"

MIN_ITERATIONS = 1  # scram_iterations of PostgreSQL 16 can be set this low; the server's stored password, the server's risk
MAX_ITERATIONS = 1_000_000  # about half a second of one core; more would let a false server stop the whole proxy
MAX_SERVER_MESSAGE_BYTES = 2_000  # libpq's own limit for authentication messages
MAX_CACHED_KEYS = 256  # about 100 bytes each; one entry per stored password (salt) the proxy logs in with

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # a stored string must not hold code points unassigned in Unicode 3.2
)


class ScramKeys:
    """Salted passwords already derived, so that only the first of many logins pays for the iterations. Bounded, oldest out."""

    __slots__ = ("_salted",)

    def __init__(self) -> None:
        self._salted: OrderedDict[tuple[bytes, bytes, int], bytes] = OrderedDict()

    def salted(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        key = (hashlib.sha256(password).digest(), salt, iterations)
        found = self._salted.get(key)
        if found is None:
            found = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
            self._salted[key] = found
            if len(self._salted) > MAX_CACHED_KEYS:
                self._salted.popitem(last=False)
        else:
            self._salted.move_to_end(key)
        return found


class ScramClient:
    """One exchange: `client_first`, then `client_final(server_first)`, then `verify_final(server_final)`.

    `nonce` is printable ASCII without a comma (RFC 5802, 5.1). `end_point_hash` is the server certificate's hash for
    tls-server-end-point; with it and `plus` the exchange is bound to the TLS channel. `could_bind` without `plus` says
    "y": the client could bind but believes the server cannot, so a server that can refuses, for its offer was stripped.
    Raises AuthenticationError, with nothing secret in its text.
    """

    __slots__ = (
        "_auth_message",
        "_binding",
        "_client_first_bare",
        "_gs2",
        "_keys",
        "_nonce",
        "_password",
        "_salted",
        "_verified",
        "mechanism",
    )

    def __init__(
        self,
        password: bytes,
        nonce: str,
        *,
        plus: bool = False,
        could_bind: bool = False,
        end_point_hash: bytes = b"",
        keys: ScramKeys | None = None,
    ) -> None:
        if not nonce or not all(0x21 <= ord(c) <= 0x7E and c != "," for c in nonce):
            raise ValueError("a SCRAM nonce is printable ASCII without spaces and commas")
        if plus and not end_point_hash:
            raise ValueError("channel binding needs the hash of the server's certificate")
        self.mechanism = SCRAM_SHA_256_PLUS if plus else SCRAM_SHA_256
        self._gs2 = b"p=tls-server-end-point,," if plus else b"y,," if could_bind else b"n,,"
        self._binding = end_point_hash if plus else b""
        self._password = saslprep(password)
        self._nonce = nonce.encode("ascii")
        self._client_first_bare = b"n=,r=" + self._nonce
        self._keys = keys or ScramKeys()
        self._auth_message = b""
        self._salted = b""
        self._verified = False

    @property
    def verified(self) -> bool:
        """The server has proved that it knows the password too."""
        return self._verified

    def client_first(self) -> bytes:
        return self._gs2 + self._client_first_bare

    def client_final(self, server_first: bytes) -> bytes:
        """The proof, from the server's nonce, salt and iteration count."""
        if self._auth_message:
            raise AuthenticationError("SCRAM: the server repeated its first message")
        nonce, salt, iterations = self._parse_server_first(server_first)
        self._salted = self._keys.salted(self._password, salt, iterations)
        client_key = _hmac(self._salted, b"Client Key")
        without_proof = b"c=" + base64.b64encode(self._gs2 + self._binding) + b",r=" + nonce
        self._auth_message = b",".join((self._client_first_bare, server_first, without_proof))
        signature = _hmac(hashlib.sha256(client_key).digest(), self._auth_message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def _parse_server_first(self, server_first: bytes) -> tuple[bytes, bytes, int]:
        if len(server_first) > MAX_SERVER_MESSAGE_BYTES:
            raise AuthenticationError(f"SCRAM: the server's first message is longer than {MAX_SERVER_MESSAGE_BYTES} bytes")
        parts = server_first.split(b",")
        # Extensions may follow (RFC 5802, 7), a mandatory one (m=) comes first and must be refused.
        if len(parts) < 3 or [p[:2] for p in parts[:3]] != [b"r=", b"s=", b"i="]:
            raise AuthenticationError("SCRAM: malformed first message from the server")
        nonce, encoded_salt, count = (p[2:] for p in parts[:3])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise AuthenticationError("SCRAM: the server's nonce does not extend ours; something between us replays messages")
        if not all(0x21 <= c <= 0x7E for c in nonce):
            raise AuthenticationError("SCRAM: malformed nonce from the server")
        salt = _decode(encoded_salt, "salt")
        if not salt:
            raise AuthenticationError("SCRAM: the server's salt is empty")
        if not count.isdigit() or len(count) > 10 or not MIN_ITERATIONS <= int(count) <= MAX_ITERATIONS:
            raise AuthenticationError(f"SCRAM: iteration count outside {MIN_ITERATIONS} to {MAX_ITERATIONS}")
        return nonce, salt, int(count)

    def verify_final(self, server_final: bytes) -> None:
        """Check the server's signature; returns only if the server knows the password's verifier."""
        if not self._auth_message:
            raise AuthenticationError("SCRAM: the server sent its last message before its first")
        if len(server_final) > MAX_SERVER_MESSAGE_BYTES:
            raise AuthenticationError(f"SCRAM: the server's last message is longer than {MAX_SERVER_MESSAGE_BYTES} bytes")
        if server_final.startswith(b"e="):
            raise AuthenticationError("SCRAM: the server refused the exchange")
        head = server_final.split(b",", 1)[0]
        if not head.startswith(b"v="):
            raise AuthenticationError("SCRAM: malformed last message from the server")
        expected = _hmac(_hmac(self._salted, b"Server Key"), self._auth_message)
        if not hmac.compare_digest(_decode(head[2:], "signature"), expected):
            raise AuthenticationError(
                "SCRAM: the server does not know the password's verifier; it is not the server it claims to be"
            )
        self._verified = True


def saslprep(password: bytes) -> bytes:
    """RFC 4013 as PostgreSQL applies it: ASCII, undecodable and prohibited passwords are used as they are."""
    if password.isascii():
        return password
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    # Space first: U+200B is in both tables, and the server maps it to a space.
    mapped = "".join(" " if stringprep.in_table_c12(c) else "" if stringprep.in_table_b1(c) else c for c in text)
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(prohibits(c) for c in prepared for prohibits in _PROHIBITED) or not _bidi_is_sound(prepared):
        return password
    return prepared.encode("utf-8")


def _bidi_is_sound(text: str) -> bool:
    # RFC 3454, 6: with any RandALCat character there is no LCat character, and the first and last are RandALCat.
    right_to_left = [stringprep.in_table_d1(c) for c in text]
    if not any(right_to_left):
        return True
    return right_to_left[0] and right_to_left[-1] and not any(stringprep.in_table_d2(c) for c in text)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _decode(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise AuthenticationError(f"SCRAM: the server's {what} is not base64") from None
