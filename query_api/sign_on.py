"""Logging in at an OpenID provider: the authorization code flow with PKCE, the API's half (OpenID Connect Core 1.0 section 3.1).

A login that was begun is kept here, in memory, for some minutes, and is used once, whatever comes of it. What binds it: `state`
to the address, a cookie to the browser that began it, `nonce` to the identity token, and the verifier of PKCE (RFC 7636) to the
code. All are random, and only hashes of the first two are kept. Asking the provider and verifying its token is `Provider`'s.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from query_api.identity import Clock, Identity

PENDING_SECONDS = 600
"""How long somebody may take at the provider, second factor included."""
MOST_ASKING = 8
"""Logins that ask the provider at a time. Each takes one of the threads that serve all requests, for seconds where the provider
is slow; whoever has no login yet can begin one."""
MOST_PENDING = 5000
"""Logins begun and not ended, of up to some kilobytes each: more are a flood. An address that has more than its share loses its
oldest then; before there are so many, nobody does: behind a proxy that ends TLS everybody has one address."""
MOST_PENDING_EACH = 20
"""That share."""
MAX_FOLLOWING = 2000
"""Characters of where a login leads; a longer one leads to the first page."""


class SignOnError(Exception):
    """A login at a provider came to nothing. `reason` is for the event; the text for the person; neither has a secret in it."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Provider(Protocol):
    """One OpenID provider. Both are called in threads."""

    @property
    def name(self) -> str:
        """What people know it by."""
        ...

    def address(self, state: str, nonce: str, challenge: str) -> str:
        """Where to send the browser. Raises SignOnError."""
        ...

    def redeem(self, code: str, verifier: str, nonce: str, issuer: str) -> Identity:
        """Exchange a code for the verified identity; `issuer` as the answer said (RFC 9207), or empty. Raises SignOnError."""
        ...


Refused = Callable[[str, str], None]
"""Records a refused login: reason, client address."""


@dataclass(frozen=True, slots=True)
class _Pending:
    provider: int
    browser: bytes
    nonce: str
    verifier: str
    following: str
    address: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that begins: where the browser goes, and the cookie that it brings back."""

    address: str
    cookie: str


class SignOn:
    """The logins under way of one app. Thread-safe."""

    def __init__(self, providers: Sequence[Provider], refused: Refused, clock: Clock, new_secret: Callable[[], str]) -> None:
        self._providers = tuple(providers)
        self._refused = refused
        self._clock = clock
        self._new_secret = new_secret
        self._lock = threading.Lock()
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()
        self._asking = threading.BoundedSemaphore(MOST_ASKING)

    @property
    def names(self) -> tuple[str, ...]:
        """The providers, as people know them."""
        return tuple(p.name for p in self._providers)

    def begin(self, provider: int, following: str, address: str) -> Begun:
        """Begin a login that leads to `following`. Raises SignOnError."""
        if not 0 <= provider < len(self._providers):
            raise SignOnError("oidc_no_provider", "There is no such way to log in here.")
        state, cookie, nonce, verifier = (self._new_secret() for _ in range(4))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        with self._turn():
            where = self._providers[provider].address(state, nonce, challenge)
        ends = self._clock() + PENDING_SECONDS * 1_000_000
        with self._lock:
            self._make_room(address)
            following = following if len(following) <= MAX_FOLLOWING else "/"
            self._pending[_hash(state)] = _Pending(provider, _hash(cookie), nonce, verifier, following, address, ends)
        return Begun(where, cookie)

    def _make_room(self, address: str) -> None:
        """Forget what came to its end and, where there are still too many, one of this address, or else the oldest of all."""
        while self._pending and next(iter(self._pending.values())).expires_at <= self._clock():
            self._pending.popitem(last=False)
        if len(self._pending) >= MOST_PENDING:
            own = [key for key, p in self._pending.items() if p.address == address]
            del self._pending[own[0] if len(own) >= MOST_PENDING_EACH else next(iter(self._pending))]

    def began(self, state: str) -> bool:
        """Tell whether a login of this state was begun here and has not ended."""
        with self._lock:
            return _hash(state) in self._pending

    def end(self, state: str, cookie: str, code: str, error: str, issuer: str, address: str) -> tuple[Identity, str]:
        """Return who has logged in and where that leads, once. Raises SignOnError; a refusal is on record then."""
        try:
            with self._turn():
                return self._end(state, cookie, code, error, issuer)
        except SignOnError as refusal:
            self._refused(refusal.reason, address)
            raise

    def refuse(self, reason: str, address: str) -> None:
        """Record that somebody whom the provider has named does not get in."""
        self._refused(reason, address)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._asking.acquire(blocking=False):
            raise SignOnError("oidc_busy", "Too many people are logging in at this moment. Begin again.")
        try:
            yield
        finally:
            self._asking.release()

    def _end(self, state: str, cookie: str, code: str, error: str, issuer: str) -> tuple[Identity, str]:
        with self._lock:
            pending = self._pending.pop(_hash(state), None)
        if pending is None:
            raise SignOnError("oidc_state", "This login was not begun here, or has ended already. Begin again.")
        if not cookie or not hmac.compare_digest(pending.browser, _hash(cookie)):
            raise SignOnError("oidc_browser", "This login was begun in another browser. Begin again here.")
        if pending.expires_at <= self._clock():
            raise SignOnError("oidc_too_late", f"This login took longer than {PENDING_SECONDS // 60} minutes. Begin again.")
        if error or not code:
            denied = error == "access_denied"
            said = "it was not allowed there" if denied else "the provider ended it; its own log says why"
            raise SignOnError("oidc_denied" if denied else "oidc_error", f"The login came to nothing: {said}.")
        return self._providers[pending.provider].redeem(code, pending.verifier, pending.nonce, issuer), pending.following


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
