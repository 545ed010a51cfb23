"""What is an object called in facts? `schema.name`, and nothing that could be a value in a name's clothes.

Double quotes around a value are a common slip (`WHERE email = "ann@example.org"`), and then the value is a column name. So
a name that does not look like one is concealed: `~` and the keyed token's digits stand for it, equal for equal names.
"""

from __future__ import annotations

import re

from processors.statements.tokens import Tokenizer

MAX_NAME_CHARS = 63
"""NAMEDATALEN - 1: the server knows no longer name."""

_SYNTAX = ("current_", "local", "session_user", "user", "xml", "json")
"""What the grammar calls functions of its own."""
_PLAIN = re.compile(r"[^\W\d][\w$]{0,62}\Z")
_RELATION = re.compile(r"[^\W\d][\w$]*(?:[ .-][\w$]+){0,5}\Z")


def is_plain(name: str) -> bool:
    """Tell whether a name looks like an identifier someone would choose."""
    return _PLAIN.match(name) is not None


def is_plain_relation(name: str) -> bool:
    """The same for tables and schemas, where words with spaces, dots or hyphens between them are names too."""
    return len(name) <= MAX_NAME_CHARS and _RELATION.match(name) is not None


def is_syntax(name: str) -> bool:
    """Tell whether a function's name stands for what the grammar has a syntax of its own for."""
    return name.startswith(_SYNTAX)


class Namer:
    """Names objects under one search path."""

    __slots__ = ("_schema", "_tokenizer", "blind", "path")

    def __init__(self, tokenizer: Tokenizer, search_path: tuple[str, ...], *, blind: bool = False) -> None:
        self._tokenizer = tokenizer
        self.blind = blind
        """Whether the database's objects should be known and are not."""
        self._schema = "?"
        self.path: frozenset[str] | None = frozenset((*search_path, "pg_catalog")) if search_path else None
        """The schemas that a name without one may lead to; None where that is not known."""
        if len(search_path) == 1 and is_plain_relation(search_path[0]):
            self._schema = search_path[0]

    def uncertain(self) -> Namer:
        """Return a namer that resolves no unqualified name."""
        return Namer(self._tokenizer, (), blind=self.blind)

    def plain(self, name: str) -> str:
        """Return the name, or what stands for it if it does not look like one."""
        return name if is_plain(name) else self._conceal(name)

    def relation(self, schema: str | None, name: str) -> str:
        """Return `schema.name` of a relation; unqualified names resolve as far as the search path is certain."""
        shown = name if is_plain_relation(name) else self._conceal(name)
        if schema:
            return f"{schema if is_plain_relation(schema) else self._conceal(schema)}.{shown}"
        if name.startswith("pg_"):
            return f"pg_catalog.{shown}"
        return f"{self._schema}.{shown}"

    def _conceal(self, name: str) -> str:
        return "~" + self._tokenizer.token("", name.encode("utf-8", "surrogatepass"))[1:]
