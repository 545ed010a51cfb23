"""The proxies' `/metrics`, `/healthz` and `/readyz`: served by the supervisor, which asks its workers (docs/adr/0011).

Nobody logs in here, and nothing here names a principal or a statement. Workers are asked at most every half second, however
often somebody looks, each for a bounded time; one that does not answer is a problem of its own.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

from deploy.config import split_address
from schemas.latencies import WAIT_US, WORK_US, Latencies
from schemas.local_socket import address_of
from schemas.proxy_status import MAX_BYTES, ProxyStatus, status_socket

ASK_SECONDS = 2.0
"""How long a worker has to answer: far more than one that is well needs, far less than a probe waits."""
FRESH_SECONDS = 0.5
CONNECTIONS = 16
"""Requests at once; more are hung up on. Prometheus, its twin and the probes are four."""
REQUEST_SECONDS = 5.0

COUNTS: tuple[tuple[str, str, str], ...] = (
    ("connections", "connections", "Client connections open, logins under way included"),
    ("sessions_open", "sessions_open", "Sessions open: logged in on both sides"),
    ("sessions", "sessions_total", "Sessions begun"),
    ("statements", "statements_total", "Statements received for execution"),
    ("statements_open", "statements_open", "Statements the database works on"),
    ("statements_waiting", "statements_waiting", "Statements that wait for an approval"),
    ("statements_denied", "statements_denied_total", "Statements stopped by policy, those never approved included"),
    ("statements_held", "statements_held_total", "Statements made to wait for an approval"),
    ("statements_refused", "statements_refused_total", "Statements not executed because they could not be recorded"),
    (
        "statements_unaudited",
        "statements_unaudited_total",
        "Statements executed without a record (audit.on_failure: pass); else 0",
    ),
    ("bytes_in", "client_received_bytes_total", "Bytes from clients"),
    ("bytes_out", "client_sent_bytes_total", "Bytes from databases to clients"),
    (
        "analysis_misses",
        "analysis_misses_total",
        "Statement texts known neither to the letter nor up to whole numbers: read by the lexer",
    ),
    ("analysis_parses", "analysis_parses_total", "Of those, texts whose template was not known either: parsed"),
    ("analysis_cache_bytes", "analysis_cache_bytes", "About what is remembered of statements"),
    ("events", "events_total", "Events recorded in this epoch"),
    ("events_lost", "events_lost_total", "Events of the proxy itself that the spool had no room for; must stay 0"),
    ("spool_accepting", "spool_accepting", "1 while statements can be recorded"),
    ("spool_bytes", "spool_bytes", "Bytes the log has not taken, in blocks or not yet sealed"),
    ("spool_limit_bytes", "spool_limit_bytes", "Where statements begin to be refused (audit.spool_limit_bytes)"),
    ("spool_unshipped_blocks", "spool_unshipped_blocks", "Sealed blocks the log has not taken"),
    ("spool_refusals", "spool_refusals_total", "Records the spool had no room for"),
    ("blocks_sealed", "blocks_sealed_total", "Blocks sealed"),
    ("blocks_shipped", "blocks_shipped_total", "Blocks the log acknowledged"),
    ("ship_failures", "ship_failures_total", "Attempts to ship that failed; they are repeated"),
    ("control_known", "control_known", "1 while everything said on the control topic is known"),
    ("control_stale_seconds", "control_stale_seconds", "Age of what is known of the control topic"),
    ("control_unreadable", "control_unreadable_total", "Control messages that could not be read: what they are about is denied"),
    ("control_refused", "control_refused_total", "Control messages not believed: unsigned, forged, or said before"),
    ("cpu_seconds", "cpu_seconds_total", "Processor time of the worker, without its sealer"),
    ("resident_bytes", "resident_bytes", "Memory of the worker, without its sealer"),
)
"""Each number of a status: its name there, the metric's, and what it counts."""

_LATENCIES = (
    ("seal", "seal_seconds", WAIT_US, "From an event's reading by the sealer to its block"),
    ("ship", "ship_seconds", WAIT_US, "From a block's sealing to the log's acknowledgement"),
    ("upstream_login", "upstream_login_seconds", WAIT_US, "Connecting and logging in to the database"),
    ("decision", "decision_seconds", WORK_US, "Decisions by policy that were not remembered; the count is the cache's misses"),
    ("loop_lag", "loop_lag_seconds", WORK_US, "How late the event loop comes to what is due"),
)
PREFIX = "affidavit_proxy_"


class Workers:
    """The workers' answers, `None` for one that gave none; not older than FRESH_SECONDS."""

    def __init__(self, run: Path, count: int) -> None:
        self._paths = [run / status_socket(n) for n in range(count)]
        self._lock = threading.Lock()
        self._asked_at = 0.0
        self._answers: list[ProxyStatus | None] = []
        self._pool = ThreadPoolExecutor(min(count, 8), thread_name_prefix="status")

    def answers(self) -> list[ProxyStatus | None]:
        """Return what each says, by index."""
        with self._lock:
            if time.monotonic() - self._asked_at > FRESH_SECONDS or not self._answers:
                self._answers = list(self._pool.map(_ask, self._paths))
                self._asked_at = time.monotonic()
            return self._answers

    def problems(self) -> list[str]:
        """Return why clients would not be served as they should, empty if all is well."""
        found = []
        for index, answer in enumerate(self.answers()):
            told = ("does not answer",) if answer is None else answer.problems
            found += [f"worker {index}: {problem}" for problem in told]
        return found


def _ask(path: Path) -> ProxyStatus | None:
    deadline = time.monotonic() + ASK_SECONDS
    data = b""
    try:
        with socket.socket(socket.AF_UNIX) as asked, address_of(path) as address:
            asked.settimeout(ASK_SECONDS)
            asked.connect(address)
            while len(data) <= MAX_BYTES and (left := deadline - time.monotonic()) > 0:
                asked.settimeout(left)
                more = asked.recv(MAX_BYTES)
                if not more:
                    return ProxyStatus.decode(data)
                data += more
    except (OSError, ValueError):
        pass
    return None


class ProxyCollector:
    """The answers as Prometheus has them, each with its worker's index."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def describe(self) -> Iterator[Metric]:
        """Say nothing ahead: registering must not ask anybody."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        answers = self._workers.answers()
        up = GaugeMetricFamily(PREFIX + "up", "1 if the worker answers", labels=["worker"])
        for index, answer in enumerate(answers):
            up.add_metric([str(index)], float(answer is not None))
        yield up
        told = [(str(index), answer) for index, answer in enumerate(answers) if answer is not None]
        text = "Always 1: the labels tell which version the worker runs, and whether its hot modules are compiled to C"
        build = GaugeMetricFamily(PREFIX + "build_info", text, labels=["worker", "version", "compiled"])
        for index, answer in told:
            build.add_metric([index, answer.version, "yes" if answer.compiled else "no"], 1)
        yield build
        for path, name, text in COUNTS:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(PREFIX + name, text, labels=["worker"])
            for index, answer in told:
                if path in answer.counts:
                    family.add_metric([index], float(answer.counts[path]))
            yield family
        refused = CounterMetricFamily(PREFIX + "logins_refused_total", "Logins refused, by reason", labels=["worker", "reason"])
        for index, answer in told:
            for reason, count in sorted(answer.logins_refused.items()):
                refused.add_metric([index, reason], count)
        yield refused
        for path, name, bounds, text in _LATENCIES:
            histogram = HistogramMetricFamily(PREFIX + name, text, labels=["worker"])
            for index, answer in told:
                seen = Latencies(bounds)
                seen.load(answer.latencies[path])
                histogram.add_metric([index], seen.cumulative(), seen.total_us / 1e6)
            yield histogram


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    kind: str
    body: bytes


class MetricsServer:
    """The endpoint. `close` ends it."""

    def __init__(self, listen: str, workers: Workers) -> None:
        """Listen; raise OSError."""
        self._registry = CollectorRegistry()
        self._registry.register(ProxyCollector(workers))  # type: ignore[arg-type]
        self._workers = workers
        server = self

        class Answering(http.server.BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS
            server_version, sys_version = "affidavit", ""

            def do_GET(self) -> None:
                reply = server._reply(self.path.partition("?")[0])
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                """Say nothing: what is asked here is asked every few seconds."""

        self._server = _Server(_family(listen), split_address(listen), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def _reply(self, path: str) -> _Reply:
        if path == "/metrics":
            return _Reply(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
        if path == "/healthz":
            return _Reply(200, "text/plain", b"ok\n")
        if path == "/readyz":
            problems = self._workers.problems()
            body: Mapping[str, object] = {"ready": not problems, "problems": problems}
            return _Reply(503 if problems else 200, "application/json", orjson.dumps(body))
        return _Reply(404, "text/plain", b"/metrics, /healthz and /readyz are here\n")

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _family(listen: str) -> socket.AddressFamily:
    host, port = split_address(listen)
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, family: socket.AddressFamily, address: tuple[str, int], answering: type[http.server.BaseHTTPRequestHandler]
    ) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, answering)

    def server_bind(self) -> None:
        """Bind without asking DNS for a name that nobody reads."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        # Whoever asks or reads a byte at a time must not hold a place that a probe needs.
        end = threading.Timer(REQUEST_SECONDS, _cut, (request,))
        end.start()
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:  # type: ignore[override]
        """A peer that hung up is nobody's problem."""


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
