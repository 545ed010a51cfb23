"""One client's connection, from its first byte to its last: its `arrival`, then bytes both ways through a session.

The sans-IO parts decide; this module only carries out: it owns both transports, holds back what must wait for the gate,
and slows one side down when the other does not read (so a 2 GB result needs no memory here).
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ingest.core.actions import Action, Cancel, Close, Conclude, Forward, Intend, ObserveText, Record, Side, Ticket, Wait, Waited
from ingest.core.guarding import Answer
from ingest.identity.tokens import Credential
from ingest.net.arrival import WRITE_HIGH_WATER, Arrival
from ingest.net.busy_poll import BusyPoll
from ingest.net.described import Described
from ingest.net.gate import Gate
from ingest.net.server_side import ServerSide
from ingest.net.sessions import make_session, setting_stopped
from ingest.protocols.postgres import messages
from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.session import PostgresSession
from ingest.protocols.postgres.startup import LoginRequested
from ingest.protocols.postgres.upstream_login import LoginDone
from ingest.spool import Spool, SpoolError
from schemas.config import DatabaseSettings

if TYPE_CHECKING:
    from ingest.net.listener import Listener
    from ingest.net.worker import Worker

CLIENT: Final = Side.CLIENT
SERVER: Final = Side.SERVER
ROOM: Final = 16 * 1024
"""Room for events the spool must have before a message is looked at: a long statement's, so that it is refused in its place."""
LOGIN_SECONDS: Final = 2.0
"""From connecting until a credential is given, by program, also with TLS from another continent."""
ABANDON_SECONDS: Final = 10.0
"""How long a closing connection may take to read what is left for it; a peer that never reads must not keep a socket."""
DRAIN_LIMIT: Final = 16 * 1024 * 1024
"""Bytes read from the server after the client left, to learn how its last statements ended."""
CROWDED: Final = 8192
EASED: Final = 4096
"""Answers owed at which a client is no longer read from, and at which it is again: each open statement takes room in the spool
that all share. A server keeps back at most 8 KiB of answers until Sync, of 5 bytes or more each: fewer than EASED."""


class Connection(asyncio.Protocol):
    """The client side's protocol, and the owner of everything else of this connection."""

    def __init__(self, worker: Worker, listener: Listener) -> None:
        self.worker = worker
        # Of the worker's, what each statement needs, by itself: read as typed fields where this is compiled.
        self._spool: Spool = worker.spool
        self._gate: Gate = worker.gate
        self._busy_poll: BusyPoll = worker.busy_poll
        self._clock: Callable[[], int] = worker.clock
        self.listener = listener
        self.session: PostgresSession | None = None
        self.credential: Credential | None = None
        self._arrival = Arrival(self, worker, listener)
        self.client: asyncio.Transport | None = None
        self._server: ServerSide | None = None
        self._out: list[bytes] = []
        self._leaving: list[bytes] | None = None
        """What a commit under way will let go; what comes meanwhile gathers in `_out` for the next."""
        self._waiting = False
        self._closing = ""
        self._cancel_pid = 0
        self._cancel_upstream: Callable[..., None] | None = None
        self._described: Described | None = None
        self._drained = 0
        self._opened_at = 0
        self._came_at = 0.0
        self._crowded = False
        self._held_up = False
        self._server_full = False
        self.database: DatabaseSettings | None = None
        self._client_full = False
        self._cancelling = False

    # Startup and login

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        first = self.client is None
        self.client = transport  # type: ignore[assignment]
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)  # type: ignore[attr-defined]
        if first:
            self._came_at = self.worker.loop.time()
            self._arrival.begin(transport)  # type: ignore[arg-type]

    @property
    def open(self) -> bool:
        """Whether the client is still there, and welcome."""
        return not self._closing and self.client is not None and not self.client.is_closing()

    def tls(self) -> ssl.SSLObject | None:
        """Return the client's TLS, if it uses any."""
        return self.client.get_extra_info("ssl_object") if self.client is not None else None

    def data_received(self, data: bytes) -> None:
        session = self.session
        if session is not None:
            self._look_for_room(session, len(data))
            now = self._clock()
            execution = session.repeat(data, now)
            if execution is not None:
                self._pass_on(data, execution, session.context)
            else:
                self.apply(session.parse(CLIENT, data, now))
                if session.behind > session.limits.behind and not self._held_up:
                    self._held_up = True
                    self._read_client_if_eased()
            if len(session.expected) > CROWDED and not self._crowded:
                self._crowded = True
                self._read_client_if_eased()
        else:
            self._arrival.receive(data)

    def join(
        self, asked: LoginRequested, credential: Credential, database: DatabaseSettings, side: ServerSide, done: LoginDone
    ) -> None:
        """Both logins succeeded: join the sides."""
        worker = self.worker
        now = worker.clock()
        self._opened_at = now
        self.credential = credential
        self.database = database
        self._server = side
        upstream = database.upstream
        target = (upstream, done.pid, done.key, done.tls_active)
        self._cancel_upstream = partial(worker.cancels.upstream, *target)
        self._cancel_pid, key = worker.cancels.keys.issue(4 if done.minor < 2 else 32, self._cancel)
        self._described = Described.of(worker.new_id(), credential, database, self._arrival.client_described(asked))
        status = {k: v.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for k, v in done.parameter_status.items()}
        session = make_session(worker, self._described, database, asked.parameters, status, now)
        if (stopped := setting_stopped(session, asked.parameters, now)) is not None:
            text = stopped.message.replace("statement", "setting asked for at login", 1)
            self._arrival.refuse("42501", text, "startup_settings", hint=stopped.hint, claimed=asked)
            return
        worker.counted.sessions += 1
        event_id = worker.note("SessionOpened", now, self._described.opened(status.get("server_version", "")))
        worker.log.info("session_opened", session_id=session.session_id, event_id=event_id, database=database.alias)
        greeting = [messages.authentication_ok(), *done.notices]
        for name, value in done.parameter_status.items():
            greeting.append(messages.parameter_status(name, value.encode("utf-8", "surrogateescape")))
        greeting += [messages.backend_key_data(self._cancel_pid, key), messages.ready_for_query(done.status)]
        self.write_client(b"".join(greeting))
        assert side.transport is not None
        side.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        side.on_pause = self._pause_client
        side.on_lost = self._server_lost
        early = self._arrival.done()
        self.session = session
        leftover = done.leftover + side.leftover()
        side.on_data = self._from_server
        if leftover:
            self._from_server(leftover)
        if early:
            self.data_received(early)

    @property
    def lingers(self) -> bool:
        """Whether the client is at the door for longer than logins take."""
        return self.worker.loop.time() - self._came_at > LOGIN_SECONDS

    def make_room(self) -> None:
        """Leave, not logged in yet, for somebody who comes."""
        self._arrival.refuse("53300", "too many connections to this proxy", "too_many_connections")

    # Bytes both ways

    def _from_server(self, data: bytes) -> None:
        session = self.session
        if session is None:
            return
        if session.draining:
            self._drained += len(data)
            if self._drained > DRAIN_LIMIT:
                self.apply(session.closed(Side.CLIENT, self.worker.clock()))
                return
        now = self._clock()
        answer = session.answer_of(data)
        if answer is not None:
            # Sent first, recorded after: the client need not wait for our book-keeping, and the intent is on record.
            self.write_client(data)
            self._conclude(session.answered(data, answer, now))
            self._busy_poll.sent(self, False)
        else:
            self.apply(session.parse(SERVER, data, now))
        if self._crowded and len(session.expected) < EASED:
            self._crowded = False
            self._read_client_if_eased()

    def _look_for_room(self, session: PostgresSession, size: int) -> None:
        spool = self._spool
        if not spool.has_room(ROOM + size):
            session.refusal = spool.refusal or "the audit spool does not accept records."
        elif session.refusal:
            session.refusal = ""

    def answer(self, approval_id: str, answer: Answer) -> None:
        """End the wait of a held statement."""
        session = self.session
        if session is None or session.ended:
            return
        self._look_for_room(session, session.behind)
        self.apply(session.answer(approval_id, answer, self.worker.clock()))
        if self._held_up and session.behind <= session.limits.behind:
            self._held_up = False
            self._read_client_if_eased()

    def _cancel(self) -> None:
        """The client cancels: what the database runs for it or, if that is nothing, what waits."""
        session = self.session
        if session is not None and not session.open_statements and self.worker.holds.cancelled(self):
            return
        if self._cancel_upstream is not None:
            self._cancel_upstream()

    @property
    def held_up(self) -> bool:
        """Whether the client is not read from because much came behind a statement that waits."""
        return self._held_up

    def left(self) -> bool:
        """Whether the client has closed its end, though it is not read from."""
        sock = self.client.get_extra_info("socket") if self.client is not None else None
        if sock is None:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Drop the client's connection at once."""
        if self.client is not None:
            self.client.abort()

    def _pass_on(self, data: bytes, execution: Execution, context: bytes) -> None:
        """Write one statement ahead, then send it as it came."""
        try:
            self._write_ahead(execution, execution.started, context, execution.statement.fragment, execution.dynamic)
        except SpoolError as error:
            self.refuse(str(error))
            return
        self._out.append(data)
        self._send()
        self._busy_poll.sent(self, True)

    def _conclude(self, execution: Execution) -> None:
        """Record how one statement ended."""
        if execution.intent:
            try:
                self._spool.conclude(execution.intent, execution.outcome)
            except SpoolError as error:
                self.refuse(str(error))
                return
            self._gate.touch()

    def _send(self) -> None:
        """Let what is held go to the server once it is on record."""
        if not self._waiting:
            self._waiting = True
            if self._gate.wait(self):
                self.release()

    def apply(self, actions: list[Action]) -> None:
        """Carry out a session's actions: records into the spool, answers to the client, forwards to the gate."""
        try:
            recorded = self._carry_out(actions)
        except SpoolError as error:
            self.refuse(str(error))
            return
        if self._out:
            self._send()
        elif recorded:
            self._gate.touch()

    def _carry_out(self, actions: list[Action]) -> bool:
        spool = self._spool
        recorded = False
        for action in actions:
            kind = type(action)
            if kind is Forward:
                if action.to is CLIENT:  # type: ignore[union-attr]
                    self.write_client(action.data)  # type: ignore[union-attr]
                else:
                    self._out.append(action.data)  # type: ignore[union-attr]
            elif kind is Intend:
                recorded |= self._write_ahead(
                    action.ticket,  # type: ignore[union-attr]
                    action.at,  # type: ignore[union-attr]
                    action.context,  # type: ignore[union-attr]
                    action.statement,  # type: ignore[union-attr]
                    action.dynamic,  # type: ignore[union-attr]
                )
            elif kind is Conclude:
                if action.ticket.intent:  # type: ignore[union-attr]
                    spool.conclude(action.ticket.intent, action.outcome)  # type: ignore[union-attr]
                    recorded = True
            elif isinstance(action, Record):
                spool.record(action.type, action.at, action.body)
                recorded = True
            elif isinstance(action, ObserveText):
                spool.observe_text(action.text_hash, action.text)
            elif isinstance(action, Wait):
                self.worker.holds.wait(self, action.hold)
            elif isinstance(action, Waited):
                self.worker.holds.waited(action.hold)
            elif isinstance(action, Cancel):
                self._cancel_running()
            elif isinstance(action, Close):
                self.close(action.reason)
        return recorded

    def look(self) -> None:
        """Look whether the session still has the grant it depends on, and what runs is still within its limits."""
        if self.credential is not None and not self._closing and (grant := self.worker.sanctions.ended_grant(self.credential)):
            text = f"session ended: grant {grant}, which its token depends on, has ended"
            self.kill("28000", text, "grant_ended", cancel=True)
            return
        if self.session is not None and self.session.bounds.active and not self._closing:
            self.apply(self.session.bounds.overdue(self.worker.clock()))

    def _cancel_running(self) -> None:
        """Cancel what the database runs, reading from neither side meanwhile.

        What a client sends now could be what is cancelled; what the server sends would be read faster than it can be told to
        stop.
        """
        if self._cancel_upstream is None or self._cancelling:
            return
        self._cancelling = True
        self._read_client_if_eased()
        self._read_server_if_eased()
        self._cancel_upstream(self._cancelled)

    def _cancelled(self) -> None:
        self._cancelling = False
        self._read_client_if_eased()
        self._read_server_if_eased()

    def _write_ahead(self, ticket: Ticket, at: int, context: bytes, statement: bytes, dynamic: bytes) -> bool:
        """Write ahead; return whether that is on record. Past `ROOM` the spool may fill up within one batch of statements."""
        try:
            ticket.intent = self._spool.intend(at, context, statement, dynamic)
        except SpoolError:
            if not self.worker.passes_unaudited or self.session is None:
                raise
            ticket.audited = False
            self.session.unaudited += 1
            return False
        return True

    def committed(self) -> None:
        """What waits is written, and is being put on disk: what comes from now on is not, and waits for the next group."""
        self._leaving, self._out = self._out, []

    def release(self) -> None:
        """What waited is on record: send it."""
        self._waiting = False
        if self._leaving is None:
            out, self._out = self._out, []
        else:
            out, self._leaving = self._leaving, None
        server = self._server
        if out and server is not None and server.transport is not None:
            server.transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._out:
            self._send()
        elif self._closing:
            self._close_server()

    def _close_server(self) -> None:
        server = self._server.transport if self._server is not None else None
        if server is not None:
            server.close()
            self._abandon_later(server)

    def refuse(self, reason: str) -> None:
        """The spool failed under a batch: nothing of it is sent, the connection cannot go on."""
        self._waiting = False
        self._out.clear()
        self._leaving = None
        if self._closing:  # it was left open for what waited
            self._close_server()
        session_id = self.session.session_id if self.session is not None else ""
        self.worker.log.error("audit_write_failed", reason=reason, session_id=session_id)
        code = "58030" if self.worker.spool.accepting else "53100"
        text = "connection ended: its statements could not be recorded; nothing of this batch was executed"
        self.write_client(messages.fatal(code, text, detail=reason))
        self.apply(self.session.closed(Side.SERVER, self.worker.clock()) if self.session else [])
        self.close("audit_failed")

    def write_client(self, data: bytes) -> None:
        """Send bytes to the client, if it is still there."""
        if data and self.client is not None and not self.client.is_closing():
            self.client.write(data)

    def pause_writing(self) -> None:
        self._client_full = True
        self._read_server_if_eased()

    def resume_writing(self) -> None:
        self._client_full = False
        self._read_server_if_eased()

    def _read_server_if_eased(self) -> None:
        transport = self._server.transport if self._server is not None else None
        if transport is not None and not transport.is_closing():
            if self._client_full or self._cancelling:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _pause_client(self, paused: bool) -> None:
        self._server_full = paused
        self._read_client_if_eased()

    def _read_client_if_eased(self) -> None:
        if self.client is not None and not self.client.is_closing():
            if self._server_full or self._crowded or self._held_up or self._cancelling:
                self.client.pause_reading()
            else:
                self.client.resume_reading()

    # The end

    def connection_lost(self, exc: Exception | None) -> None:
        self.client = None
        session = self.session
        if session is None:
            self.close("client_lost")
            return
        self.apply(session.closed(Side.CLIENT, self.worker.clock()))
        if session.draining and not session.ended:
            self.resume_writing()
            self._out.append(messages.terminate())
            self._send()

    def _server_lost(self) -> None:
        if self._server is not None:
            self._server.transport = None
        if self.session is not None:
            self.apply(self.session.closed(Side.SERVER, self.worker.clock()))
        self.close("server_lost")

    def kill(self, sqlstate: str, text: str, reason: str, cancel: bool = False) -> None:
        """End the connection from this side, telling the client why; with `cancel` also what the database runs for it."""
        self.write_client(messages.fatal(sqlstate, text))
        if self.session is not None:
            if cancel and self._cancel_upstream is not None and self.session.open_statements:
                self._cancel_upstream()
            actions: list[Action] = []
            self.session.end(reason, self.worker.clock(), actions)
            self.apply(actions)
        self.close(reason)

    def close(self, reason: str) -> None:
        """Close both sides once, after what is queued for them; record the session's end."""
        if self._closing:
            return
        self._closing = reason
        self._arrival.stop()
        if self.client is not None:
            self.client.close()
            self._abandon_later(self.client)
        server = self._server.transport if self._server else None
        if server is not None and not self._waiting:
            if reason not in ("terminated", "server_lost") and not server.is_closing():
                server.write(messages.terminate())
            server.close()
            self._abandon_later(server)
        if self._cancel_pid:
            self.worker.cancels.keys.forget(self._cancel_pid)
        if self.session is not None and self._described is not None:
            now = self.worker.clock()
            body = self._described.closed(self.session, reason, max(0, now - self._opened_at))
            event_id = self.worker.note("SessionClosed", now, body)
            self.worker.log.info(
                "session_closed",
                session_id=self.session.session_id,
                event_id=event_id,
                reason=reason,
                statements=self.session.statements,
                seconds=round((now - self._opened_at) / 1e6, 3),
            )
        self.worker.forget(self)

    def _abandon_later(self, transport: asyncio.Transport) -> None:
        """A closing transport waits for its peer to read what is left: not for ever."""
        if transport.get_write_buffer_size():
            self.worker.loop.call_later(ABANDON_SECONDS, transport.abort)
