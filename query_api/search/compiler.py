"""Which SQL a search tree is: an expression over `query_events`, and the parameters it names.

Nothing the user wrote ever stands in the SQL: values become `{p0:String}`-style server-side parameters, and everything else is
chosen from constants here and column names in `fields`. `tests/unit/test_search_compiler.py` holds this for arbitrary input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from query_api.search.ast import And, Between, Everything, Not, Or, Pattern, Search, Term
from query_api.search.fields import CLAIM_PREFIX, FIELDS, Field, Shape, find


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean SQL expression and its parameters by name."""

    sql: str
    parameters: dict[str, Any]


def compile_search(tree: Search, texts_table: str) -> Condition:
    """The condition for a tree. `texts_table` is the table of long texts, named by our own settings."""
    compiler = _Compiler(texts_table)
    sql = compiler.node(tree)
    return Condition(sql, compiler.parameters)


@dataclass(slots=True)
class _Compiler:
    texts_table: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def node(self, tree: Search) -> str:
        match tree:
            case Everything():
                return "1"
            case And(items):
                return "(" + " AND ".join(self.node(i) for i in items) + ")"
            case Or(items):
                return "(" + " OR ".join(self.node(i) for i in items) + ")"
            case Not(item):
                return f"(NOT {self.node(item)})"
            case Term(name, match):
                found = find(name) if name else FIELDS["text"]
                if found is None:
                    raise ValueError(f"no such field: {name!r}")
                return self._term(name, found, match)

    def _term(self, name: str, found: Field, match: Pattern | Between) -> str:
        if isinstance(match, Between):
            return self._between(found.columns[0], match)
        match found.shape:
            case Shape.TEXT:
                column = found.columns[0]
                return f"({column} != '')" if match.anything else f"({self._matches(column, found, match)})"
            case Shape.LIST:
                return "(" + " OR ".join(self._in_list(column, found, match) for column in found.columns) + ")"
            case Shape.NUMBER:
                return f"({found.columns[0]} != 0)"
            case Shape.UUID:
                return "1" if match.anything else f"({found.columns[0]} = {self._bind('UUID', match.exact)})"
            case Shape.STATEMENT:
                return self._statement(match)
            case Shape.CLAIM:
                key = self._bind("String", name[len(CLAIM_PREFIX) :])
                held = f"mapContains(claims, {key})"
                return f"({held})" if match.anything else f"({held} AND {self._matches(f'claims[{key}]', found, match)})"

    def _between(self, column: str, match: Between) -> str:
        if match.low == match.high and match.low is not None:
            return f"({column} = {self._bind('UInt64', match.low)})"
        ends = []
        if match.low is not None:
            ends.append(f"{column} >= {self._bind('UInt64', match.low)}")
        if match.high is not None:
            ends.append(f"{column} <= {self._bind('UInt64', match.high)}")
        return "(" + " AND ".join(ends) + ")"

    def _in_list(self, column: str, found: Field, match: Pattern) -> str:
        if match.anything:
            return f"notEmpty({column})"
        if match.exact is not None and not found.suffix and not found.fold:
            return f"has({column}, {self._bind('String', match.exact)})"
        return f"arrayExists(x -> {self._matches('x', found, match)}, {column})"

    def _matches(self, operand: str, found: Field, match: Pattern) -> str:
        """Whether one text matches; with a suffix separator, whether it or its trailing segments do."""
        if match.exact is not None:
            if found.fold:
                return f"lower({operand}) = lower({self._bind('String', match.exact)})"
            whole = f"{operand} = {self._bind('String', match.exact)}"
            if not found.suffix:
                return whole
            return f"{whole} OR endsWith({operand}, {self._bind('String', found.suffix + match.exact)})"
        like = "ILIKE" if found.fold else "LIKE"
        whole = f"{operand} {like} {self._bind('String', _like(match))}"
        if not found.suffix:
            return whole
        return f"{whole} OR {operand} {like} {self._bind('String', '%' + _literal(found.suffix) + _like(match))}"

    def _statement(self, match: Pattern) -> str:
        """The text holds it somewhere, in any case; long texts stand in their own table."""
        if match.anything:
            return "(text_hash != '')"
        like = self._bind("String", f"%{_like(match)}%")
        long = f"SELECT text_hash FROM {self.texts_table} WHERE text ILIKE {like}"  # noqa: S608 - the table is ours
        return f"(text ILIKE {like} OR (text = '' AND text_hash IN ({long})))"

    def _bind(self, kind: str, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


def _like(match: Pattern) -> str:
    return "%".join(_literal(part) for part in match.parts)


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
