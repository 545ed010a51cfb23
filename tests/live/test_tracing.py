"""A client's trace goes on through the proxy and the pipeline to the row: a real client, the whole machine, a real collector."""

from __future__ import annotations

import httpx
import psycopg

from deploy.layout import DataDir
from processors.traces import span_id
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
