"""The node's process: pipeline, API and the node's own source, wired. The only module that knows all three packages.

They share one store, because one process owns a chDB folder; as role `api` it has no pipeline, and its store is a server.
Stopping goes down the flow: the API, the node's source, then the pipeline until nothing is left in the log, each for a bounded
time.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from deploy.addresses import bind
from deploy.layout import DataDir
from deploy.supervisor import FatalError, UpError
from schemas.config import Config
from schemas.control_keys import load_control_signer, load_control_trust
from schemas.topics import ACTIVITY, CONTROL, EVENTS
from schemas.whole_files import write_whole

if TYPE_CHECKING:
    from deploy.api_logins import IdentityTokens
    from deploy.node_source import NodeSource
    from deploy.notices import Notices
    from deploy.suspended import Suspended
    from ingest.identity.tokens import AdminAction, TokenStore
    from processors.sinks.clickhouse import Store
    from query_api.identity import Identity
    from schemas.log import Log
    from schemas.log.place import LogPlace

API_STOP_SECONDS = 5  # requests under way may end; searches are limited to 10 s, streams are told to end
SHIP_SECONDS = 10.0
DRAIN_SECONDS = 30.0
API_CLIENTS = 4  # searches at once; each holds a client of the store
RETENTION_SECONDS = 600.0
TOMBSTONE_SECONDS = 86_400  # as long as Kafka keeps them by default
LOCAL_PRINCIPAL = "local"  # whoever can read run/local.token


def now_us() -> int:
    """The clock of a process: microseconds UTC."""
    return time.time_ns() // 1000


def node_source_name(config: Config, pipeline: bool) -> str:
    """Return the name of the source that the node is, or where it has no pipeline the API."""
    return f"{config.api.name or ('node' if pipeline else 'api')}/0"


def run_node(config: Config, log: structlog.stdlib.BoundLogger, pipeline: bool = True) -> int:
    """Run pipeline (where asked for), API and the node's source until SIGTERM; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        node = Node(config, log, stack, pipeline)
        node.serve(stop)
        node.stop()
    return 0


def _open_store(config: Config, stack: contextlib.ExitStack, migrating: bool) -> Store:
    from processors.sinks.clickhouse import MigrationError, StoreError, StoreLockedError, StoreUnavailableError, connect

    try:
        store = connect(config.clickhouse, config.data_dir)
        stack.callback(store.close)
        if migrating:
            store.migrate()
        elif lacking := store.lacking():
            # Not fatal: whoever starts all roles at once has workers that are about to make the tables.
            raise UpError(f"the store lacks {', '.join(lacking)}: start the workers, or run `affidavit migrate`")
    except (StoreUnavailableError, StoreLockedError):
        raise  # the supervisor starts the node again, later
    except (MigrationError, StoreError) as error:
        raise FatalError(str(error)) from error
    return store


class Node:
    """The parts of the node, opened in an order such that each finds what it needs, closed by `stack` in reverse."""

    def __init__(self, config: Config, log: structlog.stdlib.BoundLogger, stack: contextlib.ExitStack, pipeline: bool) -> None:
        from deploy import notices
        from deploy.node_source import NodeSource
        from deploy.pipeline_thread import PipelineThread
        from deploy.tracing import tracing
        from ingest.identity.tokens import TokenStore
        from schemas.log.place import LogPlace

        self._config, self._log, self._data = config, log, DataDir(config.data_dir)
        self._said = ""
        self._tokens: TokenStore = TokenStore(self._data.identity, now_us, secrets.token_bytes)
        stack.callback(self._tokens.close)
        place = LogPlace.of(config.log, self._data.log, config.audit.durability)
        self._shipping_log = place.open()  # the source's own: on Kafka, reads and appends of one client wait for each other
        stack.callback(self._shipping_log.close)
        self._ballot_log = place.open()  # of the API's decisions: somebody waits for the answer
        stack.callback(self._ballot_log.close)
        self._store: Store = _open_store(config, stack, migrating=pipeline)
        self._lookup = self._store.new_client()
        self._pipeline: PipelineThread | None = None
        if pipeline:
            self._pipeline = PipelineThread(place, self._store, self._data, now_us, log, tracing(config, stack))
            stack.callback(self._pipeline.close)  # before the store is closed, also when what follows fails
        name = node_source_name(config, pipeline)
        self.source: NodeSource = NodeSource(self._data, config.audit, self._shipping_log, self._tokens, now_us, name)
        self._settle_at: dict[int, int] | int | None = None
        self._local_token = secrets.token_urlsafe(32)
        self._identity_tokens: IdentityTokens | None = None
        if config.identity.issuers and config.api.group_roles:
            from deploy.api_logins import IdentityTokens

            self._identity_tokens = IdentityTokens(self._tokens, config.identity, config.api.group_roles)
            stack.callback(self._identity_tokens.close)
        self._suspended: Suspended = self._follow(place, stack)
        self._links = notices.links(config, self._data)
        self._approver = notices.approvers(self._tokens.tokens, now_us)
        self._notices = self._tell_approvers()
        stack.callback(self._notices.close)
        self._app = self._make_app()

    def serve(self, stop: threading.Event) -> None:
        """Answer the API and keep the node's source going until `stop` is set or a part failed for good."""
        import uvicorn

        from query_api import serving

        address = self._config.api.listen
        try:
            listening = bind(address)
        except OSError as error:
            raise UpError(f"api.listen: cannot listen on {address}: {error.strerror}") from None
        self._server = uvicorn.Server(serving.config(self._app, API_STOP_SECONDS))
        # In a thread: there uvicorn leaves signals alone, and ours decide what stops when.
        self._api = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, name="api", daemon=True)
        write_whole(self._data.local_token, self._local_token.encode())  # who sees that the API answers may use it at once
        self._api.start()
        self._log.info("node listens", api=address)
        retained = 0.0
        while not stop.wait(0.1) and self._api.is_alive():
            self._tend()
            if time.monotonic() - retained > RETENTION_SECONDS:
                retained = time.monotonic()
                self._forget_old_records()
        if not stop.is_set():
            raise UpError("the API's server ended by itself; its last message is above")

    def stop(self) -> None:
        """Stop the API, record the end, and take everything the log has through the pipeline, for a bounded time."""
        self._app.state.streams.close()
        self._server.should_exit = True
        self._api.join(API_STOP_SECONDS + 3)
        if not self.source.close("stopped", SHIP_SECONDS):
            self._log.warning("blocks stay in the spool; the next start ships them")
        if self._pipeline is None:
            return
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._pipeline.behind() and self._pipeline.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._pipeline.behind():
            self._log.warning("blocks stay in the log; the next start projects them")

    def status(self) -> dict[str, Any]:
        """What /readyz and the metrics show."""
        spool = self.source.spool
        problems = [] if spool.accepting else [spool.refusal]
        if untold := self._suspended.problem:
            problems.append(f"who is suspended is not known: {untold}")
        if self._pipeline is None:
            return {"ready": not problems, "problems": problems, "notifications": self._notices.counts}
        problems = [p for p in (self._pipeline.problem, *problems) if p]
        pipeline = self._pipeline.status
        status = {"ready": not problems, "problems": problems, "notifications": self._notices.counts}
        return status | {"pipeline": pipeline, "log_end": pipeline["end_offset"]}

    def authenticate(self, token: str) -> Identity | None:
        """Return who a token stands for: one of the store's, or the local one."""
        from deploy.api_logins import is_identity_token
        from ingest.identity.tokens import Credential, Role
        from query_api.identity import Identity

        if secrets.compare_digest(token.encode("utf-8", "replace"), self._local_token.encode()):
            return Identity(LOCAL_PRINCIPAL, "human", frozenset(Role))
        if self._identity_tokens is not None and is_identity_token(token):
            return self._identity_tokens.identity(token, now_us())
        credential = self._tokens.verify(token, now_us())
        if not isinstance(credential, Credential):
            return None
        return Identity(
            credential.principal_id,
            credential.kind,
            frozenset(str(r) for r in credential.roles),
            credential.groups,
            credential.on_behalf_of,
            credential.principal().delegation,
            credential.token_id,
        )

    def _make_app(self) -> Any:
        from deploy.ballot import ControlBallot
        from deploy.sign_on import providers
        from query_api.app import create_app

        clients = [self._store.new_client() for _ in range(API_CLIENTS)]
        settings = self._config.clickhouse
        signer, trust = load_control_signer(self._data.keys), load_control_trust(self._data.keys)
        ballot = ControlBallot(self._ballot_log, self.source.record_decision, now_us, signer, trust)
        return create_app(
            clients,
            settings,
            self.authenticate,
            self.source,
            self.status,
            now_us,
            api=self._config.api,
            ballot=ballot,
            links=self._links,
            approver=self._approver,
            providers=providers(self._config, self._identity_tokens),
            login_refused=self.source.record_refused,
            public_url=self._config.public_url,
            barring=self._suspended.barring,
        )

    def _follow(self, place: LogPlace, stack: contextlib.ExitStack) -> Suspended:
        """Follow the control topic for the API, and say again what it lost."""
        from deploy.control_record import ControlRecord, ControlRecordError, Standing
        from deploy.suspended import Suspended

        def open_log() -> Log:
            return place.open(reads_only=True)

        def told(counts: dict[str, int]) -> None:
            details = {name: str(count) for name, count in sorted(counts.items())}
            self._tokens.note_action(self.source.name, "control.repeat", CONTROL.name, details)

        try:
            record = ControlRecord(self._data.control)
        except ControlRecordError as error:
            raise FatalError(str(error)) from error
        stack.callback(record.close)
        signer, trust = load_control_signer(self._data.keys), load_control_trust(self._data.keys)
        standing = Standing(place.open, record, signer, trust, now_us, told)
        stack.callback(standing.close)
        most = self._config.identity.max_control_stale_seconds
        suspended = Suspended(open_log, now_us, trust, most, LOCAL_PRINCIPAL, record, standing.look)
        stack.callback(suspended.close)
        return suspended

    def _tell_approvers(self) -> Notices:
        from deploy import notices
        from query_api.limits import Limits
        from query_api.store.reader import Reader

        def reader() -> Reader:
            return Reader([self._store.new_client()], self._config.clickhouse, Limits())

        try:
            return notices.start(self._config, self._data, reader, self._links, self._approver, now_us)
        except notices.NoticesError as error:
            raise FatalError(str(error)) from error

    def _tend(self) -> None:
        try:
            self.source.tend(self._recorded)
        except Exception as error:  # the next look may succeed; the API refuses reads meanwhile, so nothing goes unrecorded
            if str(error) != self._said:
                self._said = str(error)
                self._log.error("node source", error=str(error))

    def _recorded(self, actions: list[AdminAction]) -> set[int] | None:
        """Look up which admin actions an earlier process recorded, once everything it left behind is in the store."""
        if self._settle_at is None:
            if self.source.spool.blocks.unacked_blocks:
                return None
            self._settle_at = self._pipeline.ends() if self._pipeline is not None else self.source.spool.blocks.number
        if isinstance(self._settle_at, int):  # somebody else's pipeline: the store says how far it is
            if self._settle_at and self._store.header(self.source.name, self._settle_at) is None:
                return None
        elif self._pipeline is None or not self._pipeline.passed(self._settle_at):
            return None
        rows = self._lookup.query(
            f"SELECT JSONExtractString(line, 'details', 'action_number'), toUnixTimestamp64Micro(at) "  # noqa: S608
            f"FROM {self._store.database}.other_events WHERE type = 'AdminActionPerformed'"
        ).result_rows
        known = {(str(number), int(at)) for number, at in rows}
        return {a.number for a in actions if (str(a.number), a.at) in known}

    def _forget_old_records(self) -> None:
        """Drop records from the log: archived events older than their retention, control messages that hold no more."""
        from schemas.control import expired
        from schemas.log.sqlite import SqliteLog

        log = self._shipping_log
        if not isinstance(log, SqliteLog) or self._pipeline is None:
            return  # Kafka does it by itself
        now = now_us()
        log.compact(CONTROL.name, now - TOMBSTONE_SECONDS * 1_000_000, expired(log, now))
        horizon = now - EVENTS.retention_ms * 1000
        low, high = log.start_offset(EVENTS.name), int(self._pipeline.status["next_offset"])
        while low < high:  # the first record younger than the horizon, by bisection
            middle = (low + high) // 2
            records = log.read(EVENTS.name, middle, 1)
            if records and records[0].timestamp < horizon:
                low = middle + 1
            else:
                high = middle
        if low > log.start_offset(EVENTS.name):
            log.truncate_before(EVENTS.name, low)
        # Of what stage 2 made of the events nothing has to be kept once it is folded in.
        folded = int(self._pipeline.status["activity_next"])
        if folded > log.start_offset(ACTIVITY.name):
            log.truncate_before(ACTIVITY.name, folded)
