"""What a statement carries into tables, what is remembered of it, and for how long."""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from ingest.masking import DatabaseMasking, MaskingGuard, SessionMasking
from ingest.masking.lineage import Register, carried
from ingest.masking.sight import look
from ingest.masking.tags import EVERY, CatalogueTags
from ingest.net.lineage_register import LineageRegister
from processors.sensitivity import Scanner
from processors.statements import Analyser, Lexing
from processors.statements.catalogue import Catalogue, Column, Function, Relation, build
from schemas.classes import DataClass as C
from schemas.classes import Style
from schemas.events import Verdict
from tests.support.pg_conversation import TOKENIZER

SCANNER = Scanner()
ID, NAME, EMAIL, A = (Column(n, i, t) for n, i, t in (("id", 1, "integer"), ("full_name", 2, "text"), ("email", 3, "text"), ("a", 2, "text")))  # fmt: skip
PEOPLE = Relation("public", "people", "r", 20001, columns=(ID, NAME, EMAIL))
PLAIN = Relation("public", "plain", "r", 20002, columns=(ID, A, Column("b", 3, "text")))


class Snapshots:
    """Snapshots that a test makes."""

    def __init__(self, *relations: Relation) -> None:
        self.current: Catalogue | None = build(relations, [])
        self.begun = self.done = 1

    def changed(self) -> None:
        self.begun += 1

    def read(self, *relations: Relation) -> None:
        self.begun += 1
        self.done = self.begun
        self.current = build(relations, [])


class World:
    """Sessions of one database."""

    def __init__(self, *relations: Relation, register: Register | None = None) -> None:
        self.snapshots = Snapshots(*(relations or (PEOPLE, PLAIN)))
        self.database = DatabaseMasking(self.snapshots, TOKENIZER, SCANNER, {}, Style.REDACT, register=register)
        self.session = self.another()

    def another(self) -> SessionMasking:
        return SessionMasking(self.database, lambda: EVERY)

    def run(self, *texts: str, session: SessionMasking | None = None) -> None:
        analyser = Analyser(TOKENIZER)
        for text in texts:
            for statement in analyser.analyse(text.encode(), Lexing()).statements:
                if statement.changes_objects or statement.fills:
                    (session or self.session).changing(statement)
        (session or self.session).transaction_ended()

    def read(self, *relations: Relation) -> None:
        """A newer snapshot, which somebody looks at."""
        self.snapshots.read(*relations)
        assert self.database.tags is not None

    def holds(self, table: str) -> dict[str, set[C]]:
        assert self.database.tags is not None
        columns = self.database.tags.columns(f"public.{table}")
        assert columns is not None
        return {name: set(classes) for name, classes in columns.items() if classes}


def table(name: str, oid: int, *columns: str) -> Relation:
    return Relation("public", name, "r", oid, columns=tuple(Column(c, n, "text") for n, c in enumerate(columns, 1)))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("UPDATE plain SET a = full_name FROM people", {"a": {C.PERSON_NAME}}),
        ("INSERT INTO plain SELECT id, full_name, email FROM people", {"a": {C.PERSON_NAME}, "b": {C.EMAIL}}),
        ("INSERT INTO plain SELECT * FROM people", {"a": {C.PERSON_NAME}, "b": {C.EMAIL}}),
        ("INSERT INTO plain (b) SELECT full_name FROM people", {"b": {C.PERSON_NAME}}),
        ("INSERT INTO plain (b) SELECT coalesce(full_name, email) FROM people", {"b": {C.PERSON_NAME, C.EMAIL}}),
        ("INSERT INTO plain AS p VALUES (1) ON CONFLICT (id) DO UPDATE SET a = (SELECT full_name FROM people)", {"a": {C.PERSON_NAME}}),
        ("WITH w AS (SELECT full_name AS f FROM people) INSERT INTO plain (a) SELECT f FROM w", {"a": {C.PERSON_NAME}}),
        ("DO $$ BEGIN UPDATE plain SET a = full_name FROM people; END $$", {"a": {C.PERSON_NAME}}),
        ("PREPARE z AS UPDATE plain SET a = full_name FROM people", {"a": {C.PERSON_NAME}}),
        ("MERGE INTO plain p USING people q ON q.id = p.id WHEN NOT MATCHED THEN INSERT VALUES (q.id, q.full_name)", {"a": {C.PERSON_NAME}}),
        ("INSERT INTO plain SELECT id, 'x' FROM people WHERE full_name = 'y'", {}),
        ("INSERT INTO plain (id, b) SELECT id, full_name FROM people ON CONFLICT (id) DO UPDATE SET a = excluded.b", {"a": {C.PERSON_NAME}, "b": {C.PERSON_NAME}}),
        ("WITH w AS (INSERT INTO plain (id, b) SELECT id, full_name FROM people RETURNING b) INSERT INTO plain (a) SELECT b FROM w", {"a": {C.PERSON_NAME}, "b": {C.PERSON_NAME}}),
        ("WITH w AS (DELETE FROM plain RETURNING *) INSERT INTO plain SELECT * FROM w", {}),
        ("WITH w AS (INSERT INTO people (full_name) SELECT a FROM plain RETURNING *) INSERT INTO plain SELECT * FROM w", {"a": {C.PERSON_NAME}, "b": {C.EMAIL}}),
        ("WITH w AS (INSERT INTO plain SELECT 1) INSERT INTO plain SELECT p.* FROM people p JOIN people q USING (id)", {c: {C.PERSON_NAME, C.EMAIL} for c in ("id", "a", "b")}),
        ("UPDATE plain SET a = b", {}),
        ("INSERT INTO people (full_name) SELECT full_name FROM people", {}),
    ],
)  # fmt: skip
def test_a_column_holds_what_it_is_given(text: str, holds: dict[str, set[C]]) -> None:
    world = World()
    world.run(text)
    assert world.holds("plain") == holds


@pytest.mark.parametrize(
    ("text", "columns", "holds"),
    [
        ("CREATE TABLE t AS SELECT id, full_name AS x FROM people", "id x", {"x": {C.PERSON_NAME}}),
        ("CREATE TABLE t (i, x) AS SELECT id, full_name FROM people", "i x", {"x": {C.PERSON_NAME}}),
        ("CREATE TABLE t (i, x) AS TABLE people", "i x email", {"x": {C.PERSON_NAME}, "email": {C.EMAIL}}),
        ("CREATE TABLE t AS SELECT upper(full_name) FROM people", "upper", {"upper": {C.PERSON_NAME}}),
        ("SELECT id, upper(full_name) AS x INTO t FROM people", "id x", {"x": {C.PERSON_NAME}}),
        ("SELECT id, full_name AS x INTO t FROM people", "id x", {"x": {C.PERSON_NAME}}),
        ("CREATE TABLE t (id int, x text); INSERT INTO t (x) SELECT full_name FROM people", "id x", {"x": {C.PERSON_NAME}}),
        ("CREATE TABLE t (LIKE plain); INSERT INTO t SELECT id, full_name FROM people", "id a b", {"a": {C.PERSON_NAME}}),
        ("CREATE TABLE s AS SELECT full_name AS x FROM people; CREATE TABLE t AS SELECT x AS y FROM s", "y", {"y": {C.PERSON_NAME}}),
        ("CREATE TEMP TABLE s AS SELECT id, full_name AS x FROM people; CREATE TABLE t AS SELECT * FROM s", "id x", {"x": {C.PERSON_NAME}}),
        ("CREATE TABLE s AS SELECT id, full_name AS x FROM people; ALTER TABLE s RENAME x TO y; ALTER TABLE s RENAME TO t", "id y", {"y": {C.PERSON_NAME}}),
        ("CREATE TABLE new.t AS SELECT id, full_name AS x FROM people; ALTER SCHEMA new RENAME TO public", "id x", {"x": {C.PERSON_NAME}}),
        ("SELECT 1; CREATE TABLE t AS SELECT 1 AS x", "x", {}),
    ],
)  # fmt: skip
def test_a_new_table_holds_what_it_is_made_of(text: str, columns: str, holds: dict[str, set[C]]) -> None:
    world = World()
    world.run(*text.split("; "))
    world.read(PEOPLE, PLAIN, table("t", 20009, *columns.split()))
    assert world.holds("t") == holds
    world.read(PEOPLE, PLAIN, table("other", 20009, *(f"{c}_" for c in columns.split())))
    assert world.holds("other") == {f"{c}_": classes for c, classes in holds.items()}


def test_where_outputs_are_made_of_several_columns_every_column_may_tell_of_all() -> None:
    world = World()
    world.run("CREATE TABLE t AS SELECT p.id, q.b = p.full_name AS x FROM people p, plain q")
    world.read(PEOPLE, PLAIN, table("t", 20009, "id", "x"))
    assert world.holds("t") == {"id": {C.PERSON_NAME}, "x": {C.PERSON_NAME}}


def test_what_is_not_known_is_everything_once_the_snapshot_is_newer_and_knows_it_not_either() -> None:
    world = World()
    world.run("INSERT INTO plain (a) SELECT x FROM fresh", "INSERT INTO plain (b) SELECT x FROM nowhere")
    assert "plain" in world.database.stale, "until then nothing of the table is certain"
    world.read(PEOPLE, PLAIN, table("fresh", 20009, "x"))
    assert world.holds("plain") == {"b": set(EVERY)}


def test_a_table_dropped_takes_what_was_known_of_it_along_and_a_new_one_has_its_own() -> None:
    world = World()
    world.run("UPDATE plain SET a = full_name FROM people")
    world.read(PEOPLE)
    world.read(PEOPLE, table("plain", 20002, "id", "a"))
    assert world.holds("plain") == {}
    world.run("DROP TABLE plain", "CREATE TABLE plain AS SELECT full_name AS id, 1 AS a FROM people")
    world.read(PEOPLE, table("plain", 20010, "id", "a"))
    assert world.holds("plain") == {"id": {C.PERSON_NAME}}
    world.read(PEOPLE)
    world.read(PEOPLE, table("plain", 20011, "id", "a"))
    assert world.holds("plain") == {}


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE plain ADD COLUMN c text GENERATED ALWAYS AS (upper(full_name)) STORED",
        "ALTER TABLE plain ADD COLUMN c text; UPDATE plain SET c = full_name FROM people",
    ],
)
def test_a_column_that_is_made_holds_what_it_is_given_once_it_is_there(text: str) -> None:
    named = Relation("public", "plain", "r", 20002, columns=(*PLAIN.columns, Column("full_name", 4, "text")))
    world = World(PEOPLE, named)
    world.run(*text.split("; "))
    for _ in range(3):  # the transaction lasts
        world.read(PEOPLE, named)
        assert world.holds("plain") == {"full_name": {C.PERSON_NAME}}
    world.read(PEOPLE, Relation("public", "plain", "r", 20002, columns=(*named.columns, Column("c", 7, "text"))))
    assert world.holds("plain") == {"full_name": {C.PERSON_NAME}, "c": {C.PERSON_NAME}}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("INSERT INTO plain (a) SELECT v FROM people, jsonb_to_recordset($1) AS x(v text)", {}),
        ("INSERT INTO plain (a) SELECT u.v FROM unnest($1::text[]) AS u(v) JOIN people p ON p.id = 1", {}),
        ("INSERT INTO plain (a) SELECT value FROM people, json_each_text($1)", {}),
        ("INSERT INTO plain (a) SELECT value FROM people, json_each_text(to_json(people.full_name))", {"a": {C.PERSON_NAME}}),
        ('INSERT INTO plain ("b") SELECT p.full_name FROM people p, plain q', {"b": {C.PERSON_NAME}}),
    ],
)
def test_what_functions_give_is_of_their_arguments(text: str, holds: dict[str, set[C]]) -> None:
    world = World()
    world.run(text)
    world.read(PEOPLE, PLAIN)
    assert world.holds("plain") == holds


def test_partitions_hold_what_is_seen_through_their_parents() -> None:
    top = Relation("public", "top", "p", 20020, columns=(ID, A), kin=("public.middle",))
    middle = Relation("public", "middle", "p", 20021, columns=(ID, A), kin=("public.top", "public.leaf"))
    leaf = Relation("public", "leaf", "r", 20022, columns=(A, Column("id", 5, "integer")), kin=("public.middle",))
    world = World(PEOPLE, PLAIN, top, middle, leaf)
    world.run("INSERT INTO leaf (a) SELECT full_name FROM people")
    for name in ("top", "middle", "leaf"):
        assert world.holds(name) == {"a": {C.PERSON_NAME}}
    assert world.holds("plain") == {}


def test_a_column_of_an_odd_name_is_found() -> None:
    odd = Relation("public", "odd", "r", 20005, columns=(ID, Column("what they said", 2, "text")))
    world = World(PEOPLE, odd)
    world.run('UPDATE odd SET "what they said" = full_name FROM people')
    assert world.database.tags is not None
    assert (world.database.tags.lookup(20005, 1), world.database.tags.lookup(20005, 2)) == (frozenset(), {C.PERSON_NAME})


def test_tables_that_never_came_to_be_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.masking.lineage.MAX_PENDING", 3)
    world = World()
    world.run("CREATE TABLE s AS SELECT full_name AS x FROM people", *(f"CREATE TABLE t{n} (a int)" for n in range(9)))
    assert len(world.database.learned.pending) <= 4
    world.read(PEOPLE, PLAIN, table("s", 20009, "x"))
    assert world.holds("s") == {"x": {C.PERSON_NAME}}


def test_one_session_s_temporary_table_is_nothing_to_another() -> None:
    world = World()
    world.run("CREATE TEMP TABLE s AS SELECT id, full_name AS x FROM people")
    other = world.another()
    world.run("CREATE TEMP TABLE s AS SELECT id, 'x' AS x FROM people", "INSERT INTO plain SELECT * FROM s", session=other)
    assert world.holds("plain") == {}
    world.run("INSERT INTO plain SELECT * FROM s")
    assert world.holds("plain") == {"a": {C.PERSON_NAME}}


def test_a_temporary_table_made_again_may_be_the_one_of_before() -> None:
    world = World()
    world.run("CREATE TEMP TABLE s AS SELECT id, full_name AS x FROM people", "CREATE TEMP TABLE s AS SELECT 1 AS id, 'x' AS x")
    world.run("INSERT INTO plain (b) SELECT x FROM s")
    assert world.holds("plain") == {"b": {C.PERSON_NAME}}


def test_other_workers_and_the_next_start_know_it_too(tmp_path: Path) -> None:
    def world() -> World:
        return World(register=LineageRegister(tmp_path / "lineage.db", "shop"))

    one, two = world(), world()
    one.run("UPDATE plain SET a = full_name FROM people", "CREATE TABLE t AS SELECT id, full_name AS x FROM people")
    two.database.look()
    assert two.holds("plain") == world().holds("plain") == {"a": {C.PERSON_NAME}}
    for each in (one, two, third := world()):
        each.read(PEOPLE, PLAIN, table("t", 20009, "id", "x"))
        assert each.holds("t") == {"x": {C.PERSON_NAME}}
    assert LineageRegister(tmp_path / "lineage.db", "other").rows() == []
    third.read(PEOPLE, PLAIN)
    assert {row[2] for row in LineageRegister(tmp_path / "lineage.db", "shop").rows()} == {20002}
    assert b"full_name" not in (tmp_path / "lineage.db").read_bytes()


@pytest.mark.parametrize("spoil", ["full", "unusable"])
def test_without_room_nothing_more_is_carried(tmp_path: Path, spoil: str) -> None:
    if spoil == "unusable":
        (tmp_path / "lineage.db").write_bytes(b"no database" * 1000)
    register = LineageRegister(tmp_path / "lineage.db", "shop", max_rows=1)
    world = World(register=register)
    world.run("UPDATE plain SET a = full_name FROM people")
    assert world.holds("plain")["a"] == ({C.PERSON_NAME} if spoil == "full" else set(C)), "at least this worker knows"
    guard = MaskingGuard(None, world.session, "s")
    analyser = Analyser(TOKENIZER)

    def verdict(text: str) -> bool:
        return guard.judge(analyser.analyse(text.encode(), Lexing()).statements[0], {}, 0).stops

    assert (
        Verdict.DENY.encode()
        in guard.judge(analyser.analyse(b"UPDATE plain SET b = email FROM people", Lexing()).statements[0], {}, 0).fragment
    )
    assert verdict("CREATE TABLE u AS SELECT email AS x FROM people") is True
    known = spoil == "full"  # a file that is moved away takes what was believed meanwhile with it
    assert verdict("UPDATE plain SET a = full_name FROM people") is not known
    assert (
        verdict("INSERT INTO plain VALUES (1, 'x')") is verdict("CREATE TEMP TABLE u AS SELECT email AS x FROM people") is False
    )
    if spoil == "full":
        register.remove(register.rows())
        assert verdict("UPDATE plain SET b = email FROM people") is False


@pytest.mark.parametrize("text_of", ["INSERT INTO plain {}", "INSERT INTO plain (b) {}", "UPDATE plain SET (a, b) = ({})"])
@pytest.mark.parametrize(
    "source",
    [
        "SELECT * FROM outs()",
        "SELECT o.* FROM plain, outs() o",
        "SELECT * FROM (SELECT * FROM outs()) z",
        "WITH w AS (SELECT * FROM outs()) SELECT * FROM w",
        "SELECT 1, 'x' UNION ALL SELECT * FROM outs()",
        "SELECT * FROM unnest((SELECT array_agg(full_name) FROM people))",
        "SELECT q.* FROM people, unnest(string_to_array(full_name, ' ')) q",
        "SELECT q.unnest FROM (SELECT * FROM unnest((SELECT array_agg(full_name) FROM people))) q",
    ],
)
def test_rows_of_functions_are_followed_into_tables(text_of: str, source: str) -> None:
    outs = Function("public", "outs", "sql", "volatile", "SELECT id, full_name FROM people", 30001)
    catalogue = build((PEOPLE, PLAIN), [outs])
    tags = CatalogueTags(catalogue, TOKENIZER, SCANNER)
    [statement] = Analyser(TOKENIZER).analyse(text_of.format(source).encode(), Lexing(catalogue=catalogue)).statements
    sight = look(statement, tags)
    assert sight is not None and sight.leaks is not None and C.PERSON_NAME in sight.leaks, "whoever sees masks is refused"
    held = {c for _, _, classes in carried(statement, tags).given for c in classes}
    assert C.PERSON_NAME in held, "and what others fill with it is known to hold it"


def begun(world: World, *texts: str) -> None:
    """Statements of a transaction that lasts."""
    for text in texts:
        [statement] = Analyser(TOKENIZER).analyse(text.encode(), Lexing()).statements
        world.session.changing(statement)


def test_a_temporary_table_hides_no_other_of_its_name() -> None:
    world = World()
    world.run("CREATE TEMP TABLE plain (id int, a text)", "INSERT INTO public.plain (a) SELECT full_name FROM people")
    assert world.holds("plain") == {"a": {C.PERSON_NAME}}
    world = World()
    world.run("CREATE TEMP TABLE plain (id int)", "DROP TABLE plain", "INSERT INTO plain (b) SELECT full_name FROM people")
    assert world.holds("plain") == {"b": {C.PERSON_NAME}}


def test_a_table_put_in_the_place_of_another_is_known_by_what_it_was_given_when_the_snapshot_has_it() -> None:
    world = World()
    begun(world, "DROP TABLE plain", "CREATE TABLE plain (id int, a text)")
    world.read(PEOPLE, PLAIN)  # somebody else changed something; the old table is still there
    begun(world, "INSERT INTO plain SELECT id, full_name FROM people")
    world.read(PEOPLE, PLAIN)
    world.session.transaction_ended()
    world.read(PEOPLE, table("plain", 20010, "id", "a"))
    assert world.holds("plain") == {"a": {C.PERSON_NAME}}


def test_a_column_that_its_own_transaction_adds_is_known_by_what_it_was_given() -> None:
    world = World()
    begun(world, "ALTER TABLE plain DROP COLUMN b, ADD COLUMN c text")
    world.read(PEOPLE, PLAIN)
    begun(world, "INSERT INTO plain SELECT id, 'x', full_name FROM people")
    world.read(PEOPLE, PLAIN)
    world.session.transaction_ended()
    changed = Relation("public", "plain", "r", 20002, columns=(ID, A, Column("c", 4, "text")))
    world.read(PEOPLE, changed)
    assert world.holds("plain") == {"c": {C.PERSON_NAME}}


def test_a_table_renamed_a_moment_ago_is_known_by_what_it_was_given_under_its_new_name() -> None:
    world = World()
    world.run("ALTER TABLE plain RENAME TO other")
    world.run("INSERT INTO other (a) SELECT full_name FROM people", session=world.another())
    world.read(PEOPLE, table("other", 20002, "id", "a"))
    assert world.holds("other") == {"a": {C.PERSON_NAME}}


def test_more_of_that_than_is_remembered_is_everything() -> None:
    world = World()
    begun(world, "ALTER TABLE plain ADD COLUMN c text")
    begun(world, *(f"UPDATE plain SET c = full_name FROM people WHERE people.id = plain.id AND 'x' <> x{n}" for n in range(1001)))
    world.session.transaction_ended()
    world.read(PEOPLE, table("plain", 20002, "id", "a", "b", "c"))
    assert world.holds("plain")["c"] == set(EVERY)


def test_what_one_session_puts_into_its_temporary_table_is_not_in_that_of_another() -> None:
    world = World()
    texts = "CREATE TEMP TABLE t (x text)", "INSERT INTO t SELECT full_name FROM people", "INSERT INTO plain (b) SELECT x FROM t"
    make, first, fill = (Analyser(TOKENIZER).analyse(text.encode(), Lexing()).statements[0] for text in texts)
    for session, statements in ((world.session, (make, first)), (world.another(), (make, fill))):
        for statement in statements:
            session.changing(statement)
    assert world.holds("plain") == {}


def test_what_is_written_to_a_view_is_in_the_table_behind_it() -> None:
    columns = Column("id", 1, "integer"), Column("q", 2, "text")
    views = [
        Relation("public", "seen", "v", 20005, definition="SELECT plain.id, plain.a AS q FROM public.plain;", columns=columns),
        Relation("public", "over", "v", 20006, definition="SELECT seen.id, seen.q FROM public.seen;", columns=columns),
    ]
    for name in ("seen", "over"):
        world = World(PEOPLE, PLAIN, *views)
        world.run(f"INSERT INTO {name} SELECT id, full_name FROM people")
        assert world.holds("plain") == {"a": {C.PERSON_NAME}}, name


def test_names_that_do_not_look_like_names_are_found_again() -> None:
    odd = Relation("public", "a@b", "r", 20020, columns=(ID, A))
    inside = Relation("my/own", "t", "r", 20021, columns=(ID, A))
    for text, relations in (
        ('INSERT INTO "a@b" (a) SELECT full_name FROM people', ((PEOPLE, odd), (PEOPLE, odd))),
        ('CREATE TABLE "a@b" AS SELECT id, full_name AS a FROM people', ((PEOPLE,), (PEOPLE, odd))),
        ('INSERT INTO "my/own".t (a) SELECT full_name FROM people', ((PEOPLE, inside), (PEOPLE, inside))),
        ('CREATE TABLE "my/own".t AS SELECT id, full_name AS a FROM people', ((PEOPLE,), (PEOPLE, inside))),
    ):
        before, after = relations
        world = World(*before)
        assert world.database.tags is not None
        world.run(text)
        world.read(*after)
        assert world.database.tags.lookup(after[-1].oid, 2) == {C.PERSON_NAME}, text
        assert world.database.tags.lookup(after[-1].oid, 1) == set(), text


def test_what_finds_no_room_under_its_number_stays_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    world = World(register=LineageRegister(path, "x", max_rows=1))
    world.run("CREATE TABLE t AS SELECT id, full_name AS x FROM people")  # takes the only row there is room for
    world.read(PEOPLE, PLAIN, table("t", 20009, "id", "x"))
    assert world.holds("t") == {"x": {C.PERSON_NAME}}
    after = World(PEOPLE, PLAIN, table("t", 20009, "id", "x"), register=LineageRegister(path, "x", max_rows=1))
    assert after.holds("t") == {"x": {C.PERSON_NAME}}, "and after a restart"


def test_a_worker_that_finds_another_making_the_file_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    done = threading.Timer(0.8, lambda: other.execute("COMMIT"))  # longer than a write is waited for
    done.start()
    register = LineageRegister(path, "x")
    done.join()
    other.close()
    assert register.add([("", "", 1, 1, "*")])


def test_while_the_register_cannot_be_read_everything_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lineage.db"
    path.write_bytes(b"no database, but as long as the first page of one " * 100)
    world = World(register=LineageRegister(path, "x"))
    everything = {"id": set(C), "a": set(C), "b": set(C)}
    assert world.holds("plain") == everything
    world.database.look()
    assert world.holds("plain") == everything, "it is not tried at once again"
    monkeypatch.setattr("ingest.net.lineage_register._AGAIN_SECONDS", -1.0)
    world.database.look()
    assert world.holds("plain") == everything, "nor is it any better"
    path.unlink()
    world.database.look()
    assert world.holds("plain") == {}
    world.run("UPDATE plain SET a = full_name FROM people")
    assert World(register=LineageRegister(path, "x")).holds("plain") == {"a": {C.PERSON_NAME}}
