"""Which views of the server and of its extensions show what other sessions send, literals and all, or what is secret.

Behind a proxy all sessions are one user's, so the server would show it.
"""

from __future__ import annotations

from collections.abc import Mapping

from processors.statements.dangers.objects import secret_columns

SERVERS_SCHEMAS = ("pg_catalog", "information_schema")
STATEMENTS = {
    "pg_catalog.pg_stat_activity": "query",
    "pg_catalog.pg_prepared_statements": "statement",
    "pg_catalog.pg_cursors": "statement",
}
"""Views that show statements, and in which column."""
TELLING = frozenset(("pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_prepared_statement", "pg_cursor"))
"""Functions behind such views."""
STATEMENTS_IN_QUERY = frozenset(("pg_stat_statements",))
"""Views of extensions that show them, in their column `query`; in whichever schema they are."""


def _secret() -> dict[str, frozenset[str]]:
    found = {name: frozenset(columns) for name, columns in secret_columns()}
    for name, column in STATEMENTS.items():
        found[name] = found.get(name, frozenset()) | {column}
    return found


SECRET: Mapping[str, frozenset[str]] = _secret()
"""Columns of the server's own relations that nobody is to see, by `schema.relation`."""
