"""Does psql work through the proxy exactly as without it, and is everything it ran in the trail?"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.support import binaries
from tests.support.clients import Comparison, Parameters, environment, needle, psql, stable
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.trail import brief

_TYPES = (
    "SELECT 1 AS n, 2.50::numeric, 'zażółć ✓' AS t, NULL AS nothing, '{1,2,NULL}'::int[], DATE '2024-02-29', "
    "'{\"a\": [1]}'::jsonb, '\\xdeadbeef'::bytea, true, interval '3 days 4 hours'"
)


def test_one_statement(compare: Comparison) -> None:
    done = compare(lambda to: psql(to, "-c", _TYPES))
    assert done.result[0] == 0
    [event] = done.events
    assert (event["kind"], event["outcome"]["status"], event["outcome"]["rows_returned"]) == ("simple", "ok", 1)
    assert event["outcome"]["sqlstate"] == ""
    assert event["transaction"] == "I"
    assert event["outcome"]["bytes_out"] > 50
    assert "zażółć" not in event["text"]
    assert len(event["params"]) >= 8
    assert event["principal"]["kind"] == "human"
    assert event["client"]["address"].startswith("127.0.0.1")
    assert len(done.executed) == 1


def test_several_statements_in_one_message(compare: Comparison) -> None:
    """The server runs the string as one transaction and stops at the first error: so do the events."""
    done = compare(lambda to: psql(to, "-c", "SELECT 1; SELECT g FROM generate_series(1, 7) g; SELECT 1/0; SELECT 4"))
    assert done.result[0] == 1
    assert b"division by zero" in done.result[2]
    assert [status for _, _, status in brief(done.events)] == ["ok", "ok", "error", "not_executed"]
    assert [event["outcome"]["rows_returned"] for event in done.events] == [1, 7, 0, 0]
    assert [event["outcome"]["sqlstate"] for event in done.events] == ["", "", "22012", ""]
    assert all("multi_statement" in event["facts"]["flags"] for event in done.events)


def test_a_script(compare: Comparison, tmp_path: Path) -> None:
    secret = needle()
    script = tmp_path / "script.sql"
    script.write_text(
        f"""
        BEGIN;
        CREATE TEMP TABLE people (id int PRIMARY KEY, email text UNIQUE);
        INSERT INTO people SELECT g, 'p' || g || '@example.org' FROM generate_series(1, 50) g;
        UPDATE people SET email = '{secret}' WHERE id = 7; -- {secret}
        SAVEPOINT before;
        INSERT INTO people VALUES (51, '{secret}');
        ROLLBACK TO before;
        DELETE FROM people WHERE id > 40;
        COMMIT;
        DO $body$ BEGIN RAISE NOTICE 'seen {secret}'; END $body$;
        SELECT count(*), max(email) FROM people;
        SELECT * FROM nowhere_{secret.replace("-", "_")};
        """
    )
    done = compare(lambda to: psql(to, "-f", str(script)))
    assert done.result[0] == 0  # psql goes on after errors in a file
    assert secret.encode() in done.result[2]
    assert len(done.executed) == len(done.events) == 12
    assert [e["outcome"]["status"] for e in done.events] == [*["ok"] * 5, "error", *["ok"] * 5, "error"]
    assert [e["outcome"]["rows_affected"] for e in done.events] == [0, 0, 50, 1, 0, 0, 0, 10, 0, 0, 0, 0]
    assert [e["transaction"] for e in done.events] == [*"ITTTTTETTIII"]
    assert done.events[5]["outcome"]["sqlstate"] == "23505"
    assert done.events[11]["outcome"]["sqlstate"] == "42P01"
    compare.proxy.assert_nowhere(secret)


def test_copy_both_ways(compare: Comparison, tmp_path: Path) -> None:
    secret = needle()
    data = tmp_path / "in.csv"
    data.write_text("".join(f"{n},name {n},{secret}\n" for n in range(20_000)))

    def scenario(to: Parameters) -> tuple[object, bytes]:
        out = tmp_path / "out.csv"
        done = psql(
            to,
            stdin="CREATE TEMP TABLE t (id int, name text, secret text);\n"
            f"\\copy t FROM '{data}' CSV\n"
            f"\\copy (SELECT * FROM t ORDER BY id) TO '{out}' CSV HEADER\n"
            "COPY t TO STDOUT (FORMAT binary)\n;COPY t FROM STDIN;\n1\tone\tx\n2\ttwo\ty\n\\.\nSELECT count(*) FROM t;\n",
        )
        return done, out.read_bytes()

    done = compare(scenario)
    assert done.result[0][0] == 0
    assert secret.encode() in done.result[1]
    copies = [event for event in done.events if event["kind"] == "copy"]
    size = data.stat().st_size
    assert [event["outcome"]["status"] for event in copies] == ["ok"] * 4
    assert [event["outcome"]["rows_affected"] for event in copies] == [20_000, 0, 0, 2]
    assert copies[0]["outcome"]["bytes_in"] >= size
    assert copies[1]["outcome"]["bytes_out"] >= size
    assert copies[1]["outcome"]["rows_returned"] == 20_000  # as the server counts: without the header
    assert copies[2]["outcome"]["bytes_out"] >= size
    assert ["copy_in" in e["facts"]["flags"] for e in copies] == [True, False, False, True]
    assert ["copy_out" in e["facts"]["flags"] for e in copies] == [False, True, True, False]
    assert len(done.executed) == len(done.events) == 6
    compare.proxy.assert_nowhere(secret)


def test_copy_that_fails(compare: Comparison) -> None:
    secret = needle()
    done = compare(
        lambda to: psql(
            to, stdin=f"CREATE TEMP TABLE t (id int);\nCOPY t FROM STDIN;\n1\n{secret}\n\\.\nSELECT count(*) FROM t;\n"
        )
    )
    assert b"invalid input syntax" in done.result[2]
    assert brief(done.events)[1][0::2] == ("copy", "error")
    assert done.events[1]["outcome"]["sqlstate"] == "22P02"
    assert done.events[2]["outcome"]["status"] == "ok"
    compare.proxy.assert_nowhere(secret)


def test_describing_a_table(compare: Comparison) -> None:
    """`\\d` is a dozen catalogue queries: each is one event, none is missing."""
    done = compare(
        lambda to: psql(
            to,
            stdin="CREATE TABLE orders (id serial PRIMARY KEY, total numeric CHECK (total > 0), note text DEFAULT 'x');\n"
            "\\d orders\n\\dt pg_catalog.pg_am\n\\df lower\n\\l\n\\dn+\n\\du\nDROP TABLE orders;\n",
        )
    )
    assert len(done.executed) == len(done.events) > 6
    assert all(event["outcome"]["status"] == "ok" for event in done.events)


def test_control_c_cancels(compare: Comparison, pg: Postgres) -> None:
    def scenario(to: Parameters) -> tuple[int, bytes, bytes]:
        shell = subprocess.Popen(
            [binaries.program("psql"), "-X"],
            env=environment(to),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert shell.stdin is not None
        shell.stdin.write(b"SELECT pg_sleep(120);\nSELECT 'after';\n")
        shell.stdin.flush()
        with pg.superuser() as admin:
            query = (
                "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND state = 'active' AND query LIKE '%%pg_sleep%%'"
            )
            wait_for(lambda: admin.execute(query, [to["application_name"]]).fetchone(), "the server to sleep")
        shell.send_signal(signal.SIGINT)
        out, err = shell.communicate(timeout=30)
        return shell.returncode, out, stable(err, to)

    done = compare(scenario)
    assert b"canceling statement due to user request" in done.result[2]
    [event] = done.events  # psql gives up a script that was interrupted
    assert (event["outcome"]["status"], event["outcome"]["sqlstate"]) == ("cancelled", "57014")
    assert event["outcome"]["db_us"] > 0


def test_notifications(compare: Comparison) -> None:
    secret = needle()
    done = compare(lambda to: psql(to, stdin=f"LISTEN news;\nNOTIFY news, '{secret}';\nSELECT 1;\n"))
    assert secret.encode() in done.result[1]
    assert [status for _, _, status in brief(done.events)] == ["ok"] * 3
    compare.proxy.assert_nowhere(secret)


def test_large_objects_use_the_function_call_message(compare: Comparison, tmp_path: Path) -> None:
    """libpq's large object interface is the one user of FunctionCall left (manual chapter 55.2.4)."""
    secret = needle()
    data = tmp_path / "blob"
    data.write_bytes((secret.encode() + bytes(range(256))) * 1000)

    def scenario(to: Parameters) -> tuple[int, bytes]:
        out = tmp_path / "out"
        code, _, _ = psql(to, stdin=f"\\lo_import '{data}'\n\\lo_export :LASTOID '{out}'\n\\lo_unlink :LASTOID\n")
        return code, out.read_bytes()

    done = compare(scenario)
    assert done.result == (0, data.read_bytes())
    calls = [event for event in done.events if event["kind"] == "function"]
    assert len(calls) == sum(line.kind == "function" for line in done.executed) > 4
    assert all(event["outcome"]["status"] == "ok" for event in calls)
    compare.proxy.assert_nowhere(secret)


def test_claims_in_comments_reach_the_trail(compare: Comparison) -> None:
    done = compare(
        lambda to: psql(
            to,
            "-c",
            "/*agent_run='run-9',tool_call='call-3'*/ SELECT 1 "
            "/*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/",
        )
    )
    [event] = done.events
    assert event["claims"]["agent_run"] == "run-9"
    assert event["claims"]["tool_call"] == "call-3"
    assert event["claims"]["traceparent"].startswith("00-5bd66ef5")
