"""What is asked of the planner for a held statement, what is not, and how its answer is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ingest.core.guarding import Hold
from ingest.net.estimates import explaining, read_plan, unplannable
from schemas.config import EstimateSettings
from schemas.events import Estimate
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import client
from tests.unit.test_pg_holds import Changing, held, make_policy

ON = EstimateSettings()
ALL = make_policy([{"id": "all", "effect": "hold", "when": "true", "reason": "x", "approvers": {"groups": ["dba"]}}])


def waiting(*messages: bytes) -> Hold:
    c = held(ALL, snapshots=Changing())
    c.say(*client(*messages))
    return c.heard.holds[0]


def test_a_statement_is_explained_as_it_came_and_never_executed() -> None:
    sent = explaining(waiting(pg.query("DELETE FROM t WHERE a = 'x'; ")))
    assert sent.startswith(pg.parse("", "EXPLAIN (FORMAT JSON) DELETE FROM t WHERE a = 'x'; "))
    assert sent.endswith(pg.bind("", "") + pg.execute() + pg.SYNC) and b"ANALYZE" not in sent.upper()


@pytest.mark.parametrize("values", [(), (b"5",), (None, b"", b"x" * 300)])
def test_parameters_go_along_whatever_their_number_and_formats(values: tuple[bytes | None, ...]) -> None:
    names = ", ".join(f"${n}" for n in range(1, len(values) + 1)) or "1"
    bound = pg.bind("", "", *values)
    hold = waiting(pg.parse("", f"SELECT {names}", *(25 for _ in values)), bound, pg.execute(), pg.SYNC)
    assert explaining(hold) == (
        pg.parse("", f"EXPLAIN (FORMAT JSON) SELECT {names}", *(25 for _ in values)) + bound + pg.execute() + pg.SYNC
    )


def test_binary_parameters_keep_their_formats_and_results_come_as_text() -> None:
    body = b"\0\0" + b"\0\1\0\1" + b"\0\1\0\0\0\4\0\0\0\7" + b"\0\1\0\1"
    hold = waiting(pg.parse("", "SELECT $1", 23), pg.message(b"B", body), pg.execute(), pg.SYNC)
    assert pg.message(b"B", body[:-4] + b"\0\0") in explaining(hold)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("DROP TABLE t", "nothing to say"),
        ("VACUUM", "nothing to say"),
        ("EXPLAIN ANALYZE SELECT 1", ""),
        ("SELECT 1; SELECT 2", "single statements"),
        ("SELECT my_own_function()", "not known"),
        ("SELECT pg_read_file('/etc/passwd')", "not known"),
        ("DO $$ BEGIN END $$", "nothing to say"),
    ],
)
def test_what_could_run_code_or_has_no_plan_is_not_planned(text: str, words: str) -> None:
    found = unplannable(waiting(pg.query(text)), ON)
    assert found and words in found


def test_plain_statements_are_planned_unless_it_is_switched_off() -> None:
    for text in ("SELECT a FROM t", "UPDATE t SET a = 1 WHERE b = 2", "INSERT INTO t VALUES (1)", "DELETE FROM t"):
        assert unplannable(waiting(pg.query(text)), ON) == ""
    assert "switched off" in unplannable(waiting(pg.query("SELECT a FROM t")), EstimateSettings(enabled=False))
    hold = waiting(pg.query("SELECT a FROM t"))
    hold.search_path = ()
    assert "search_path" in unplannable(hold, ON)
    hold.seen_through = False
    assert "catalogue" in unplannable(hold, ON)


def plan(**root: Any) -> bytes:
    return orjson.dumps([{"Plan": root}])


def test_a_plan_tells_rows_and_cost_of_changes_the_rows_that_would_change() -> None:
    scan = {"Node Type": "Seq Scan", "Plan Rows": 12000, "Total Cost": 431.25}
    assert read_plan(plan(**scan)) == Estimate(known=True, rows=12000, cost=431)
    change = {"Node Type": "ModifyTable", "Plan Rows": 0, "Total Cost": 500.5, "Plans": [scan, scan]}
    assert read_plan(plan(**change)) == Estimate(known=True, rows=24000, cost=500)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"[{}]", plan(**{"Node Type": "Seq Scan"})])
def test_what_is_no_plan_is_said_to_be_absent(data: bytes) -> None:
    found = read_plan(data)
    assert not found.known and found.absent
