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

DEFINING = frozenset(
    (  # noqa: SIM905 - a list of words
        "pg_get_expr pg_get_constraintdef pg_get_viewdef pg_get_ruledef pg_get_indexdef pg_get_triggerdef pg_get_functiondef "
        "pg_get_function_sqlbody pg_get_function_arguments pg_get_function_arg_default pg_get_statisticsobjdef "
        "pg_get_statisticsobjdef_expressions pg_get_statisticsobjdef_columns pg_get_partition_constraintdef pg_get_partkeydef "
        "obj_description col_description shobj_description enum_range enum_first enum_last"
    ).split()
)
"""The server's functions that say how something is defined, constants in it among that."""
DEFINED = {
    "pg_catalog.pg_views": ("definition",),
    "pg_catalog.pg_matviews": ("definition",),
    "pg_catalog.pg_rules": ("definition",),
    "pg_catalog.pg_indexes": ("indexdef",),
    "pg_catalog.pg_policies": ("qual", "with_check"),
    "pg_catalog.pg_proc": ("prosrc",),
    "pg_catalog.pg_enum": ("enumlabel",),
    "pg_catalog.pg_description": ("description",),
    "pg_catalog.pg_shdescription": ("description",),
    "information_schema.columns": ("column_default", "generation_expression"),
    "information_schema.domains": ("domain_default",),
    "information_schema.attributes": ("attribute_default",),
    "information_schema.parameters": ("parameter_default",),
    "information_schema.check_constraints": ("check_clause",),
    "information_schema.views": ("view_definition",),
    "information_schema.routines": ("routine_definition",),
    "information_schema.triggers": ("action_condition", "action_statement"),
}
"""The same of its relations: text that is searched for values."""
