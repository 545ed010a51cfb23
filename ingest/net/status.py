"""What a worker says of itself, and where: on a socket of the run folder, one answer a connection.

Everything is read from the objects that do the work, at the moment somebody asks; a statement's way has no counter of its own
here. What is not counted elsewhere (logins refused, events lost, how late the loop is) is counted by `Counted`.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.net.compiled import runs_compiled
from schemas.latencies import WAIT_US, WORK_US, Latencies
from schemas.local_socket import address_of
from schemas.proxy_status import ProxyStatus, status_socket

if TYPE_CHECKING:
    from ingest.net.worker import Worker

PAGE_BYTES = resource.getpagesize()


class Counted:
    """What happens too seldom to cost anything, counted where it happens."""

    def __init__(self) -> None:
        self.sessions = 0
        self.refused = 0
        self.bytes_in = self.bytes_out = 0
        """Of sessions that are over."""
        self.events_lost = 0
        self.logins_refused: Counter[str] = Counter()
        self.upstream_logins = Latencies(WAIT_US)
        self.loop_lag = Latencies(WORK_US)


class StatusSocket:
    """Answers whoever may open the socket: this user alone."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._path: Path = worker.config.data_dir / "run" / status_socket(worker.index)
        self._server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        """Begin to answer."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.unlink(missing_ok=True)
        with address_of(self._path) as address:
            self._server = await asyncio.start_unix_server(self._answer, address)
        self._path.chmod(0o600)

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status_of(self._worker).encode())
        writer.close()

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()


def status_of(worker: Worker) -> ProxyStatus:
    """Return how a worker stands."""
    sessions = [c.session for c in worker.connections if c.session is not None]
    spool, sealer, counted = worker.spool, worker.spool.sealer, worker.counted
    stats = spool.stats
    guard = worker.policy.guard if worker.policy is not None else None
    stale = worker.control.stale_seconds
    used = resource.getrusage(resource.RUSAGE_SELF)
    counts: dict[str, float] = {
        "connections": len(worker.connections),
        "sessions_open": len(sessions),
        "sessions": counted.sessions,
        "statements": worker.statements + sum(s.statements for s in sessions),
        "statements_open": sum(s.open_statements for s in sessions),
        "statements_waiting": sum(s.waiting is not None for s in sessions),
        "statements_denied": guard.denied if guard else 0,
        "statements_held": guard.held if guard else 0,
        "statements_refused": counted.refused + sum(s.refused for s in sessions),
        "statements_unaudited": worker.unaudited + sum(s.unaudited for s in sessions),
        "bytes_in": counted.bytes_in + sum(s.bytes_in for s in sessions),
        "bytes_out": counted.bytes_out + sum(s.bytes_out for s in sessions),
        "analysis_misses": worker.analyser.misses.texts,
        "analysis_parses": worker.analyser.misses.templates,
        "analysis_cache_bytes": worker.analyser.cached_bytes,
        "events": stats.events,
        "events_lost": counted.events_lost,
        "spool_accepting": spool.accepting,
        "spool_bytes": stats.unacked_bytes + stats.unsealed_bytes,
        "spool_limit_bytes": worker.config.audit.spool_limit_bytes,
        "spool_unshipped_blocks": stats.unacked_blocks,
        "spool_refusals": stats.refusals,
        "blocks_sealed": stats.blocks_sealed,
        "blocks_shipped": stats.blocks_acked,
        "ship_failures": sealer.ship_failures,
        "control_known": worker.control.known,
        "control_unreadable": worker.control.unreadable,
        "control_refused": worker.control.refused,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "resident_bytes": _resident_bytes(),
    }
    if stale != float("inf"):  # JSON has no infinity; `control_known` says it
        counts["control_stale_seconds"] = stale
    # With `on_failure: pass` a full spool keeps nobody from the database: whoever asks must not take the proxy away for it.
    problems = [] if spool.accepting or worker.passes_unaudited else [spool.refusal]
    if not worker.control.known or stale > worker.config.identity.max_control_stale_seconds:
        problems.append(f"logins are refused: {worker.control.problem or 'the control topic was not read yet'}")
    latencies = {
        "seal": sealer.seals,
        "ship": sealer.shipments,
        "upstream_login": counted.upstream_logins.numbers(),
        "loop_lag": counted.loop_lag.numbers(),
        "decision": guard.decisions.numbers() if guard else Latencies(WORK_US).numbers(),
    }
    return ProxyStatus(tuple(problems), counts, counted.logins_refused, latencies, version("affidavit"), runs_compiled())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_BYTES
