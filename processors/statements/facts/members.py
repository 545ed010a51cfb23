"""By which keys does an expression take members out of JSON documents: `->`, `#>>`, subscripts, and functions that do the same?

The member loses the name that says what it is, so masking has to know it. Names are literals, which are judged as such and kept
from events; what is no constant is not known.
"""

from __future__ import annotations

import re
from typing import Any

from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.trees import strings

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
_ASKING = frozenset(("jsonb_path_exists", "jsonb_path_exists_tz", "jsonb_path_match", "jsonb_path_match_tz"))
"""Functions that tell whether a path finds something; by a path that is put together, or has variables, they compare."""
_WORD = re.compile(r"[^{},\"]+")
_CONTAINING = frozenset(("@>", "<@", "@?", "@@"))
_COMPARING = frozenset(("=", "<>", "!=", "<", "<=", ">", ">="))
_NAMES = re.compile(r'"([^"\\]*)"\s*:|\.\s*"?(\w+)')
_STEP = re.compile(r"[\w.-]*\w")
_ANY_MEMBER = re.compile(r"\.\s*\*|\\")


def of_operator(operator: str, fields: Node, facts: Collector, *, shown: bool) -> None:
    """Note the key or the path on the right of an operator; `shown`: what it gives is seen, not only what rows it picks."""
    if operator in _KEYS:
        facts.takes(_constants(fields.get("rexpr", {}), facts))
    elif operator in _PATHS:
        found = _constants(fields.get("rexpr", {}), facts)
        facts.takes(None if found is None else [word for text in found for word in _WORD.findall(text)])
    elif operator in ("@?", "@@") and _is_made_path(fields.get("rexpr", {}), cast=operator == "@@"):
        facts.takes(None)
    elif shown and operator in _CONTAINING:
        facts.takes(_within(_of_either(fields, facts)))
    elif shown and operator in _COMPARING:
        found = _of_either(fields, facts)
        if found and found[0].lstrip()[:1] in ("{", "["):  # the order of documents goes by their members
            facts.takes(_within(found))


def of_subscripts(path: list[Node], facts: Collector) -> None:
    """Note what stands in brackets: numbers are places of an array."""
    for step in path:
        index = step.get("A_Indices")
        if index is not None:
            facts.takes(_constants(index.get("uidx", {}), facts))


def of_call(short: str, args: list[Node], facts: Collector) -> None:
    """Note the keys that a function is given."""
    if short in _APART or (short in _ASKING and (len(args) > 2 or _is_made_path(args[-1] if args else {}, cast=False))):
        facts.takes(None)
    elif short in _BY_ARGUMENTS:
        for argument in args[1:]:
            facts.takes(_constants(argument, facts))


def _of_either(fields: Node, facts: Collector) -> list[str] | None:
    """Return the constants on the right of an operator, or those on its left; None where neither is one."""
    found = _constants(fields.get("rexpr", {}), facts)
    return _constants(fields.get("lexpr", {}), facts) if found is None else found


def of_table(kind: str, fields: Node, facts: Collector) -> None:
    """Note by which paths a table is made of a document: those of XMLTABLE by their steps."""
    if kind == "JsonTable":
        facts.takes(None)
    elif kind == "RangeTableFunc":
        paths: list[str] = []
        columns = [c.get("RangeTableFuncCol", {}) for c in fields.get("columns", ())]
        for node in (fields.get("rowexpr", {}), *(c.get("colexpr", {}) for c in columns)):
            found = _constants(node, facts) if node else []
            if found is None or any("*" in path or "node" in path or ".." in path for path in found):
                facts.takes(None)
                return
            paths += found
        facts.takes([step for path in paths for step in _STEP.findall(path)])
        facts.takes([c.get("colname", "") for c in columns])


def _within(texts: list[str] | None) -> list[str] | None:
    """Return the keys in constants that are documents or JSON paths; None where a path goes through any."""
    if texts is None or any(map(_ANY_MEMBER.search, texts)):
        return None
    return [key or step for text in texts for key, step in _NAMES.findall(text)]


def _is_made_path(node: Node, *, cast: bool) -> bool:
    """Tell whether a JSON path is no constant; `cast`: only what is cast to one is a path."""
    if cast and "jsonpath" not in strings(node.get("TypeCast", {}).get("typeName", {}).get("names", ())):
        return False
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    return "A_Const" not in node


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
