"""Who may log in? Tokens: issued once, kept as a hash, expiring, revocable, in one SQLite file (`identity.db`, mode 0600).

A token is `afd_<id>_<secret>`: the id finds the row, the secret is 32 random bytes in URL-safe base64. Only SHA-256 of the
secret is stored: with 256 random bits there is nothing for a slow hash to slow down, and logins stay fast.

Every change writes an admin action in the same transaction. The node turns these into `AdminActionPerformed` events by
claim → record in its spool → settle. A crash between the last two leaves the action claimed: `claimed_actions` then lets the
node look in the trail which of them are there (`settle`) and which are not (`release`), so none is lost or doubled.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import sqlite3
import threading
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from schemas.events import Principal, PrincipalKind

MAX_TOKEN_CHARS = 200  # ours have 64; anything much longer is not worth hashing
MAX_NAME_CHARS = 200  # principals and groups stand in every event
MAX_GROUPS = 64
_NAME = re.compile(r"[^\s,\x00-\x1f\x7f]+\Z")
E = TypeVar("E", bound=StrEnum)
_BUSY_MS = 5_000  # how long a writer waits for another one (the CLI and the node write rarely and briefly)


class Role(StrEnum):
    """What a token's bearer may do with the audit trail itself. Logging in to databases needs no role."""

    ANALYST = "analyst"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Refusal(StrEnum):
    """Why a token does not log in. Only who holds the right secret learns that it expired or was revoked.

    `principal_ended`: whoever it acts for had tokens, and all of them have ended.
    """

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    PRINCIPAL_ENDED = "principal_ended"


@dataclass(frozen=True, slots=True)
class Credential:
    """A verified credential: who it is for. `expires_at` is microseconds UTC, 0 for never.

    `token_id` names a token of this store only where `auth_method` is `token`. `delegation`, where given, runs from the actor to
    the one it finally acts for. `behalf_groups` are the groups of that one, None where they are not known.
    """

    token_id: str
    principal_id: str
    kind: PrincipalKind
    on_behalf_of: str
    groups: tuple[str, ...]
    roles: frozenset[Role]
    expires_at: int
    auth_method: str = "token"
    delegation: tuple[str, ...] = ()
    behalf_groups: tuple[str, ...] | None = None
    grant_id: str = ""
    """The grant without which it is worth nothing, empty if there is none."""
    behalf_kind: PrincipalKind = PrincipalKind.HUMAN
    """What the one is that it finally acts for."""

    def principal(self) -> Principal:
        """Return the principal as it stands in events."""
        return Principal(
            id=self.principal_id,
            kind=self.kind,
            groups=self.groups,
            auth_method=self.auth_method,
            credential_id=self.token_id,
            on_behalf_of=self.on_behalf_of,
            delegation=self.delegation or ((self.on_behalf_of,) if self.on_behalf_of else ()),
        )

    def behalf(self) -> tuple[Principal, ...]:
        """Return everybody it acts for, nearest first, each as if acting directly.

        Groups of those between are not known: they are taken to have what the credential has.
        """
        chain = self.principal().delegation
        groups = self.groups if self.behalf_groups is None else self.behalf_groups
        return tuple(
            Principal(
                id=person,
                kind=self.behalf_kind if n == len(chain) - 1 else PrincipalKind.AGENT,
                groups=groups if n == len(chain) - 1 else self.groups,
                auth_method=self.auth_method,
                credential_id=self.token_id,
                on_behalf_of=chain[-1] if n < len(chain) - 1 else "",
                delegation=chain[n + 1 :],
            )
            for n, person in enumerate(chain)
        )


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as listed: everything but the secret. Times are microseconds UTC, 0 for never."""

    token_id: str
    principal_id: str
    kind: PrincipalKind
    on_behalf_of: str
    groups: tuple[str, ...]
    roles: tuple[Role, ...]
    created_at: int
    created_by: str
    expires_at: int
    revoked_at: int
    grant_id: str = ""


@dataclass(frozen=True, slots=True)
class AdminAction:
    """A change to the identities, to become an event. `number` counts up and is never used again."""

    number: int
    at: int
    actor: str
    action: str
    target: str
    details: dict[str, str] = field(default_factory=dict)


class TokenStoreError(Exception):
    """The store cannot be used, or what was asked makes no sense: the message says which and what to do."""


class TokenStore:
    """Tokens in the SQLite file `path`. Any number of processes and threads may use it at once."""

    def __init__(self, path: Path, clock: Callable[[], int], randomness: Callable[[int], bytes]) -> None:
        """Open or create the store; `clock` gives microseconds UTC, `randomness(n)` n random bytes. Raises TokenStoreError."""
        self._clock = clock
        self._randomness = randomness
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
            self._db = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
            # FULL: a revocation that was answered stays revoked after power loss.
            self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout={_BUSY_MS}; {_SCHEMA}")
            if not any(row[1] == "grant_id" for row in self._db.execute("PRAGMA table_info(token)")):
                with contextlib.suppress(sqlite3.OperationalError):  # another process of this version was faster
                    self._db.execute("ALTER TABLE token ADD COLUMN grant_id TEXT NOT NULL DEFAULT ''")
        except (OSError, sqlite3.Error) as error:
            raise TokenStoreError(f"cannot open the identity store {path}: {_why(error)}") from None

    def create(
        self,
        principal: str,
        kind: PrincipalKind | str,
        *,
        on_behalf_of: str = "",
        groups: Iterable[str] = (),
        roles: Iterable[Role | str] = (),
        ttl_seconds: float | None = None,
        created_by: str,
        grant_id: str = "",
    ) -> tuple[str, str]:
        """Issue a token; return (token id, token). The token is not kept and cannot be shown again.

        With `grant_id` it ends with that grant of whom it is on behalf of. Raises TokenStoreError for a name, kind, role or
        lifetime that cannot be.
        """
        groups = tuple(dict.fromkeys(groups))
        _check_name("principal", principal)
        if on_behalf_of:
            _check_name("on-behalf-of", on_behalf_of)
        if grant_id and not on_behalf_of:
            raise TokenStoreError("a token that ends with a grant is on behalf of whom it was granted to: name them")
        if on_behalf_of == principal:
            raise TokenStoreError(f"{principal!r} cannot act on behalf of itself; leave on-behalf-of away")
        for group in groups:
            _check_name("group", group)
        if len(groups) > MAX_GROUPS:
            raise TokenStoreError(f"{len(groups)} groups are too many; at most {MAX_GROUPS}")
        kind = _one_of(PrincipalKind, "kind", kind)
        known = tuple(sorted({_one_of(Role, "role", role) for role in roles}))
        if ttl_seconds is not None and not 1 <= ttl_seconds <= 100 * 365 * 86_400:
            raise TokenStoreError("a lifetime must be between one second and a hundred years")
        now = self._clock()
        expires_at = 0 if ttl_seconds is None else now + int(ttl_seconds * 1_000_000)
        token_id = b32encode(self._randomness(10)).decode().lower()
        secret = urlsafe_b64encode(self._randomness(32)).decode().rstrip("=")
        row = (token_id, _digest(secret), principal, kind, on_behalf_of, json.dumps(groups), json.dumps(known), now, created_by)
        details = {"principal": principal, "kind": str(kind), "on_behalf_of": on_behalf_of}
        details |= {"groups": ",".join(groups), "roles": ",".join(known), "expires_at": str(expires_at)}
        details["grant"] = grant_id
        with self._lock, self._transaction():
            for (person,) in self._db.execute(_FOR_OTHERS_ALONE, (on_behalf_of, now, on_behalf_of)).fetchall():
                raise TokenStoreError(
                    f"{on_behalf_of!r} acts itself on behalf of {person!r}: name whom it is finally for, {person!r}"
                )
            self._db.execute(_INSERT, (*row, expires_at, grant_id))
            self._note(now, created_by, "token.create", token_id, {k: v for k, v in details.items() if v})
        return token_id, f"afd_{token_id}_{secret}"

    def verify(self, token: str, now: int) -> Credential | Refusal:
        """Return whose token this is at `now` (microseconds UTC), or why it does not log in. Raises TokenStoreError."""
        parts = token.split("_", 2) if len(token) <= MAX_TOKEN_CHARS else ()
        if len(parts) != 3 or parts[0] != "afd" or not token.isascii():
            return Refusal.UNKNOWN
        digest = _digest(parts[2])
        with self._lock:
            try:
                row = self._db.execute(_BY_ID, (parts[1],)).fetchone()
                theirs = self._db.execute(_THEIRS, (row[3],)).fetchall() if row and row[3] else []
            except sqlite3.Error as error:
                raise TokenStoreError(f"cannot read the identity store {self._path}: {_why(error)}") from None
        if not hmac.compare_digest(digest, row[0] if row else bytes(32)) or row is None:
            return Refusal.UNKNOWN
        _, principal, kind, on_behalf_of, groups, roles, expires_at, revoked_at, grant_id = row
        if revoked_at:
            return Refusal.REVOKED
        if expires_at and now >= expires_at:
            return Refusal.EXPIRED
        if _all_ended(theirs, now):
            return Refusal.PRINCIPAL_ENDED
        live = [json.loads(row[0]) for row in theirs if not _ended(row, now)]
        kinds = {row[3] for row in theirs}
        return Credential(
            token_id=parts[1],
            principal_id=principal,
            kind=PrincipalKind(kind),
            on_behalf_of=on_behalf_of,
            groups=tuple(json.loads(groups)),
            roles=frozenset(Role(r) for r in json.loads(roles)),
            expires_at=expires_at,
            behalf_groups=tuple(dict.fromkeys(group for found in live for group in found)) if live else None,
            grant_id=grant_id,
            behalf_kind=PrincipalKind(kinds.pop()) if len(kinds) == 1 else PrincipalKind.HUMAN,
        )

    def standing(self, token_id: str, now: int) -> Refusal | None:
        """Return why sessions of this token must end at `now`, or None. Raises TokenStoreError."""
        with self._lock, self._reading():
            asked = "SELECT expires_at, revoked_at, on_behalf_of FROM token WHERE token_id = ?"
            row = self._db.execute(asked, (token_id,)).fetchone()
            theirs = self._db.execute(_THEIRS, (row[2],)).fetchall() if row and row[2] else []
        if row is None:
            return Refusal.UNKNOWN
        if row[1]:
            return Refusal.REVOKED
        if row[0] and now >= row[0]:
            return Refusal.EXPIRED
        return Refusal.PRINCIPAL_ENDED if _all_ended(theirs, now) else None

    def knows(self, principal: str) -> bool:
        """Tell whether a token was ever issued for this principal. Raises TokenStoreError."""
        if len(principal) > MAX_NAME_CHARS:
            return False
        with self._lock, self._reading():
            row = self._db.execute("SELECT 1 FROM token WHERE principal = ? LIMIT 1", (principal,)).fetchone()
        return row is not None

    def tokens(self) -> list[TokenRecord]:
        """Return every token ever issued, oldest first."""
        with self._lock, self._reading():
            rows = self._db.execute(_ALL).fetchall()
        return [
            TokenRecord(i, p, PrincipalKind(k), o, tuple(json.loads(g)), tuple(Role(r) for r in json.loads(r_)), c, b, e, v, n)
            for i, p, k, o, g, r_, c, b, e, v, n in rows
        ]

    def revoke(self, token_id: str, revoked_by: str) -> bool:
        """Revoke a token for good; False if it already was. Proxies end its sessions. Raises TokenStoreError if there is none."""
        now = self._clock()
        token_id = token_id.split("_")[1] if token_id.startswith("afd_") and token_id.count("_") >= 2 else token_id
        with self._lock, self._transaction():
            row = self._db.execute("SELECT revoked_at, principal FROM token WHERE token_id = ?", (token_id,)).fetchone()
            if row is None:
                raise TokenStoreError(f"there is no token with id {token_id!r}; `affidavit token list` shows them")
            if row[0]:
                return False
            self._db.execute("UPDATE token SET revoked_at = ? WHERE token_id = ?", (now, token_id))
            self._note(now, revoked_by, "token.revoke", token_id, {"principal": row[1]})
        return True

    def note_action(self, actor: str, action: str, target: str, details: dict[str, str]) -> None:
        """Keep an admin action that changes no token, to become an event. Raises TokenStoreError."""
        with self._lock, self._transaction():
            self._note(self._clock(), actor, action, target, details)

    def claim_actions(self, limit: int = 100) -> list[AdminAction]:
        """Return up to `limit` actions nobody claimed yet, oldest first, and mark them claimed."""
        with self._lock, self._transaction():
            rows = self._db.execute(f"{_ACTIONS} WHERE NOT claimed ORDER BY number LIMIT ?", (limit,)).fetchall()
            self._db.executemany("UPDATE action SET claimed = 1 WHERE number = ?", [(row[0],) for row in rows])
        return [_action(row) for row in rows]

    def claimed_actions(self) -> list[AdminAction]:
        """Return actions claimed but not settled: after a crash, those of which nobody knows whether they were recorded."""
        with self._lock, self._reading():
            rows = self._db.execute(f"{_ACTIONS} WHERE claimed ORDER BY number").fetchall()
        return [_action(row) for row in rows]

    def settle(self, numbers: Iterable[int]) -> None:
        """Forget actions: their events are in the trail."""
        with self._lock, self._transaction():
            self._db.executemany("DELETE FROM action WHERE number = ?", [(n,) for n in numbers])

    def release(self, numbers: Iterable[int]) -> None:
        """Give claimed actions back: their events are not in the trail."""
        with self._lock, self._transaction():
            self._db.executemany("UPDATE action SET claimed = 0 WHERE number = ?", [(n,) for n in numbers])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _note(self, at: int, actor: str, action: str, target: str, details: dict[str, str]) -> None:
        row = (at, actor, action, target, json.dumps(details))
        self._db.execute("INSERT INTO action (at, actor, action, target, details, claimed) VALUES (?,?,?,?,?,0)", row)

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db, self._path, write=True)

    def _reading(self) -> _Transaction:
        return _Transaction(self._db, self._path, write=False)


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or only the wording of errors when nothing is written."""

    def __init__(self, db: sqlite3.Connection, path: Path, *, write: bool) -> None:
        self._db, self._path, self._write = db, path, write

    def __enter__(self) -> None:
        if self._write:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise TokenStoreError(f"cannot write the identity store {self._path}: {_why(error)}") from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._write and self._db.in_transaction:
            try:
                self._db.execute("COMMIT" if error is None else "ROLLBACK")
            except sqlite3.Error as failed:
                error = error or failed
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise TokenStoreError(f"cannot use the identity store {self._path}: {_why(error)}") from None


_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
    token_id TEXT PRIMARY KEY, digest BLOB NOT NULL, principal TEXT NOT NULL, kind TEXT NOT NULL, on_behalf_of TEXT NOT NULL,
    groups TEXT NOT NULL, roles TEXT NOT NULL, created_at INTEGER NOT NULL, created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL, grant_id TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS action (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    target TEXT NOT NULL, details TEXT NOT NULL, claimed INTEGER NOT NULL
);
"""
_BY_ID = (
    "SELECT digest, principal, kind, on_behalf_of, groups, roles, expires_at, revoked_at, grant_id FROM token WHERE token_id = ?"
)
_INSERT = """INSERT INTO token (token_id, digest, principal, kind, on_behalf_of, groups, roles, created_at, created_by,
             revoked_at, expires_at, grant_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"""
_ALL = """SELECT token_id, principal, kind, on_behalf_of, groups, roles, created_at, created_by, expires_at, revoked_at,
          grant_id FROM token ORDER BY created_at, token_id"""
_THEIRS = "SELECT groups, expires_at, revoked_at, kind FROM token WHERE principal = ? AND on_behalf_of = ''"
"""The tokens somebody has for itself: what others do on its behalf ends with the last of them."""
_FOR_OTHERS_ALONE = """SELECT on_behalf_of FROM token WHERE principal = ? AND on_behalf_of <> ''
                       AND revoked_at = 0 AND (expires_at = 0 OR expires_at > ?)
                       AND NOT EXISTS (SELECT 1 FROM token WHERE principal = ? AND on_behalf_of = '') LIMIT 1"""
"""For whom somebody acts who has no token for itself: a token on its behalf would not say, nor end with, that one."""
_ACTIONS = "SELECT number, at, actor, action, target, details FROM action"


def _ended(row: tuple[str, int, int, str], now: int) -> bool:
    return bool(row[2]) or bool(row[1] and now >= row[1])


def _all_ended(rows: list[tuple[str, int, int, str]], now: int) -> bool:
    return bool(rows) and all(_ended(row, now) for row in rows)


def _action(row: tuple[int, int, str, str, str, str]) -> AdminAction:
    return AdminAction(*row[:5], details=json.loads(row[5]))


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("ascii")).digest()


def is_name(name: str) -> bool:
    """Tell whether a text can name a principal or a group: every character is seen, so that two that look the same are the same.

    Letters of other scripts that look alike are not told apart.
    """
    return _NAME.match(name) is not None and len(name) <= MAX_NAME_CHARS and name.isprintable()


def _check_name(what: str, name: str) -> None:
    if not is_name(name):
        raise TokenStoreError(
            f"{what} must be 1 to {MAX_NAME_CHARS} characters without spaces, commas or what cannot be seen, not {name[:60]!r}"
        )


def _one_of(kinds: type[E], what: str, value: E | str) -> E:
    try:
        return kinds(value)
    except ValueError:
        raise TokenStoreError(f"{what} must be one of {', '.join(kinds)}, not {str(value)[:60]!r}") from None


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return "the file is damaged or something else; move it away and issue new tokens"
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return f"another process held it for {_BUSY_MS // 1000} seconds; try again"
    return str(error)
