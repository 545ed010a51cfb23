"""One proxy worker process: one event loop, one spool (its own source), the listeners of every configured database.

`run_worker` blocks until SIGTERM or SIGINT, then tells clients (57P01), records the end, ships what it can and returns
an exit code. Nothing here imports the pipeline, the store or the API: a worker stays small.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import orjson
import structlog
import uvloop

from ingest.core.errors import IngestError, UnusableSettingError
from ingest.core.guarding import Hold
from ingest.core.limits import Limits
from ingest.guard.allowance import Allowance
from ingest.guard.asking import Asking
from ingest.guard.guard import PolicyGuard
from ingest.guard.loading import PolicyFiles
from ingest.identity.throttle import Refusals, Throttle
from ingest.identity.tokens import Refusal, TokenStore, TokenStoreError
from ingest.masking import DatabaseMasking, MaskingGuard, SessionMasking
from ingest.masking.session import nothing_clear, nothing_granted
from ingest.masking.tags import EVERY, Override
from ingest.net.busy_poll import BusyPoll, processors
from ingest.net.cancel import CancelKeys
from ingest.net.cancels import Cancels
from ingest.net.catalogue import CatalogueWatch, read_catalogue
from ingest.net.certificates import configured_certificate, generated_certificate
from ingest.net.clock import now_us
from ingest.net.compiled import runs_compiled
from ingest.net.connection import Connection
from ingest.net.control import Change, Control
from ingest.net.described import Described
from ingest.net.estimates import Estimates
from ingest.net.gate import Gate
from ingest.net.grants import GrantBook
from ingest.net.holds import Holds
from ingest.net.lineage_register import LineageRegister
from ingest.net.listener import Listener
from ingest.net.logins import Logins
from ingest.net.sanctions import Sanctions
from ingest.net.status import Counted, StatusSocket
from ingest.net.tls import server_context
from ingest.net.upstream import read_password
from ingest.protocols.postgres.scram import ScramKeys
from ingest.protocols.postgres.session import PostgresSession
from ingest.spool import Destination, Spool, SpoolError, load_or_create_signer, spool_directory
from processors.sensitivity import Scanner
from processors.statements import Analyser, Tokenizer
from processors.statements.catalogue import Catalogue
from schemas.classes import DataClass
from schemas.config import ClientTlsMode, Config, DatabaseSettings, OnFailure
from schemas.control import CatalogueTagged, catalogue_key
from schemas.control_keys import ControlKeyError, load_control_trust
from schemas.events import Client, Estimate
from schemas.log import Log
from schemas.log.place import LogPlace

CREDENTIAL_CHECK_SECONDS = 2.0
"""How often the tokens of open sessions are looked at again: an expired or revoked one ends its sessions."""
MAX_REFUSED_KEY = 200
"""Characters of a refused control message's key in its event: whoever wrote it may have written anything."""
SHUTDOWN_SHIP_SECONDS = 10.0
"""How long a stopping worker waits for the log; what is left ships at the next start."""


def uuid7() -> str:
    """Return a random UUIDv7 (RFC 9562 section 5.7) for a session."""
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Worker:
    """What the connections of one process share."""

    def __init__(self, config: Config, index: int, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.index = index
        self.loop = loop
        self.log = structlog.get_logger("proxy").bind(worker=index)
        self.clock: Callable[[], int] = now_us
        self.new_id = uuid7
        self.limits = Limits(statement=config.proxy.max_statement_bytes, bind=config.proxy.max_statement_bytes)
        self.passes_unaudited = config.audit.on_failure is OnFailure.PASS
        self.source = f"{config.proxy.name}/{index}"
        data = config.data_dir
        self.tokens = TokenStore(data / "identity.db", now_us, secrets.token_bytes)
        self.throttle = Throttle()
        self.refusals = Refusals()
        self.logins = Logins(self.tokens, config.identity, time.monotonic)
        self.tokenizer = Tokenizer(token_key(data))
        self.analyser = Analyser(self.tokenizer, max_text_bytes=config.proxy.max_statement_bytes)
        keys = CancelKeys(index, secrets.token_bytes)
        self.cancels = Cancels(index, config.proxy.workers, data / "run", keys, loop, self.log, self._refused_cancel)
        self.scram_keys = ScramKeys()
        self._place = LogPlace.of(config.log, data / "log" / "log.db", config.audit.durability)
        self.spool = Spool.open(
            spool_directory(data, self.source),
            self.source,
            config.audit,
            now_us,
            load_or_create_signer(data / "keys", self.source),
            destination=Destination(self._place, data / "keys"),
        )
        self.gate = Gate(self.spool, config.audit.durability, loop)
        spare = processors() > config.proxy.workers  # a poll must not take the processor from what it waits for
        self.busy_poll = BusyPoll(loop, config.proxy.busy_poll_us if spare else 0)
        self.control = Control(self._open_log, loop, now_us, load_control_trust(data / "keys"), refused=self._control_refused)
        self.grants = GrantBook(self.control, config.identity.max_grant_stale_seconds)
        self.policy: PolicyFiles | None = None
        self.allowance = Allowance(config.approvals.max_open, config.approvals.max_hourly)
        self.masking: dict[str, DatabaseMasking] = {}
        self.connections: set[Connection] = set()
        self.arriving: dict[Connection, None] = {}
        """Of them, those whose credential was not taken yet, in the order they came."""
        self.sanctions = Sanctions(self.control, self.connections, config.identity.max_control_stale_seconds, now_us)
        self.control.subscribe(self._retag)
        self.estimates = Estimates(self.scram_keys)
        folder = data / "held" / self.source.replace("/", "-")
        over, barred = self.allowance.ended, self.sanctions.barred
        self.holds = Holds(self.control, self._record_soon, now_us, loop, folder, self._estimate, over, barred, self._look_anew)
        self.statements = 0
        self.unaudited = 0
        self.counted = Counted()
        self._status = StatusSocket(self)
        self._passwords: dict[str, bytes | None] = {}
        self._catalogues: dict[str, CatalogueWatch] = {}
        self._listeners: list[Listener] = []
        self._last_beat = 0
        self._tick_due = 0.0

    async def open(self) -> None:
        """Record the start, then listen. Raises IngestError subclasses with the remedy."""
        recovered = self.spool.recovered
        body = {
            "version": version("affidavit"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "role": "proxy",
            "recovered_events": recovered.events,
            "recovered_unknown": recovered.unknown,
        }
        self.spool.record("ProxyStarted", self.clock(), b"," + orjson.dumps(body)[1:-1])
        if self.config.policy.files:
            self.policy = PolicyFiles(
                self.config.policy.files, lambda body: self.note("PolicyChanged", self.clock(), body), self.grants
            )
            asking = self.config.approvals
            self.policy.guard.asking = Asking(self.new_id, int(asking.wait_seconds * 1_000_000), asking.url, self.allowance)
            self._watch_policy()
        if self.config.masking.enabled:  # what is wrong with it is said now, not when the first session begins
            for database in self.config.databases[:1]:  # the file is that of all
                LineageRegister(self.config.data_dir / "lineage.db", database.alias).look()
        lost = self.holds.recover()
        self.spool.commit()
        self.holds.forget_recovered()
        if lost:
            self.log.warning("statements_waited_when_the_proxy_died", count=lost)
        by_address: dict[str, list[DatabaseSettings]] = {}
        for database in self.config.databases:
            by_address.setdefault(database.listen, []).append(database)
        for address, databases in by_address.items():
            listener = Listener(self, address, databases, self._tls_context(databases[0]))
            await listener.open()
            self._listeners.append(listener)
            self.log.info("listening", address=address, databases=[d.alias for d in databases], compiled=runs_compiled())
        await self.cancels.open()
        await self._status.open()
        self.control.start()
        self._tick()
        self._check_credentials()
        gc.collect()
        gc.freeze()  # what was loaded stays: a later collection need not walk it while statements wait

    def _open_log(self) -> Log:
        return self._place.open(reads_only=True)

    def _tls_context(self, database: DatabaseSettings) -> ssl.SSLContext | None:
        tls = database.client_tls
        if tls.mode is ClientTlsMode.OFF:
            return None
        host = database.listen.rpartition(":")[0].strip("[]")
        now = datetime.fromtimestamp(self.clock() / 1e6, UTC)
        if tls.cert_file is not None and tls.key_file is not None:
            files = configured_certificate(tls.cert_file, tls.key_file, now)
        else:
            files = generated_certificate(self.config.data_dir / "tls", [host], now)
        return server_context(files, tls.client_ca_file, tls.require_client_certificate)

    # Connections

    def admit(self, connection: Connection) -> bool:
        """Take a new connection unless there are too many; whoever is longest at the door, and has no credential, makes room.

        So connections that only stay and say nothing keep nobody out. Where sessions fill most places, whoever came a moment ago
        keeps its own: else clients that try again and again would each turn out the one before, and none would get in.
        """
        if len(self.connections) >= (most := self.config.proxy.max_connections):
            oldest = next(iter(self.arriving), None)
            if oldest is None or (len(self.arriving) <= most // 2 and not oldest.lingers):
                return False
            oldest.make_room()
        self.connections.add(connection)
        self.arriving[connection] = None
        return True

    def forget(self, connection: Connection) -> None:
        """A connection is over."""
        self.connections.discard(connection)
        self.arriving.pop(connection, None)
        if connection.session is not None:
            self.statements += connection.session.statements
            self.unaudited += connection.session.unaudited
            self.counted.refused += connection.session.refused
            self.counted.bytes_in += connection.session.bytes_in
            self.counted.bytes_out += connection.session.bytes_out

    def password(self, database: DatabaseSettings) -> bytes | None:
        """Return the credential for a database, read once; raises UpstreamError."""
        if database.alias not in self._passwords:
            self._passwords[database.alias] = read_password(database.upstream)
        return self._passwords[database.alias]

    def catalogue(self, database: DatabaseSettings) -> CatalogueWatch | None:
        """Return what keeps a database's snapshot current; None where the configuration wants none."""
        if not database.catalogue:
            return None
        watch = self._catalogues.get(database.alias)
        if watch is None:
            read = partial(self._read_catalogue, database)
            watch = self._catalogues[database.alias] = CatalogueWatch(
                database.alias, read, self.config.data_dir / "run" / f"catalogue-{database.alias}"
            )
        return watch

    def mask(self, session: PostgresSession, database: DatabaseSettings, asked: Mapping[str, str]) -> None:
        """Mask what a session sees that asked for these parameters, unless the configuration wants no masking."""
        settings = self.config.masking
        if not settings.enabled:
            return
        shared = self.masking.get(database.alias)
        if shared is None:
            shared = self.masking[database.alias] = DatabaseMasking(
                self.catalogue(database),
                self.tokenizer,
                Scanner(),
                settings.styles,
                settings.default_style,
                self._tagged(database),
                LineageRegister(self.config.data_dir / "lineage.db", database.alias),
            )
        guard = session.guard
        policy = (guard.clear, guard.granted) if isinstance(guard, PolicyGuard) else (nothing_clear, nothing_granted)
        first = "pg_temp" not in " ".join(asked.values()).replace("\\", "").lower()
        masking = SessionMasking(shared, *policy, temporary_first=first)
        session.mask(masking)
        if isinstance(guard, PolicyGuard):
            guard.classes, guard.columns = masking.classes, masking
            guard.owns = lambda statement: session.is_next() and masking.owns(statement)
        session.guard = MaskingGuard(guard, masking, session.session_id)

    def _tagged(self, database: DatabaseSettings) -> Override:
        """What the control topic says of this database's columns. What cannot be read is taken for the worst."""

        def said(schema: str, table: str, column: str) -> frozenset[DataClass] | None:
            message = self.control.get(catalogue_key(database.alias, schema, table, column))
            if message is None:
                return None
            known = isinstance(message, CatalogueTagged) and all(c in DataClass.__members__.values() for c in message.classes)
            return frozenset(DataClass(c) for c in message.classes) if known else EVERY  # type: ignore[union-attr]

        return said

    def _control_refused(self, key: str, problem: str, count: int) -> None:
        """Somebody wrote to the control topic what is not believed."""
        body = {"key": key[:MAX_REFUSED_KEY], "reason": problem, "count": count}
        self.note("ControlRefused", self.clock(), b"," + orjson.dumps(body)[1:-1])

    def _retag(self, change: Change) -> None:
        """Somebody said what a column holds."""
        if change.key.startswith("catalogue/"):
            for shared in self.masking.values():
                shared.retag()
            if self.policy is not None:
                self.policy.guard.forget()

    async def _read_catalogue(self, database: DatabaseSettings) -> Catalogue:
        return await read_catalogue(database.upstream, self.password(database), self.scram_keys)

    def _record_soon(self, type: str, at: int, body: bytes) -> int:
        seq = self.spool.record(type, at, body)
        self.gate.touch()
        return seq

    async def _estimate(self, connection: Connection, hold: Hold) -> Estimate:
        database = connection.database
        assert database is not None
        return await self.estimates.of(hold, database, self.password(database))

    async def _look_anew(self, connection: Connection) -> bool:
        database = connection.database
        watch = self.catalogue(database) if database is not None else None
        return watch is None or await watch.read_anew()

    def note(self, type: str, at: int, body: bytes) -> str:
        """Record an event of the proxy itself; return its id. Where the spool has no room even for that, say so in the log.

        It is in the spool on return: such events are few, and what a client or the log is told next is then in the trail.
        """
        try:
            event_id = self.spool.event_id(self.spool.record(type, at, body), at)
            self.spool.commit()
            return event_id
        except SpoolError as error:
            self.counted.events_lost += 1
            self.log.error("event_lost", event_type=type, reason=str(error))
            return ""

    def _refused_cancel(self, host: str) -> None:
        """Somebody names another's session and does not have its key: a guess. From another worker comes no address."""
        self.counted.logins_refused["cancel_key"] += 1
        if self.refusals.own(host, "cancel_key", self.clock()):
            self.note("AuthenticationFailed", self.clock(), Described.failed("", "", Client(address=host), "cancel_key"))
            self.log.info("cancel_refused", client=host)

    def _tell_refusals(self, now: int, last: bool = False) -> None:
        for address, reason, count in self.refusals.due(now, last):
            self.note("AuthenticationFailed", now, Described.failed("", "", Client(address=address), reason, count))
            self.log.info("logins_refused", reason=reason, client=address, count=count)

    # Time

    def _tick(self) -> None:
        """Look whether the spool has room; beat when nothing else was said."""
        now = self.clock()
        if self._tick_due:
            self.counted.loop_lag.observe(int((time.monotonic() - self._tick_due) * 1e6))
        for watch in self._catalogues.values():
            watch.look()
        for shared in self.masking.values():
            shared.look()
        if not 0 <= now - self._last_beat < self.config.audit.heartbeat_seconds * 1_000_000:  # also when the clock was set back
            self._last_beat = now
            open_sessions = [c.session for c in self.connections if c.session is not None]
            body = {
                "open_sessions": len(open_sessions),
                "open_statements": sum(s.open_statements for s in open_sessions),
                "statements": self.statements + sum(s.statements for s in open_sessions),
                "passed_unaudited": self.unaudited + sum(s.unaudited for s in open_sessions),
            }
            self.note("Heartbeat", now, b"," + orjson.dumps(body)[1:-1])
        self._tell_refusals(now)
        for connection in list(self.connections):
            connection.look()
        try:
            if self.spool.seal_due(now):
                self.spool.seal(now)
        except SpoolError as error:
            self.log.error("spool_failed", reason=str(error))
        wait = self.config.audit.seal_interval_ms / 1000
        self._tick_due = time.monotonic() + wait
        self.loop.call_later(wait, self._tick)

    def _watch_policy(self) -> None:
        """Read the policy again when its files have changed."""
        assert self.policy is not None
        if self.policy.changed():
            self.policy.reload()
            self.log.info("policy_read", bundle=self.policy.guard.policy.version)
        self.loop.call_later(self.config.policy.reload_seconds, self._watch_policy)

    def _check_credentials(self) -> None:
        """End the sessions whose token expired or was revoked since they began."""
        now = self.clock()
        problem = ""
        found: dict[str, Refusal | None] = {}
        for connection in list(self.connections):
            credential = connection.credential
            if credential is None:
                continue
            if credential.token_id not in found:
                try:
                    if not problem:  # each may take the seconds for which a lock is waited for
                        found[credential.token_id] = self.logins.standing(credential, now)
                except TokenStoreError as error:
                    problem = str(error)
                if credential.token_id not in found:  # what needs no store ends all the same
                    ended = bool(credential.expires_at) and now >= credential.expires_at
                    found[credential.token_id] = Refusal.EXPIRED if ended else None
            refusal = found[credential.token_id]
            if refusal is not None:
                text = f"this session's credential is no longer valid ({refusal.value})"
                connection.kill("28000", text, refusal.value, cancel=True)
        if problem:
            self.log.error("token_store", reason=problem)
        self.loop.call_later(CREDENTIAL_CHECK_SECONDS, partial(self._check_credentials))

    # The end

    def close(self, reason: str) -> None:
        """Stop in order: no new connections, clients told, everything recorded and as far as possible shipped."""
        for listener in self._listeners:
            listener.close()
        self.cancels.close()
        self._status.close()
        self.control.close()
        for watch in self._catalogues.values():
            watch.close()
        for connection in list(self.connections):
            connection.kill("57P01", "terminating connection: the proxy is shutting down", "shutdown")
        self._tell_refusals(self.clock(), last=True)
        body = {"reason": reason, "statements": self.statements, "passed_unaudited": self.unaudited}
        self.note("ProxyStopped", self.clock(), b"," + orjson.dumps(body)[1:-1])

    def finish(self) -> None:
        """Write what is left; its sealer seals and ships it."""
        self.spool.close(self.clock(), SHUTDOWN_SHIP_SECONDS)
        self.tokens.close()


def token_key(data_dir: Path) -> bytes:
    """Return the installation's token key, made on first use: equal values get equal tokens in every proxy that shares it."""
    path = data_dir / "keys" / "token.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) != 32:
        raise IngestError(f"{path} holds {len(key)} bytes, not the 32 of a token key; restore it from a backup")
    return key


async def _serve(config: Config, index: int) -> None:
    loop = asyncio.get_running_loop()
    worker = Worker(config, index, loop)
    stop: asyncio.Future[str] = loop.create_future()

    def asked(name: str) -> None:
        if not stop.done():
            stop.set_result(name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number.name)
    try:
        await worker.open()
        reason = await stop
    except (IngestError, SpoolError):
        worker.close("failed to start")
        worker.finish()
        raise
    worker.close(reason)
    await asyncio.sleep(0)
    await asyncio.to_thread(worker.finish)


def run_worker(config: Config, index: int) -> int:
    """Run worker `index` until it is told to stop; return the exit code. Problems are one line on stderr.

    Raises UnusableSettingError, for whoever started it to say: there is nothing to be tried again.
    """
    try:
        uvloop.run(_serve(config, index))
    except UnusableSettingError:
        raise
    except (IngestError, SpoolError, TokenStoreError, ControlKeyError) as error:
        if os.environ.get("AFFIDAVIT_LOGS") == "json":
            structlog.get_logger().error(str(error), source=f"{config.proxy.name}/{index}")
        else:
            print(f"affidavit proxy {config.proxy.name}/{index}: {error}", file=sys.stderr)
        return 1
    return 0
