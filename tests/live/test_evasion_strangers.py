"""A second evasion suite, by somebody who had seen neither the first nor the code: what came through then is what we learned of.

`tests/golden/evasion/strangers.sql` makes an application's database and what somebody hid in it, `dangerous_strangers.txt` and
`everyday_strangers.txt` hold the statements. They are judged as the proxy's guard judges them: by facts under the server's own
catalogue, by the classes of columns, and by the starter bundles.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest

from ingest.guard.guard import Guard
from ingest.masking import DatabaseMasking
from ingest.net.catalogue import read_catalogue
from ingest.protocols.postgres.scram import ScramKeys
from processors.policy import Policy, read_bundle
from processors.policy.context import DEFAULTS, SUBJECT
from processors.statements import Analyser, Lexing
from processors.statements.catalogue import Catalogue
from schemas.classes import Style
from schemas.config import Upstream
from tests.support.pg_conversation import TOKENIZER, Conversation
from tests.support.postgres import DATABASE, SUPERUSER, SUPERUSER_PASSWORD, Postgres
from tests.support.postgres import running as running_postgres
from tests.unit.test_pg_masking import SCANNER, Snapshots

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "evasion"
POLICIES = ROOT / "deploy" / "policies"
EXTENSIONS = {
    "ext": ("dblink", "tablefunc", "xml2", "pageinspect", "pg_surgery"),
    "public": (
        "postgres_fdw", "file_fdw", "pg_stat_statements", "pgrowlocks", "pg_visibility", "pg_walinspect", "pgcrypto", "pg_trgm",
        "hstore", "lo", "pg_prewarm", "pgstattuple", "amcheck", "citext",
    ),
}  # fmt: skip
FOREIGN = re.compile(r"\b(passwd|remote_customers|local_looking)\b")
"""Tables behind wrappers that not every server has."""
TOLD = frozenset(("bulk_export", "inference", "enumeration", "credentials_sensitive"))
"""Reads, which people do every day as well: the bundle for production may let them pass, and tells of them."""


def lines(name: str) -> list[str]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    return [line.replace("\\n", "\n") for line in text.splitlines() if line and not line.startswith("#")]


def spelt(line: str) -> tuple[str, tuple[str, ...], str]:
    found = re.match(r"(\w+): (?:\{path=(.*?)\} )?(.*)\Z", line, re.DOTALL)
    assert found, line
    return found[1], tuple((found[2] or "public").split(",")), found[3]


DANGEROUS = [spelt(line) for line in lines("dangerous_strangers.txt")]
EVERYDAY = lines("everyday_strangers.txt")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres(oracle=False) as made:
        with made.superuser() as admin:
            admin.execute((GOLDEN / "strangers.sql").read_text(encoding="utf-8"))
            has = {name for (name,) in admin.execute("SELECT name FROM pg_available_extensions").fetchall()}
            for schema, names in EXTENSIONS.items():
                for name in (n for n in names if n in has):
                    admin.execute(f"CREATE EXTENSION {name} SCHEMA {schema}")
            if {"postgres_fdw", "file_fdw"} <= has:
                admin.execute((GOLDEN / "strangers_foreign.sql").read_text(encoding="utf-8"))
        yield made


@pytest.fixture(scope="module")
def catalogue(server: Postgres) -> Catalogue:
    to = {"host": server.host, "port": server.port, "user": SUPERUSER, "database": DATABASE, "tls": "disable"}
    return asyncio.run(read_catalogue(Upstream.model_validate(to), SUPERUSER_PASSWORD.encode(), ScramKeys()))


class Judge:
    """Says what the guard decides of a text, for one kind of principal."""

    def __init__(self, catalogue: Catalogue, kind: str, *bundles: str, behalf: str = "", groups: tuple[str, ...] = ()) -> None:
        self.analyser = Analyser(TOKENIZER)
        self.catalogue = catalogue
        masks = DatabaseMasking(Snapshots(catalogue), TOKENIZER, SCANNER, {}, Style.REDACT)
        guard = Guard(Policy(read_bundle({name: (POLICIES / name).read_bytes() for name in bundles})))
        subject = {name: DEFAULTS[name] for name in SUBJECT}
        subject |= {"principal.kind": kind, "principal.on_behalf_of": behalf, "principal.delegation": [behalf] if behalf else []}
        subject |= {"principal.groups": list(groups)}
        self.session = guard.session(subject, "s", Conversation().session, 0)
        self.session.classes, self.session.columns = masks.classes, masks

    def __call__(self, sql: str, path: tuple[str, ...] = ("public",)) -> set[str]:
        reader = self.analyser._select(Lexing(search_path=path, catalogue=self.catalogue))
        found = reader.analyse(sql.encode()).statements  # past `analyse`, which would hide an exception of ours
        return {orjson.loads(self.session.judge(statement, {}, 1).fragment)["verdict"] for statement in found}


@pytest.mark.parametrize("kind", ["human", "service"])
def test_everything_dangerous_is_stopped_or_told_of(catalogue: Catalogue, kind: str) -> None:
    judge = Judge(catalogue, kind, "production.yaml")
    foreign = bool(catalogue.find("public", "passwd"))
    missed: dict[str, list[str]] = defaultdict(list)
    for category, path, sql in DANGEROUS:
        if (FOREIGN.search(sql) and not foreign) or (category == "inference" and kind == "service"):
            continue  # to services nothing is masked, so that there is nothing to infer
        verdicts = judge(sql, path)
        if not verdicts & {"deny", "hold"} and not (category in TOLD and "alert" in verdicts):
            missed[category].append(sql)
    assert missed == {}


def test_an_agent_does_nothing_dangerous_and_everything_dangerous_is_seen(catalogue: Catalogue) -> None:
    judge = Judge(catalogue, "agent", "production.yaml", "agents.yaml", behalf="ana")
    foreign = bool(catalogue.find("public", "passwd"))
    passed = [
        sql
        for category, path, sql in DANGEROUS
        if (foreign or not FOREIGN.search(sql))
        and not (verdicts := judge(sql, path)) & {"deny", "hold"}
        and not (category in ("enumeration", "credentials_sensitive") and "alert" in verdicts)
    ]
    assert passed == []


@pytest.mark.parametrize("kind", ["human", "service"])
def test_nothing_everyday_is_stopped(catalogue: Catalogue, kind: str) -> None:
    judge = Judge(catalogue, kind, "production.yaml")
    assert [sql for sql in EVERYDAY if judge(sql) & {"deny", "hold"}] == []


def test_statements_mean_something_to_the_server(server: Postgres) -> None:
    """What is everyday is run, and rolled back: a suite of texts that no server takes would prove nothing."""
    refused = []
    for sql in EVERYDAY:
        if sql.split(" ", 1)[0] in ("COPY", "VACUUM", "FETCH", "CLOSE", "CALL") or "CURRENT OF" in sql or "SAVEPOINT" in sql:
            continue
        with psycopg.connect(**server.app() | {"user": SUPERUSER, "password": SUPERUSER_PASSWORD}) as client:
            result = client.pgconn.exec_(f"{sql}".encode())
            state = (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
            if state[:2] in ("42", "0A") and "CONCURRENTLY" not in sql:
                refused.append((sql, state))
            client.rollback()
    assert refused == []


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(DANGEROUS) >= 850
    assert len(EVERYDAY) >= 140
    assert len({category for category, _, _ in DANGEROUS}) == 15
