"""Which types of columns are the server's own, which hold whole documents, and which can hold nothing that no name tells of."""

from __future__ import annotations

import re

_MODIFIER = re.compile(r"\([^)]*\)")
RANGES = {
    "int4range": "integer",
    "int8range": "bigint",
    "numrange": "numeric",
    "tsrange": "timestamp without time zone",
    "tstzrange": "timestamp with time zone",
    "daterange": "date",
}
"""What the ends of a range are."""
DOCUMENTS = frozenset(("json", "jsonb", "xml", "hstore", "tsvector"))
BUILTIN = frozenset(
    [
        "character",
        "name",
        '"char"',
        "json",
        "jsonb",
        "xml",
        "bytea",
        "boolean",
        "uuid",
        "date",
        "time without time zone",
        "time with time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "interval",
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
        "money",
        "oid",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "bit",
        "bit varying",
        "point",
        "line",
        "lseg",
        "box",
        "path",
        "polygon",
        "circle",
        "tsvector",
        "tsquery",
        "int4range",
        "int8range",
        "numrange",
        "tsrange",
        "tstzrange",
        "daterange",
        "pg_lsn",
        "regclass",
        "regproc",
        "regtype",
        "xid",
        "cid",
        "tid",
        "text",
        "character varying",
    ]
)

NEVER_TEXT = BUILTIN - {"text", "character varying", "character", "name", "bytea"}
"""Their values are not looked at."""


def base_of(type: str) -> str:
    """Return a type without its modifier, of an array that of its members."""
    return without_modifier(type).removesuffix("[]")


def without_modifier(type: str) -> str:
    """Return a type without what is in brackets: `numeric(8,2)` is `numeric`."""
    return _MODIFIER.sub("", type)
