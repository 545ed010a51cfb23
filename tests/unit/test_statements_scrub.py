"""No value of a statement in clear: secrets planted in every position a literal, a name or a comment can take."""

from __future__ import annotations

import pytest

from processors.statements import Analyser, Analysis, Lexing, Tokenizer
from processors.statements.scrub import without_literals
from schemas.events import StatementFlag

SECRET = "hunter2"
NUMBER = "4929123412341234"

PARSED = [
    "SELECT 'hunter2'",
    "SELECT 'it''s hunter2'",
    "SELECT E'\\'hunter2'",
    "SELECT U&'hunter2'",
    "SELECT U&'h!0075nter2 hunter2' UESCAPE '!'",
    "SELECT $$hunter2$$, $x$ hunter2 $x$",
    "SELECT N'hunter2', 4929123412341234, -4929123412341234, 4929123412341234.5e3",
    "SELECT 'hun'\n'ter2 hunter2'",
    "SELECT 1 -- hunter2\n",
    "SELECT 1 /* hunter2 /* hunter2 */ 4929123412341234 */",
    "SELECT 1 /* password='hunter2' */",
    "SELECT * FROM t WHERE a IN ('hunter2', 'x', 'hunter2')",
    "SELECT * FROM t WHERE email = \"hunter2@example.org\"",
    "SELECT * FROM t WHERE pan = \"4929123412341234\"",
    'SELECT 1 AS "hunter2 is my password"',
    'SELECT U&"hunter2\\0040example"',
    f"SELECT {'x' * 60}hunter2",
    "SELECT interval 'hunter2', date 'hunter2', 'hunter2'::text, CAST('hunter2' AS text)",
    "SELECT * FROM json_to_record('hunter2') AS x(a int)",
    "SELECT * FROM dblink('password=hunter2', 'select hunter2')",
    "SELECT xmlelement(name a, 'hunter2')",
    "SELECT a -> 'hunter2' #>> '{hunter2}' FROM t ORDER BY 'hunter2' LIMIT 4929123412341234",
    "INSERT INTO t VALUES ('hunter2', 4929123412341234), ('hunter2', 2), (3, 'hunter2')",
    "INSERT INTO t (a) VALUES ('hunter2') ON CONFLICT (a) DO UPDATE SET b = 'hunter2' RETURNING 'hunter2'",
    "UPDATE t SET a = 'hunter2' WHERE b LIKE '%hunter2%'",
    "DELETE FROM t WHERE a = 'hunter2' OR 'hunter2' = 'hunter2'",
    "ALTER ROLE bob PASSWORD 'hunter2'",
    "CREATE USER bob WITH ENCRYPTED PASSWORD 'hunter2' VALID UNTIL 'hunter2'",
    "ALTER ROLE bob SET app.secret TO hunter2",
    "ALTER DATABASE d SET app.secret = 'hunter2'",
    "ALTER SYSTEM SET primary_conninfo = 'password=hunter2'",
    "SET app.secret = 'hunter2'",
    "SET app.secret TO hunter2",
    "SET SESSION app.secret TO hunter2, hunter2",
    'SET LOCAL "app.secret" = "hunter2"',
    "SET application_name = hunter2",
    "SET SESSION AUTHORIZATION 'hunter2'",
    "SET TIME ZONE 'hunter2'",
    "SELECT set_config('app.secret', 'hunter2', false)",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET app.secret TO hunter2 AS $$ select 'hunter2' $$",
    "CREATE FUNCTION f(a text DEFAULT 'hunter2') RETURNS text AS 'hunter2' LANGUAGE sql",
    "CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC SELECT 'hunter2'; END",
    "DO $$ BEGIN PERFORM 'hunter2'; END $$",
    "DO LANGUAGE plpgsql 'begin execute ''hunter2''; end'",
    "COMMENT ON TABLE t IS 'hunter2'",
    "SECURITY LABEL ON TABLE t IS 'hunter2'",
    "NOTIFY channel, 'hunter2'",
    "COPY t FROM '/tmp/hunter2'",
    "COPY t TO PROGRAM 'curl -u hunter2' WITH (DELIMITER 'h', NULL 'hunter2')",
    "COPY (SELECT 'hunter2') TO STDOUT",
    "CREATE TABLE t (a text DEFAULT 'hunter2' CHECK (a <> 'hunter2'), b numeric(10, 2))",
    "CREATE TABLE t PARTITION OF p FOR VALUES IN ('hunter2', 'hunter2')",
    "CREATE INDEX i ON t (a) WHERE b = 'hunter2'",
    "CREATE VIEW v AS SELECT 'hunter2'",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (NOTIFY x, 'hunter2'; SELECT 'hunter2')",
    "CREATE TYPE e AS ENUM ('hunter2')",
    "ALTER TYPE e ADD VALUE 'hunter2'",
    "CREATE POLICY p ON t USING (a = 'hunter2')",
    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f('hunter2', hunter2)".replace(", hunter2)", ")"),
    "CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'u', password 'hunter2')",
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'hunter2')",
    "CREATE SUBSCRIPTION s CONNECTION 'password=hunter2' PUBLICATION p",
    "CREATE TABLESPACE t LOCATION '/hunter2'",
    "LOAD 'hunter2'",
    "PREPARE TRANSACTION 'hunter2'",
    "PREPARE p AS SELECT 'hunter2'",
    "EXECUTE p('hunter2')",
    "DECLARE c CURSOR FOR SELECT 'hunter2'",
    "EXPLAIN ANALYZE SELECT 'hunter2'",
    "CALL p('hunter2')",
    "MERGE INTO t USING s ON t.a = 'hunter2' WHEN MATCHED THEN UPDATE SET b = 'hunter2'",
    'GRANT SELECT ON t TO "hunter2@example.org"',
    "BEGIN; SELECT 'hunter2'; COMMIT",
]  # fmt: skip

UNPARSED = [
    "SELEC 'hunter2'",
    "SELECT hunter2 FROM WHERE",
    "ALTER ROLE bob PASSWORD hunter2",
    "ALTER ROLE bob PASSWORD = hunter2, 'hunter2'",
    "SELECT 'unterminated hunter2",
    'SELECT "unterminated hunter2',
    "SELECT $a$ unterminated hunter2",
    "SELECT /* unterminated hunter2",
    "SELECT E'hunter2\\",
    "hunter2",
    "4929123412341234 hunter2",
    "SELECT 4929123412341234hunter2",
    "SELECT {hunter2}",
    "SELECT $1hunter2",
    "SELECT hunter2é x y z",
    "SELECT U&'\\hunter2' 'x'",
]


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


def everything(analysis: Analysis) -> str:
    written = [repr(analysis), repr(dict(analysis.claims)), repr(analysis.params)]
    for s in analysis.statements:
        written += [s.text, s.fragment.decode(), repr(s), repr(s.facts), repr(s.settings), s.fingerprint]
    return "\n".join(written)


def no_secret(analysis: Analysis) -> None:
    written = everything(analysis).lower()
    assert SECRET not in written
    assert NUMBER not in written


@pytest.mark.parametrize("sql", PARSED)
def test_parsed_text_shows_no_value(analyser: Analyser, sql: str) -> None:
    analysis = analyser.analyse(sql.encode(), Lexing())
    assert all(StatementFlag.UNPARSED not in s.facts.flags for s in analysis.statements), "the case does not test what it says"
    no_secret(analysis)
    no_secret(analyser.analyse(sql.encode(), Lexing()))


@pytest.mark.parametrize("sql", UNPARSED)
def test_unparsed_text_shows_no_value(analyser: Analyser, sql: str) -> None:
    analysis = analyser.analyse(sql.encode(), Lexing())
    assert StatementFlag.UNPARSED in analysis.statements[0].facts.flags
    assert StatementFlag.OPAQUE in analysis.statements[0].facts.flags
    assert analysis.statements[0].facts.verbs == ("unknown",)
    assert analysis.statements[0].settings == {"*": None}
    no_secret(analysis)


@pytest.mark.parametrize("sql", PARSED + UNPARSED)
@pytest.mark.parametrize("lexing", [Lexing(standard_conforming_strings=False), Lexing(standard_conforming_strings=None), Lexing(client_encoding="no such")], ids=["escaping", "uncertain", "encoding"])  # fmt: skip  # noqa: E501
def test_other_readings_show_no_value_either(analyser: Analyser, sql: str, lexing: Lexing) -> None:
    no_secret(analyser.analyse(sql.encode(), lexing))


def test_fingerprint_does_not_depend_on_a_password(analyser: Analyser) -> None:
    one, two = (analyser.analyse(f"ALTER ROLE bob PASSWORD '{p}'".encode(), Lexing()).statements[0] for p in ("a", "b"))
    assert one.fingerprint == two.fingerprint
    assert one.fragment == two.fragment


def test_what_is_oversize_shows_its_key_words_only(analyser: Analyser) -> None:
    analysis = analyser.oversize(b"INSERT INTO accounts VALUES (1, 'hunter2'), (4929123412341234", 99, "d" * 64, Lexing())
    no_secret(analysis)
    [statement] = analysis.statements
    assert statement.text == "INSERT INTO ? VALUES ( ?"
    assert {StatementFlag.OVERSIZE, StatementFlag.OPAQUE} <= set(statement.facts.flags)
    [[token]] = analysis.params
    assert token.startswith("digest:")


def test_uncertain_quotes_hide_the_rest(analyser: Analyser) -> None:
    sql = rb"SELECT 'a\' , 'hunter2' --'"
    analysis = analyser.analyse(sql, Lexing(standard_conforming_strings=None))
    no_secret(analysis)
    assert analysis.statements[0].text == "SELECT ?"
    assert StatementFlag.OPAQUE in analysis.statements[0].facts.flags


@pytest.mark.parametrize(("encoding", "codec"), [("SJIS", "cp932"), ("BIG5", "cp950"), ("GBK", "gbk"), ("GB18030", "gb18030")])
def test_second_bytes_of_characters_are_not_quotes(analyser: Analyser, encoding: str, codec: str) -> None:
    """In these encodings a character may end in a backslash byte, which would escape the quote after it."""
    second = next(bytes((b, 0x5C)) for b in range(0x81, 0xFF) if _decodes(bytes((b, 0x5C)), codec))
    sql = b"SELECT E'" + second + b"' FROM t WHERE a = 'hunter2'"
    analysis = analyser.analyse(sql, Lexing(client_encoding=encoding))
    no_secret(analysis)
    assert analysis.statements[0].text == "SELECT ? FROM t WHERE a = ?"


def _decodes(data: bytes, codec: str) -> bool:
    try:
        return len(data.decode(codec)) == 1
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("encoding", ["JOHAB", "SHIFT_JIS_2004", "EUC_TW", "MULE_INTERNAL", "no such"])
def test_encodings_not_read_with_certainty_are_opaque(analyser: Analyser, encoding: str) -> None:
    analysis = analyser.analyse(b"SELECT E'\\' , hunter2 '", Lexing(client_encoding=encoding))
    assert StatementFlag.OPAQUE in analysis.statements[0].facts.flags
    no_secret(analysis)


@pytest.mark.parametrize("sql", [b"SELECT '\xff'", b"\x00", b"SELECT \x00 'hunter2'", b"SELECT '\xed\xa0\x80hunter2'"])
def test_bytes_that_are_no_text_are_opaque(analyser: Analyser, sql: bytes) -> None:
    analysis = analyser.analyse(sql, Lexing())
    assert StatementFlag.OPAQUE in analysis.statements[0].facts.flags
    no_secret(analysis)


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("select  a,\n\tb from t -- c\n where x = 'y'", "select a, b from t where x = ?"),
        ("SET search_path TO app, public", "SET search_path TO app, public"),
        ("SET app.x TO y", "SET app.x TO ?"),
        ("set role admin", "set role admin"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE"),
        ("select * from t where id in (1, 2, 3)", "select * from t where id in (?, ...)"),
        ("insert into t values (1,'a'),(2,'b')", "insert into t values (?,?), ..."),
        ("select '{}'::jsonb ? 'a', $1", "select ?::jsonb ? ?, $1"),
        ('select "Total" from "Order Details"', 'select "Total" from "Order Details"'),
        ("select 1; ; select 2;", "select ?"),
        ("create table t (a varchar(10))", "create table t (a varchar(?))"),
    ],
)
def test_shown(analyser: Analyser, sql: str, shown: str) -> None:
    assert analyser.analyse(sql.encode(), Lexing()).statements[0].text == shown


@pytest.mark.parametrize("sql", PARSED)
def test_what_others_send_holds_no_value(sql: str) -> None:
    """Whole, and cut off anywhere, as the server cuts what it shows of a long statement."""
    for end in range(len(sql) + 1):
        text = without_literals(sql[:end])
        assert SECRET not in text and NUMBER not in text, (sql[:end], text)


def test_what_others_send_keeps_its_form() -> None:
    assert without_literals("select a from t where n = 'x' and i=5 -- y") == "select a from t where n = ? and i=?"
    assert without_literals("autovacuum: VACUUM public.t") == "autovacuum: VACUUM public.t"
    assert without_literals("select a from t where n = 'x") == "select ? from ? where ? = ?"
    assert without_literals("select 'a\\' , x'") == "select ?"  # not the same under both readings of a backslash
    assert without_literals("") == ""
