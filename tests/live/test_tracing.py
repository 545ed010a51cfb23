"""A client's trace goes on through the proxy and the pipeline to the row: a real client, the whole machine, a collector.

And the sender of spans against collectors that are busy, refuse, or are away.
"""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import psycopg
import pytest

from deploy.layout import DataDir
from processors.sinks import otlp
from processors.sinks.otlp import SpanSender, TracingError
from processors.traces import Span, SpanKind, span_id
from schemas.config import TracingSettings
from tests.support.affidavit import machine
from tests.support.clients import needle
from tests.support.collector import attributes, collecting
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_from_the_clients_span_to_the_row(pg: Postgres) -> None:
    secret = needle()
    with collecting() as collector:
        collector.answers = [503]
        with machine(pg, {"tracing": {"otlp_endpoint": collector.endpoint}}) as up:
            with psycopg.connect(**up.app(), autocommit=True) as client:
                for flags, value in (("01", secret), ("00", "unsampled")):
                    comment = f"/*traceparent='00-{TRACE}-{PARENT}-{flags}'*/"
                    client.execute(f"SELECT count(*) FROM pg_class WHERE relname = '{value}' {comment}")  # type: ignore[call-overload]
                client.execute("SELECT 1")
            wait_for(lambda: len(collector.spans) >= 3, "three spans", 60)
            told = {s.name: s for s in collector.spans}
            assert len(collector.spans) == 3, "only the sampled statement is traced"
            statement, seal, project = collector.spans
            assert {s.trace_id.hex() for s in collector.spans} == {TRACE}
            assert statement.parent_span_id.hex() == PARENT
            assert (seal.parent_span_id, project.parent_span_id) == (statement.span_id, seal.span_id)
            assert list(told)[1:] == ["seal", "project"]
            about = attributes(statement)
            assert about["db.operation.name"] == "select" and about["affidavit.principal.id"] == "ana"
            assert "db.query.text" not in about

            event_id = about["affidavit.event_id"]
            assert statement.span_id == span_id(event_id, "statement")
            event = next(e for e in up.trail.refresh() if e["event_id"] == event_id)
            assert statement.start_time_unix_nano == event["at"] * 1000
            assert statement.end_time_unix_nano == event["ended_at"] * 1000
            assert project.end_time_unix_nano >= seal.end_time_unix_nano >= statement.end_time_unix_nano
            headers = {"authorization": f"Bearer {DataDir(up.data_dir).local_token.read_text()}"}
            url = f"http://127.0.0.1:{up.api_port}/api/v1/events/{event_id}"
            row = httpx.get(url, headers=headers, trust_env=False, timeout=20).json()
            assert row["block_number"] == attributes(project)["affidavit.block.number"]
            assert row["session_id"] == about["affidavit.session_id"]
        assert all(secret.encode() not in body for body in collector.bodies)


def one(n: int) -> Span:
    return Span(
        b"t" * 16, n.to_bytes(8, "big"), b"p" * 8, "select a", SpanKind.SERVER, n, n + 1, {"n": n, "p": ("a", "b")}, "42P01"
    )


def test_what_is_sent_arrives_as_opentelemetry_reads_it_and_is_repeated_while_the_collector_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp, "FIRST_WAIT_SECONDS", 0.01)
    with collecting() as collector:
        collector.answers = [503, 429]
        sender = SpanSender(collector.endpoint, version="1.2")
        sender.offer(one(n) for n in range(1, 701))
        wait_for(lambda: sender.sent == 700, "all spans to be sent")
        sender.close()
        assert [int.from_bytes(s.span_id, "big") for s in collector.spans] == list(range(1, 701))
        assert collector.requests == 4
        first = collector.spans[0]
        assert attributes(first) == {"n": 1, "p": ["a", "b"], "error.type": "42P01"}
        assert (first.start_time_unix_nano, first.end_time_unix_nano, first.status.code, first.kind) == (1000, 2000, 2, 2)
        assert collector.resources[0] == {"service.name": "affidavit", "service.version": "1.2"}


def test_refused_spans_are_counted_as_dropped() -> None:
    with collecting() as collector:
        collector.answers = [400]
        sender = SpanSender(collector.endpoint)
        sender.offer([one(1), one(2)])
        wait_for(lambda: sender.dropped == 2, "a refused batch to be counted")
        collector.rejects = 1
        sender.offer([one(3), one(4), one(5)])
        wait_for(lambda: (sender.sent, sender.dropped) == (2, 3), "partial success to be counted")
        sender.close()


def test_a_collector_that_is_away_costs_bounded_memory_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_SPANS", 100)
    sender = SpanSender("http://127.0.0.1:9/v1/traces")
    began = time.monotonic()
    for n in range(1000):
        sender.offer([one(n + 1)])
    sender.close()
    assert time.monotonic() - began < 10
    assert sender.sent == 0
    assert sender.dropped + len(sender._waiting) >= 1000 - otlp.BATCH_SPANS


def test_what_cannot_work_is_said_with_the_setting() -> None:
    with pytest.raises(TracingError, match=r"tracing\.ca_file"):
        SpanSender("https://collector.example/v1/traces", Path("/nowhere/ca.pem"))
    with pytest.raises(ValueError, match="spans are sent over https"):
        TracingSettings(otlp_endpoint="http://collector.example/v1/traces")
