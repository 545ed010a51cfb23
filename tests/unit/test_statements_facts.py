"""Facts, case by case: what a statement does, to which objects, in which roles."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from processors.statements import Analyser, Lexing, Statement, Tokenizer
from processors.statements.statement import RESTORED
from schemas.events import Facts, QueryExecuted, StatementFlag


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


def one(analyser: Analyser, sql: str, lexing: Lexing = Lexing()) -> Statement:  # noqa: B008
    [statement] = analyser.analyse(sql.encode(), lexing).statements
    return statement


def words(*values: str) -> tuple[str, ...]:
    return tuple(w for v in values for w in v.split())


def columns(facts: Facts) -> dict[str, str]:
    return {c.name: " ".join(c.roles) for c in facts.columns}


VERBS = [
    # sql, verbs, reads, writes, flags
    ("select 1", "select", "", "", ""),
    ("select * from t", "select", "public.t", "", "star"),
    ("table t", "select", "public.t", "", "star"),
    ("values (1), (2)", "select", "", "", ""),
    ("select * from a.t, b.u", "select", "a.t b.u", "", "star"),
    ("select 1 from pg_class", "select", "pg_catalog.pg_class", "", ""),
    ("select 1 from t for update", "select", "public.t", "", "locking"),
    ("select 1 from t limit 5", "select", "public.t", "", "limited"),
    ("select 1 from t limit all", "select", "public.t", "", ""),
    ("select 1 from t fetch first 5 rows only", "select", "public.t", "", "limited"),
    ("select a into n from t", "select create_table", "public.t", "public.n", "ddl"),
    ("select a from t union select b from u", "select", "public.t public.u", "", ""),
    ("select * from t union select 1, 2, 3 union all select 4, 5, b from u", "select", "public.t public.u", "", "star"),
    ("select a from t union select 1, 2 union select 3, b from u", "select", "public.t public.u", "", ""),
    ("insert into t default values", "insert", "", "public.t", ""),
    ("insert into t select * from u", "insert", "public.u", "public.t", "star"),
    ("insert into t (a) values (1) on conflict do nothing", "insert", "", "public.t", ""),
    ("insert into t (a) values (1) on conflict (a) do update set b = 2", "insert update", "", "public.t", ""),
    ("update t set a = 1", "update", "", "public.t", "no_where"),
    ("update t set a = 1 where b = 2", "update", "", "public.t", ""),
    ("update t set a = u.b from u where u.id = t.id", "update", "public.u", "public.t", ""),
    ("update t set a = 1 where b = 2 returning c", "update", "public.t", "public.t", ""),
    ("delete from t", "delete", "", "public.t", "no_where"),
    ("delete from t using u where u.id = t.id", "delete", "public.u", "public.t", ""),
    ("delete from t where current of c", "delete", "", "public.t", ""),
    ("merge into t using u on t.id = u.id when matched then delete", "merge delete", "public.u", "public.t", ""),
    ("with d as (delete from t where a = 1 returning *) select * from d", "select delete", "public.t", "public.t", "star"),
    ("with x as (select 1 from t) insert into u select * from x", "insert select", "public.t", "public.u", "star"),
    ("truncate a, b.c", "truncate", "", "b.c public.a", ""),
    ("copy t from stdin", "copy_from", "", "public.t", "copy_in"),
    ("copy t to stdout", "copy_to", "public.t", "", "copy_out"),
    ("copy t to '/tmp/x'", "copy_to", "public.t", "", "copy_out copy_file"),
    ("copy t from '/tmp/x'", "copy_from", "", "public.t", "copy_in copy_file"),
    ("copy t from program 'curl x'", "copy_from", "", "public.t", "copy_in copy_program"),
    ("copy (select a from t) to stdout", "copy_to select", "public.t", "", "copy_out"),
    ("copy (delete from t returning a) to stdout", "copy_to delete", "public.t", "public.t", "no_where copy_out"),
    ("call p(1)", "call", "", "", ""),
    ("do $$begin null; end$$", "do", "", "", ""),
    ("do $$begin execute 'x'; end$$", "do", "", "", "changes_settings opaque"),
    ("do $$begin execute a; end$$", "do", "", "", "dynamic_sql changes_settings opaque"),
    ("do $$begin delete from t; execute 'truncate u'; end$$", "do delete truncate", "", "public.t public.u", "no_where"),
    ("explain select a from t", "explain", "public.t", "", "explain"),
    ("explain delete from t", "explain", "public.t", "", "explain"),
    ("explain analyze delete from t", "explain delete", "", "public.t", "no_where explain"),
    ("explain (analyze on, costs off) delete from t", "explain delete", "", "public.t", "no_where explain"),
    ("explain (analyze off) delete from t", "explain", "public.t", "", "explain"),
    ("explain (analyze false) delete from t", "explain", "public.t", "", "explain"),
    ("prepare p as select a from t", "prepare select", "public.t", "", "prepare"),
    ("execute p(1)", "execute", "", "", "execute"),
    ("deallocate p", "deallocate", "", "", "utility"),
    ("declare c cursor for select a from t", "declare select", "public.t", "", ""),
    ("fetch 5 from c", "fetch", "", "", "utility"),
    ("move 5 from c", "move", "", "", "utility"),
    ("close c", "close", "", "", "utility"),
    ("begin", "begin", "", "", "transaction"),
    ("start transaction", "begin", "", "", "transaction"),
    ("commit", "commit", "", "", "transaction"),
    ("end", "commit", "", "", "transaction"),
    ("rollback", "rollback", "", "", "transaction"),
    ("abort", "rollback", "", "", "transaction"),
    ("savepoint s", "savepoint", "", "", "transaction"),
    ("release s", "release", "", "", "transaction"),
    ("rollback to s", "rollback", "", "", "transaction"),
    ("listen c", "listen", "", "", "utility"),
    ("notify c, 'x'", "notify", "", "", "utility"),
    ("lock table t in exclusive mode", "lock", "public.t", "", "transaction locking"),
    ("vacuum t", "vacuum", "public.t", "", "utility"),
    ("analyze t", "analyze", "public.t", "", "utility"),
    ("show all", "show", "", "", "utility"),
    ("set x.y = 1", "set", "", "", "utility changes_settings"),
    ("reset all", "set", "", "", "utility changes_settings"),
    ("discard all", "discard", "", "", "utility changes_settings"),
    ("alter role r set search_path = x", "alter_role", "", "", "dcl changes_settings"),
    ("alter system set work_mem = 1", "alter_system", "", "", "ddl changes_settings"),
    ("grant select on t to r", "grant", "", "public.t", "dcl"),
    ("revoke all on s.t from r", "revoke", "", "s.t", "dcl"),
    ("grant a to b", "grant", "", "", "dcl"),
    ("revoke a from b", "revoke", "", "", "dcl"),
    ("create role r", "create_role", "", "", "dcl"),
    ("create table t (a int)", "create_table", "", "public.t", "ddl"),
    ("create table t (a int references u)", "create_table", "public.u", "public.t", "ddl"),
    ("create table t as select a from u", "create_table select", "public.u", "public.t", "ddl"),
    ("create materialized view v as select a from u", "create_materialized_view select", "public.u", "public.v", "ddl"),
    ("create view v as select a from u", "create_view select", "public.u", "public.v", "ddl"),
    ("create index on t (a)", "create_index", "", "public.t", "ddl"),
    ("create function f() returns int language sql as 'select 1'", "create_function", "", "", "ddl"),
    ("create procedure p() language sql as 'select 1'", "create_procedure", "", "", "ddl"),
    ("create policy p on t using (true)", "create_policy", "", "public.t", "ddl dcl"),
    ("create temp table t (a int)", "create_table", "", "pg_temp.t", "ddl"),
    ("create schema s create table t (a int)", "create_schema create_table", "", "s.t", "ddl"),
    ("create schema s create view v as select a from u", "create_schema create_view select", "?.u", "s.v", "ddl"),
    ("create event trigger e on ddl_command_start execute function f()", "create_event_trigger", "", "", "ddl"),
    ("alter type e add value 'x'", "alter_type", "", "", "ddl"),
    ("drop table a, b.c", "drop_table", "", "b.c public.a", "ddl"),
    ("drop view v", "drop_view", "", "public.v", "ddl"),
    ("drop schema s cascade", "drop_schema", "", "", "ddl"),
    ("alter table t drop column a", "alter_table", "", "public.t", "ddl"),
    ("alter table t rename a to b", "alter_table", "", "public.t", "ddl"),
    ("comment on table t is 'x'", "comment", "", "public.t", "ddl"),
    ("comment on column t.a is 'x'", "comment", "", "public.t", "ddl"),
    ("refresh materialized view v", "refresh_materialized_view", "", "public.v", "ddl"),
    ("nonsense", "unknown", "", "", "changes_settings unparsed opaque"),
    ("", "", "", "", "empty"),
    (" ; -- nothing\n;", "", "", "", "empty"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "verbs", "reads", "writes", "flags"), VERBS, ids=[v[0] for v in VERBS])
def test_verbs_objects_flags(analyser: Analyser, sql: str, verbs: str, reads: str, writes: str, flags: str) -> None:
    facts = one(analyser, sql).facts
    assert facts.verbs == words(verbs)
    assert facts.reads == words(reads)
    assert facts.writes == words(writes)
    assert facts.flags == words(flags)


COLUMNS = [
    ("select a, t.b from t where c = 1 order by d", {"a": "output", "b": "output", "c": "filter", "d": "order"}),
    ("select count(a) from t group by b having max(c) > 1", {"a": "argument output", "b": "group", "c": "argument filter"}),
    ("select x.a from t as x", {"a": "output"}),
    ("select public.t.a from t", {"a": "output"}),
    ("select a as b from t order by b", {"a": "order output"}),
    ("select a as b from t group by b", {"a": "group output", "b": "group"}),
    ("select a, b from t order by 2 desc, 1", {"a": "order output", "b": "order output"}),
    ("select distinct on (a) b from t", {"a": "group", "b": "output"}),
    ("select sum(a) over (partition by b order by c) from t", {"a": "argument output", "b": "group", "c": "order"}),
    ("select sum(a) filter (where b > 1) from t", {"a": "argument output", "b": "filter"}),
    ("select (t).a from t", {"a": "output"}),
    ("select * from t", {"*": "output"}),
    ("select t.* from t", {"*": "output"}),
    ("select t from t", {"*": "output"}),
    ("select row_to_json(t) from t", {"*": "argument output"}),
    ("select t.text from t", {"text": "output"}),
    ("select t.to_jsonb from t", {"*": "output", "to_jsonb": "output"}),
    ("select s.x from (select a as x from t) s where s.x = 1", {"a": "filter output"}),
    ("select x from (select a as x from t) s", {"a": "output"}),
    ("select y from (select a from t) s(y) order by y", {"a": "order output"}),
    ("with c as (select a as x from t) select x from c where x > 1", {"a": "filter output"}),
    ("with c(x) as (select a from t) select c.x from c group by x", {"a": "group output"}),
    ("with c as (select * from t) select x from c where y = 1", {"*": "output", "x": "output", "y": "filter"}),
    (
        "with recursive r as (select a, b from t union all select t.a, t.b from t join r on r.a = t.b) select a from r",
        {"a": "join output", "b": "join output"},
    ),
    ("select a from (select a from t union select b from t) s where a = 1", dict.fromkeys("ab", "filter group output")),
    ("select a from t union all select b from t", {"a": "output", "b": "output"}),
    ("select a from t except select 'x'", {"a": "filter output"}),
    ("select a from t intersect all select 'x'", {"a": "filter output"}),
    ("select distinct a from t", {"a": "output"}),
    ("select distinct a > 'x' from t", {"a": "group output"}),
    ("select distinct a from (select a from t union all values ('x')) s", {"a": "group output"}),
    ("select 1 / (length(a) - 5) from t", {"a": "argument filter output"}),
    ("create index on t ((1 / length(a))) where b > 'x'", {"a": "argument filter", "b": "argument filter"}),
    ("create unique index on t ((a > 'x'), b, lower(c))", {"a": "argument filter", "b": "argument", "c": "argument"}),
    ("alter table t add check (a < 'x')", {"a": "argument filter"}),
    ("alter table t add exclude using gist (a with =) where (b > 'x')", {"a": "argument", "b": "argument filter"}),
    ("select 1 from t where a in (select b from t)", {"a": "filter", "b": "filter"}),
    ("select (select x.a from t x) from t", {"a": "output"}),
    ("update t set a = b where c = 1", {"a": "write", "b": "argument", "c": "filter"}),
    ("update t set (a, b) = (select 1, 2)", {"a": "write", "b": "write"}),
    ("insert into t (a, b) values (1, 2) returning c", {"a": "write", "b": "write", "c": "output"}),
    ("insert into t values (1)", {"*": "write"}),
    (
        "insert into t (a) values (1) on conflict (a) do update set b = excluded.c where t.d = 1",
        {"a": "filter write", "b": "write", "c": "argument", "d": "filter"},
    ),
    ("delete from t where a = 1 returning *", {"a": "filter", "*": "output"}),
    ("copy t (a, b) to stdout", {"a": "output", "b": "output"}),
    ("copy t from stdin", {"*": "write"}),
    ("select case when a then b else c end from t", {"a": "filter output", "b": "output", "c": "output"}),
    ("select a::text, b[1], (c).d from t", {"a": "output", "b": "output", "c": "output"}),
    ("select f.x from t, lateral lower(t.a) as f(x)", {"a": "argument output"}),
    (
        "merge into t using t as s on t.a = s.b when matched then update set c = s.d",
        {"a": "join", "b": "join", "c": "write", "d": "argument"},
    ),
    ('select "odd@name" from t', {"~": "output"}),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), COLUMNS, ids=[c[0] for c in COLUMNS])
def test_columns_and_roles(analyser: Analyser, sql: str, expected: dict[str, str]) -> None:
    found = {
        name.removeprefix("public.t.")[:1] if name.startswith("public.t.~") else name.removeprefix("public.t."): roles
        for name, roles in columns(one(analyser, sql).facts).items()
    }
    assert found == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a from t, u", {"?.a": "output"}),
        ("select a from t join u using (id)", {"?.a": "output", "public.t.id": "join", "public.u.id": "join"}),
        ("select id from t join u using (id)", {"public.t.id": "join output", "public.u.id": "join output"}),
        (
            "select t.a, u.b from t join u on t.x = u.y",
            {"public.t.a": "output", "public.t.x": "join", "public.u.b": "output", "public.u.y": "join"},
        ),
        # The inner name may be the outer table's: `select (select ssn from dual) from people` reads people.ssn.
        ("select (select ssn from dual) from people", {"?.ssn": "output"}),
        ("select x.a from nowhere", {"?.a": "output"}),
        ("select s.t.a from s.t", {"s.t.a": "output"}),
    ],
)
def test_a_column_has_a_table_only_when_certain(analyser: Analyser, sql: str, expected: dict[str, str]) -> None:
    assert columns(one(analyser, sql).facts) == expected


@pytest.mark.parametrize(
    ("path", "reads"),
    [
        (("public",), ("pg_catalog.pg_proc", "public.t", "s.u")),
        (("app",), ("app.t", "pg_catalog.pg_proc", "s.u")),
        (("a", "b"), ("?.t", "pg_catalog.pg_proc", "s.u")),
        ((), ("?.t", "pg_catalog.pg_proc", "s.u")),
        (("$user", "public"), ("?.t", "pg_catalog.pg_proc", "s.u")),
    ],
)
def test_search_path(analyser: Analyser, path: tuple[str, ...], reads: tuple[str, ...]) -> None:
    facts = one(analyser, "select 1 from t, s.u, pg_proc", Lexing(search_path=path)).facts
    assert facts.reads == reads


TAUTOLOGIES = """
    where 1=1 | where 'a'='a' | where a = 1 or 1=1 | where a = 1 or true | where true | where not false | where 1 < 2
    where a = 'x' or 'b' like 'b%' | where a = a | where a like '%' | where a ~ '.*'
    where 1 in (1, 2) | where 2 between 1 and 3
    where a is null or a is not null | where a = 1 or (b = 2 or 3 = 3) | where b = 1 and (a = 2 or 1=1) | where '1'::int = 1
    where length('a') = 1 or a = 2 | where coalesce(null, true) | where 'on' | where 1=1 and 2=2
    where (1=1) is true | where -1 = -1
    where 1 = 2 or 'x' <> 'y' | where 'a' || 'b' = 'ab' | where 1 + 1 = 2
    where null is null or a = 1 | where 5 in (1, 2, 3, 4, 5)
"""
HONEST = """
    where a = 1 | where 1=2 | where false | where 1=1 and a = 1 | where a = b | where a = 1 or a = 2
    where a like 'x%' | where a <> a
    where a is null or b is not null | where now() > '2024-01-01' | where a in (1, 2) | where a between 1 and 2
    where not a | where 'off'
    where a = 1 or 1 = 2 | where exists (select 1) | where a = 1 or null | where $1 = $2 | where 'a' not like 'a' | where a ~ 'x'
    where 1 not in (1)
"""


def cases(text: str) -> list[str]:
    return [c.strip() for line in text.strip().splitlines() for c in line.split(" | ")]


@pytest.mark.parametrize("where", cases(TAUTOLOGIES))
@pytest.mark.parametrize("verb", ["select a from t", "delete from t", "update t set a = 1"])
def test_tautology(analyser: Analyser, verb: str, where: str) -> None:
    assert StatementFlag.TAUTOLOGY in one(analyser, f"{verb} {where}").facts.flags


@pytest.mark.parametrize("where", cases(HONEST))
def test_no_tautology(analyser: Analyser, where: str) -> None:
    assert StatementFlag.TAUTOLOGY not in one(analyser, f"select a from t {where}").facts.flags


@pytest.mark.parametrize(
    ("sql", "settings"),
    [
        ("set search_path = a, B", {"search_path": "a, b"}),
        ("set search_path to 'X'", {"search_path": "X"}),
        ("set standard_conforming_strings = off", {"standard_conforming_strings": "off"}),
        ("set names 'SJIS'", {"client_encoding": "SJIS"}),
        ("set local search_path = a", {"search_path": None}),
        ("set search_path to default", {"search_path": RESTORED}),
        ("reset search_path", {"search_path": RESTORED}),
        ("reset all", {"*": None, "search_path": RESTORED}),
        ("discard all", {"*": None, "search_path": RESTORED}),
        ("discard plans", {}),
        ("set app.x = 'y'", {"app.x": None}),
        ("select set_config('search_path', 'a', false)", {"search_path": "a"}),
        ("select set_config('search_path', $1, false)", {"search_path": None}),
        ("select set_config($1, $2, false)", {"*": None}),
        ("select pg_catalog.set_config('client_encoding', 'SJIS', false)", {"client_encoding": "SJIS"}),
        ("select set_config('search_path', 'a', true)", {"search_path": None}),
        ("select set_config('search_path', 'a', false) where false", {"search_path": None}),
        ("update pg_settings set setting = 'x' where name = 'y'", {"*": None}),
        ("do $$ begin set search_path = a; end $$", {"search_path": None}),
        ("not sql at all", {"*": None}),
        ("alter role r set search_path = a", {}),
        ("select 1", {}),
    ],
)
def test_settings(analyser: Analyser, sql: str, settings: dict[str, str | None]) -> None:
    assert one(analyser, sql).settings == settings


@pytest.mark.parametrize(
    ("sql", "functions"),
    [
        ("select LOWER(a), s.F(b) from t", "lower s.f"),
        ("select pg_catalog.pg_read_file('x')", "pg_read_file"),
        ("select query_to_xml('select 1', true, true, '')", "query_to_xml"),
        ("select 1 from generate_series(1, 2)", "generate_series"),
        ("select current_user", "current_user"),
        ("create trigger g before insert on t for each row execute function s.f()", "s.f"),
        ("select extract(year from a) from t", "extract"),
    ],
)
def test_functions(analyser: Analyser, sql: str, functions: str) -> None:
    assert one(analyser, sql).facts.functions == words(functions)


@pytest.mark.parametrize("call", ["query_to_xml('x', true, true, '')", "dblink_exec('c', 'x')", "public.dblink('x')"])
def test_functions_that_run_text_are_dynamic(analyser: Analyser, call: str) -> None:
    assert StatementFlag.DYNAMIC_SQL in one(analyser, f"select {call}").facts.flags


def test_several_statements_each_have_their_own(analyser: Analyser) -> None:
    analysis = analyser.analyse("sélect;".encode() + b"", Lexing())
    assert analysis.statements[0].facts.verbs == ("unknown",)
    analysis = analyser.analyse("begin;; update é set a = 'ü' where b = 2 ;select 'x', 3; ".encode(), Lexing())
    assert [s.text for s in analysis.statements] == ["begin", "update é set a = ? where b = ?", "select ?, ?"]
    assert [len(p) for p in analysis.params] == [0, 2, 2]
    assert all(StatementFlag.MULTI_STATEMENT in s.facts.flags for s in analysis.statements)
    alone = analyser.analyse(b"select 'x', 3", Lexing())
    assert alone.params[0] == analysis.params[2]
    assert alone.statements[0].fingerprint == analysis.statements[2].fingerprint
    assert alone.statements[0].text_hash == analysis.statements[2].text_hash


def test_literals_of_several_statements_with_a_long_list_stay_apart(analyser: Analyser) -> None:
    analysis = analyser.analyse(b"select 1; select 1 from t where a in (2, 3, 4); select 5", Lexing())
    assert [len(p) for p in analysis.params] == [1, 4, 1]


def test_fingerprint_is_that_of_libpg_query(analyser: Analyser) -> None:
    from pglast import parser

    sql = "select a from t where b = 'x' and c in (1, 2)"
    assert one(analyser, sql).fingerprint == parser.fingerprint(sql)


@pytest.mark.parametrize("sql", [v[0] for v in VERBS])
def test_fragment_completes_an_event(analyser: Analyser, sql: str) -> None:
    line = (
        b'{"type":"QueryExecuted","v":1,"source":"p/0","epoch":1,"seq":1,"event_id":"x","at":1,"ended_at":2,"kind":"simple",'
        b'"transaction":"I","params":[],"claims":{},"session_id":"s","principal":{"id":"a","kind":"human"},'
        b'"database":{"alias":"d","engine":"postgres","environment":"e","name":"n"},"db_user":"u","client":{"address":"c"},'
        b'"outcome":{"status":"ok"}'
    )
    statement = one(analyser, sql)
    event = TypeAdapter(QueryExecuted).validate_json(line + statement.fragment + b"}")
    assert event.facts == statement.facts
    assert (event.text, event.text_hash, event.fingerprint) == (statement.text, statement.text_hash, statement.fingerprint)
