"""What does a statement do with these values? `DELETE … WHERE name LIKE $1` leaves rows out, unless `$1` is `%`.

Nearly all facts hold whatever the parameters are. Where a condition's proof rests on one, or how much is made (`repeat('x', $1)`:
`Statement.asks_values`), the statement's tree is read again with the values in their places; nothing of that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from processors.statements.catalogue import Catalogue
from processors.statements.facts import collect
from processors.statements.facts.collector import Collector
from processors.statements.facts.names import Namer
from processors.statements.facts.resolve import resolve
from processors.statements.facts.trees import walk, with_params, within_effort
from processors.statements.grammar import tree_json
from schemas.events import Danger

Node = dict[str, Any]
Value = str | int | Node | None
"""A text or number, an expression's node, or None for what is not known: it stays a parameter."""

UNREADABLE: Final[Node] = {"Unreadable": {}}
"""A value that came and cannot be read: it may be any."""
EXTREMES: Final[tuple[Value, ...]] = (0, 10**12, "", "%", "infinity", "-infinity")
"""What leaves nothing out in the place of a value that cannot be read, above, below and as a pattern."""

CHANGING = frozenset(("update", "delete", "merge"))
"""Verbs of statements that change rows there are."""
WORST = frozenset((Danger.MASS_UPDATE, Danger.MASS_DELETE))
"""Of what changes rows and cannot be read again."""
TOO_MUCH = frozenset((Danger.RESOURCE_EXHAUSTION,))
"""Of what changes none: how much it makes is then not known."""


def dangers_with(text: str, place: int, values: Sequence[Value], namer: Namer, catalogue: Catalogue | None) -> frozenset[Danger]:
    """Return the dangers of the statement at `place` of a text with its parameters' values. Never raises."""
    try:
        tree = orjson.loads(tree_json(text))["stmts"][place]["stmt"]
        readings = [[e if v is UNREADABLE else v for v in values] for e in (EXTREMES if is_unreadable(values) else (None,))]
        with within_effort():
            found = (collect(_filled(tree, read), namer, elided=False, catalogue=catalogue).dangers for read in readings)
            return frozenset(danger for dangers in found for danger in dangers)
    except Exception:
        return WORST


def dangers_of_types(names: frozenset[str], namer: Namer, catalogue: Catalogue) -> frozenset[Danger]:
    """Return what making values of types does: their checks and input functions run. Remembered with the snapshot."""
    key = ("values of types", names)
    if key not in catalogue.effects:
        facts = Collector(namer.uncertain(), False, catalogue)
        facts.types |= names
        try:
            with within_effort():
                resolve(facts, catalogue)
        except Exception:  # what cannot be told may do anything
            facts.danger(Danger.OPAQUE)
        catalogue.effects[key] = frozenset(facts.dangers)
    found: frozenset[Danger] = catalogue.effects[key]
    return found


def name_in(text: str, place: int, kind: str) -> str:
    """Return the name that the statement at `place` of a text gives or runs, of node `kind`; empty if it cannot be told.

    As the server knows it: escapes decoded, and not as normalised text has it, where a name may be hidden. Never raises.
    """
    try:
        tree = orjson.loads(tree_json(text))["stmts"][place]["stmt"]
        return next((str(value.get("name", "")) for key, value in walk(tree) if key == kind), "")
    except Exception:
        return ""


def is_unreadable(values: Sequence[Value]) -> bool:
    """Tell whether a value among them cannot be read."""
    return any(v is UNREADABLE for v in values)


def arguments(text: str, place: int) -> list[Value]:
    """Return what the EXECUTE at `place` of a text gives for parameters. Never raises."""
    try:
        tree = orjson.loads(tree_json(text))["stmts"][place]["stmt"]
        return next((list(value.get("params", ())) for key, value in walk(tree) if key == "ExecuteStmt"), [])
    except Exception:
        return []


def _filled(tree: Any, values: Sequence[Value]) -> Any:
    return with_params(tree, [None if v is None else _constant(v) for v in values])


def _constant(value: str | int | Node) -> Node:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"A_Const": {"sval": {"sval": value}}}
    if -(2**31) <= value < 2**31:
        return {"A_Const": {"ival": {"ival": value}}}
    return {"A_Const": {"fval": {"fval": str(value)}}}
