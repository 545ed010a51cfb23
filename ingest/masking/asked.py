"""What does a statement ask of masked values, and what does it write: for rules, by the classes of its columns.

Pure, of a statement, the tags of a snapshot (or None) and its sight: for all sessions, or with a session's own temporary tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from ingest.masking.sight import Sight
from ingest.masking.tags import EVERY, PROSE, CatalogueTags, Classes
from processors.sensitivity.columns import by_name
from processors.statements import Statement
from schemas.classes import DataClass
from schemas.events import Danger

_NOTHING: Classes = frozenset()
_NAMES: frozenset[str] = frozenset()
_REMOVING = frozenset(("delete", "merge"))
_OF_ROWS = frozenset(("insert", "update", "delete", "merge", "truncate", "copy_from"))
_WRITING = frozenset(("select", "insert", "update", "copy_from", "call", "prepare", "execute", "explain")) | _REMOVING
"""Verbs of what gives values to no columns but those that it names, and changes nothing else of its tables."""
_DOCUMENTS = ("json", "jsonb", "hstore", "xml")
_ADDRESSES = frozenset((DataClass.EMAIL,))
_GUESSABLE = frozenset(
    (
        DataClass.NATIONAL_ID,
        DataClass.PASSPORT,
        DataClass.PAYMENT_CARD,
        DataClass.BANK_ACCOUNT,
        DataClass.DATE_OF_BIRTH,
        DataClass.PERSON_NAME,
        DataClass.PHONE,
        DataClass.IP_ADDRESS,
    )
)
_SHOWN, _ASKED = frozenset(("output",)), frozenset(("filter", "join", "group", "order"))
"""Roles of columns: what reaches the result, and what only decides which rows do, and how."""


def harms(statement: Statement, tags: CatalogueTags | None, sight: Sight | None, clear: Classes) -> tuple[Danger, ...]:
    """Return what a statement could do harm by that only classes tell, to whom `clear` is shown as it is.

    `sensitive_read`: it shows some of that. `inference`: it filters, joins, groups or sorts by what is masked, and so its
    rows, or their number, tell something of it. A column that is not certain counts as what the tables it may be of hold.
    """
    if tags is None or sight is None:
        return ()
    found: list[Danger] = []
    shown = (c.name for c in statement.facts.columns if not _SHOWN.isdisjoint(c.roles))
    if _behind(statement, tags, sight, shown) & clear:
        found.append(Danger.SENSITIVE_READ)
    if _asked_of(statement, tags, sight) - clear:
        found.append(Danger.INFERENCE)
    return tuple(found)


def _behind(statement: Statement, tags: CatalogueTags, sight: Sight, names: Iterable[str]) -> Classes:
    """Return the classes of columns that a statement names; where they are not certain, of all that it touches."""
    found = tags.behind(names, (*statement.facts.reads, *statement.facts.writes))
    return (sight.touched or EVERY) if found is None else found


def _asked_of(statement: Statement, tags: CatalogueTags, sight: Sight, looked_up: frozenset[str] = _NAMES) -> Classes:
    """Return the classes of all that conditions ask of, but for columns by which rows are looked up."""
    facts, shape = statement.facts, statement.shape
    columns = {c.name for c in facts.columns if not _ASKED.isdisjoint(c.roles)} - looked_up
    if facts.verbs[:1] == ("do",):  # what DO reads it shows to nobody: its code goes by it, and says how it went
        read = {c.name for c in facts.columns if not _SHOWN.isdisjoint(c.roles)}
        # A variable beside a look-up is what was read into it, which is among these itself.
        columns |= {name for name in read if not (looked_up and _is_variable(statement, tags, name))}
    asked = _behind(statement, tags, sight, columns - shape.null_tested)
    if shape.asks_handed is not None:
        asked |= _behind(statement, tags, sight, shape.asks_handed)
    if not all(map(tags.is_own, shape.asking)):  # a condition on what a function gives
        by_code = tags.any_of(shape.code_reads)
        asked |= (sight.touched or EVERY) if by_code is None else by_code
    return asked


def _is_variable(statement: Statement, tags: CatalogueTags, name: str) -> bool:
    """Tell whether a name in code is of no column of what the code touches, and so must be a variable of its own."""
    relation, _, short = name.rpartition(".")
    known = [tags.columns(table) for table in (*statement.facts.reads, *statement.facts.writes)]
    return relation == "?" and all(columns is not None and short not in columns for columns in known)


def looks_up(statement: Statement, tags: CatalogueTags | None, sight: Sight | None, clear: Classes) -> bool:
    """Tell whether a statement asks of what is masked only for the row of one whole value.

    Such a value is known before. It is an e-mail address, or one of a column that has no other like it: nobody guesses those.
    Numbers that are written in a known form, or shown but for some digits, can be guessed and are none.
    """
    looked_up = statement.shape.looked_up
    if tags is None or sight is None or not looked_up or statement.shape.asks_handed is not None:
        return False
    if _asked_of(statement, tags, sight, looked_up) - clear:
        return False
    asked = {c.name for c in statement.facts.columns if not _ASKED.isdisjoint(c.roles)} - statement.shape.null_tested
    return all(_is_lookup(tags, statement, name, clear) for name in looked_up & asked)


def _is_lookup(tags: CatalogueTags, statement: Statement, name: str, clear: Classes) -> bool:
    facts, shape = statement.facts, statement.shape
    touched = (*facts.reads, *facts.writes)
    classes = tags.behind((name,), touched)
    if classes is None or classes <= clear:
        return classes is not None
    found = tags.relations_of(name)
    if found and all(relation.kind in "vm" for relation in found):
        return True  # the column behind it is judged
    if tags.is_document((name,), touched, _DOCUMENTS):  # what is under a key that says nothing is shown but for values in it
        taken = tags.taken((name,), shape.keys, touched)
        plain = taken is not None and taken <= PROSE
        return classes <= PROSE and plain and (shape.keys != () or name in shape.searched)
    if name in shape.searched or classes <= PROSE:
        return classes <= PROSE
    if tags.is_made(name):
        return False
    is_address = classes <= _ADDRESSES and by_name(name.rpartition(".")[2]) == _ADDRESSES
    return is_address or (tags.is_key(name) and classes.isdisjoint(_GUESSABLE))


def written(statement: Statement, tags: CatalogueTags | None, sight: Sight | None) -> tuple[Iterable[str], Iterable[str]]:
    """Return the classes of the columns that a statement gives values, and of the tables of which it removes rows."""
    facts = statement.facts
    writes = [name for name in facts.writes if not _is_own(statement, tags, name)]  # what is nobody else's does no harm
    if not writes:
        return (), ()
    if tags is None:
        return sorted(EVERY), sorted(EVERY)
    if sight is None:
        return (), ()
    own = tuple(f"{name}." for name in facts.writes if name not in writes)
    columns = [c.name for c in facts.columns if "write" in c.roles and not c.name.startswith(own)]
    given = tags.behind(columns, writes)
    held = {name: tags.any_of((name,)) for name in writes}
    if given is None or None in held.values():
        everything = sorted(sight.touched or EVERY)
        return everything, everything
    known = _WRITING.issuperset(facts.verbs)
    removes = not known or not _REMOVING.isdisjoint(facts.verbs)
    named = {column.rpartition(".")[0] for column in columns}
    for name, classes in held.items():
        if not known or (name not in named and not removes):
            given |= classes or _NOTHING
    return sorted(given), sorted(_NOTHING.union(*(c or _NOTHING for c in held.values())) if removes else _NOTHING)


def _is_own(statement: Statement, tags: CatalogueTags | None, name: str) -> bool:
    """Tell whether a name is of a temporary table; rows of a temporary view are those of other tables."""
    schema, _, short = name.partition(".")
    if schema != "pg_temp":
        return False
    table = tags is not None and short in tags.temporary
    return table or _OF_ROWS.isdisjoint(statement.facts.verbs) or any(made.name == name for made in statement.shape.made)
