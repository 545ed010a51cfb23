"""What a database holds, as far as it changes what a statement does: a snapshot, pure data, and who asks it what.

Names are looked up as the server would, and wherever more than one object may be meant, all of them are: what a statement
does is then the most that it could. `version` is a digest of the contents; analyses made under one are not used under another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from processors.statements.sizes import Sizes

MAX_OBJECTS = 100_000
"""Relations and functions together; a larger database has no snapshot, and says so."""

FIRST_OWN_OID = 16384
"""What has a lower number came with the server (FirstNormalObjectId)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column, by the number that row descriptions name it by."""

    name: str
    number: int
    type: str = ""
    not_null: bool = False
    comment: str = ""
    generated: str = ""
    """The expression that makes it of others of its row."""
    default: str = ""
    """The expression it has where it is given nothing, if that calls something."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like; `kind` is pg_class.relkind. Names of other objects are `schema.name`."""

    schema: str
    name: str
    kind: str
    oid: int = 0
    rows: float = 0
    definition: str = ""
    columns: tuple[Column, ...] = ()
    kin: tuple[str, ...] = ()
    triggers: tuple[tuple[str, str], ...] = ()
    """(`insert`, `update`, `delete` or `truncate`, function) of each that is switched on."""
    rules: tuple[tuple[str, str], ...] = ()
    """(event, definition); an event that is none of the above is any."""
    expressions: tuple[str, ...] = ()
    """What a write computes: defaults, checks, index and partition keys, conditions of triggers; ANALYZE computes them too."""
    policies: tuple[str, ...] = ()
    """What row level security computes for whoever reads or writes."""
    wrapper: str = ""
    comment: str = ""
    cascades: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Tables whose rows go, or change, with its own: (`delete` or `update`, table, columns of its key)."""
    belongs: tuple[tuple[str, str], ...] = ()
    """Tables of which every row of it has one: (table, its column that refers to that, which is never NULL)."""
    keys: tuple[str, ...] = ()
    """Columns of which no two rows have the same value, each by itself."""

    @property
    def qualified(self) -> str:
        """`schema.name`."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Function:
    """A function or procedure that did not come with the server; `volatility` is pg_proc.provolatile."""

    schema: str
    name: str
    language: str
    volatility: str
    body: str
    oid: int = 0
    definer: bool = False
    extension: str = ""
    defaults: str = ""
    """Expressions of arguments that a call may leave out."""
    settings: tuple[str, ...] = ()
    """Settings it runs under, as `name=value`."""
    calls: tuple[str, ...] = ()
    """Functions that an aggregate is made of."""
    result: str = ""
    """The type of its result, if that did not come with the server."""
    takes: tuple[str, ...] = ()
    """Types of its arguments that did not come with the server: a call makes values of them."""
    arguments: tuple[str, ...] = ()
    """Names of the arguments that calls give, as its body may use them."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """One database's snapshot. Equal are snapshots of equal contents."""

    relations: Mapping[str, tuple[Relation, ...]]
    functions: Mapping[str, tuple[Function, ...]]
    event_triggers: tuple[str, ...] = ()
    operators: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """By name: (schema, function) of each operator that did not come with the server."""
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name: functions that making a value of the type may run, those of types it is made of included."""
    casts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name: functions that turn a value of the type into another, named or not."""
    compares: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name: functions that sorting, grouping or comparing values of the type may run."""
    shadowed: bool = False
    """Whether names without a schema may mean another than schema public before any search_path was set."""
    builtins: frozenset[str] = frozenset()
    by_oid: Mapping[int, str] = field(default_factory=dict)
    system: Mapping[int, tuple[str, Mapping[int, str]]] = field(default_factory=dict)
    """The server's own relations: by oid their name and their columns' names by number."""
    version: str = ""
    type_names: Mapping[int, str] = field(default_factory=dict)
    """By oid: names of the types that making a value of may run functions."""
    sizes: Sizes = field(default_factory=dict)
    """How many rows its larger tables had, and shares of them, when it was read."""
    temporary_first: bool = True
    """Whether a session keeps its temporary tables, and names without a schema mean them first until it sets a search_path."""
    effects: dict[object, Any] = field(default_factory=dict)
    """Memory of whoever resolves, for as long as the snapshot lives."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalogue) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    def find(self, schema: str, name: str) -> tuple[Relation, ...]:
        """Return the relations a name may mean: `?` any of its name; temporary ones stand before all others."""
        found = self.relations.get(name, ())
        if schema == "?":
            return found
        return tuple(r for r in found if r.schema == schema or r.schema.startswith("pg_temp"))

    def find_functions(self, name: str) -> tuple[Function, ...]:
        """Return the functions that `name` or `schema.name` may mean."""
        schema, _, short = name.rpartition(".")
        return tuple(f for f in self.functions.get(short, ()) if not schema or f.schema.lower() == schema)

    def code_of(self, functions: Iterable[str], relations: Iterable[str], whole: bool = False) -> dict[str, str]:
        """Return digests of the code that runs where these functions are called and these relations read or written, by name.

        `whole`: also of everything that the snapshot holds, where what runs cannot be told. A table by which nothing runs has the
        digest of its number alone, which begins with `table`.
        """
        found = {"*": self.version} if whole else {}
        for name in set(functions):
            known = [f for f in self.find_functions(name) if not f.schema.startswith("pg_temp")]
            if known:
                said = [(f.schema, f.name, f.language, f.volatility, f.body, f.oid, f.definer) for f in known]
                found[f"{name}()"] = _digest([said, [(f.defaults, f.settings, f.calls) for f in known]])
        for name in set(relations):
            schema, _, short = name.partition(".")
            for r in self.find(schema, short):
                if not r.schema.startswith("pg_temp"):
                    code = (r.definition, r.triggers, r.rules, r.expressions, r.policies)
                    found[r.qualified] = _digest([r.oid, code]) if any(code) else f"table {r.oid}"
        return found


def build(
    relations: Iterable[Relation],
    functions: Iterable[Function],
    *,
    event_triggers: Iterable[str] = (),
    operators: Iterable[tuple[str, str, str]] = (),
    types: Iterable[tuple[str, str]] = (),
    casts: Iterable[tuple[str, str]] = (),
    compares: Iterable[tuple[str, str]] = (),
    builtins: Iterable[tuple[int, str]] = (),
    system: Iterable[tuple[int, str, Iterable[tuple[int, str]]]] = (),
    shadowed: bool = False,
    temporary_first: bool = True,
    sizes: Sizes | None = None,
    type_names: Mapping[int, str] | None = None,
) -> Catalogue:
    """Return the snapshot of what was read; row counts and statistics do not make another version."""
    by_name: dict[str, tuple[Relation, ...]] = {}
    for relation in relations:
        by_name[relation.name] = (*by_name.get(relation.name, ()), relation)
    called: dict[str, tuple[Function, ...]] = {}
    by_oid = dict(builtins)
    names = frozenset(by_oid.values())
    for function in functions:
        short = function.name.lower()
        called[short] = (*called.get(short, ()), function)
        by_oid[function.oid] = f"{function.schema}.{function.name}".lower()
    digest = sha256()
    events, ordered = tuple(event_triggers), sorted(operators)
    makes, turns, orders = sorted(types), sorted(casts), sorted(compares)
    # Of others, such as the types that come and go with everybody's temporary tables, nobody asks: they make no other version.
    runs = {name for name, _ in makes}
    numbers = sorted((oid, name) for oid, name in (type_names or {}).items() if name in runs)
    for part in _parts(by_name, called, events, ordered, makes, turns, orders, shadowed, numbers, temporary_first):
        digest.update(part)
    own = {oid: (name, dict(columns)) for oid, name, columns in system}
    return Catalogue(
        by_name,
        called,
        events,
        _grouped((name, (schema, function)) for name, schema, function in ordered),
        _grouped(makes),
        _grouped(turns),
        _grouped(orders),
        shadowed,
        names,
        by_oid,
        own,
        digest.hexdigest()[:16],
        dict(numbers),
        sizes or {},
        temporary_first,
    )


def _digest(said: object) -> str:
    return sha256(orjson.dumps(said)).hexdigest()[:32]


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found


def _parts(
    relations: Mapping[str, tuple[Relation, ...]], functions: Mapping[str, tuple[Function, ...]], *rest: Any
) -> Iterator[bytes]:
    for name in sorted(relations):
        for r in relations[name]:
            yield orjson.dumps(
                [
                    r.schema,
                    r.name,
                    r.kind,
                    r.oid,
                    r.rows > 100_000,
                    r.definition,
                    r.kin,
                    r.triggers,
                    r.rules,
                    r.expressions,
                    r.policies,
                    r.cascades,
                    r.belongs,
                    r.keys,
                ]
            )
            yield orjson.dumps([[c.name, c.number, c.type, c.not_null, c.comment, c.generated, c.default] for c in r.columns])
    for name in sorted(functions):
        for f in functions[name]:
            yield orjson.dumps([f.schema, f.name, f.language, f.volatility, f.body, f.oid, f.definer])
            yield orjson.dumps([f.defaults, f.settings, f.calls, f.result, f.takes, f.arguments])
    yield orjson.dumps(rest)
