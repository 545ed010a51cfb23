"""What a search is once read: terms, joined by And, Or and Not.

Every tree is in a normal form that `parse(print(tree)) == tree` relies on: And and Or are flat and hold two or more items
(`conjunction` and `disjunction` see to it), a Pattern holds no empty inner part, numbers are in their field's base unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text with wildcards: the literal parts between the `*`s. One part is an exact text; `("", "")` is `*` alone."""

    parts: tuple[str, ...]

    @property
    def exact(self) -> str | None:
        """The text, where there is no wildcard."""
        return self.parts[0] if len(self.parts) == 1 else None

    @property
    def anything(self) -> bool:
        """Whether this is `*` alone: the field holds something."""
        return self.parts == ("", "")


@dataclass(frozen=True, slots=True)
class Between:
    """A number from `low` to `high`, both included; None is open."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `field` is a field's name, `claim.<key>`, or empty: then the statement's text is searched."""

    field: str
    match: Pattern | Between


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of `item`."""

    item: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of `items`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of `items`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Everything:
    """The empty search."""


Node = Term | Not | And | Or
Search = Node | Everything


def conjunction(items: Iterable[Node]) -> Node:
    """And of items, flat; a single item is itself."""
    flat = tuple(inner for item in items for inner in (item.items if isinstance(item, And) else (item,)))
    return flat[0] if len(flat) == 1 else And(flat)


def disjunction(items: Iterable[Node]) -> Node:
    """Or of items, flat; a single item is itself."""
    flat = tuple(inner for item in items for inner in (item.items if isinstance(item, Or) else (item,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def pattern(parts: Iterable[str]) -> Pattern:
    """A Pattern in normal form: `a**b` is `a*b`."""
    given = tuple(parts)
    if len(given) == 1:
        return Pattern(given)
    return Pattern((given[0], *(p for p in given[1:-1] if p), given[-1]))
