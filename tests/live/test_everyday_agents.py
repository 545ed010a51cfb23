"""Agents do everyday work, too: all of the everyday suites but what `everyday_agents.txt` names, and why.

They are judged as the proxy's guard judges them, by facts under a real server's catalogue, by the classes of columns and by both
starter bundles. What an agent may look rows up by, a whole e-mail address or key, must not be stretched to less: `NEAR` tries.
"""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from ingest.net.catalogue import read_catalogue
from ingest.protocols.postgres.scram import ScramKeys
from processors.statements import Lexing
from processors.statements.catalogue import Catalogue
from schemas.config import Upstream
from tests.live.test_evasion_strangers import EXTENSIONS, GOLDEN, Judge, lines
from tests.support.postgres import DATABASE, SUPERUSER, SUPERUSER_PASSWORD
from tests.support.postgres import running as running_postgres

SUITES = ("clinic", "objects", "strangers")
BUNDLES = ("production.yaml", "agents.yaml")
EXCEPTIONS = dict(reversed(line.split(": ", 1)) for line in lines("everyday_agents.txt"))
LOOKUPS = """
CREATE SCHEMA look;
CREATE TABLE look.people (
    id bigint PRIMARY KEY, email text, member_no text UNIQUE, phone text, iban text UNIQUE, full_name text UNIQUE, born date,
    password_hash text, pin_code text, customer_id bigint, email_initial text GENERATED ALWAYS AS (left(email, 1)) STORED, data jsonb,
    notes text, words tsvector
);
COMMENT ON COLUMN look.people.member_no IS 'medical';
CREATE TABLE look.orders (id bigint PRIMARY KEY, person_id bigint, state text, total numeric);
CREATE TABLE look.articles (id bigint PRIMARY KEY, title text, body text, words tsvector);
CREATE VIEW look.active AS SELECT id, email, left(email, 1) AS mail, phone AS email_or_phone FROM look.people WHERE phone IS NOT NULL;
CREATE FUNCTION look.orders_of(p bigint) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM look.orders WHERE person_id = p $$;
CREATE FUNCTION look.paid(p bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE n bigint; o bigint;
BEGIN SELECT id INTO o FROM look.orders WHERE person_id = p LIMIT 1; SELECT count(*) INTO n FROM look.orders WHERE id = o; RETURN n; END $$;
CREATE FUNCTION look.like_state(p text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM look.orders WHERE state LIKE p $$;
CREATE FUNCTION look.tell(p bigint, part text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE e text; n bigint;
BEGIN SELECT email INTO e FROM look.people WHERE id = p; SELECT count(*) INTO n FROM look.orders WHERE e LIKE part; RETURN n; END $$;
CREATE FUNCTION look.compare(v text, part text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM look.orders WHERE v LIKE part $$;
CREATE FUNCTION look.relay(p bigint, part text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE e text; BEGIN SELECT email INTO e FROM look.people WHERE id = p; RETURN look.compare(e, part); END $$;
CREATE FUNCTION look.relayed(p bigint, part text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT look.compare(email, part) FROM look.people WHERE id = p $$;
CREATE FUNCTION look.fetched(p bigint, part text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE c CURSOR FOR SELECT email FROM look.people WHERE id = p; e text := ''; n bigint;
BEGIN OPEN c; FETCH c INTO e; CLOSE c; SELECT count(*) INTO n FROM look.orders WHERE e LIKE part; RETURN n; END $$;
CREATE FUNCTION look.same(a text, b integer) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT 1 FROM look.orders WHERE a LIKE 'a%') $$;
CREATE OPERATOR look.=== (LEFTARG = text, RIGHTARG = integer, FUNCTION = look.same);
CREATE FUNCTION look.by_operator(p bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE e text; BEGIN SELECT email INTO e FROM look.people WHERE id = p; IF e OPERATOR(look.===) 1 THEN RETURN 1; END IF; RETURN 0; END $$;
CREATE FUNCTION look.mail_of(p bigint) RETURNS text LANGUAGE sql STABLE AS $$ SELECT email FROM look.people WHERE id = p $$;
CREATE FUNCTION look.named(email text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT id FROM look.people WHERE email < named.email LIMIT 1 $$;
"""
FAR = """
SELECT id, total FROM look.orders WHERE person_id = 7
SELECT id FROM look.people WHERE email = 'a@b.example'
SELECT id FROM look.people WHERE lower(email) = lower($1) AND id <> 7
SELECT id FROM look.people WHERE UPPER(email::text) = UPPER('a@b.example') ORDER BY id LIMIT 21
SELECT p.id, o.id FROM look.people p JOIN look.orders o ON o.person_id = p.id WHERE p.email = $1 AND o.state = 'new'
SELECT id FROM look.people WHERE member_no = 'M17'
SELECT id FROM look.active WHERE email = 'a@b.example'
SELECT EXISTS (SELECT 1 FROM look.people WHERE email = $1)
SELECT id FROM look.orders WHERE person_id IN (SELECT id FROM look.people WHERE member_no = 'M17')
EXPLAIN SELECT id FROM look.people WHERE email = $1
UPDATE look.people SET notes = 'x' WHERE email = 'a@b.example'
SELECT look.orders_of(7), look.paid(7), look.like_state('n%')
SELECT id, look.orders_of(id) FROM look.people LIMIT 5
SELECT count(*) FROM look.people WHERE phone IS NOT NULL AND born IS NULL
SELECT id FROM look.people WHERE data ->> 'plan' = 'pro'
SELECT data ->> 'plan' AS plan, count(*) FROM look.people GROUP BY data ->> 'plan' ORDER BY plan
SELECT id FROM "look"."people" WHERE "look"."people"."email" = 'a@b.example' ORDER BY "look"."people"."data" ->> 'plan'
SELECT id FROM look.people WHERE (data -> 'limits' ->> 'seats')::int = 5
SELECT id FROM look.people WHERE data ->> 'plan' IN ('pro', 'team')
SELECT id FROM look.people WHERE data ? 'trial'
SELECT id FROM look.articles WHERE words @@ websearch_to_tsquery('english', 'two words') ORDER BY ts_rank(words, websearch_to_tsquery('english', 'two words')) DESC LIMIT 10
SELECT id FROM look.people WHERE to_tsvector('english', coalesce(notes, '')) @@ plainto_tsquery('english', $1)
SELECT date_trunc('month', now()) AS m, state, sum(total) FROM look.orders GROUP BY m, state ORDER BY m
""".strip().splitlines()
NEAR = """
SELECT id FROM look.people WHERE left(email, 1) = 'a'
SELECT id FROM look.people WHERE email::varchar(1) = 'a'
SELECT id FROM look.people WHERE email::char = 'a'
SELECT id FROM look.people WHERE email::"char" = 'a'
SELECT id FROM look.people WHERE lower(left(email, 1)) = 'a'
SELECT id FROM look.people WHERE md5(email) = 'x'
SELECT id FROM look.people WHERE email LIKE 'a@b.example'
SELECT id FROM look.people WHERE email >= 'a@b.example'
SELECT id FROM look.people WHERE email <> 'a@b.example'
SELECT id FROM look.people WHERE email IN ('a', 'b')
SELECT id FROM look.people WHERE email = ANY ($1)
SELECT id FROM look.people WHERE email = 'a' OR email LIKE 'b%'
SELECT id FROM look.people WHERE NOT email = 'a'
SELECT id FROM look.people WHERE email = 'a' AND email LIKE 'a%'
SELECT id FROM look.people WHERE email = 'a' ORDER BY email
SELECT id FROM look.people WHERE email = (SELECT 'a')
SELECT id FROM look.people WHERE email = notes
SELECT id FROM look.people WHERE email COLLATE "C" = 'a'
SELECT id FROM look.people WHERE email_initial = 'a'
SELECT id FROM look.active WHERE mail = 'a'
SELECT id FROM look.active WHERE email_or_phone = '555'
SELECT id FROM look.people WHERE phone = '555'
SELECT id FROM look.people WHERE phone IS NOT NULL AND phone LIKE '555%'
SELECT id FROM look.people WHERE nullif(left(phone, 1), '5') IS NULL
SELECT x.id FROM (SELECT id, nullif(left(phone, 1), '5') AS phone FROM look.people) x WHERE x.phone IS NULL
SELECT id FROM look.people WHERE iban = 'DE89370400440532013000'
SELECT id FROM look.people WHERE full_name = 'Ada Example'
SELECT id FROM look.people WHERE born = '1990-01-01'
SELECT id FROM look.people WHERE password_hash = '5f4dcc3b5aa765d61d8327deb882cf99'
SELECT id FROM look.people WHERE pin_code = '1234'
SELECT x.id FROM (SELECT id, left(email, 1) AS email FROM look.people) x WHERE x.email = 'a'
WITH x AS (SELECT id, left(email, 1) AS email FROM look.people) SELECT id FROM x WHERE email = 'a'
SELECT x.id FROM (SELECT id, left(email, 1) AS e FROM look.people) x WHERE EXISTS (SELECT 1 FROM look.orders WHERE e = 'a')
SELECT x.id FROM (SELECT id, left(email, 1) AS state FROM look.people) x JOIN look.orders o ON o.id = x.id WHERE x.state = 'a'
SELECT id FROM look.people WHERE member_no LIKE 'M%'
SELECT count(*) FILTER (WHERE pin_code = '1') FROM look.people
SELECT CASE WHEN email = 'a' THEN 1 END FROM look.people
SELECT id FROM look.people GROUP BY id, email HAVING email = 'a'
SELECT look.like_state(email) FROM look.people WHERE id = 1
SELECT look.tell(1, 'a%')
SELECT look.named('a')
SELECT look.relay(1, 'a%')
SELECT look.relayed(1, 'a%')
SELECT look.by_operator(1)
SELECT look.fetched(1, 'a%')
SELECT id FROM look.people WHERE data ->> 'ssn' = '078-05-1120'
SELECT id FROM look.people WHERE data ->> $1 = '1'
SELECT id FROM look.people WHERE data ->> 'plan' LIKE 'p%'
SELECT id FROM look.people WHERE data ->> 'plan' > 'p'
SELECT id FROM look.people WHERE data::text = 'x' AND data ->> 'plan' = 'pro' AND data::text LIKE '%a%'
SELECT left(email, 1) AS plan FROM look.people ORDER BY plan
SELECT data ->> 'ssn' AS plan, count(*) FROM look.people GROUP BY data ->> 'ssn' ORDER BY plan
SELECT left(data ->> 'plan', 1) AS plan FROM look.people ORDER BY plan
SELECT id FROM look.people WHERE data @> '{"pin": "1234"}'
SELECT id FROM look.people WHERE left(data ->> 'plan', 1) = 'p'
SELECT id FROM look.people WHERE (data ->> 'plan')::char = 'p'
SELECT id FROM look.people p WHERE to_jsonb(p) ->> 'email' = 'a'
SELECT id FROM look.people WHERE words @@ to_tsquery('a:*')
SELECT id FROM look.people WHERE words @@ plainto_tsquery('ada')
SELECT id FROM look.articles WHERE words @@ to_tsquery('a:*')
SELECT id FROM look.people WHERE to_tsvector(left(notes, 1)) @@ plainto_tsquery('a')
SELECT id FROM look.people WHERE to_tsvector(email) @@ plainto_tsquery('a')
SELECT id FROM look.people WHERE to_tsvector(full_name) @@ plainto_tsquery('ada')
SELECT id FROM look.people WHERE notes LIKE '%a%@%'
SELECT id FROM look.people WHERE id = 7 AND look.mail_of(id) LIKE 'a%'
SELECT id FROM look.people WHERE email = 'a@b.example' AND look.mail_of(7) LIKE 'a%'
DO $$ DECLARE e text; BEGIN SELECT email INTO e FROM look.people WHERE id = 1; IF e LIKE 'a%' THEN RAISE NOTICE 'y'; END IF; END $$
DO $$ DECLARE e text; BEGIN SELECT left(email, 1) INTO e FROM look.people WHERE id = 1; ASSERT e = 'a'; END $$
DO $$ DECLARE e text; BEGIN SELECT email INTO e FROM look.people WHERE email = 'a@b.example'; ASSERT e LIKE 'a%'; END $$
DO $$ DECLARE e text; BEGIN e := look.mail_of(7); PERFORM 1 FROM look.people WHERE id = 7; ASSERT e LIKE 'a%'; END $$
DO $$ DECLARE e text; BEGIN SELECT look.mail_of(id) INTO e FROM look.people WHERE id = 7; ASSERT e LIKE 'a%'; END $$
DO $$ DECLARE e text; BEGIN UPDATE look.people SET id = id WHERE id = 7 RETURNING email INTO e; ASSERT e LIKE 'a%'; END $$
DO $$ DECLARE r record; BEGIN SELECT p INTO r FROM look.people p WHERE id = 7; ASSERT r::text LIKE '%a%'; END $$
""".strip().splitlines()
NEAR += [f"SELECT id FROM look.people WHERE {' AND '.join(['email = $1'] * 9)}"]


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> Iterator[tuple[str, Catalogue]]:
    with running_postgres(oracle=False) as made:
        with made.superuser() as admin:
            admin.execute((GOLDEN / f"{request.param}.sql").read_text(encoding="utf-8"))
            if request.param == "clinic":
                admin.execute(LOOKUPS)
            if request.param == "strangers":
                has = {name for (name,) in admin.execute("SELECT name FROM pg_available_extensions").fetchall()}
                for schema, names in EXTENSIONS.items():
                    for name in (n for n in names if n in has):
                        admin.execute(f"CREATE EXTENSION {name} SCHEMA {schema}")
        to = {"host": made.host, "port": made.port, "user": SUPERUSER, "database": DATABASE, "tls": "disable"}
        read = read_catalogue(Upstream.model_validate(to), SUPERUSER_PASSWORD.encode(), ScramKeys())
        yield request.param, asyncio.run(read)


def everyday(suite: str) -> list[str]:
    found = [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines(f"everyday_{suite}.txt")]
    return [sql for sql in found if not sql.startswith("migration: ")]


def decisions(judge: Judge, sql: str) -> Iterator[tuple[str, list[str], bool]]:
    """Yield the verdict, the rules and whether it writes, of each statement of a text."""
    reader = judge.analyser._select(Lexing(search_path=("public",), catalogue=judge.catalogue))
    for statement in reader.analyse(sql.encode()).statements:
        decision = orjson.loads(judge.session.judge(statement, {}, 1).fragment)
        yield decision["verdict"], decision["policies"], bool(statement.facts.writes)


def stopped(judge: Judge, sql: str) -> list[tuple[list[str], bool]]:
    return [(rules, writes) for verdict, rules, writes in decisions(judge, sql) if verdict in ("deny", "hold")]


def test_an_agent_for_a_person_does_all_of_it_but_what_is_listed(suite: tuple[str, Catalogue]) -> None:
    name, catalogue = suite
    judge = Judge(catalogue, "agent", *BUNDLES, behalf="ana")
    sent = everyday(name)
    assert {sql for sql in sent if stopped(judge, sql)} == EXCEPTIONS.keys() & sent


def test_an_agent_for_nobody_reads_all_of_it(suite: tuple[str, Catalogue]) -> None:
    name, catalogue = suite
    judge = Judge(catalogue, "agent", *BUNDLES)
    for sql in everyday(name):
        for rules, writes in stopped(judge, sql):
            assert (writes and "agents-write-for-somebody" in rules) or sql in EXCEPTIONS, (sql, rules)


def test_what_is_listed_is_everyday() -> None:
    assert EXCEPTIONS.keys() <= {sql for suite in SUITES for sql in everyday(suite)}
    assert len(EXCEPTIONS) <= 36


def test_an_agent_looks_rows_up_by_a_whole_value_and_by_nothing_less(suite: tuple[str, Catalogue]) -> None:
    name, catalogue = suite
    if name != "clinic":
        return
    judge = Judge(catalogue, "agent", *BUNDLES, behalf="ana")
    assert [sql for sql in FAR if stopped(judge, sql)] == []
    assert [sql for sql in NEAR if not any("agents-infer-nothing" in rules for rules, _ in stopped(judge, sql))] == []
