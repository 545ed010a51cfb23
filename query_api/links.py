"""Links by which an approver decides without logging in: for one request and one person, signed, ending with the request.

    /approvals/link/<payload>.<mac>     payload: base64url of JSON [version, approval id, principal, expires_at µs]
                                        mac: base64url of HMAC-SHA256 under the key of this installation

A link says who opened it, no more: whether that person may decide, and whether they did, is looked at when they do, against what
their tokens give them then. The mac covers a purpose and a version beside the payload, so that no other use of the key fits.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from hashlib import sha256

import orjson

from query_api.problems import ProblemError

KEY_BYTES = 32
MAX_TOKEN = 1024
"""Characters of a token: an id and a name; anything longer is not worth hashing."""
_PURPOSE = b"affidavit/approval-link/v1\0"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Link:
    """What a link stands for. `expires_at` is µs UTC."""

    approval_id: str
    principal: str
    expires_at: int


class Links:
    """Makes and reads links under one key; `public_url` is where approvers reach the page."""

    def __init__(self, key: bytes, public_url: str) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of links has {KEY_BYTES} bytes")
        self._key = key
        self._base = public_url.rstrip("/")

    def page(self, approval_id: str) -> str:
        """The address of a request for whoever logs in."""
        return f"{self._base}/approvals/{approval_id}"

    def made(self, link: Link) -> str:
        """The address that stands for a link. It is a credential: send it to its principal alone, and never log it."""
        payload = orjson.dumps([_VERSION, link.approval_id, link.principal, link.expires_at])
        return f"{self._base}/approvals/link/{_text(payload)}.{_text(self._mac(payload))}"

    def read(self, token: str, now: int) -> Link:
        """The link of a token. Raises ProblemError: `not-found` for what is none of ours, `conflict` for one that expired."""
        payload, mac = self._parts(token)
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise _none_of_ours()
        version, approval_id, principal, expires_at = orjson.loads(payload)
        if version != _VERSION:
            raise _none_of_ours()
        if now >= expires_at:
            raise ProblemError("conflict", "This link has expired.")
        return Link(approval_id, principal, expires_at)

    def _parts(self, token: str) -> tuple[bytes, bytes]:
        first, dot, second = token.partition(".")
        if len(token) > MAX_TOKEN or not dot or not token.isascii():
            raise _none_of_ours()
        try:
            payload, mac = _bytes(first), _bytes(second)
        except (binascii.Error, ValueError):
            raise _none_of_ours() from None
        # Base64 has several writings of some bytes: only the one that we write is ours.
        if (_text(payload), _text(mac)) != (first, second):
            raise _none_of_ours()
        return payload, mac

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, _PURPOSE + payload, sha256).digest()


def _none_of_ours() -> ProblemError:
    return ProblemError("not-found", "This link is not valid. Open the request on the page of approvals instead.")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
