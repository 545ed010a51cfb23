"""Masked conversations: whole, byte by byte and in random cuts the same; rows without a description are never passed."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest

from ingest.core.actions import Side
from ingest.masking import DatabaseMasking, MaskingGuard, SessionMasking
from processors.sensitivity import Scanner
from processors.statements.catalogue import Catalogue, Column, Relation, build
from schemas.classes import DataClass as C
from schemas.classes import Style
from tests.support import pg_conversation as pg
from tests.support.pg_conversation import TOKENIZER, Conversation, client, cuts, play, play_cut, server

SCANNER = Scanner()
EMAIL = b"zq7.lovelace@example.org"
TEXT, INT4 = 25, 23
PEOPLE = Relation(
    "public", "people", "r", 20001, columns=(Column("id", 1, "integer"), Column("email", 2, "text"), Column("notes", 3, "text"))
)
LISTED = Relation(
    "public", "listed", "v", 20002, definition="SELECT people.id, people.email AS x FROM public.people;",
    columns=(Column("id", 1, "integer"), Column("x", 2, "text")),
)  # fmt: skip
PLAIN = Relation("public", "plain", "r", 20003, columns=(Column("a", 1, "text"),))


class Snapshots:
    """A snapshot that stays as it is."""

    def __init__(self, catalogue: Catalogue | None) -> None:
        self.current = catalogue
        self.begun = self.done = 1
        self.told = 0

    def changed(self) -> None:
        self.told += 1


CATALOGUE = build(
    [PEOPLE, LISTED, PLAIN],
    [],
    builtins=[
        (1, "count"),
        (2, "lower"),
        (3, "upper"),
        (4, "set_config"),
        (5, "substr"),
        (6, "left"),
        (7, "ascii"),
        (8, "generate_series"),
    ],
)


def make(clear: frozenset[C] = frozenset(), catalogue: Catalogue | None = CATALOGUE) -> Conversation:
    snapshots = Snapshots(catalogue)
    conversation = Conversation(snapshots=snapshots)
    masking = SessionMasking(
        DatabaseMasking(snapshots, TOKENIZER, SCANNER, {C.EMAIL: Style.PARTIAL}, Style.REDACT), lambda: clear
    )
    conversation.session.mask(masking)
    conversation.session.guard = MaskingGuard(None, masking, "s1")
    return conversation


def described(*columns: tuple[str, int, int, int, int]) -> bytes:
    """A RowDescription of (name, table, attribute, type, format)."""
    fields = [n.encode() + b"\0" + pack(">IhIhih", table, att, oid, -1, -1, fmt) for n, table, att, oid, fmt in columns]
    return pg.message(b"T", pack(">h", len(columns)) + b"".join(fields))


ID, MAIL, NOTES = ("id", 20001, 1, INT4, 0), ("email", 20001, 2, TEXT, 0), ("notes", 20001, 3, TEXT, 0)
ROWS = [pg.row(b"1", EMAIL, b"call " + EMAIL), pg.row(b"2", EMAIL, b"nothing"), pg.row(b"3", EMAIL, b"")]
SHOWN = [
    pg.row(b"1", b"***@example.org", b"call [masked]"), pg.row(b"2", b"***@example.org", b"nothing"),
    pg.row(b"3", b"***@example.org", b""),
]  # fmt: skip


@pytest.mark.parametrize("cut", cuts())
def test_a_simple_query(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(pg.query("SELECT id, email, notes FROM people; SELECT a FROM plain")),
            server(described(ID, MAIL, NOTES), *ROWS, pg.complete("SELECT 3")),
            server(described(("a", 20003, 1, TEXT, 0)), pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
        ],
        cut,
        make,
    )
    head = described(ID, MAIL, NOTES) + b"".join(SHOWN) + pg.complete("SELECT 3")
    tail = described(("a", 20003, 1, TEXT, 0)) + pg.row(b"[masked]") + pg.complete("SELECT 1") + pg.ready()
    assert heard.to_client == head + tail
    assert [e["outcome"]["rows_returned"] for e in heard.events] == [3, 1]


@pytest.mark.parametrize("cut", cuts())
def test_a_description_that_the_client_did_not_ask_for_is_asked_for_and_kept(cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(pg.parse("s", "SELECT email FROM people"), pg.bind("", "s"), pg.execute(), pg.SYNC),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, described(MAIL), pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
            client(pg.bind("", "s"), pg.execute(), pg.SYNC),
            server(pg.BIND_COMPLETE, described(MAIL), pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
            client(pg.bind("", "s"), pg.describe("P"), pg.execute(), pg.SYNC),
            server(pg.BIND_COMPLETE, described(MAIL), pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
        ],
        cut,
        make,
    )
    masked = pg.row(b"***@example.org") + pg.complete("SELECT 1") + pg.ready()
    asked = pg.BIND_COMPLETE + described(MAIL) + masked
    assert heard.to_client == pg.PARSE_COMPLETE + pg.BIND_COMPLETE + masked + pg.BIND_COMPLETE + masked + asked
    assert heard.to_server.count(pg.describe("P")) == 3
    assert [e["outcome"]["status"] for e in heard.events] == ["ok"] * 3


def test_a_description_of_the_statement_serves_all_its_executions() -> None:
    heard = play(
        [
            client(pg.parse("s", "SELECT email FROM people"), pg.describe("S", "s"), pg.SYNC),
            server(pg.PARSE_COMPLETE, pg.message(b"t", b"\0\0"), described(MAIL), pg.ready()),
            client(pg.bind("", "s"), pg.execute(), pg.SYNC),
            server(pg.BIND_COMPLETE, pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
            client(pg.bind("", "s"), pg.execute(), pg.SYNC),
            server(pg.BIND_COMPLETE, pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
        ],
        make,
    )
    assert pg.describe("P") not in heard.to_server
    assert EMAIL not in heard.to_client and heard.to_client.count(b"***@example.org") == 2


@pytest.mark.parametrize("cut", cuts())
def test_a_portal_in_parts_and_errors_in_between(cut: Callable[[bytes], list[bytes]]) -> None:
    failed = pg.error("22P02", f'invalid input syntax for type integer: "{EMAIL.decode()}"')
    heard = play_cut(
        [
            client(
                pg.parse("", "SELECT email, email::int FROM people"),
                pg.bind("", ""),
                pg.execute("", 1),
                pg.execute("", 1),
                pg.SYNC,
            ),
            server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, described(MAIL, ("int4", 0, 0, INT4, 0)), pg.row(EMAIL, b"1")),
            server(pg.PORTAL_SUSPENDED, failed, pg.ready()),
        ],
        cut,
        make,
    )
    assert b"zq7" not in heard.to_client
    assert b"Minvalid input syntax for type integer: [masked]\0" in heard.to_client
    assert [e["outcome"]["status"] for e in heard.events] == ["ok", "error"]


def copy_out(form: int, columns: int) -> bytes:
    return pg.message(b"H", bytes((form,)) + pack(">h", columns) + pack(">h", form) * columns)


def packed(*values: bytes | None) -> bytes:
    cells = (pack(">i", -1) if v is None else pack(">i", len(v)) + v for v in values)
    return pack(">h", len(values)) + b"".join(cells)


HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
PART = b"***@example.org"
COPIES = [
    ("", 0, [b"1\t" + EMAIL + b"\ta\\tb " + EMAIL + b"\n", b"\\N\t\\N\tx\n"],
     [b"1\t" + PART + b"\ta\\tb [masked]\n", b"\\N\t\\N\tx\n"]),
    ("(FORMAT csv, HEADER)", 0, [b"id,email,notes\n", b'1,"' + EMAIL + b'","say ""hi"", ' + EMAIL + b'"\n', b"2,,\n"],
     [b"id,email,notes\n", b"1," + PART + b',"say ""hi"", [masked]"\n', b"2,,\n"]),
    ("(FORMAT csv, DELIMITER ';', NULL 'none', QUOTE '|', ESCAPE '!')", 0, [b"1;|a!|;b|;|x!!y;|\n", b"none;none;none\n"],
     [b"1;[masked];|x!!y;|\n", b"none;none;none\n"]),
    ("(DELIMITER '@', NULL '')", 0, [b"1@" + EMAIL.replace(b"@", b"\\@") + b"@a\\@b\n"], [b"1@***\\@example.org@a\\@b\n"]),
    ("(FORMAT binary)", 1, [HEAD + packed(b"1", EMAIL, b"x"), packed(b"2", None, EMAIL), b"\xff\xff"],
     [HEAD + packed(b"1", PART, b"x"), packed(b"2", None, b"[masked]"), b"\xff\xff"]),
]  # fmt: skip


@pytest.mark.parametrize("cut", cuts())
@pytest.mark.parametrize(("options", "form", "lines", "shown"), COPIES)
def test_copy_out(options: str, form: int, lines: list[bytes], shown: list[bytes], cut: Callable[[bytes], list[bytes]]) -> None:
    heard = play_cut(
        [
            client(pg.query(f"COPY people TO STDOUT {options}")),
            server(copy_out(form, 3), *map(pg.copy_data, lines), pg.COPY_DONE, pg.complete("COPY 2"), pg.ready()),
        ],
        cut,
        make,
    )
    end = pg.COPY_DONE + pg.complete("COPY 2") + pg.ready()
    assert heard.to_client == copy_out(form, 3) + b"".join(map(pg.copy_data, shown)) + end
    assert heard.events[0]["outcome"]["rows_returned"] == 2


@pytest.mark.parametrize("line", [b"1\tx\n", b"1\tx\ty\tz\n", b"1\tx\ty", b""])
def test_copied_rows_that_do_not_fit_end_the_session(line: bytes) -> None:
    heard = play([client(pg.query("COPY people TO STDOUT")), server(copy_out(0, 3), pg.copy_data(line))], make)
    assert heard.closed == "protocol_gap" and b"d\0" not in heard.to_client


def test_rows_in_an_encoding_that_hides_delimiters_end_the_session() -> None:
    heard = play([client(pg.query("COPY people TO STDOUT (ENCODING 'sjis')")), server(copy_out(0, 3))], make)
    assert heard.closed == "protocol_gap"


def test_a_cursor_shows_what_it_was_declared_to_show_while_that_is_certain() -> None:
    count = described(("count", 0, 0, INT4, 0))

    def fetched(*before: str) -> bytes:
        conversation = make()
        for statement in before:
            conversation.say(*client(pg.query(statement)))
            conversation.say(*server(pg.complete("OK"), pg.ready("T")))
        conversation.say(*client(pg.query("FETCH ALL FROM c")))
        conversation.say(*server(count, pg.row(b"7"), pg.complete("FETCH 1"), pg.ready("T")))
        return conversation.heard.to_client

    declared = "DECLARE c CURSOR FOR SELECT count(*) FROM people"
    assert pg.row(b"7") in fetched(declared)
    assert pg.row(b"7") not in fetched("DECLARE c CURSOR FOR SELECT length(email) FROM people")
    assert pg.row(b"7") not in fetched()
    assert pg.row(b"7") not in fetched(declared, "SELECT a_function_nobody_knows()")
    assert pg.row(b"7") not in fetched(declared, "CLOSE c", "DECLARE c CURSOR FOR SELECT length(email) FROM people")


def test_what_was_seen_is_counted() -> None:
    steps = [
        client(pg.query("SELECT id, email, notes FROM people")),
        server(described(ID, MAIL, NOTES), *ROWS, pg.complete("SELECT 3"), pg.ready()),
    ]
    [event] = play(steps, make).events
    assert event["exposure"] == {"email": 4} and event["masked"] == {"email": 4} and event["exposed"] == {}
    [event] = play(steps, lambda: make(frozenset(C))).events
    assert event["exposure"] == {"email": 3, "free_text": 3} and event["masked"] == {}
    assert event["exposed"] == {"public.people.email": 3, "public.people.notes": 3}
    asked = [
        client(pg.parse("", "SELECT email FROM people"), pg.bind("", ""), pg.execute(), pg.SYNC),
        server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
    ]
    [event] = play(asked, lambda: make(frozenset(C))).events
    assert event["exposure"] == {"email": 1}


def test_rows_that_nothing_describes_end_the_session() -> None:
    heard = play([client(pg.query("SELECT email FROM people")), server(pg.row(EMAIL))], make)
    assert heard.to_client == b""
    assert heard.closed == "protocol_gap"


def test_rows_that_do_not_fit_end_the_session() -> None:
    heard = play([client(pg.query("SELECT email FROM people")), server(described(MAIL), pg.row(b"1", EMAIL))], make)
    assert EMAIL not in heard.to_client
    assert heard.closed == "protocol_gap"


@pytest.mark.parametrize("cut", [c for n, c in enumerate(cuts()) if n != 1])
def test_a_row_too_long_to_hold_is_a_row_of_nulls(cut: Callable[[bytes], list[bytes]]) -> None:
    conversation = make()
    conversation.session.masking.max_row = 100  # type: ignore[union-attr, misc]
    long = pg.row(b"1", EMAIL, b"x" * 5000 + EMAIL)
    data = described(ID, MAIL, NOTES) + ROWS[0] + long + ROWS[1] + pg.complete("SELECT 3") + pg.ready()
    conversation.say(*client(pg.query("SELECT * FROM people")))
    for n in range(0, len(data), 90):
        for piece in cut(data[n : n + 90]):
            conversation.say(*server(piece))
    nulls = pg.message(b"D", pack(">hiii", 3, -1, -1, -1))
    head = described(ID, MAIL, NOTES) + SHOWN[0] + nulls + SHOWN[1]
    assert conversation.heard.to_client == head + pg.complete("SELECT 3") + pg.ready()
    assert conversation.heard.events[0]["outcome"]["rows_returned"] == 3


def test_what_was_just_changed_is_not_known_until_it_was_read_again() -> None:
    conversation = make()
    snapshots = conversation.session._snapshots
    answer = server(described(("total", 20003, 1, TEXT, 0)), pg.row(b"zq7"), pg.complete("SELECT 1"))

    def shown(status: str) -> bool:
        before = len(conversation.heard.to_client)
        conversation.say(*client(pg.query("SELECT a FROM plain")))
        conversation.say(answer[0], answer[1] + pg.ready(status))
        return b"zq7" in conversation.heard.to_client[before:]

    assert shown("I")
    conversation.say(*client(pg.query("BEGIN"), pg.query("CREATE OR REPLACE VIEW plain AS SELECT email AS a FROM people")))
    conversation.say(*server(pg.complete("BEGIN"), pg.ready("T"), pg.complete("CREATE VIEW"), pg.ready("T")))
    assert not shown("T"), "within its transaction"
    conversation.say(*client(pg.query("COMMIT")))
    conversation.say(*server(pg.complete("COMMIT"), pg.ready("I")))
    assert not shown("I"), "until it is read"
    snapshots.begun = snapshots.done = 2  # type: ignore[union-attr, misc]
    assert shown("I")


def test_without_a_catalogue_every_column_of_a_table_is_masked() -> None:
    heard = play(
        [
            client(pg.query("SELECT a FROM plain")),
            server(described(("a", 20003, 1, TEXT, 0)), pg.row(b"zq7"), pg.complete("SELECT 1"), pg.ready()),
        ],
        lambda: make(catalogue=None),
    )
    assert b"zq7" not in heard.to_client


def test_who_may_see_everything_gets_every_byte() -> None:
    steps = [
        client(pg.query("SELECT id, email, notes FROM people")),
        server(described(ID, MAIL, NOTES), *ROWS, pg.complete("SELECT 3"), pg.ready()),
        client(pg.parse("", "SELECT email FROM people"), pg.bind("", ""), pg.execute(), pg.SYNC),
        server(pg.PARSE_COMPLETE, pg.BIND_COMPLETE, pg.row(EMAIL), pg.complete("SELECT 1"), pg.ready()),
        client(pg.query("INSERT INTO plain SELECT email FROM people")),
        server(pg.error("22P02", 'bad "' + EMAIL.decode() + '"'), pg.ready()),
    ]
    heard = play(steps, lambda: make(frozenset(C)))
    assert heard.to_client == b"".join(data for side, data in steps if side is pg.Side.SERVER)
    assert heard.to_server == b"".join(data for side, data in steps if side is pg.Side.CLIENT)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO plain SELECT email FROM people",
        "UPDATE plain SET a = upper(p.email) FROM people p",
        "CREATE TABLE t AS SELECT email AS x FROM people",
        "WITH w AS (INSERT INTO plain SELECT x FROM listed RETURNING a) SELECT a FROM w",
        "SELECT set_config('a.b', email, false) FROM people",
        "SELECT pg_notify('c', x) FROM listed",
        "SELECT pg_sleep(ascii(email)) FROM people",
        "SELECT a FROM plain, people WHERE a = substr(email, 1, 1)",
        "SELECT a FROM plain WHERE a IN (SELECT left(email, 1) FROM people)",
        "SELECT count(*) FROM generate_series(1, (SELECT ascii(email) FROM people))",
        "SELECT a FROM plain LIMIT 1 OFFSET (SELECT ascii(email) FROM people)",
        "ALTER TABLE people ADD COLUMN zz text DEFAULT 'x', ALTER COLUMN zz SET DEFAULT upper(email)",
        "SELECT query_to_xml('select 1', true, true, '')",
        "DO $$ BEGIN EXECUTE 'select ' || 1; END $$",
        "COPY people TO '/tmp/x'",
        "COPY (SELECT email FROM people) TO PROGRAM 'cat'",
        "SELECT " + "(" * 400 + "1" + ")" * 400,
    ],
)  # fmt: skip
def test_what_would_carry_values_elsewhere_is_refused(statement: str) -> None:
    heard = play([client(pg.query(statement)), server(pg.error("42601"), pg.ready())], make)
    assert [(e["outcome"]["status"], e["decision"]["policies"]) for e in heard.events] == [("denied", ["masking"])]
    assert b"statement denied by masking" in heard.to_client


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE people SET email = lower(email) WHERE id = 1",
        "INSERT INTO people (email) SELECT email FROM people",
        "CREATE TABLE t AS SELECT email FROM people",
        "CREATE TEMP TABLE t AS SELECT email AS x FROM people",
        "UPDATE plain SET a = 'x' FROM people p WHERE p.email = 'y'",
        "INSERT INTO plain SELECT id::text FROM people",
        "SELECT set_config('a.b', 'c', false)",
        "SELECT a FROM plain JOIN people ON people.id::text = a WHERE email LIKE 'a%' ORDER BY email, a",
        "CREATE INDEX ON people (lower(email))",
    ],
)  # fmt: skip
def test_what_carries_nothing_is_not(statement: str) -> None:
    heard = play([client(pg.query(statement)), server(pg.complete("OK"), pg.ready())], make)
    assert [e["outcome"]["status"] for e in heard.events] == ["ok"]


MIXED = Relation(
    "public", "mixed", "r", 20010, columns=(Column("n", 1, "integer"), Column("m", 2, "bigint"), Column("filler", 3, "text"))
)


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("SELECT n FROM mixed WHERE m = 7", False),
        ("SELECT count(*), sum(n) FROM mixed GROUP BY m", False),
        ("SELECT q.n FROM (SELECT n, m FROM mixed) q JOIN mixed USING (n)", False),
        ("SELECT filler FROM mixed", True),
        ("SELECT * FROM mixed", True),
        ("SELECT x.* FROM mixed x", True),
        ("SELECT x FROM mixed x", True),
        ("SELECT to_jsonb(x) FROM mixed x", True),
        ("SELECT (x).filler FROM mixed x", True),
        ("TABLE mixed", True),
        ("SELECT n FROM mixed WHERE filler::int = 3", True),
        ("SELECT n FROM mixed ORDER BY filler", True),
        ("SELECT max(q.f) FROM (SELECT filler AS f FROM mixed) q", True),
        ("WITH c AS (SELECT filler AS f FROM mixed) SELECT f FROM c", True),
        ("SELECT n FROM mixed UNION SELECT length(filler) FROM mixed", True),
        ("SELECT a.n FROM mixed a NATURAL JOIN mixed b", False),
        ("SELECT q.* FROM (SELECT a.n, b.* FROM mixed a, mixed b) q", True),
        ("SELECT (SELECT filler FROM mixed LIMIT 1)", True),
        ("SELECT unknown_column FROM mixed", True),
        ("UPDATE mixed SET n = 1 WHERE m = 2", True),
        ("INSERT INTO mixed (n) VALUES (1) RETURNING n", True),
        ("DELETE FROM mixed WHERE n = 1", True),
        ("COPY mixed (n) TO STDOUT", True),
        ("EXPLAIN ANALYZE SELECT n FROM mixed", True),
        ("DECLARE c CURSOR FOR SELECT n FROM mixed", True),
    ],
)
def test_only_what_may_show_a_column_that_is_still_searched_takes_the_long_way(text: str, searched: bool) -> None:
    conversation = make(
        catalogue=build([MIXED], [], builtins=[(1, "count"), (2, "sum"), (3, "max"), (4, "length"), (5, "to_jsonb")])
    )
    session = conversation.session
    statement = session.analyser.analyse(text.encode(), session.lexing).statements[0]
    assert session.masking is not None
    assert (session.masking.sight(statement) is not None) is searched, statement.facts


def _query(conversation: Conversation, text: str, tag: str, *before: bytes, status: str = "I") -> None:
    conversation.say(*client(pg.query(text)))
    conversation.say(*server(*before, pg.complete(tag) if tag else pg.error("42P05"), pg.ready(status)))


SECRET, PLAINLY = "SELECT lower(email) FROM people", "SELECT lower(a) FROM plain"


@pytest.mark.parametrize("way", ["deallocated", "refused", "hidden", "many", "portal"])
def test_a_name_that_came_by_parse_or_bind_shows_nothing_as_another_of_that_name_would(way: str) -> None:
    """Both can have the name one after the other, and which of them the server has now depends on what failed or was closed."""
    conversation = make()

    def parse(name: str) -> None:
        conversation.say(*client(pg.parse(name, SECRET), pg.SYNC))
        conversation.say(*server(pg.PARSE_COMPLETE, pg.ready()))

    run = "EXECUTE d"
    if way == "deallocated":
        _query(conversation, f"PREPARE d AS {PLAINLY}", "PREPARE")
        _query(conversation, "DEALLOCATE d", "DEALLOCATE")
        parse("d")
    elif way == "refused":
        parse("d")
        _query(conversation, f"PREPARE d AS {PLAINLY}", "")
    elif way == "hidden":
        _query(conversation, f'PREPARE "A a" AS {PLAINLY}', "PREPARE")
        parse("B b")
        run = 'EXECUTE "B b"'
    elif way == "many":
        _query(conversation, f"PREPARE d AS {PLAINLY}", "PREPARE")
        for n in range(1001):
            parse(f"s{n}")
        _query(conversation, "DEALLOCATE d", "DEALLOCATE")
        parse("d")
    else:
        parse("s")
        _query(conversation, "BEGIN", "BEGIN", status="T")
        conversation.say(*client(pg.bind("d", "s"), pg.SYNC))
        conversation.say(*server(pg.BIND_COMPLETE, pg.ready("T")))
        _query(conversation, f"DECLARE d CURSOR FOR {PLAINLY}", "", status="E")
        _query(conversation, "ROLLBACK TO a", "ROLLBACK", status="T")
        run = "FETCH ALL FROM d"
    rows = (described(("lower", 0, 0, TEXT, 0)), pg.row(b"plain words"))
    _query(conversation, run, "SELECT 1", *rows, status="T" if way == "portal" else "I")
    assert b"plain words" not in conversation.heard.to_client


def test_what_sql_alone_prepared_shows_what_it_shows() -> None:
    conversation = make()
    _query(conversation, f"PREPARE d AS {PLAINLY}", "PREPARE")
    _query(conversation, "EXECUTE d", "SELECT 1", described(("lower", 0, 0, TEXT, 0)), pg.row(b"plain words"))
    assert b"plain words" in conversation.heard.to_client


@pytest.mark.parametrize(
    ("asked", "announced", "odd"),
    [
        ("SELECT email FROM people", described(MAIL), pg.copy_data(EMAIL + b"\n")),
        ("SELECT email FROM people", described(MAIL), b"D\0\0\0\0\0"),
        ("SELECT email FROM people", described(MAIL), b"D\0\0\0\3\0\1"),
        ("COPY people (email) TO STDOUT", pg.message(b"H", b"\0\0\1\0\0"), pg.row(EMAIL)),
        ("COPY people (email) TO STDOUT", pg.message(b"H", b"\0\0\1\0\0"), b"d\0\0\0\1"),
    ],
    ids=["copied data among rows", "a row of no length", "a row shorter than its length", "a row among copied data", "copied"],
)
def test_what_is_no_row_of_its_result_ends_the_session(asked: str, announced: bytes, odd: bytes) -> None:
    """Neither is passed, nor looked at again and again: the worker would never come back to its other sessions."""
    conversation = make()
    conversation.say(Side.CLIENT, pg.query(asked))
    conversation.say(Side.SERVER, announced)
    conversation.say(Side.SERVER, odd)
    assert [kind for kind, _ in conversation.heard.other] == ["ProtocolGap"]
    assert conversation.heard.closed == "protocol_gap"
    assert EMAIL not in conversation.heard.to_client
