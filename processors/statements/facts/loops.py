"""Does a loop come to every row of a table, one by one or in portions? Then it changes, or gives away, the table.

A change with a condition of its own leaves most rows, but not in a loop that moves the condition on: by a query's rows, by a
counter, by asking the table for what is left. A loop that only tries again (`UPDATE … WHERE key = $1; EXIT WHEN FOUND`) moves
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from processors.statements.facts import signs
from processors.statements.facts.body import ROUNDS, Piece
from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.restriction import restricts
from processors.statements.facts.rows import Target, sources
from processors.statements.facts.trees import calls, columns, expressions, strings, walk
from schemas.events import Danger

CHANGES = {"UpdateStmt": Danger.MASS_UPDATE, "DeleteStmt": Danger.MASS_DELETE}


def of_piece(piece: Piece, facts: Collector) -> None:
    """Judge what a loop does for every row of its query, or very often."""
    over, tree = piece.over, piece.tree
    if piece.often and piece.assigned and _doubles(piece):
        facts.danger(Danger.RESOURCE_EXHAUSTION)
    if over is None or over is ROUNDS:
        return
    if not over and any(c.startswith("pg_advisory") for c in calls(tree)):
        facts.danger(Danger.LOCK_EXHAUSTION)
    query = over.get("SelectStmt", {})
    whole = bool(query) and signs.is_whole(query, facts)
    names = {v for k, v in walk(query.get("fromClause", [])) if k == "relname"}
    if piece.is_raised and whole and names:
        facts.danger(Danger.BULK_EXPORT)
    if whole or not over:
        facts.per_row |= {name.lower() for name in calls(tree)}
    for kind in CHANGES.keys() & tree.keys():
        if not over or (whole and (_own(tree[kind]) in names or not names)):
            facts.danger(CHANGES[kind])


def _doubles(piece: Piece) -> bool:
    """Tell whether a variable is given a text or list that it is in twice, or is repeated: `s := s || s`."""
    made = [e for e in expressions(piece.tree) if strings(e.get("name", ()))[-1:] == ["||"]]
    made += [v for k, v in walk(piece.tree) if k == "FuncCall" and (strings(v.get("funcname", ())) or [""])[-1] in _JOINING]
    return any(sum(name.lower() == piece.assigned for _, name in columns(part)) >= (1 if _repeats(part) else 2) for part in made)


_JOINING = frozenset(("concat", "concat_ws", "repeat", "array_cat", "format", "replace", "string_agg"))


def _repeats(part: Node) -> bool:
    return (strings(part.get("funcname", ())) or [""])[-1] == "repeat"


def of_rounds(pieces: Iterable[Piece], facts: Collector) -> None:
    """Judge the changes of one body that are made round by round, until a condition holds."""
    pieces = list(pieces)
    fetches = any(piece.fetches and piece.in_rounds for piece in pieces)
    for piece in pieces:
        for kind in CHANGES.keys() & piece.tree.keys() if piece.in_rounds or piece.counter else ():
            change = piece.tree[kind]
            if any(_moves(other, change, facts, fetches=fetches) for other in pieces) or _counts(piece, change):
                facts.danger(CHANGES[kind])


def _own(change: Node) -> str:
    return str(change.get("relation", {}).get("relname", ""))


def _counts(piece: Piece, change: Node) -> bool:
    """Tell whether a counted loop of unknown length changes the row whose key is its counter."""
    return bool(piece.counter) and piece.counter in set(_compared(change.get("whereClause", {})))


def _moves(other: Piece, change: Node, facts: Collector, *, fetches: bool) -> bool:
    """Tell whether another thing in the body moves on what a change in rounds picks its rows by; `fetches`: a cursor may."""
    where = change.get("whereClause", {})
    current = "CurrentOfExpr" in where
    if (fetches or current or other.in_rounds) and any(_reads_on(query, change, facts) for query in _queries(other)):
        return True
    if not other.in_rounds or current:
        return False
    if other.assigned:
        used = {name for _, name in columns(where)}
        return other.assigned in used and any(name == other.assigned for _, name in columns(other.tree))
    return False


def _queries(piece: Piece) -> Iterator[Node]:
    if "SelectStmt" in piece.tree and "fromClause" in piece.tree["SelectStmt"]:
        yield piece.tree["SelectStmt"]


def _reads_on(query: Node, change: Node, facts: Collector) -> bool:
    """Tell whether a query asks the changed table for rows that nothing but its LIMIT, or what came before, restricts."""
    own = _own(change)
    found = [alias for alias, body in sources(query.get("fromClause", []), {}) if body == own]
    if not found:
        return False
    target = Target(own, frozenset(found), columns=facts.own_columns(facts.relation(change.get("relation", {}))))
    return not restricts(query.get("whereClause"), target, facts)


def _compared(where: Node) -> Iterator[str]:
    """Yield the names that stand alone on a side of `=`."""
    for key, value in walk(where):
        if key == "A_Expr":
            for side in (value.get("lexpr", {}), value.get("rexpr", {})):
                if isinstance(side, dict) and "ColumnRef" in side:
                    yield from (name for _, name in columns(side))
