"""What may a statement show? Judged once per statement and snapshot, whoever asks; None where nothing of it can be sensitive.

Facts name the relations it touches, also through views, functions and triggers, and the columns behind each output. Whatever
is not certain counts as the worst: a relation the snapshot does not know, code that cannot be read, an output of unknown origin.
What would carry values to where nothing masks them (another column, a setting, a notification, a file, a delay) is in `leaks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from ingest.masking.server_views import DEFINED, DEFINING, TELLING
from ingest.masking.structures import member
from ingest.masking.tags import EVERY, NOTHING, PROSE, CatalogueTags, Classes
from processors.statements import Statement
from processors.statements.dangers.functions import of_function
from processors.statements.facts.scope import CONSTANT, RESULT, ROWS
from processors.statements.statement import Shape
from schemas.classes import DataClass
from schemas.events import Danger, StatementFlag

_UNREADABLE = frozenset((StatementFlag.OPAQUE, StatementFlag.UNPARSED, StatementFlag.OVERSIZE, StatementFlag.DYNAMIC_SQL))
_READERS = frozenset(
    (Danger.OPAQUE, Danger.BULK_EXPORT, Danger.FILE_ACCESS, Danger.REPLICATION, Danger.NETWORK_EGRESS, Danger.LARGE_OBJECT)
)
"""Dangers of functions whose results come from elsewhere than their arguments."""
_CARRIERS = frozenset(
    (
        Danger.LARGE_OBJECT,
        Danger.NETWORK_EGRESS,
        Danger.FILE_ACCESS,
        Danger.PROGRAM_EXECUTION,
        Danger.ADVISORY_LOCK,
        Danger.REPLICATION,
        Danger.AUDIT_TAMPERING,
        Danger.RESOURCE_EXHAUSTION,
    )
)
"""Dangers of functions that show their arguments to others, or later, or by how long they take."""
_SETTERS = frozenset(("set_config", "pg_notify", "setval", "setseed"))
_COUNTERS = frozenset(("nextval", "currval", "lastval"))
_OUT = frozenset((StatementFlag.COPY_FILE, StatementFlag.COPY_PROGRAM))
_BY_NAME = frozenset(("fetch", "move"))
_SAYING = frozenset(("output", "argument"))
_KEEPING = frozenset(
    (  # noqa: SIM905 - a list of words
        "count max min lower upper coalesce concat concat_ws array_agg string_agg json_agg jsonb_agg to_json "
        "to_jsonb row_to_json json_build_object jsonb_build_object json_build_array jsonb_build_array json_object_agg "
        "jsonb_object_agg jsonb_each jsonb_each_text json_each json_each_text jsonb_array_elements jsonb_array_elements_text "
        "json_array_elements json_array_elements_text jsonb_extract_path jsonb_extract_path_text json_extract_path "
        "json_extract_path_text jsonb_path_query jsonb_path_query_first jsonb_object_keys json_object_keys jsonb_array_length "
        "json_array_length jsonb_strip_nulls jsonb_set jsonb_typeof json_typeof jsonb_pretty sum avg row_number rank dense_rank "
        "lag lead first_value last_value now length char_length octet_length unnest array_length cardinality date_trunc extract "
        "current_date current_timestamp generate_series round abs exists any_value bool_or bool_and every greatest least "
    ).split()
)
"""Functions that leave a value in one piece."""


class Leak(StrEnum):
    """How a statement would tell values that are masked."""

    COMPARED = "compared"
    COUNTED = "counted"
    COPIED = "copied"
    REWORKED = "reworked"
    WRITTEN_BY_CODE = "written_by_code"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True, slots=True)
class Sight:
    """`front` and `back` are the classes behind the first and the last columns, `rest` those of any other; None is not known.

    `exact`: `front` has every column. `code`: messages may come from code, and say anything. `leaks` are the classes that would
    get to where nothing masks them, None if that cannot be told, and `reasons` how. `by_name`: it shows what something of a name
    shows. `watch`: it touches untagged columns of which too little was seen. `doubted`: the snapshot has not the objects as they
    are now. `temporary`: it names temporary tables of the session by these short names, whose columns are among these while they
    are there. `granted_by`: the session has grants, and what they let this statement show counts. `said`: constants that
    the client itself wrote into an EXPLAIN. `stored` are the tables' columns that COPY shows, as `Shape.stored`.
    """

    front: tuple[Classes | None, ...] = ()
    back: tuple[Classes | None, ...] = ()
    rest: Classes | None = None
    exact: bool = False
    code: bool = True
    leaks: Classes | None = NOTHING
    touched: Classes | None = None
    by_name: bool = False
    watch: bool = False
    doubted: bool = False
    reasons: tuple[tuple[Leak, Classes], ...] = ()
    granted_by: Statement | None = None
    temporary: frozenset[str] = frozenset()
    said: tuple[bytes, ...] = ()
    stored: tuple[str, ...] | None = None

    def computed(self, n: int, count: int) -> Classes | None:
        """Return the classes behind column `n` of `count`."""
        if self.exact:
            return self.front[n] if len(self.front) == count else self.rest
        if len(self.front) + len(self.back) > count:
            return self.rest
        if n < len(self.front):
            return self.front[n]
        return self.back[n - count] if count - n <= len(self.back) else self.rest


UNSEEN = Sight(leaks=None)
"""Of what cannot be read at all."""
_DEFERRED = Sight(rest=NOTHING)
"""Of the end of a transaction: deferred triggers and constraints may report anything."""
BY_NAME = Sight(by_name=True)
"""Of what is run or fetched by a name that says nothing."""


def look(statement: Statement, tags: CatalogueTags | None) -> Sight | None:
    """Return what a statement may show; `tags` None means that no catalogue could be read."""
    facts, shape = statement.facts, statement.shape
    dangers = frozenset(facts.dangers)
    verb = facts.verbs[0] if facts.verbs else ""
    if not _UNREADABLE.isdisjoint(facts.flags) or Danger.OPAQUE in dangers:
        return UNSEEN
    if StatementFlag.EXECUTE in facts.flags or (verb in _BY_NAME and not facts.reads):
        return _by_name(statement, tags)
    touched = (*facts.reads, *facts.writes)
    doing = frozenset().union(*(of_function(name) for name in facts.functions))
    called = {name.rpartition(".")[2] for name in (facts.functions if shape.called is None else shape.called)}
    foreign = not doing.isdisjoint(_READERS) or Danger.UNKNOWN_CODE in dangers or not called.isdisjoint(TELLING)
    foreign = foreign or ("pg_stat_statements" in called and Danger.CREDENTIAL_READ in dangers)
    code = foreign or verb in ("do", "call", "commit", "set", "prepare_transaction")
    if tags is None:
        return Sight(code=True) if touched or facts.functions else Sight(rest=NOTHING, code=True) if code else None
    code = code or any(name.rpartition(".")[2] in tags.catalogue.functions for name in facts.functions)
    held = [tags.any_of((name,)) for name in touched]
    if all(h == NOTHING for h in held) and not foreign and (shape.keys == () or not touched):
        if not DEFINING.isdisjoint(called) or not DEFINED.keys().isdisjoint(touched):
            return Sight(rest=NOTHING, code=code, touched=NOTHING, watch=True)
        if any(map(tags.watching, touched)):
            plain = facts.verbs == ("select",) and not facts.writes and not code
            if not plain or tags.watching_any((c.name for c in facts.columns), touched):
                return Sight(rest=NOTHING, code=code, touched=NOTHING, watch=True)
        return _DEFERRED if verb == "commit" else None
    by_code = EVERY if foreign else tags.any_of(shape.code_reads)
    used = tags.behind((c.name for c in facts.columns if not c.roles or not _SAYING.isdisjoint(c.roles)), touched)
    rest = None if used is None or by_code is None or foreign else used | by_code
    everything = None if None in held else frozenset().union(*(h for h in held if h))
    ways = _leaks(statement, tags, touched, used, by_code, doing)
    leaks, reasons = NOTHING.union(*ways.values()), tuple((leak, classes) for leak, classes in ways.items() if classes)
    if StatementFlag.EXPLAIN in facts.flags:
        # A plan shows what the client wrote; and what functions gave that the planner ran, which says `rest`.
        return Sight((), (), None if by_code else PROSE, False, code, leaks, everything, reasons=reasons)
    front, back, exact = _outputs(shape, by_code, touched, tags)
    if not called <= _KEEPING:
        # Free text cut into pieces or encoded is text that value detection finds nothing in.
        front, back, rest = tuple(map(_whole, front)), tuple(map(_whole, back)), _whole(rest)
    elif rest is not None:
        rest = member(rest | PROSE, shape.keys, touched) if shape.keys != () else rest
    watch = any(map(tags.watching, touched))
    return Sight(front, back, rest, exact, code, leaks, everything, watch=watch, reasons=reasons, stored=shape.stored)


def _by_name(statement: Statement, tags: CatalogueTags | None) -> Sight:
    """Return the sight of EXECUTE: what functions give for its parameters may be compared, or shown, by what it runs."""
    shape = statement.shape
    given = shape.called or frozenset()
    doing = frozenset().union(*(of_function(name) for name in given))
    short = {name.rpartition(".")[2] for name in given}
    foreign = not doing.isdisjoint(_READERS) or not short.isdisjoint(TELLING) or (tags is None and bool(shape.code_reads))
    known = None if foreign or tags is None else tags.any_of(shape.code_reads)
    told = EVERY if known is None and (foreign or shape.code_reads) else known or NOTHING
    return Sight(by_name=True, leaks=told, reasons=((Leak.HANDED_OVER, told),)) if told else BY_NAME


CODE = "()"
"""Among changed names: functions, operators, casts, types and whatever else has no relation's name."""
VALUES = "(*)"
"""Among changed names: what runs code and stands in no statement by its name, as operators, casts and domains."""
TELLS = "(!)"
"""Among changed names: code that may carry values to where nothing masks them."""
RENAMED = "(=)"
"""Among changed names: relations got others' names, so that a name may mean what the snapshot has under another."""


_SAME_AFTER = frozenset(("refresh_materialized_view", "create_index", "drop_index", "create_statistics", "create_sequence"))
"""What leaves every object's columns and code as they are."""
_QUERYING = frozenset(("select", "insert", "update", "delete", "merge"))


_OF_VALUES = ("create_define", "create_cast", "create_domain", "alter_domain", "create_transform", "create_op", "alter_op")


def changes(statement: Statement, tags: CatalogueTags | None) -> set[str]:
    """Return the short names of what a statement changes, and `CODE`, `VALUES`, `TELLS` if it changes more than relations."""
    facts = statement.facts
    if facts.verbs and facts.verbs[0] in _SAME_AFTER and _QUERYING.issuperset(facts.verbs[1:]):
        return set()
    names = {name.rpartition(".")[2] for name in facts.writes}
    verb = facts.verbs[0] if facts.verbs else ""
    if verb == "commit_prepared":  # of whatever another session, or this one long ago, had changed
        return {CODE, VALUES, TELLS}
    if verb == "alter_table":  # its rows are those of the tables that it is made a part of, too
        names.update(name.rpartition(".")[2] for name in facts.reads)
    for _, column, newer in statement.shape.renames:
        if not column:
            names |= {RENAMED, newer}
    relations = verb.startswith(
        ("create_table", "create_view", "create_mat", "create_index", "alter_table", "drop_table", "truncate")
    )
    if names and relations:
        return names
    names |= {CODE, *statement.shape.code.names}
    if verb.startswith(_OF_VALUES):
        names.add(VALUES)
    return names | {TELLS} if _tells(statement, tags) else names


def _tells(statement: Statement, tags: CatalogueTags | None) -> bool:
    """Tell whether code that a statement makes reads what is sensitive, writes, or does what is not known."""
    code = statement.shape.code
    calls = {name.rpartition(".")[2] for name in code.calls}
    doing = frozenset[Danger]().union(*map(of_function, calls))
    if code.writes or not calls.isdisjoint(_SETTERS | _COUNTERS | TELLING) or not doing.isdisjoint(_CARRIERS | _READERS):
        return True
    reads = (*code.reads, *statement.facts.reads)
    return tags is None or tags.any_of(reads) != NOTHING or not all(map(tags.is_own, code.calls))


def doubted(statement: Statement, found: Sight | None, changed: set[str], tags: CatalogueTags | None) -> Sight | None:
    """Return the sight of a statement while objects are not as the snapshot has them: of what uses them, nothing is certain."""
    facts = statement.facts
    made = {made.name for made in statement.shape.made if made.temporary}  # whatever had its name before
    touched = {name.rpartition(".")[2] for name in (*facts.reads, *facts.writes) if name not in made} & changed
    called = {name.rpartition(".")[2] for name in facts.functions}
    new = bool(called & changed) or tags is None or not called <= tags.catalogue.functions.keys() | tags.catalogue.builtins
    calls = new or tags is None or not called.isdisjoint(tags.catalogue.functions)
    defines = facts.verbs[:1] and facts.verbs[0].startswith(("create_", "alter_", "drop_"))
    values = VALUES in changed and bool(facts.reads or facts.functions or (facts.writes and not defines))
    if not touched and not values and not (CODE in changed and (calls or facts.writes)):
        return found
    if TELLS in changed and (new or values or (touched and facts.writes)):
        return Sight(leaks=EVERY, doubted=True)
    leaks = found.leaks if found is not None else NOTHING
    carries = statement.shape.flows or any(name.rpartition(".")[2] in _SETTERS or of_function(name) for name in facts.functions)
    carries = carries or (bool(facts.writes) and StatementFlag.EXECUTE in facts.flags)
    if carries and leaks is not None:
        tables = tags is not None and all(r.kind in "rpf" for name in touched for r in tags.catalogue.find("?", name))
        known = tags.any_of(facts.reads) if tags is not None and tables and changed.isdisjoint((CODE, RENAMED)) else None
        leaks = leaks | (EVERY if known is None else known)
    return Sight(leaks=leaks, doubted=True)


def _whole(classes: Classes | None) -> Classes | None:
    return None if classes is not None and DataClass.FREE_TEXT in classes else classes


def _outputs(
    shape: Shape,
    by_code: Classes | None,
    touched: tuple[str, ...],
    tags: CatalogueTags,
) -> tuple[tuple[Classes | None, ...], tuple[Classes | None, ...], bool]:
    if shape.outputs is None or by_code is None:
        return (), (), False
    parts: list[list[Classes | None] | None] = []
    for output in shape.outputs:
        if output is None:
            parts.append(None)
        elif isinstance(output, str):
            columns = tags.columns(output)
            parts.append(None if columns is None else [c | by_code for c in columns.values()])
        else:
            classes = tags.taken(output, shape.keys, touched)
            parts.append([None if classes is None else classes | by_code])
    if None not in parts:
        return tuple(c for part in parts for c in part or ()), (), True
    first, last = parts.index(None), len(parts) - 1 - parts[::-1].index(None)
    return (
        tuple(c for part in parts[:first] for c in part or ()),
        tuple(c for part in parts[last + 1 :] for c in part or ()),
        False,
    )


def _leaks(
    statement: Statement,
    tags: CatalogueTags,
    touched: tuple[str, ...],
    used: Classes | None,
    by_code: Classes | None,
    doing: frozenset[Danger],
) -> dict[Leak, Classes]:
    """Return the classes that the statement would carry to where nothing masks them, by the way they would get there."""
    facts, shape = statement.facts, statement.shape
    code = bool(shape.code_reads or shape.code_writes) or not all(map(tags.is_own, facts.functions))

    def behind(names: Iterable[str]) -> Classes:
        found = tags.behind(names, touched, by_code, code)
        return EVERY if found is None else found

    carried = EVERY if used is None else used
    found: dict[Leak, Classes] = dict.fromkeys(Leak, NOTHING)
    setting = any(name.rpartition(".")[2] in _SETTERS for name in facts.functions)
    if setting or not doing.isdisjoint(_CARRIERS):
        found[Leak.HANDED_OVER] |= carried
    if not _OUT.isdisjoint(facts.flags):
        found[Leak.HANDED_OVER] |= tags.any_of(facts.reads) or EVERY
    # What code gives is masked by all that it reads; what it compares matters where it writes of it.
    carries = bool(shape.code_writes) or setting or not doing.isdisjoint(_CARRIERS)
    for parts in (*shape.compared, *shape.code_compared) if carries else shape.compared:
        # Beside a value that is shown, a condition on one that is not tells it: letters = substr(email, 1, 1).
        sides = _sides(parts, behind, shape.keys, touched, tags)
        # What functions give of constants is one, unless they read what is masked.
        sides = [(part, classes) for part, classes in sides if classes or not tags.is_constant(part)]
        if any(not classes or tags.may_be_shown(part, touched) for part, classes in sides):
            found[Leak.COMPARED] |= NOTHING.union(*(classes for _, classes in sides))
    found[Leak.COUNTED] = behind(shape.counted) - PROSE
    if facts.verbs and facts.verbs[0] in ("alter_table", "create_table"):
        by_code = tags.any_of(shape.code_reads)  # a default, or a generated column
        found[Leak.COPIED] |= EVERY if by_code is None else by_code
    for target, names in shape.flows:
        found[Leak.COPIED] |= _unmasked(target, behind(names), names, tags)
        if target in shape.reworked and _held(target, tags) & tags.speaking:
            # Of a@ and a name, a mask would keep the name; equal masks of single letters spell the word.
            found[Leak.REWORKED] |= behind(names) - PROSE
    if shape.code_writes:
        # A variable of a function's may hold anything that the function has read, or was given.
        written = [columns for name in shape.code_writes if (columns := tags.columns(name)) is not None]
        if any(not held for columns in written for held in columns.values()):
            saying = [c.name for c in facts.columns if not c.roles or "output" in c.roles]
            found[Leak.WRITTEN_BY_CODE] = tags.behind((*saying, *shape.handed), touched) or NOTHING
    return found


def _sides(
    parts: Iterable[frozenset[str]],
    behind: Callable[[Iterable[str]], Classes],
    keys: tuple[str, ...] | None,
    touched: tuple[str, ...],
    tags: CatalogueTags,
) -> list[tuple[frozenset[str], Classes]]:
    """Return what a comparison refers to, with its classes beside prose.

    A document of which it is not known what is taken may say anything to whatever it is compared with but its own members.
    """
    documents = {part for part in parts if tags.is_document(part, touched, _PATHS if keys is None else ("xml",))}
    others = [part for part in parts if part not in documents and not all(map(_is_taken, part))]
    found = []
    for part in parts:
        classes = behind(part)
        if others and part in documents and DataClass.FREE_TEXT in classes:
            found.append((part, EVERY - PROSE))
        else:
            found.append((part, _member(classes, keys, touched) - PROSE))
    return found


_TAKING = ("json", "xml", "xpath", "each", "skeys", "svals", "akeys", "avals", "unnest")


def _is_taken(name: str) -> bool:
    return name in (ROWS, CONSTANT) or (name.endswith(RESULT) and name.rpartition(".")[0][:-2].startswith(_TAKING))


_PATHS = ("xml", "json", "jsonb", "hstore")


def _member(classes: Classes, keys: tuple[str, ...] | None, touched: tuple[str, ...]) -> Classes:
    """Return the classes of a value where it may be a document's member, by keys that all say what stands under them."""
    if classes != PROSE or not keys:
        return classes
    told = [member(PROSE, (key,), touched) or NOTHING for key in keys]
    return NOTHING.union(*told) if all(c - PROSE for c in told) else classes


def _held(target: str, tags: CatalogueTags) -> Classes:
    """Return the classes of a target column: of a temporary table none, for what is there is shown as what is computed."""
    table, _, column = target.rpartition(".")
    short = table.rpartition(".")[2]
    if table.startswith("pg_temp") or short in tags.temporary:
        return NOTHING
    columns = tags.columns(table)
    if columns is None:
        return tags.of_new(short, column)
    return columns[column] if column in columns else NOTHING.union(*columns.values())


def _unmasked(target: str, classes: Classes, behind: Iterable[str], tags: CatalogueTags) -> Classes:
    """Return those of the classes that a target column will not be masked for."""
    if not classes:
        return NOTHING
    table, _, column = target.rpartition(".")
    if table.startswith("pg_temp") or table.rpartition(".")[2] in tags.temporary:
        return NOTHING  # no snapshot has it, and what no snapshot has is masked
    columns = tags.columns(table)
    short = table.rpartition(".")[2]
    if column.startswith("#"):  # a column by its place: known where one table can be meant
        names = list(columns or ()) if len(tags.catalogue.find(*table.split(".", 1))) == 1 else []
        place = int(column[1:])
        return classes - (columns[names[place]] if columns and place < len(names) else NOTHING)
    if column != "*":
        return classes - (columns[column] if columns is not None and column in columns else tags.of_new(short, column))
    pairs: list[tuple[str, Classes]] = []
    for name in behind:
        if name.endswith(RESULT):
            pairs.append(("?", tags.behind((name,), (), classes) or NOTHING))
        else:
            pairs += (tags.columns(name.rpartition(".")[0]) or {"?": EVERY}).items()
    if columns is None:
        return NOTHING.union(*(c - tags.of_new(short, name) for name, c in pairs))
    return NOTHING.union(*(c - columns.get(name, NOTHING) for name, c in pairs))
