"""Which verbs may stand in facts? Grants are held against this: a verb that no statement has would grant nothing."""

from __future__ import annotations

import pglast.ast
from pglast.enums import ObjectType, TransactionStmtKind

from processors.statements.facts.definitions import derived, object_name
from processors.statements.facts.specified import SPECIFIED

_BY_RULES = frozenset(
    (
        "analyze",
        "call",
        "copy_from",
        "copy_to",
        "create_materialized_view",
        "create_procedure",
        "create_schema",
        "create_table",
        "declare",
        "delete",
        "discard",
        "do",
        "execute",
        "explain",
        "grant",
        "insert",
        "lock",
        "merge",
        "move",
        "prepare",
        "prepare_transaction",
        "revoke",
        "select",
        "set",
        "truncate",
        "update",
        "vacuum",
    )
)
"""Verbs of statements that have a rule of their own."""


def known_verbs() -> frozenset[str]:
    """Return every verb that the facts of a statement can have, but for `unknown`, of one that cannot be read."""
    nodes = [name for name in dir(pglast.ast) if name.endswith("Stmt")]
    named = {(SPECIFIED.get(node) or derived(node))[0] for node in nodes}
    changed = {f"{what}_{object_name(kind.name)}" for what in ("alter", "drop") for kind in ObjectType}
    ends = {kind.name.removeprefix("TRANS_STMT_").lower() for kind in TransactionStmtKind}
    return _BY_RULES | named | changed | ends
