"""Which tree a search text means; or what is wrong with it, and where.

    search  = [ or ]
    or      = and { "OR" and }
    and     = unary { ["AND"] unary }
    unary   = ( "NOT" | "-" ) unary | "(" or ")" | field ":" ( value | "(" or of values ")" ) | word

A value list such as `status:(error OR denied)` is read as `(status:error OR status:denied)`. Nesting, terms and length are
limited, so that the recursion here and the SQL made of it are too.
"""

from __future__ import annotations

import re

from query_api.search import numbers
from query_api.search.ast import Between, Everything, Node, Not, Pattern, Search, Term, conjunction, disjunction
from query_api.search.errors import SearchError
from query_api.search.fields import FIELDS, Field, Shape, find, nearest, nearest_field
from query_api.search.lexer import Kind, Lexer, Token

MAX_LENGTH = 2000
"""Characters of one search: far above what people type, small enough that any search parses in milliseconds."""
MAX_TERMS = 64
"""Terms of one search: each is a condition evaluated for each row."""
MAX_DEPTH = 16
"""Parentheses and NOTs inside each other: bounds the recursion."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse(text: str) -> Search:
    """The tree of a search text; empty text finds everything. Raises SearchError."""
    if len(text) > MAX_LENGTH:
        raise SearchError(
            f"a search has at most {MAX_LENGTH} characters, this one {len(text)}", MAX_LENGTH, len(text) - MAX_LENGTH
        )
    return _Parser(text).search()


class _Parser:
    def __init__(self, text: str) -> None:
        self._lexer = Lexer(text)
        self._terms = 0
        self._token = self._lexer.next()

    def search(self) -> Search:
        if self._token.kind is Kind.END:
            return Everything()
        tree = self._or(None, 0)
        left = self._token
        if left.kind is Kind.CLOSE:
            raise SearchError("this ')' closes nothing", left.position, 1)
        return tree

    def _advance(self, field: Field | None) -> None:
        self._token = self._lexer.next(value=field is not None)

    def _or(self, scope: tuple[str, Field] | None, depth: int) -> Node:
        items = [self._and(scope, depth)]
        while self._token.kind is Kind.OR:
            self._advance(scope and scope[1])
            items.append(self._and(scope, depth))
        return disjunction(items)

    def _and(self, scope: tuple[str, Field] | None, depth: int) -> Node:
        items = [self._unary(scope, depth)]
        while self._token.kind not in (Kind.OR, Kind.CLOSE, Kind.END):
            if self._token.kind is Kind.AND:
                self._advance(scope and scope[1])
            elif scope is not None:
                raise SearchError(
                    f"between the values of {scope[0]} stands AND or OR",
                    self._token.position,
                    self._token.length,
                    f"Write {scope[0]}:(one OR other).",
                )
            items.append(self._unary(scope, depth))
        return conjunction(items)

    def _unary(self, scope: tuple[str, Field] | None, depth: int) -> Node:
        token = self._token
        if depth > MAX_DEPTH:
            raise SearchError(f"more than {MAX_DEPTH} levels of parentheses or NOT", token.position, token.length)
        match token.kind:
            case Kind.NOT | Kind.MINUS:
                self._advance(scope and scope[1])
                return Not(self._unary(scope, depth + 1))
            case Kind.OPEN:
                return self._group(scope, depth + 1, scope and scope[1])
            case Kind.FIELD:
                return self._field(token, depth)
            case Kind.VALUE | Kind.COMPARE | Kind.RANGE:
                self._count(token)
                self._advance(scope and scope[1])
                return Term(scope[0], _match(token, scope[0], scope[1])) if scope else Term("", _word(token))
            case Kind.CLOSE:
                raise SearchError("there is nothing to search for before this ')'", token.position, 1)
            case Kind.END:
                raise SearchError("the search ends too early", token.position, 0, "Something to search for is missing here.")
            case _:
                raise SearchError(
                    f"{token.kind} stands between two conditions, one is missing",
                    token.position,
                    token.length,
                    f'To find the word itself, write "{token.text}".',
                )

    def _group(self, scope: tuple[str, Field] | None, depth: int, outer: Field | None) -> Node:
        opened = self._token
        self._advance(scope and scope[1])
        tree = self._or(scope, depth)
        if self._token.kind is not Kind.CLOSE:
            raise SearchError("this '(' is never closed", opened.position, 1)
        self._advance(outer)
        return tree

    def _field(self, token: Token, depth: int) -> Node:
        field = find(token.text)
        if field is None:
            raise _unknown_field(token)
        if not self._lexer.at_value():
            raise SearchError(
                f"{token.text}: needs a value directly after it", token.position, token.length, f"For example {field.example}"
            )
        self._token = self._lexer.next(value=True)
        if self._token.kind is Kind.OPEN:
            return self._group((token.text, field), depth + 1, None)
        value = self._token
        if value.kind not in (Kind.VALUE, Kind.COMPARE, Kind.RANGE):
            if value.kind in (Kind.AND, Kind.OR, Kind.NOT):
                value = Token(Kind.VALUE, value.position, value.length, value.text, Pattern((value.text,)))
            else:
                raise SearchError(f"{token.text}: needs a value", value.position, value.length, f"For example {field.example}")
        self._count(value)
        self._advance(None)
        return Term(token.text, _match(value, token.text, field))

    def _count(self, token: Token) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise SearchError(f"a search has at most {MAX_TERMS} terms", token.position, token.length)


def _unknown_field(token: Token) -> SearchError:
    near = nearest_field(token.text)
    hint = f"Did you mean {near}?" if near else f'To find it in statements, quote it: "{token.text}:…".'
    return SearchError(f"there is no field '{token.text}'", token.position, token.length, hint)


def _word(token: Token) -> Pattern:
    assert token.pattern is not None
    if token.pattern.exact == "":
        raise SearchError("an empty text finds nothing", token.position, token.length)
    return token.pattern


def _match(token: Token, name: str, field: Field) -> Pattern | Between:
    """The condition that a value token puts on a field, checked against what the field takes."""
    if field.shape is Shape.NUMBER:
        return _number(token, field)
    if token.kind is not Kind.VALUE or token.pattern is None:
        raise SearchError(
            f"{name} holds text, it has no order",
            token.position,
            token.length,
            f"Comparisons and ranges are for numbers: {', '.join(f.name for f in FIELDS.values() if f.shape is Shape.NUMBER)}.",
        )
    value = token.pattern
    if value.exact == "" and field.shape is Shape.STATEMENT:
        raise SearchError("an empty text finds nothing", token.position, token.length)
    if field.shape is Shape.UUID and not value.anything and not (value.exact and _UUID.fullmatch(value.exact)):
        raise SearchError(f"'{token.text}' is not an event id", token.position, token.length, f"For example {field.example}")
    if field.values and value.exact is not None:
        return Pattern((_known(value.exact, token, name, field),))
    return value


def _known(value: str, token: Token, name: str, field: Field) -> str:
    for known in field.values:
        if known.lower() == value.lower():
            return known
    near = nearest(value.lower(), field.values)
    hint = f"Did you mean {near}?" if near else f"It is one of: {', '.join(field.values)}."
    raise SearchError(f"{name} is never '{value}'", token.position, token.length, hint)


def _number(token: Token, field: Field) -> Pattern | Between:
    if token.kind is Kind.COMPARE:
        number = numbers.read(token.ends[0], field, token.position + len(token.text))
        match token.text:
            case ">=":
                return Between(number, None)
            case "<=":
                return Between(None, number)
            case ">" if number < numbers.LARGEST:
                return Between(number + 1, None)
            case "<" if number > 0:
                return Between(None, number - 1)
        raise SearchError(f"no {field.name} is {token.text} {number}", token.position, token.length)
    if token.kind is Kind.RANGE:
        low, high = (None if end == "*" else numbers.read(end, field, token.position) for end in token.ends)
        if low is None and high is None:
            return Between(0, None)
        if low is not None and high is not None and low > high:
            raise SearchError(
                "this range ends before it starts", token.position, token.length, f"Write [{token.ends[1]} TO {token.ends[0]}]."
            )
        return Between(low, high)
    assert token.pattern is not None
    if token.pattern.anything:
        return token.pattern
    number = numbers.read(token.pattern.exact if token.pattern.exact is not None else token.text, field, token.position)
    return Between(number, number)
