"""What do the grants in force give one statement? What a grant does not name, it does not give.

A grant applies to a statement all of whose verbs it names. It then covers those objects that one of its patterns matches:
`schema.name`, `schema.*`, or `*` for all; an object whose schema is not certain matches only `*`. Classes it gives only where it
covers every object, for where in the statement the data comes from is not told apart. A statement that cannot be read, or runs
code that cannot, is covered by `*` for verbs and objects alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schemas.control import GrantChanged
from schemas.events import Danger, Facts, StatementFlag

ANY = "*"
_HIDES = frozenset((Danger.OPAQUE, Danger.UNKNOWN_CODE))
_UNREADABLE = frozenset((StatementFlag.OPAQUE, StatementFlag.UNPARSED, StatementFlag.OVERSIZE, StatementFlag.DYNAMIC_SQL))


class Given(NamedTuple):
    """The objects and classes of a statement that are granted, in its order, and the ids of the grants that give any of it."""

    objects: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()


NOTHING_GIVEN = Given()


def given(grants: Iterable[GrantChanged], facts: Facts, classes: Iterable[str]) -> Given:
    """Return what these grants, all of them in force, give to a statement that touches data of these classes."""
    found = tuple(dict.fromkeys((*facts.reads, *facts.writes)))
    asked = tuple(classes)
    hidden = not _HIDES.isdisjoint(facts.dangers) or not _UNREADABLE.isdisjoint(facts.flags)
    objects: set[str] = set()
    released: set[str] = set()
    used: list[str] = []
    for grant in grants:
        if not _applies(grant, facts, hidden):
            continue
        covered = {o for o in found if any(matches(pattern, o) for pattern in grant.objects)}
        objects |= covered
        whole = bool(found) and len(covered) == len(found)
        gives = {c for c in asked if whole and (c in grant.classes or ANY in grant.classes)}
        released |= gives
        if covered or gives:
            used.append(grant.grant_id)
    return Given(tuple(o for o in found if o in objects), tuple(c for c in asked if c in released), tuple(used))


def _applies(grant: GrantChanged, facts: Facts, hidden: bool) -> bool:
    if hidden and not (ANY in grant.verbs and ANY in grant.objects):
        return False
    return ANY in grant.verbs or (bool(facts.verbs) and set(facts.verbs) <= set(grant.verbs))


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern of a grant is for an object as facts name it."""
    if pattern == ANY or (pattern == name and not name.startswith("?.")):
        return True
    schema, _, rest = pattern.rpartition(".")
    return rest == ANY and bool(schema) and name.startswith(f"{schema}.") and "." not in name[len(schema) + 1 :] and schema != "?"
