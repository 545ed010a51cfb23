"""ClickHouse's own Kafka engine (deploy/clickhouse/kafka_engine.sql): its views make the rows that the pipeline makes.

The engine at hand makes no Kafka tables, so the queue is a table of the same columns that takes block lines as the Kafka engine
would give them; everything behind it runs as shipped. The statement that makes the queue is parsed only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from processors.archive import Archive
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import Store, connect
from schemas.integrity import Block
from schemas.topics import EVENTS
from tests.support.clickhouse import Server, serving
from tests.support.event_blocks import START, Source, record
from tests.support.memory_log import MemoryLog

SHIPPED = Path(__file__).parents[2] / "deploy" / "clickhouse" / "kafka_engine.sql"
QUEUE = """CREATE TABLE {database}.events_queue (published String, _headers Nested(name String, value String), _error String,
    _raw_message String) ENGINE = Null"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An engine."""
    with serving() as made:
        yield made


def opened(server: Server, folder: Path, database: str) -> Store:
    store = connect(server.settings(database=database), folder)
    store.migrate()
    return store


def statements(database: str) -> list[str]:
    code = "\n".join(line for line in SHIPPED.read_text().splitlines() if not line.lstrip().startswith("--"))
    return [s.replace("affidavit.", f"{database}.") for s in re.split(r";[ \t]*(?:\n|\Z)", code) if s.strip()]


def queued(line: bytes, block: Block, **other: Any) -> bytes:
    headers = {name: value.decode("latin-1") for name, value in block.log_headers().items()}
    row = {"published": line.decode(), "_headers.name": list(headers), "_headers.value": list(headers.values()), **other}
    return orjson.dumps(row) + b"\n"


def test_the_queue_parses_and_reads_lines_whole(server: Server, tmp_path: Path) -> None:
    queue, *views = statements("affidavit")
    assert "kafka_format = 'JSONAsString'" in queue
    client = connect(server.settings(), tmp_path).client
    for statement in (queue, *views):
        assert client.command(f"EXPLAIN AST {statement}")


def test_rows_are_those_of_the_pipeline(server: Server, tmp_path: Path) -> None:
    source = Source()
    blocks = []
    for n in range(4):
        others = [
            source.session_opened(n),
            source.session_closed(n),
            source.event("TextObserved", {"text_hash": f"{n:064x}", "text": "SELECT \"ü\", '\\n' -- {}"}),
            source.event("AdminActionPerformed", {"actor": "ana", "action": "token.create", "target": "x", "details": {}}),
            source.event("ProtocolGap", {"database": "shop", "reason": "cut"}),
            source.query(v=2, later={"field": [1, 2]}),
            source.query().replace(b'"exposure":{}', b'"exposure":{"email":2},"masked":{"email":1},"exposed":{"a.b.c":1}'),
        ]
        blocks.append(source.seal([*others, *(source.query() for _ in range(30))]))

    pipeline, log, archive = opened(server, tmp_path, "by_pipeline"), MemoryLog(), Archive(tmp_path / "archive")
    log.append(EVENTS.name, [record(b) for b in blocks])
    runtime = EmbeddedRuntime(log, pipeline, archive, tmp_path / "pipeline.db", lambda: START)
    while runtime.step():
        pass
    runtime.close()
    archive.close()

    engine = opened(server, tmp_path, "by_engine")
    engine.client.command(QUEUE.format(database="by_engine"))
    for view in statements("by_engine")[1:]:
        engine.client.command(view)
    rows = b"".join(queued(line, b) for b in blocks for line in b.lines())
    engine.client.raw_insert("by_engine.events_queue", insert_block=rows, fmt="JSONEachRow")

    def found(store: Store, table: str) -> list[Any]:
        named = {"query_events": "* EXCEPT (inserted_at, data_classes)", "other_events": "* EXCEPT (inserted_at)"}
        kept = named.get(table, "*")
        answer = store.client.query(f"SELECT {kept} FROM {store.database}.{table} ORDER BY ALL")
        return [answer.column_names, *answer.result_rows]

    for table, many in (("query_events", 4 * 32), ("other_events", 4 * 5), ("texts", 4), ("sessions", 4)):
        expected = found(pipeline, table)
        assert len(expected) == many + 1, table
        assert found(engine, table) == expected, table

    classes = "SELECT count() FROM by_engine.query_events WHERE data_classes = ['email']"
    assert engine.client.command(classes) == 4, "of what was seen in results, with each block once"

    # A message that the format cannot read is kept, as the pipeline keeps what it cannot read.
    bad = queued(b"", blocks[0], _error="Cannot parse", _raw_message="no line of ours")
    engine.client.raw_insert("by_engine.events_queue", insert_block=bad, fmt="JSONEachRow")
    unreadable = engine.client.query("SELECT line FROM by_engine.other_events WHERE type = 'Unreadable'").result_rows
    assert unreadable == [("no line of ours",)]
