"""The evasion suite over a database full of traps: views, triggers, types, policies and functions of a real server.

`tests/golden/evasion/objects.sql` makes the shop and what somebody left in it, `dangerous_objects.txt` and `everyday_objects.txt`
hold the statements. They are judged as the proxy judges them, by facts under the server's own catalogue and the starter bundles,
and then sent through a real proxy, in front of the server, as a service: for a person much of it would wait for an approval.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.masking.sight import look
from ingest.masking.tags import CatalogueTags
from ingest.net.catalogue import read_catalogue
from ingest.protocols.postgres.scram import ScramKeys
from processors.policy import Policy, read_bundle, statement_values, subject_values
from processors.policy.context import DEFAULTS
from processors.sensitivity import Scanner
from processors.statements import Analyser, Lexing, Tokenizer
from schemas.config import Upstream
from schemas.events import Danger, Database, Principal, PrincipalKind, Verdict
from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.ports import wait_for
from tests.support.postgres import APP_PASSWORD, APP_USER, DATABASE, Postgres
from tests.support.postgres import running as running_postgres

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "evasion"
POLICIES = ROOT / "deploy" / "policies"
SHOP = Database(alias=DATABASE, engine="postgres", environment="production", name=DATABASE)
STOPS = frozenset((Verdict.DENY, Verdict.HOLD))
TOLD = frozenset((Danger.BULK_EXPORT, Danger.CATALOGUE_ENUMERATION, Danger.LARGE_OBJECT))
"""Dangers that people's everyday work has as well: the starter bundle for production tells of them and lets them pass."""


def lines(name: str) -> list[str]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def spelt(line: str) -> str:
    return line.replace("\\n", "\n").replace("\\t", "\t")


DANGEROUS = [
    (frozenset(map(Danger, names.split("|"))), spelt(sql))
    for names, sql in (s.split(": ", 1) for s in lines("dangerous_objects.txt"))
]
EVERYDAY = [spelt(line) for line in lines("everyday_objects.txt")]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres(oracle=False) as made:
        with made.superuser() as admin:
            admin.execute((GOLDEN / "objects.sql").read_text(encoding="utf-8"))
        yield made


@pytest.fixture(scope="module")
def lexing(server: Postgres) -> Lexing:
    to = {"host": server.host, "port": server.port, "user": APP_USER, "database": DATABASE, "tls": "disable"}
    read = read_catalogue(Upstream.model_validate(to), APP_PASSWORD.encode(), ScramKeys())
    return Lexing(catalogue=asyncio.run(read))


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


@pytest.fixture(scope="module")
def production() -> Policy:
    return Policy(read_bundle({"production.yaml": (POLICIES / "production.yaml").read_bytes()}))


def judged(policy: Policy, analyser: Analyser, lexing: Lexing, sql: str, who: Principal) -> tuple[set[Verdict], set[Danger]]:
    """Return what is decided of a text's statements, and their dangers. Past `analyse`, which would hide an exception of ours."""
    subject = {**DEFAULTS, **subject_values(who, SHOP, "app", "127.0.0.1:5000", True)}
    verdicts, dangers = set(), set()
    for statement in analyser._select(lexing).analyse(sql.encode()).statements:
        verdicts.add(policy.decide({**subject, **statement_values(statement.facts, statement.fingerprint, {})}).verdict)
        dangers.update(statement.facts.dangers)
    return verdicts, dangers


PEOPLE = [Principal(id="dana", kind=kind) for kind in (PrincipalKind.HUMAN, PrincipalKind.SERVICE)]


@pytest.mark.parametrize("who", PEOPLE, ids=lambda who: str(who.kind))
def test_everything_dangerous_shows_it_and_is_stopped(
    production: Policy, analyser: Analyser, lexing: Lexing, who: Principal
) -> None:
    missed = []
    for expected, sql in DANGEROUS:
        verdicts, dangers = judged(production, analyser, lexing, sql, who)
        caught = verdicts & STOPS or (expected & TOLD and Verdict.ALERT in verdicts)
        if not caught or not expected & dangers:
            missed.append((sql, sorted(expected), sorted(dangers), sorted(verdicts)))
    assert missed == []


@pytest.mark.parametrize("who", PEOPLE, ids=lambda who: str(who.kind))
def test_nothing_everyday_is_stopped(production: Policy, analyser: Analyser, lexing: Lexing, who: Principal) -> None:
    stopped = []
    for sql in EVERYDAY:
        verdicts, dangers = judged(production, analyser, lexing, sql, who)
        if verdicts & STOPS:
            stopped.append((sql, sorted(dangers)))
    assert stopped == []


def test_masking_refuses_nothing_everyday(analyser: Analyser, lexing: Lexing) -> None:
    """Nor what tools ask: some of their statements name tables that this database has not, of which nothing is known."""
    assert lexing.catalogue is not None
    tags = CatalogueTags(lexing.catalogue, Tokenizer(b"k" * 32), Scanner())
    tools = [sql for found in json.loads((GOLDEN / "tools.json").read_text()).values() for sql in found]
    refused = [
        (sql, sight.leaks)
        for sql in EVERYDAY + tools
        for statement in analyser._select(lexing).analyse(sql.encode()).statements
        if (sight := look(statement, tags)) is not None and (sight.leaks is None or sight.leaks)
    ]
    assert refused == []


def test_an_agent_for_a_person_does_everyday_work(analyser: Analyser, lexing: Lexing) -> None:
    both = Policy(read_bundle({p.name: p.read_bytes() for p in (POLICIES / "production.yaml", POLICIES / "agents.yaml")}))
    agent = Principal(id="copilot", kind=PrincipalKind.AGENT, on_behalf_of="ana", delegation=("ana",))
    stopped = [sql for sql in EVERYDAY if judged(both, analyser, lexing, sql, agent)[0] & STOPS]
    assert stopped == []
    passed = [sql for _, sql in DANGEROUS if judged(both, analyser, lexing, sql, agent)[0] == {Verdict.ALLOW}]
    assert passed == []


# -- through the proxy ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(server: Postgres) -> Iterator[Proxy]:
    with running_proxy(server, {"policy": {"files": [str(POLICIES / "production.yaml")]}}) as made:
        yield made


def send(client: psycopg.Connection[tuple[object, ...]], sql: str) -> str:
    """Send one text as it is; return the SQLSTATE and words of its error, or nothing."""
    result = client.pgconn.exec_(sql.encode())
    said = ""
    while result.status in (psycopg.pq.ExecStatus.COPY_IN, psycopg.pq.ExecStatus.COPY_OUT):
        if result.status == psycopg.pq.ExecStatus.COPY_IN:
            client.pgconn.put_copy_end()
        else:
            while client.pgconn.get_copy_data(0)[0] > 0:
                pass
        result = client.pgconn.get_result() or result
        while client.pgconn.get_result() is not None:
            pass
        break
    if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        state = (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
        said = f"{state} {(result.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY) or b'').decode()}"
    if client.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        client.pgconn.exec_(b"ROLLBACK")
    return said


def test_the_proxy_lets_nothing_dangerous_through(server: Postgres, guarded: Proxy) -> None:
    to = guarded.app("shopfront", guarded.token("shopfront", kind="service"))
    with psycopg.connect(**to, autocommit=True, application_name="dangerous") as client:
        passed = [
            (sql, said)
            for expected, sql in DANGEROUS
            if "denied by policy" not in (said := send(client, sql)) and not said.startswith("42601") and not expected & TOLD
        ]
    assert passed == []
    with server.superuser() as admin:
        assert admin.execute("SELECT count(*), count(card) FROM customers").fetchone() == (20, 20)
        assert admin.execute("SELECT count(*) FROM orders").fetchone() == (20,)

    def events() -> list[dict[str, Any]]:
        found = [e for e in guarded.trail.refresh() if e["type"] == "QueryExecuted"]
        return [e for e in found if e["client"]["application"] == "dangerous" and e["text"] != "ROLLBACK"]

    wait_for(lambda: len(events()) > len(DANGEROUS) - 50, "the events of what was sent")
    unseen = [e["text"] for e in events() if e["outcome"]["status"] == "ok" and e["decision"]["verdict"] == "allow"]
    assert unseen == []


def test_the_proxy_stops_nothing_everyday(guarded: Proxy) -> None:
    to = guarded.app("shopfront", guarded.token("shopfront", kind="service"))
    stopped = []
    with psycopg.connect(**to, autocommit=True) as client:
        for sql in EVERYDAY:
            if "denied by policy" in send(client, sql):
                stopped.append(sql)
            if "SET" in sql.upper():
                send(client, "DISCARD ALL")
    assert stopped == []


def test_the_suite_is_as_large_as_it_says() -> None:
    assert len(DANGEROUS) >= 1000
    assert len(EVERYDAY) >= 450
    assert set().union(*(expected for expected, _ in DANGEROUS)) >= set(Danger) - {
        Danger.ADVISORY_LOCK, Danger.INFERENCE, Danger.SENSITIVE_READ, Danger.UNKNOWN_CODE,
    }  # fmt: skip
