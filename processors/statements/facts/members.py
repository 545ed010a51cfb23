"""By which keys does an expression take members out of JSON documents: `->`, `#>>`, subscripts, and functions that do the same?

The member loses the name that says what it is, so masking has to know it. Names are literals, which are judged as such and kept
from events; what is no constant is not known.
"""

from __future__ import annotations

import re
from typing import Any

from processors.statements.facts.collector import Collector, Node

_KEYS, _PATHS = frozenset(("->", "->>")), frozenset(("#>", "#>>"))
_BY_ARGUMENTS = frozenset(
    ("json_extract_path", "json_extract_path_text", "jsonb_extract_path", "jsonb_extract_path_text"),
)
_APART = frozenset(
    (  # noqa: SIM905 - a list of words
        "json_each json_each_text json_populate_record json_populate_recordset json_to_record json_to_recordset jsonb_each "
        "jsonb_each_text jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first "
        "jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset jsonb_to_record "
        "jsonb_to_recordset json_value json_query each avals svals"
    ).split()
)
"""Functions that give members without their keys, or by a path of their own language."""
_WORD = re.compile(r"[^{},\"]+")


def of_operator(operator: str, fields: Node, facts: Collector) -> None:
    """Note the key or the path on the right of an operator."""
    if operator in _KEYS:
        facts.takes(_constants(fields.get("rexpr", {}), facts))
    elif operator in _PATHS:
        found = _constants(fields.get("rexpr", {}), facts)
        facts.takes(None if found is None else [word for text in found for word in _WORD.findall(text)])


def of_subscripts(path: list[Node], facts: Collector) -> None:
    """Note what stands in brackets: numbers are places of an array."""
    for step in path:
        index = step.get("A_Indices")
        if index is not None:
            facts.takes(_constants(index.get("uidx", {}), facts))


def of_call(short: str, args: list[Node], facts: Collector) -> None:
    """Note the keys that a function is given."""
    if short in _APART:
        facts.takes(None)
    elif short in _BY_ARGUMENTS:
        for argument in args[1:]:
            facts.takes(_constants(argument, facts))


def _constants(node: Any, facts: Collector) -> list[str] | None:
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    if "A_ArrayExpr" in node:
        parts = [_constants(element, facts) for element in node["A_ArrayExpr"].get("elements", ())]
        return None if None in parts else [text for part in parts for text in part or ()]
    if "A_Const" not in node:
        return None
    value = facts.constant(node["A_Const"])
    if isinstance(value, str):
        return [value]
    return [] if value is None or isinstance(value, int | float) else None
