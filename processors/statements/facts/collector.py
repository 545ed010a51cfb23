"""Gathers one statement's facts while its tree is walked, and remembers which literals were looked at.

A literal that facts depend on must be part of what the facts are cached by. Every reader of a constant goes through
`constant` or `read_value`, which note it; facts for which nothing was noted hold for every text of the same template.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import orjson

from processors.statements.catalogue import Catalogue
from processors.statements.dangers.functions import DYNAMIC, of_function
from processors.statements.facts.names import Namer, is_plain
from processors.statements.facts.patterns import is_telling, is_trivial
from processors.statements.facts.scope import RESULT, ROWS
from processors.statements.grammar import tree_json
from processors.statements.sizes import Condition
from processors.statements.statement import NO_CODE, CopyFormat, Made, Shape
from schemas.events import ColumnUse, Danger, Facts, StatementFlag

Node = dict[str, Any]
"""A node of libpg_query's JSON: one key, the node type, and its fields."""

UNKNOWN: Any = object()
"""The value of what is not a constant."""

HARMLESS_SETTINGS = frozenset(
    (
        "search_path",
        "timezone",
        "datestyle",
        "intervalstyle",
        "client_encoding",
        "standard_conforming_strings",
        "backslash_quote",
        "escape_string_warning",
        "extra_float_digits",
        "bytea_output",
        "client_min_messages",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
        "row_security",
        "role",
        "session_authorization",
        "default_tablespace",
        "default_table_access_method",
        "default_toast_compression",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "default_transaction_deferrable",
        "synchronous_commit",
        "work_mem",
        "maintenance_work_mem",
        "jit",
        "check_function_bodies",
        "xmloption",
        "lc_messages",
        "lc_monetary",
        "lc_numeric",
        "lc_time",
        "enable_seqscan",
        "enable_indexscan",
        "enable_bitmapscan",
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_nestloop",
        "geqo",
    )
)
"""Settings whose values are no secret: shown where written without quotes."""

FOLLOWED_SETTINGS = frozenset(("search_path", "standard_conforming_strings", "client_encoding"))
"""Settings whose values are kept, for the proxy to follow: they change how later text reads."""

MAX_PROOFS = 1000
"""Subqueries looked into for what they restrict, of one statement: those that name each other several times would never end."""
MAX_ROUNDS = 50
"""Rounds of recursive CTEs followed in one statement, the first not counted: those within each other multiply."""
NEARLY_ALL = 0.9
"""Share of a table's keys that a range may hold and still restrict."""
MAX_NAMES = 500
"""Objects, columns and functions kept each; a statement with more is flagged opaque and says so by its size."""


def view_query(catalogue: Catalogue, definition: str) -> Node | None:
    """Return the SELECT of a view's definition, None if it cannot be read. Remembered with the snapshot."""
    key = ("query", definition)
    if key not in catalogue.effects:
        try:
            [entry] = orjson.loads(tree_json(definition))["stmts"]
            catalogue.effects[key] = entry["stmt"].get("SelectStmt")
        except Exception:
            catalogue.effects[key] = None
    found: Node | None = catalogue.effects[key]
    return found


HANDED = "handed"
"""Beside roles: given to a function that did not come with the server. Facts do not show it."""


_ASKING = frozenset(("filter", "join", "group", "order"))
MAX_LOOKED_UP = 8
"""Whole values that one statement may look rows up by; with more it guesses."""


class Collector:
    """Mutable facts of one statement."""

    def __init__(self, namer: Namer, elided: bool, catalogue: Catalogue | None = None) -> None:
        self.namer = namer
        self.catalogue = catalogue
        self.operators: set[tuple[str, str]] = set()
        self.types: set[str] = set()
        self.fields: set[str] = set()
        self.computed: set[str] = set()
        self.whole = False
        self.stepped: set[str] = set()
        """Functions that are called with a sum or difference of a value: code may come to itself so, key by key."""
        self.per_row: set[str] = set()
        """The database's functions that are called for every row of a table, or of a long series."""
        self.elided = elided
        self.verbs: dict[str, None] = {}
        self.reads: dict[str, None] = {}
        self.writes: dict[str, None] = {}
        self.functions: dict[str, None] = {}
        self.flags: set[StatementFlag] = set()
        self.dangers: set[Danger] = set()
        self.columns: dict[str, dict[str, None]] = {}
        self.settings: dict[str, str | None] = {}
        self.relation_names: set[str] = set()
        self.read_locations: set[int] = set()
        self.pattern_locations: set[int] = set()
        self.read_all = False
        self.depth = 0
        self.proofs = MAX_PROOFS
        self.rounds = MAX_ROUNDS
        self.sizes: dict[int, float] = {}
        self.asks_values = False
        """Whether a condition restricts for some values of its parameters only."""
        self.asks_amounts = False
        """Whether how much it makes depends on values of its parameters."""
        self.in_rounds = False
        """Whether what is walked is run until nothing is left: a LIMIT then leaves nothing out."""
        self.outputs: tuple[frozenset[str] | str | None, ...] | None = None
        self.flows: dict[tuple[str, frozenset[str]], None] = {}
        self.compared: dict[frozenset[frozenset[str]], None] = {}
        self.mixed: dict[frozenset[str], frozenset[frozenset[str]]] = {}
        self.code_compared: dict[frozenset[frozenset[str]], None] = {}
        self.united: dict[frozenset[str], frozenset[frozenset[str]]] = {}
        self.counted: set[str] = set()
        self.keys: dict[str, None] | None = {}
        self.called_here: frozenset[str] | None = None
        self.stored: tuple[str, ...] | None = None
        self.reworked: set[str] = set()
        self.asking: set[str] = set()
        """Functions that conditions and sort keys call."""
        self.code_reads: set[str] = set()
        self.code_writes: set[str] = set()
        self.copy_format: CopyFormat | None = None
        self.made: Node = {}
        """IntoClause of the table that the query walked next makes."""
        self.makes: list[Made] = []
        self.changes: dict[tuple[str, Condition], None] = {}
        self.renames: dict[tuple[str, str, str], None] = {}
        self.inserted: dict[tuple[str, tuple[frozenset[str] | str, ...]], None] = {}
        self.handed: set[str] = set()
        self.qualified: set[str] = set()
        self.code = NO_CODE
        self.asked: set[str] = set()
        """Columns of which a condition, a join, a grouping or an order tells more than whether they are one whole value."""
        self.looked_up: dict[str, int] = {}
        """Columns that are compared with one whole value, and how often."""
        self.null_tested: set[str] = set()
        """Columns of which something asks whether they are NULL, which no mask hides."""
        self.searched: set[str] = set()
        """Of these, those that a text search looks for words in."""
        self.named_outputs: set[str] = set()
        """What GROUP BY names that an output is called, as if it were a column: it is one only where a table has it."""
        self.asks_handed = False
        self.given: dict[str, frozenset[str]] = {}
        """What is behind the values of variables of code, where that is known."""
        self.handed_on: set[str] = set()
        """What code that is called gives to other code; names of no table's columns where that is not known."""
        self.variables: set[str] = set()
        """What code declares: of these names, no argument is meant."""

    def verb(self, verb: str) -> None:
        self.verbs[verb] = None

    def flag(self, *flags: StatementFlag) -> None:
        self.flags.update(flags)

    def danger(self, *dangers: Danger) -> None:
        self.dangers.update(dangers)

    def relation(self, range_var: Node) -> str:
        """Return the qualified name of a RangeVar's fields."""
        schema, name = range_var.get("schemaname"), range_var.get("relname", "")
        self.relation_names.update(n for n in (schema, name, range_var.get("catalogname")) if n)
        if schema is None and range_var.get("relpersistence") == "t":
            schema = "pg_temp"
        found = self.namer.relation(schema, name)
        if schema and not schema.startswith("pg_temp"):
            self.qualified.add(found)
        return found

    def changes_objects(self) -> bool:
        """Tell whether it changes rows, objects or rights."""
        return bool(self.writes) or not self.flags.isdisjoint((StatementFlag.DDL, StatementFlag.DCL))

    def nullable(self, name: str) -> frozenset[str] | None:
        """Return the columns of a table that may be NULL; None where that is not known."""
        if self.catalogue is None:
            return None
        found = self.catalogue.find(*name.split(".", 1))
        return frozenset(c.name for r in found if r.kind not in "vm" for c in r.columns if not c.not_null) if found else None

    def view(self, schema: str | None, name: str) -> Node | None:
        """Return the SELECT of the view that a name in FROM means, None if it means none, or another thing as well."""
        if self.catalogue is None:
            return None
        found = self.catalogue.find(*self.namer.relation(schema, name).split(".", 1))
        return view_query(self.catalogue, found[0].definition) if len(found) == 1 and found[0].kind in "vm" else None

    def table_behind(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the one table that a view reads and, by its own columns, that table's; of anything else its name."""
        found = () if self.catalogue is None else self.catalogue.find(*name.split(".", 1))
        if self.catalogue is None or len(found) != 1 or found[0].kind != "v":
            return name, {}
        query = view_query(self.catalogue, found[0].definition) or {}
        items = query.get("fromClause", [])
        if len(items) != 1 or "RangeVar" not in items[0]:
            return name, {}
        values = [
            t.get("ResTarget", {}).get("val", {}).get("ColumnRef", {}).get("fields", ()) for t in query.get("targetList", ())
        ]
        named = [(part[-1].get("String", {}).get("sval", "") if part else "") for part in values]
        table = items[0]["RangeVar"]
        base = f"{table.get('schemaname') or '?'}.{table.get('relname', '')}"
        return base, {c.name: n for c, n in zip(found[0].columns, named, strict=False) if n}

    def own_columns(self, name: str) -> frozenset[str] | None:
        """Return the columns of a table or view that hold its rows' own values; None where that is not known."""
        if self.catalogue is None:
            return None
        found = self.catalogue.find(*name.split(".", 1))
        if not found:
            return None
        own: set[str] = set()
        for relation in found:
            if relation.kind not in "vm":
                own.update(c.name for c in relation.columns)
                continue
            targets = (view_query(self.catalogue, relation.definition) or {}).get("targetList", ())
            # Columns of a view go by place: its definition may say other names, or a star that is none any more.
            plain = [("ColumnRef" in t.get("ResTarget", {}).get("val", {})) for t in targets]
            own.update(c.name for c, is_plain in zip(relation.columns, plain, strict=False) if is_plain)
        return frozenset(own | {"ctid"})

    def holds_nearly_all(self, name: str, column: str, bound: float, *, upward: bool) -> bool:
        """Tell whether statistics say that nearly all keys of a large table lie above (or below) a bound."""
        schema, _, table = name.rpartition(".")
        named = {} if self.catalogue is None else self.catalogue.sizes.get(table, {})
        shares = [s.share_beyond(column, bound, upward=upward) for where, s in named.items() if schema in (where, "?", "")]
        return max(shares, default=0.0) >= NEARLY_ALL

    def rows_of(self, table: str) -> float:
        """Return how many rows a larger table of this name has, infinitely many where that is not known."""
        named = {} if self.catalogue is None else self.catalogue.sizes.get(table, {})
        return max((float(size.rows) for size in named.values()), default=math.inf)

    def share_of(self, name: str, column: str, *, truth: bool | None) -> float | None:
        """Return the largest share of a larger table's rows that statistics give a column being true, false or NULL."""
        schema, _, table = name.rpartition(".")
        named = {} if self.catalogue is None else self.catalogue.sizes.get(table, {})
        meant = [s for where, s in named.items() if schema in (where, "?", "")]
        if truth is None:
            known = [s.nulls[column] for s in meant if column in s.nulls]
        else:
            known = [
                s.truths[column] if truth else 1 - s.truths[column] - s.nulls.get(column, 0.0)
                for s in meant
                if column in s.truths
            ]
        return max(known, default=None)

    def is_redefined(self, names: list[str], *, operator: bool = False) -> bool:
        """Tell whether a function or operator may be another than the server's or an extension's own of that name."""
        schema, name = names[-2].lower() if len(names) > 1 else "", names[-1] if operator else names[-1].lower()
        if schema == "pg_catalog":
            return False
        if self.catalogue is None:
            return bool(schema) and schema != "public"
        if operator:
            found = {where for where, _ in self.catalogue.operators.get(name, ())}
        else:
            found = {f.schema for f in self.catalogue.functions.get(name, ()) if not f.extension}
        return any(schema == where if schema else self.namer.path is None or where in self.namer.path for where in found)

    def called(self, short: str) -> None:
        """Note what a function can do, by its name without a schema."""
        dangers = of_function(short)
        if dangers:
            self.dangers |= dangers
            if short in DYNAMIC:
                self.flag(StatementFlag.DYNAMIC_SQL)

    def read(self, name: str) -> None:
        self.reads[name] = None

    def write(self, name: str) -> None:
        self.writes[name] = None

    def use(self, names: Iterable[str], *roles: str) -> None:
        for name in names:
            if name.endswith(RESULT):
                continue
            uses = self.columns.setdefault(name, {})
            if not _ASKING.isdisjoint(roles):
                self.asked.add(name)
            for role in roles:
                if role == HANDED:
                    self.handed.add(name)
                else:
                    uses[role] = None

    def use_as(self, name: str, names: Iterable[str], *roles: str) -> None:
        """Note that a column so used, which other names are meant by, is these."""
        found = set(names)
        known = found & self.asked
        self.use(found, *roles)
        if name in self.asked or not (name in self.looked_up or name in self.null_tested):
            return
        self.asked -= found - known
        self.searched |= found if name in self.searched else frozenset()
        self.null_tested |= found if name in self.null_tested else frozenset()
        for each in found if name in self.looked_up else ():
            self.looked_up[each] = self.looked_up.get(each, 0) + self.looked_up[name]

    def flow(self, target: str, behind: frozenset[str], *, reworked: bool = False) -> None:
        """Note that a column is given a value that comes from these columns; `reworked`: it is none of them as it is."""
        if behind:
            self.flows[target, behind] = None
            if reworked:
                self.reworked.add(target)

    def mix(self, behind: frozenset[str], references: Iterable[frozenset[str]]) -> None:
        """Note that the value of an output column, with these columns behind it, is made of several references."""
        found = self.unmixed(references)
        if len(found) > 1:
            self.mixed[behind] = self.mixed.get(behind, frozenset()) | found

    def unmixed(self, references: Iterable[frozenset[str]]) -> frozenset[frozenset[str]]:
        """Return references with those that outputs of subqueries were made of: a condition on such an output compares these."""
        found = frozenset(references)
        return found.union(*(self.mixed[r] for r in found if r in self.mixed)) if self.mixed else found

    def unite(self, behind: frozenset[str], arms: Iterable[frozenset[str]]) -> None:
        """Note that a column holds values of several queries, with these columns behind them: sorting it compares them."""
        found = frozenset(arms)
        if len(found) > 1:
            self.united[behind] = self.united.get(behind, frozenset()) | found

    def compare(self, references: Iterable[frozenset[str]], *, sorts: bool = False) -> None:
        """Note what a part of a condition, or a sort key, refers to: where it is several columns, the one may tell the other."""
        found = self.unmixed(references)
        if sorts and self.united:
            bare = {r: frozenset(c for c in r if c != ROWS) for r in found}
            found = found.union(*(self.united[b] for b in bare.values() if b in self.united))
        if len(found) > 1:
            self.compared[found] = None

    def shape(self) -> Shape:
        """Return where its cells come from and where its values go."""
        if next(iter(self.verbs), "").startswith(("create_", "alter_")):
            # What a view is made of is compared by whoever asks it, then no more known as such.
            self.compared.update(dict.fromkeys(self.mixed.values()))
        return Shape(
            self.outputs,
            tuple(self.flows),
            tuple(self.compared),
            frozenset(self.counted),
            frozenset(self.code_reads),
            frozenset(self.code_writes),
            self.copy_format,
            None if self.keys is None else tuple(self.keys),
            tuple(self.makes),
            tuple(self.renames),
            tuple(self.inserted),
            any(sum(not all(c.endswith(RESULT) for c in r) for r in parts) > 1 for parts in self.mixed.values()),
            tuple(self.changes),
            tuple(self.code_compared),
            self.called_here,
            frozenset(self.handed),
            self.code,
            frozenset(self.qualified),
            frozenset(self.looked_up.keys() - self.asked) if sum(self.looked_up.values()) <= MAX_LOOKED_UP else frozenset(),
            frozenset(self.searched),
            frozenset(self.null_tested - self.asked - self.looked_up.keys()),
            frozenset(self.handed | self.handed_on) if self.asks_handed else None,
            frozenset(self.asking),
            self.stored if self.copy_format is not None else None,
            frozenset(self.reworked),
        )

    def takes(self, keys: Iterable[str] | None) -> None:
        """Note by which names members are taken out of a document; None: by one that is not known."""
        if keys is None or self.keys is None:
            self.keys = None
            return
        self.keys.update(dict.fromkeys(keys))
        if len(self.keys) > MAX_NAMES:
            self.keys = None

    def constant(self, fields: Node) -> Any:
        """Return the Python value of an A_Const's fields (None for NULL), and note that it was read."""
        if fields.get("isnull"):
            return None
        if "boolval" in fields:
            return bool(fields["boolval"].get("boolval", False))
        self.read_locations.add(fields.get("location", 0))
        if "ival" in fields:
            return int(fields["ival"].get("ival", 0))
        if "fval" in fields:
            try:
                return float(fields["fval"].get("fval", "0"))
            except ValueError:
                return UNKNOWN
        if "sval" in fields:
            return str(fields["sval"].get("sval", ""))
        return UNKNOWN

    def pattern(self, fields: Node) -> str | None:
        """Return a constant pattern that may match everything, None for any other: of that alone a note is made."""
        value = fields.get("sval", {}).get("sval", "") if "sval" in fields else None
        self.pattern_locations.add(fields.get("location", 0))
        return value if value is not None and is_trivial(value) else None

    def is_large(self, fields: Node) -> bool:
        """Tell whether a constant is a number of LARGE_DIGITS digits or more: of that alone a note is made."""
        self.pattern_locations.add(fields.get("location", 0))
        number = str(fields["ival"].get("ival", 0)) if "ival" in fields else fields.get("fval", {}).get("fval", "")
        return is_telling(number) if number else False

    def read_value(self) -> None:
        """Note that a value was read that the tree gives no place for."""
        self.read_all = True

    def change_setting(self, name: str, value: str | None) -> None:
        """Note that a setting of the session gets a value (None: not known, or not one worth keeping)."""
        name = name if is_plain(name.replace(".", "_")) else "*"
        if name in ("search_path", "*") and self.depth:
            self.namer = self.namer.uncertain()
        self.settings[name] = value if name in FOLLOWED_SETTINGS and value is not None and len(value) <= 256 else None

    def absorb_unexecuted(self, inner: Collector) -> None:
        """Take over what a statement names that is planned but not run (EXPLAIN): all of it is read, nothing is written."""
        self.reads |= inner.reads | inner.writes
        self.functions |= inner.functions
        for name, roles in inner.columns.items():
            self.use([name], *(role for role in roles if role not in _ASKING))
            self.columns[name].update(roles)
        self.asked |= inner.asked
        self.looked_up |= inner.looked_up
        self.searched |= inner.searched
        self.null_tested |= inner.null_tested
        self.relation_names |= inner.relation_names
        self.qualified |= inner.qualified
        self.read_locations |= inner.read_locations
        self.pattern_locations |= inner.pattern_locations
        self.read_all = self.read_all or inner.read_all
        self.flags |= inner.flags & {StatementFlag.STAR, StatementFlag.DYNAMIC_SQL, StatementFlag.OPAQUE}

    def facts(self) -> Facts:
        """Return what was gathered, sorted where order means nothing."""
        if max(len(self.columns), len(self.reads), len(self.writes), len(self.functions)) > MAX_NAMES:
            self.flag(StatementFlag.OPAQUE)
        columns = sorted(self.columns.items())[:MAX_NAMES]
        return Facts(
            verbs=tuple(self.verbs),
            reads=tuple(sorted(self.reads)[:MAX_NAMES]),
            writes=tuple(sorted(self.writes)[:MAX_NAMES]),
            columns=tuple(ColumnUse(name=name, roles=tuple(sorted(roles))) for name, roles in columns),
            functions=tuple(sorted(self.functions)[:MAX_NAMES]),
            flags=tuple(f for f in StatementFlag if f in self.flags),
            dangers=tuple(d for d in Danger if d in self.dangers) if self.dangers else (),
        )
