"""Grants by the command line on a running proxy: in force without a new login, ended at once, told in the trail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from deploy.cli import run
from deploy.layout import DataDir
from ingest.identity.tokens import TokenStore
from tests.support import affidavit
from tests.support.affidavit import Proxy
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

RULE = {
    "id": "restricted",
    "effect": "deny",
    "when": 'statement.objects.exists(o, o.startsWith("restricted.") && !(o in grant.objects))',
    "reason": "Ask for a grant.",
}
READ = "SELECT amount FROM restricted.pay"
Client = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def proxy(pg: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({"bundle": "grants", "rules": [RULE]}))
    with pg.superuser() as admin:
        admin.execute("CREATE SCHEMA IF NOT EXISTS restricted")
        admin.execute("CREATE TABLE IF NOT EXISTS restricted.pay AS SELECT 7 AS amount")
        admin.execute("CREATE TABLE IF NOT EXISTS restricted.other AS SELECT 8 AS amount")
        admin.execute("GRANT USAGE ON SCHEMA restricted TO public")
        admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA restricted TO public")
    with affidavit.proxy(pg, {"policy": {"files": [str(path)]}}) as running:
        yield running


@pytest.fixture
def grant(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str) -> str:
        code = run(["grant", *words, "-c", str(proxy.config_path)])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out.strip()

    return call


def allowed(connection: Client, sql: str = READ) -> bool:
    try:
        connection.execute(sql)  # type: ignore[call-overload]
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.errors.QueryCanceled as stopped:  # it ran while the grant ended
        assert "the grant that it relied on has ended" in str(stopped)
        return False
    return True


def test_a_grant_begins_and_ends_in_an_open_session(proxy: Proxy, grant: Any) -> None:
    with (
        psycopg.connect(**proxy.app("gina"), autocommit=True, prepare_threshold=0) as gina,
        psycopg.connect(**proxy.app("olaf"), autocommit=True) as olaf,
    ):
        assert not allowed(gina)
        made = grant("create", "--principal", "gina", "--verbs", "select", "--objects", "restricted.pay", "--reason", "INC-1")
        began = time.monotonic()
        wait_for(lambda: allowed(gina), "the grant to be in force")
        assert time.monotonic() - began < 5, "without a new login"
        assert not allowed(gina, "DELETE FROM restricted.pay"), "a verb that was not granted"
        assert not allowed(gina, "SELECT amount FROM restricted.pay UNION SELECT amount FROM restricted.other")
        assert not allowed(olaf), "somebody else"
        [shown] = [json.loads(line) for line in grant("list", "--json").splitlines()]
        assert (shown["grant_id"], shown["principal"], shown["objects"], shown["state"]) == (
            made, "gina", ["restricted.pay"], "in force"
        )  # fmt: skip
        grant("revoke", made, "--reason", "done")
        wait_for(lambda: not allowed(gina), "the grant to end")
        assert grant("list", "--json") == ""
        assert json.loads(grant("list", "--all", "--json").splitlines()[-1])["state"] == "revoked"

    def judged_by() -> list[list[str]]:
        found = [e for e in proxy.trail.refresh() if e["type"] == "QueryExecuted" and e["principal"]["id"] == "gina"]
        return [e["decision"]["policies"] for e in found if e["outcome"]["status"] == "ok"]

    wait_for(lambda: [f"grant:{made}"] in judged_by(), "the event that names the grant")
    store = TokenStore(DataDir(proxy.data_dir).identity, lambda: 0, bytes)
    actions = {a.action: (a.target, a.details) for a in store.claim_actions(1000)}
    store.close()
    assert actions["grant.create"][0] == actions["grant.revoke"][0] == made
    assert actions["grant.create"][1]["reason"] == "INC-1" and actions["grant.create"][1]["objects"] == "restricted.pay"


def test_a_grant_expires_by_itself(proxy: Proxy, grant: Any) -> None:
    with psycopg.connect(**proxy.app("timo"), autocommit=True) as timo:
        asked = ("--principal", "timo", "--verbs", "*", "--objects", "restricted.*", "--until", "4s", "--reason", "INC-2")
        grant("create", *asked)
        wait_for(lambda: allowed(timo), "the grant to be in force")
        assert allowed(timo, "UPDATE restricted.other SET amount = 9")
        wait_for(lambda: not allowed(timo), "the grant to expire")


def test_an_agent_has_what_is_granted_to_its_principal_only_if_the_grant_says_so(proxy: Proxy, grant: Any) -> None:
    token = proxy.token("copilot", "agent", on_behalf_of="dora")
    with psycopg.connect(**proxy.app("copilot", token), autocommit=True) as agent:
        scope = ("--principal", "dora", "--verbs", "select", "--objects", "restricted.pay", "--reason", "INC-3")
        grant("create", *scope)
        with psycopg.connect(**proxy.app("dora"), autocommit=True) as dora:
            wait_for(lambda: allowed(dora), "dora's grant to be in force")
        assert not allowed(agent)
        made = grant("create", *scope, "--delegated")
        wait_for(lambda: allowed(agent), "the delegated grant to be in force")
        grant("revoke", made)
        wait_for(lambda: not allowed(agent), "it to end")


def test_what_makes_no_sense_is_not_granted(proxy: Proxy, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = ["grant", "create", "-c", str(proxy.config_path), "--principal", "x"]
    for words, said in (
        (["--reason", "y"], "name what is granted"),
        (["--reason", " ", "--groups", "dba"], "say why"),
        (["--reason", "y", "--verbs", "select"], "verbs go with objects"),
        (["--reason", "y", "--objects", "a.b"], "name what is granted"),
        (["--reason", "y", "--verbs", "select", "--classes", "email"], "name the objects"),
        (["--reason", "y", "--verbs", "select", "--objects", "pay"], "schema.name"),
        (["--reason", "y", "--verbs", "select", "--objects", "a.b", "--classes", "emal"], "did you mean email?"),
        (["--reason", "y", "--verbs", "SELECT", "--objects", "a.b"], "in small letters"),
        (["--reason", "y", "--verbs", "update,selct", "--objects", "a.b"], "there is no verb 'selct'; did you mean select?"),
        (["--reason", "y", "--verbs", "qqqqqq", "--objects", "a.b"], "such as select or drop_table"),
        (["--reason", "y", "--groups", "dba", "--until", "91d"], "90 days"),
        (["--reason", "y", "--groups", "dba", "--until", "2001-01-01"], "in the future"),
        (["--reason", "y", "--groups", "dba", "--databases", "nowhere"], "no database nowhere"),
    ):
        assert run([*base, *words]) == 1
        assert said in capsys.readouterr().err, words
    assert run(["grant", "revoke", "g0", "-c", str(proxy.config_path)]) == 1
    assert "no grant 'g0'" in capsys.readouterr().err


def test_a_granted_class_is_seen_as_it_is_until_the_grant_ends(proxy: Proxy, pg: Postgres, grant: Any) -> None:
    """In what the grant names alone, with an open cursor too; an agent sees what both it and its person may."""
    email, ssn = "ada.lovelace@example.org", "536-90-4399"
    with pg.superuser() as admin:
        admin.execute("CREATE SCHEMA IF NOT EXISTS registry")
        admin.execute(f"CREATE TABLE IF NOT EXISTS registry.people AS SELECT 1 AS id, '{email}' AS email, '{ssn}' AS ssn")
        admin.execute("CREATE TABLE IF NOT EXISTS registry.more AS SELECT * FROM registry.people")
        admin.execute("GRANT ALL ON SCHEMA registry TO public; GRANT ALL ON ALL TABLES IN SCHEMA registry TO public")
    token = proxy.token("clerk", "agent", on_behalf_of="mona")
    seen = "SELECT email, ssn FROM registry.people"
    with (
        psycopg.connect(**proxy.app("mona"), autocommit=True, prepare_threshold=0) as mona,
        psycopg.connect(**proxy.app("clerk", token), autocommit=True) as clerk,
    ):

        def row(sql: str = seen, by: Client = mona) -> tuple[Any, ...] | None:
            try:
                return by.execute(sql).fetchone()  # type: ignore[call-overload, no-any-return]
            except psycopg.errors.QueryCanceled:  # the grant ended while it ran
                return None

        wait_for(lambda: row() == ("[masked]", "[masked]"), "the catalogue to be read")
        what = ("--verbs", "select,declare,fetch", "--objects", "registry.people", "--classes", "email", "--reason", "INC-4")
        made = grant("create", "--principal", "mona", *what)
        wait_for(lambda: row() == (email, "[masked]"), "the grant to be in force")
        assert row("SELECT upper(email) FROM registry.people") == (email.upper(),)
        assert row("SELECT email FROM registry.more") == ("[masked]",), "another table"
        assert row("SELECT p.email FROM registry.people p, registry.more") == ("[masked]",), "and with another table"
        assert row(by=clerk) == ("[masked]", "[masked]"), "the grant does not say that agents have it too"
        with psycopg.connect(**proxy.app("mona"), autocommit=True) as other:
            other.execute("BEGIN")
            other.execute("DECLARE c CURSOR FOR SELECT email FROM registry.people, generate_series(1, 9)")
            assert row("FETCH 1 FROM c", other) == (email,)
            grant("revoke", made, "--reason", "done")
            wait_for(lambda: row() == ("[masked]", "[masked]"), "the grant to end")
            assert row("FETCH 1 FROM c", other) in ((("[masked]",), None)), "its cursors end, or show it no more"
        grant("create", "--principal", "mona", *what, "--delegated")
        grant("create", "--principal", "clerk", "--verbs", "*", "--objects", "*", "--classes", "*", "--reason", "INC-5")
        wait_for(lambda: row(by=clerk) == (email, "[masked]"), "what both may see")

    def shown() -> list[dict[str, Any]]:
        found = [e for e in proxy.trail.refresh() if e["type"] == "QueryExecuted" and e["principal"]["id"] == "mona"]
        return [e for e in found if e.get("exposed") and e["text"] == seen]

    wait_for(lambda: shown() != [], "the event that counts what was seen")
    event = shown()[0]
    assert event["decision"]["policies"] == [f"grant:{made}"]
    assert (event["exposure"], event["masked"], event["exposed"]) == (
        {"email": 1, "national_id": 1}, {"national_id": 1}, {"registry.people.email": 1}
    )  # fmt: skip
