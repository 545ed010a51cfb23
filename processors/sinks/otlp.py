"""Sends spans to a collector by OTLP over HTTP (opentelemetry.io/docs/specs/otlp), beside the pipeline and never in its way.

Traces are an aid, not the record: what the collector does not take in time is dropped, oldest first, and said in the log.
Needs the extra `otel`.
"""

from __future__ import annotations

import gzip
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
import structlog

from processors.traces import Span, Value

log = structlog.get_logger(__name__)

MAX_SPANS = 10_000
"""Spans that wait for the collector, some 10 MB; a minute of 50 traced statements a second."""
BATCH_SPANS = 512
"""Spans of one request, as OpenTelemetry's own exporters have it."""
TIMEOUT_SECONDS = 10.0
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 30.0
_PASSING = frozenset((429, 502, 503, 504))
"""Answers after which the specification has the same request repeated."""


class TracingError(Exception):
    """Spans cannot be sent; the message names the setting and the remedy."""


class SpanSender:
    """A thread that sends what it is given. `close` gives it a moment for the rest."""

    def __init__(self, endpoint: str, ca_file: Path | None = None, version: str = "") -> None:
        """Raise TracingError if the library is missing or the authorities cannot be read."""
        try:
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
        except ImportError:
            raise TracingError("tracing.otlp_endpoint needs the extra otel: pip install 'affidavit[otel]'") from None
        try:
            context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except OSError as error:
            raise TracingError(f"tracing.ca_file: {ca_file}: {error.strerror or error}") from None
        self.sent = self.dropped = 0
        self._wire: Any = trace_service_pb2
        self._endpoint, self._version = endpoint, version
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, verify=context, trust_env=False)
        self._waiting: deque[Span] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def offer(self, spans: Iterable[Span]) -> None:
        """Take spans to send; past MAX_SPANS the oldest are dropped. Never waits for the collector."""
        with self._changed:
            self._waiting.extend(spans)
            over = len(self._waiting) - MAX_SPANS
            for _ in range(over):
                self._waiting.popleft()
            self._changed.notify()
        if over > 0:
            self._lose(over, "the collector takes them too slowly")

    def close(self, seconds: float = 3.0) -> None:
        """Send what is left for so long, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)
        self._client.close()

    def _run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = [self._waiting.popleft() for _ in range(min(BATCH_SPANS, len(self._waiting)))]
            while not self._send(batch):
                with self._changed:
                    if self._ending or self._changed.wait_for(lambda: self._ending, wait):
                        self.dropped += len(batch) + len(self._waiting)
                        return
                wait = min(wait * 2, LAST_WAIT_SECONDS)
            wait = FIRST_WAIT_SECONDS

    def _send(self, batch: Sequence[Span]) -> bool:
        """Send once; False if it is worth another try."""
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        try:
            body = gzip.compress(self._request(batch), 1)
            answer = self._client.post(self._endpoint, content=body, headers=headers)
        except httpx.TransportError as error:
            return self._passing(f"{type(error).__name__}: {error}")
        except Exception as error:  # a span that cannot be encoded must not keep the others
            self._lose(len(batch), f"{type(error).__name__}: {error}")
            return True
        if answer.status_code in _PASSING:
            return self._passing(f"it answers {answer.status_code}")
        if answer.status_code != 200:
            self._lose(len(batch), f"it answers {answer.status_code}; see tracing.otlp_endpoint")
            return True
        rejected = self._rejected(answer.content)
        self.sent += len(batch) - rejected
        if rejected:
            self._lose(rejected, "it rejects them")
        elif self._problem:
            self._problem = ""
            log.info("the collector takes spans again", endpoint=self._endpoint)
        return True

    def _passing(self, problem: str) -> bool:
        if problem != self._problem:
            log.warning("spans wait for the collector", endpoint=self._endpoint, error=problem)
        self._problem = problem
        return False

    def _lose(self, count: int, why: str) -> None:
        self.dropped += count
        if why != self._problem:
            log.warning("spans are dropped", endpoint=self._endpoint, spans=count, error=why)
        self._problem = why

    def _rejected(self, content: bytes) -> int:
        try:
            return int(self._wire.ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans)
        except Exception:  # what it says beside 200 is courtesy
            return 0

    def _request(self, batch: Sequence[Span]) -> bytes:
        request = self._wire.ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        _attribute(resource.resource.attributes, "service.name", "affidavit")
        _attribute(resource.resource.attributes, "service.version", self._version)
        scope = resource.scope_spans.add()
        scope.scope.name = "affidavit"
        for span in batch:
            wire = scope.spans.add(
                trace_id=span.trace_id,
                span_id=span.span_id,
                parent_span_id=span.parent_id,
                trace_state=span.state,
                name=span.name,
                kind=int(span.kind),
                start_time_unix_nano=span.start * 1000,
                end_time_unix_nano=span.end * 1000,
            )
            for name, value in span.attributes.items():
                _attribute(wire.attributes, name, value)
            if span.error:
                wire.status.code = 2
                _attribute(wire.attributes, "error.type", span.error)
        data: bytes = request.SerializeToString()
        return data


def _attribute(attributes: Any, name: str, value: Value) -> None:
    found = attributes.add(key=name).value
    if isinstance(value, bool):
        found.bool_value = value
    elif isinstance(value, int):
        found.int_value = value
    elif isinstance(value, str):
        found.string_value = value
    else:
        for item in value:
            found.array_value.values.add(string_value=item)
