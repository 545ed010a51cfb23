"""What the control topic said and still holds, kept beside it, and said again where the topic has lost it.

A topic can be lost (new brokers, a restore) or lose records: whoever may write it can displace a suspension with a record that
nobody believes, for compaction keeps the newest of a subject, or publish an old grant again, whose revocation is gone by then.
The node keeps what it has read and believed (`control.db`), reads the whole topic over at its start and every CHECK_SECONDS, and
publishes what is missing there, or older there, signed anew and otherwise as it was: `at`, `actor` and `expires_at` are those of
who said it. So it is idempotent, and several nodes may do it. What was said in the last minutes is left to a later look: somebody
may be about to say something newer.

Kept are suspensions and their ends, grants and their revocations, and tags of columns; not decisions on statements, which are for
one wait, nor what ends one session.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import structlog

from schemas.control import (
    CatalogueTagged,
    ControlMessage,
    GrantChanged,
    Message,
    PrincipalResumed,
    PrincipalSuspended,
    decode,
    encode,
    grant_key,
    outdated,
    principal_key,
    publish,
    standing,
)
from schemas.control_keys import ControlSigner, ControlTrust
from schemas.log import Log, LogError

CHECK_SECONDS = 60.0
MAX_SUBJECTS = 100_000
"""Rows of `control.db`, of some hundred bytes each; what is past it is not kept, which the log says."""
SETTLED_US = 120_000_000
"""How old (µs) a message is before it is said again: by then whoever was about to say something newer has said it."""
_BATCH = 1000
_KEPT = (PrincipalSuspended, PrincipalResumed, GrantChanged, CatalogueTagged)
KEPT = (principal_key(""), grant_key(""), "catalogue/")
"""What keys of what is kept begin with."""

log = structlog.get_logger(__name__)


class ControlRecordError(Exception):
    """The file is damaged; the text names it and what to do."""


class ControlRecord:
    """The file: the newest believed message of each subject. Thread-safe. Its methods raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        """Raise ControlRecordError for a damaged file, OSError and sqlite3.OperationalError for what may pass (a full disk)."""
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._full = False
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise ControlRecordError(
                f"{path} is damaged ({error}): put its backup back, or move it away; the control topic is then read anew, and "
                "what it has lost by then stays lost"
            ) from error

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(found.split()))
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS standing (key TEXT PRIMARY KEY, at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
            " value BLOB NOT NULL) WITHOUT ROWID"
        )

    def keep(self, message: object) -> None:
        """Keep a message of the kinds that are kept, unless it is outdated by what is."""
        if not isinstance(message, _KEPT):
            return
        with self._lock:
            row = self._db.execute("SELECT value FROM standing WHERE key = ?", (message.key,)).fetchone()
            if row is None and self._is_full():
                return
            value = encode(message)
            if row is None or (row[0] != value and not outdated(decode(message.key, row[0]), message)):
                values = (message.key, message.at, message.expires_at, value)
                self._db.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?)", values)

    def holding(self, now: int) -> Iterator[Message]:
        """Yield what holds at `now` (µs); forget what does not any more."""
        with self._lock:
            self._db.execute("DELETE FROM standing WHERE expires_at AND expires_at <= ?", (now,))
            rows = self._db.execute("SELECT key, value FROM standing ORDER BY at, key").fetchall()
        for key, value in rows:
            message = decode(key, value)
            if isinstance(message, _KEPT):
                yield message

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _is_full(self) -> bool:
        full: bool = self._db.execute("SELECT count(*) FROM standing").fetchone()[0] >= MAX_SUBJECTS
        if full and not self._full:
            log.error("control.db is full: what is said now is not said again should the topic lose it", subjects=MAX_SUBJECTS)
        self._full = full
        return full


def missing(record: Iterable[Message], topic: Mapping[str, object], now: int) -> list[Message]:
    """Return what of a record is not on the topic, or only older, and was not said just now.

    The end of a suspension that is not there either is no news.
    """
    lost = []
    for message in record:
        there = topic.get(message.key)
        if there is None and isinstance(message, PrincipalResumed):
            continue
        older = isinstance(there, ControlMessage) and there.at < message.at
        if (there is None or older) and message.at <= now - SETTLED_US:
            lost.append(message)
    return lost


class Standing:
    """The thread that looks, and says again. `told` hears how many of each type were; it is called in the thread."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        record: ControlRecord,
        signer: ControlSigner,
        trust: ControlTrust,
        clock: Callable[[], int],
        told: Callable[[dict[str, int]], None],
    ) -> None:
        self._open, self._record, self._signer, self._trust = open_log, record, signer, trust
        self._clock, self._told = clock, told
        self._wake, self._stopping = threading.Event(), False
        self._said = ""
        self._place: Log | None = None
        self._thread = threading.Thread(target=self._run, name="standing", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look soon: the topic is another than it was."""
        self._wake.set()

    def close(self) -> None:
        """Stop after the look that is under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._check()
                self._said = ""
            except (LogError, sqlite3.Error) as error:
                self._forget_log()
                if str(error) != self._said:
                    log.warning("it cannot be seen whether the control topic still has what it said", error=str(error))
                    self._said = str(error)
            except Exception:  # whatever it was, the next look may succeed
                self._forget_log()
                log.exception("it cannot be seen whether the control topic still has what it said")
            self._wake.wait(CHECK_SECONDS)
            self._wake.clear()
        self._forget_log()

    def _forget_log(self) -> None:
        held, self._place = self._place, None
        if held is not None:
            held.close()

    def _check(self) -> None:
        if self._place is None:
            self._place = self._open()
        topic = standing(self._place, self._trust, *KEPT)
        for message in topic.values():
            self._record.keep(message)
        now = self._clock()
        lost = missing(self._record.holding(now), topic, now)
        for at in range(0, len(lost), _BATCH):
            publish(self._place, lost[at : at + _BATCH], self._signer)
        if lost:
            counts = dict(Counter(message.type for message in lost))
            log.warning("the control topic had lost what it said: it was said again", **counts)
            self._told(counts)
