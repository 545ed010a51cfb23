"""A document as a part of something else: its keys speak still."""

from __future__ import annotations

import pytest

from processors.statements.catalogue import Column, Relation, build
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import client, play, server
from tests.unit.test_pg_masking import described, make

DOCS = Relation("public", "docs", "r", 20010, columns=(Column("id", 1, "integer"), Column("body", 2, "jsonb")))
D = b'{"full_name": "zyxwana", "age": 3}'
NESTED = D.replace(b'"', b'\\"')


@pytest.mark.parametrize(
    ("sql", "value", "oid"),
    [
        ("SELECT 'x' || body::text FROM docs", b"x" + D, 25),
        ("SELECT body::text || 'x' FROM docs", D + b"x", 25),
        ("SELECT '\"' || body::text FROM docs", b'"' + D, 25),
        ("SELECT concat_ws(',', id, body) FROM docs", b"1," + D, 25),
        ("SELECT btrim(body::text, '{\"f') FROM docs", D[3:], 25),
        ("SELECT body::text::citext FROM docs", D, 99999),
        ("SELECT ('x' || body::text)::xml FROM docs", b"x" + D, 142),
        ("SELECT array_agg(' ' || body::text) FROM docs", b'{" ' + NESTED + b'"}', 1009),
        ("SELECT jsonb_build_object('theme', 'x' || body::text) FROM docs", b'{"theme": "x' + NESTED + b'"}', 3802),
    ],
)
def test_keys_of_a_document_within_text_speak(sql: str, value: bytes, oid: int) -> None:
    functions = ["concat_ws", "array_agg", "jsonb_build_object", "btrim"]
    catalogue = build([DOCS], [], builtins=list(enumerate(functions, 1)))
    heard = play(
        [
            client(pg.query(sql)),
            server(described(("b", 0, 0, oid, 0)), pg.row(value), pg.complete("SELECT 1"), pg.ready()),
        ],
        lambda: make(catalogue=catalogue),
    )
    assert b"zyxwana" not in heard.to_client
