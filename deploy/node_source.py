"""What does the node itself say in the trail? It is a source like any proxy, `node/0` or `api/0`, with a spool of its own.

It records reads of the trail (before their rows are given out), changes made by commands, and that it lives. All calls are
thread-safe: the API calls from many threads, the clockwork from one.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Protocol

import orjson

from deploy.layout import DataDir
from ingest.identity.tokens import AdminAction, TokenStore
from ingest.spool import Shipper, Spool, load_or_create_signer
from query_api.identity import Identity
from schemas.config import AuditSettings
from schemas.events import Client
from schemas.log import Log

MAX_QUERY_CHARS = 8_000  # a search as asked stands in its event; the API allows less


class Recorded(Protocol):
    """Answers which admin actions, given by number and time, stand in the store; None while that cannot be known yet."""

    def __call__(self, actions: list[AdminAction]) -> set[int] | None:
        """Return the numbers of those that do."""


class NodeSource:
    """A source of this name. Opens its spool and ships it to `log`; raises SpoolError if it cannot."""

    def __init__(
        self, data: DataDir, audit: AuditSettings, log: Log, tokens: TokenStore, clock: Callable[[], int], name: str = "node/0"
    ) -> None:
        self.name = name
        self._clock = clock
        self._tokens = tokens
        self._lock = threading.Lock()
        self._beat_us = int(audit.heartbeat_seconds * 1_000_000)
        self._last = 0
        self.spool = Spool.open(data.spool(name), name, audit, clock, load_or_create_signer(data.keys, name))
        self.shipper = Shipper(self.spool, log, clock)
        recovered = self.spool.recovered
        started = {"version": version("affidavit"), "host": socket.gethostname(), "pid": os.getpid(), "role": "node"}
        started |= {"recovered_events": recovered.events, "recovered_unknown": recovered.unknown}
        self._record("ProxyStarted", clock(), started)
        self.shipper.start()
        # Claimed by a process that died: whether they were recorded is to be looked up before anything else.
        self._unsettled = tokens.claimed_actions()

    def record_read(self, identity: Identity, client_address: str, endpoint: str, query: str, rows: int) -> None:
        """Record that someone read the trail. Raises SpoolError: then nothing may be given out."""
        body = {
            "actor": identity.principal,
            "role": ",".join(sorted(identity.roles)),
            "client": asdict(Client(address=client_address)),
            "endpoint": endpoint,
            "query": query[:MAX_QUERY_CHARS],
            "rows": rows,
        }
        self._record("AuditTrailRead", self._clock(), body)

    def record_refused(self, reason: str, client_address: str) -> None:
        """Record that a login at an OpenID provider came to nothing. Raises SpoolError."""
        body = {"claimed": "", "database": "", "client": asdict(Client(address=client_address)), "reason": reason}
        self._record("AuthenticationFailed", self._clock(), body)

    def record_decision(self, event: Mapping[str, object]) -> None:
        """Record that somebody decided on a held statement. Raises SpoolError: then nobody may be told of it."""
        self._record("ApprovalDecided", self._clock(), event)

    def tend(self, recorded: Recorded) -> None:
        """Do what is due: heartbeat, admin actions, sealing. Called often. Raises SpoolError, TokenStoreError."""
        now = self._clock()
        if self._unsettled:
            found = recorded(self._unsettled)
            if found is not None:
                self._tokens.settle(found)
                self._tokens.release(a.number for a in self._unsettled if a.number not in found)
                self._unsettled = []
        for action in self._tokens.claim_actions():
            details = {**action.details, "action_number": str(action.number)}
            body = {"actor": action.actor, "action": action.action, "target": action.target, "details": details}
            self._record("AdminActionPerformed", action.at, body)
            self._tokens.settle([action.number])
        if not 0 <= now - self._last < self._beat_us:  # also when the clock was set back
            self._record("Heartbeat", now, {"open_sessions": 0, "open_statements": 0})
        with self._lock:
            if self.spool.seal_due(now):
                self.spool.seal(now)

    def close(self, reason: str, drain_seconds: float) -> bool:
        """Record the end, seal, ship for at most so long; return whether the log has everything."""
        try:
            self._record("ProxyStopped", self._clock(), {"reason": reason})
            with self._lock:
                self.spool.seal(self._clock())
            deadline = time.monotonic() + drain_seconds
            while self.spool.stats.unsealed_bytes and time.monotonic() < deadline:  # the spool seals in a thread of its own
                time.sleep(0.005)
        finally:
            shipped = self.shipper.stop(drain_seconds)
            with self._lock:
                self.spool.close(self._clock())
        return shipped

    def _record(self, kind: str, at: int, body: Mapping[str, object]) -> None:
        fragment = b"," + orjson.dumps(body)[1:-1]
        with self._lock:
            self.spool.record(kind, at, fragment)
            self.spool.commit()
            self._last = self._clock()
