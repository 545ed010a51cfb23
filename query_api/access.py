"""Who is asking, and may they? Bearer tokens for programs, a session cookie for the page; both lead to one Identity.

A browser session is held here in memory and holds its token, which is verified anew on every request: a revoked token ends its
session at once, and a restart logs everybody out. Where an OpenID provider named somebody (`sign_on`) there is no token to verify
again: such a session is short. Whoever is suspended is nobody here, whatever they show, and what they have open ends.
State-changing requests that a cookie would authorise must come from our own origin (`Origin`, or `Sec-Fetch-Site` where a browser
leaves it out).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from query_api.identity import READERS, Authenticate, Barring, Clock, Identity, Recorder, UntoldError
from query_api.limits import Limits
from query_api.problems import ProblemError
from schemas.suspensions import involved

COOKIE = "affidavit_session"
_SIGNED_ON = "signed-on:"
"""Begins what stands here for a token where a provider named somebody; it never leaves this process."""
_MAX_TOKEN = 16 * 1024
"""Characters: an identity token with some hundred groups has 8 KiB."""
_MAX_TRACKED_ADDRESSES = 4096


@dataclass(frozen=True, slots=True)
class _BrowserSession:
    token: str
    expires_at: int


class Access:
    """Decides who a request is from. Thread-safe."""

    def __init__(
        self,
        authenticate: Authenticate,
        recorder: Recorder,
        clock: Clock,
        new_secret: Callable[[], str],
        limits: Limits,
        barring: Barring = lambda names: "",
    ) -> None:
        self._barring = barring
        self._authenticate = authenticate
        self._recorder = recorder
        self._clock = clock
        self._new_secret = new_secret
        self._limits = limits
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, _BrowserSession] = OrderedDict()
        self._signed_on: OrderedDict[str, tuple[Identity, int]] = OrderedDict()
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()
        self._reading: dict[str, int] = {}

    def identify(self, request: Request) -> Identity | None:
        """The request's identity, or None if it shows no valid credential. Raises ProblemError: forbidden, untold."""
        token = self.token_of(request)
        return self.verify(token) if token else None

    def verify(self, token: str) -> Identity | None:
        """The identity a token stands for now. Raises ProblemError: forbidden, for whoever is suspended; untold."""
        identity = self._named(token)
        if identity is not None:
            self.refuse_suspended(identity)
        return identity

    def refuse_suspended(self, identity: Identity) -> None:
        """Raise ProblemError `forbidden` for whoever is suspended or acts for somebody who is, `untold` where nobody knows."""
        try:
            by = self._barring(involved(identity.as_principal()))
        except UntoldError as error:
            raise ProblemError("untold", str(error), headers={"Retry-After": "5"}) from None
        if by:
            self._end_sessions(identity)
            raise ProblemError("forbidden", f"{by} is suspended.")

    def _end_sessions(self, identity: Identity) -> None:
        """Log somebody out who was named by a provider: a suspension that ends brings no session back."""
        with self._lock:
            for token in [token for token, (who, _) in self._signed_on.items() if who.principal == identity.principal]:
                del self._signed_on[token]

    def _named(self, token: str) -> Identity | None:
        if token.startswith(_SIGNED_ON):
            with self._lock:
                identity, expires_at = self._signed_on.get(token, (None, 0))
            return identity if expires_at > self._clock() else None
        return self._authenticate(token) if 0 < len(token) <= _MAX_TOKEN else None

    def token_of(self, request: Request) -> str | None:
        """The token a request shows, by header or by session cookie; not yet verified."""
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            bearer = token.strip() if scheme.lower() == "bearer" else None
            return None if bearer is None or bearer.startswith(_SIGNED_ON) else bearer
        cookie = request.cookies.get(COOKIE)
        if not cookie:
            return None
        with self._lock:
            key = _key(cookie)
            session = self._sessions.get(key)
            if session is None:
                return None
            if session.expires_at <= self._clock():
                del self._sessions[key]
                return None
            return session.token

    def require(self, request: Request, roles: frozenset[str]) -> Identity:
        """The request's identity, holding one of `roles`. Raises ProblemError: unauthenticated, forbidden."""
        identity = self.identify(request)
        if identity is None:
            raise ProblemError(
                "unauthenticated",
                "Send a valid token as 'Authorization: Bearer …', or log in at /login.",
                headers={"WWW-Authenticate": 'Bearer realm="affidavit"'},
            )
        if not identity.roles & roles:
            needed = " or ".join(sorted(roles))
            raise ProblemError("forbidden", f"{identity.principal} needs the role {needed} for this.")
        return identity

    def require_deliberate(self, request: Request, roles: frozenset[str]) -> Identity:
        """As `require`, for what changes something: a cookie counts only from our own page. Raises ProblemError."""
        if "authorization" not in request.headers:
            require_own_origin(request)
        return self.require(request, roles)

    def reader(self, request: Request) -> Identity:
        """The request's identity, allowed to read the trail."""
        return self.require(request, READERS)

    def log_in(self, token: str, address: str) -> str:
        """Open a browser session; the cookie's value.

        A valid token does whatever failed before: behind a proxy everybody has one address, and no token can be guessed. Raises
        ProblemError: too-many-requests, unauthenticated, forbidden, untold.
        """
        if token.startswith(_SIGNED_ON) or self.verify(token) is None:
            self.check_failures(address)
            self.failed(address)
            raise ProblemError("unauthenticated", "This token is not valid: it is unknown, has expired or was revoked.")
        return self._open(token, self._limits.browser_session_seconds)

    def check_failures(self, address: str) -> None:
        """Refuse an address whose logins failed too often. Raises ProblemError `too-many-requests`."""
        now = self._clock()
        with self._lock:
            failures = self._failures.get(address, deque())
            while failures and failures[0] <= now - 60_000_000:
                failures.popleft()
            if len(failures) >= self._limits.login_failures_per_minute:
                raise ProblemError(
                    "too-many-requests", "Too many failed logins from this address; wait a minute.", headers={"Retry-After": "60"}
                )

    def failed(self, address: str) -> None:
        """Count a failed login of an address."""
        with self._lock:
            self._failures.setdefault(address, deque()).append(self._clock())
            self._failures.move_to_end(address)
            while len(self._failures) > _MAX_TRACKED_ADDRESSES:
                self._failures.popitem(last=False)

    def open_session(self, identity: Identity) -> str:
        """Open a browser session of somebody whom a provider has named; the cookie's value. It ends by its time.

        Raises ProblemError: forbidden, untold.
        """
        self.refuse_suspended(identity)
        token = _SIGNED_ON + self._new_secret()
        seconds = self._limits.signed_on_seconds
        with self._lock:
            self._signed_on[token] = (identity, self._clock() + seconds * 1_000_000)
            while len(self._signed_on) > self._limits.browser_sessions:
                self._signed_on.popitem(last=False)
        return self._open(token, seconds)

    def _open(self, token: str, seconds: int) -> str:
        cookie = self._new_secret()
        with self._lock:
            self._sessions[_key(cookie)] = _BrowserSession(token, self._clock() + seconds * 1_000_000)
            while len(self._sessions) > self._limits.browser_sessions:
                self._sessions.popitem(last=False)
        return cookie

    def log_out(self, request: Request) -> None:
        """Forget the request's browser session."""
        with self._lock:
            session = self._sessions.pop(_key(request.cookies.get(COOKIE, "")), None)
            if session is not None:
                self._signed_on.pop(session.token, None)

    @contextmanager
    def reading(self, identity: Identity) -> Iterator[None]:
        """Count one read of the principal while it runs.

        Raises ProblemError: too-many-requests past the limit; forbidden and untold as `verify`, for those who came by a link.
        """
        self.refuse_suspended(identity)
        with self._lock:
            running = self._reading.get(identity.principal, 0)
            if running >= self._limits.reads_per_principal:
                raise ProblemError(
                    "too-many-requests",
                    f"{identity.principal} has {running} searches running already; wait for one to end.",
                    headers={"Retry-After": "1"},
                )
            self._reading[identity.principal] = running + 1
        try:
            yield
        finally:
            with self._lock:
                self._reading[identity.principal] -= 1
                if not self._reading[identity.principal]:
                    del self._reading[identity.principal]

    def record(self, request: Request, identity: Identity, endpoint: str, query: str, rows: int) -> None:
        """Record a read of the trail before its rows are given out. Raises ProblemError `not-recorded`: then give nothing."""
        try:
            self._recorder.record_read(identity, address_of(request), endpoint, query, rows)
        except Exception as error:
            raise ProblemError("not-recorded", "Reads of the trail are recorded, and recording this one failed.") from error


def address_of(request: Request) -> str:
    """The peer's address, as the socket says."""
    return request.client.host if request.client else ""


def require_own_origin(request: Request) -> None:
    """Refuse a state-changing request that another site's page made. Raises ProblemError `forbidden`."""
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    own = urlsplit(origin).netloc == host if origin else request.headers.get("sec-fetch-site") == "same-origin"
    if not own:
        raise ProblemError("forbidden", "This request must come from Affidavit's own page (Origin does not match Host).")


def _key(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
