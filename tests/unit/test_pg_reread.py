"""A statement that is bound under another search_path than it was parsed is what the server makes of it then."""

from __future__ import annotations

from processors.statements.catalogue import Column, Relation, build
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import client, play, server
from tests.unit.test_pg_masking import described, make

HERE = Relation("a", "t", "r", 21001, columns=(Column("v", 1, "integer"),))
THERE = Relation("b", "t", "r", 21002, columns=(Column("v", 1, "integer", comment="full name"),))


def path(name: bytes) -> bytes:
    return pg.message(b"S", b"search_path\0" + name + b"\0")


def test_a_statement_prepared_under_another_search_path_is_read_anew() -> None:
    again = client(pg.bind("", "s"), pg.execute(), pg.SYNC)
    heard = play(
        [
            server(path(b"a")),
            client(pg.parse("s", "SELECT v FROM t"), pg.SYNC),
            server(pg.PARSE_COMPLETE, pg.ready()),
            again,
            server(pg.BIND_COMPLETE, pg.row(b"1"), pg.complete("SELECT 1"), pg.ready()),
            client(pg.query("SET search_path=b")),
            server(path(b"b"), pg.complete("SET"), pg.ready()),
            again,
            server(pg.BIND_COMPLETE, pg.row(b"777555"), pg.complete("SELECT 1"), pg.ready()),
        ],
        lambda: make(catalogue=build([HERE, THERE], [])),
    )
    assert b"777555" not in heard.to_client
    assert [e["facts"]["reads"] for e in heard.events][::2] == [["a.t"], ["b.t"]]


def test_what_was_prepared_in_sql_under_another_search_path_is_masked() -> None:
    heard = play(
        [
            server(path(b"a")),
            client(pg.query("PREPARE s AS SELECT v FROM t")),
            server(pg.complete("PREPARE"), pg.ready()),
            client(pg.query("SET search_path=b")),
            server(path(b"b"), pg.complete("SET"), pg.ready()),
            client(pg.query("EXECUTE s")),
            server(described(("v", 21002, 1, 23, 0)), pg.row(b"777555"), pg.complete("SELECT 1"), pg.ready()),
        ],
        lambda: make(catalogue=build([HERE, THERE], [])),
    )
    assert b"777555" not in heard.to_client
