"""Agents of people on a running proxy: what either may not, the agent may not; it ends with the person's last token."""

from __future__ import annotations

from collections.abc import Iterator

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

RULES = [
    {
        "id": "dba-only",
        "effect": "deny",
        "reason": "For dba.",
        "when": "'vacuum' in statement.verbs && !('dba' in principal.groups)",
    },
    {
        "id": "people",
        "effect": "deny",
        "reason": "For people.",
        "when": "'listen' in statement.verbs && principal.kind == 'agent'",
    },
]


@pytest.fixture(scope="module")
def proxy(pg: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({"bundle": "behalf", "rules": RULES}))
    with affidavit.proxy(pg, {"policy": {"files": [str(path)]}}) as running:
        yield running


def tried(proxy: Proxy, principal: str, token: str) -> list[bool]:
    found = []
    with psycopg.connect(**proxy.app(principal, token), autocommit=True) as connection:
        for sql in ("VACUUM pg_class", "LISTEN news"):
            try:
                connection.execute(sql)  # type: ignore[call-overload]
            except psycopg.errors.InsufficientPrivilege as error:
                found.append("statement denied" not in str(error))
            else:
                found.append(True)
    return found


def test_an_agent_may_what_both_may(proxy: Proxy) -> None:
    ana, dora = proxy.token("ana"), proxy.token("dora", groups=["dba"])
    assert tried(proxy, "ana", ana) == [False, True]
    assert tried(proxy, "dora", dora) == [True, True]
    for groups, behalf, may in (([], "dora", False), (["dba"], "ana", False), (["dba"], "dora", True)):
        agent = proxy.token("copilot", "agent", on_behalf_of=behalf, groups=groups)
        assert tried(proxy, "copilot", agent) == [may, False], (groups, behalf)

    def policies() -> list[list[str]]:
        return [e["decision"]["policies"] for e in proxy.trail.of_type("QueryExecuted") if e["principal"]["id"] == "copilot"]

    wait_for(lambda: ["behalf:dba-only"] in policies(), "the event that says for whom it was denied")
    assert ["dba-only"] in policies() or ["dba-only", "behalf:dba-only"] in policies()


def test_a_token_may_end_with_a_grant(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*words: str, code: int = 0) -> str:
        assert run([*words, "-c", str(proxy.config_path)]) == code
        said = capsys.readouterr()
        return said.out.strip() if code == 0 else said.err

    scope = ("--principal", "ivo", "--verbs", "select", "--objects", "a.b", "--reason", "INC-9")
    grant = command("grant", "create", *scope)
    agent = ("token", "create", "--principal", "copilot", "--kind", "agent", "--grant", grant)
    assert "has no grant" in command(*agent, "--on-behalf-of", "ana", code=1)
    token = command(*agent, "--on-behalf-of", "ivo")

    def in_force() -> bool:
        try:
            psycopg.connect(**proxy.app("copilot", token)).close()
        except psycopg.OperationalError as error:
            assert "is not in force" in str(error)
            return False
        return True

    wait_for(in_force, "the proxy to have the grant")
    with psycopg.connect(**proxy.app("copilot", token), autocommit=True) as connection:
        connection.execute("SELECT 1")
        command("grant", "revoke", grant)

        def ended() -> bool:
            try:
                connection.execute("SELECT 1")
            except psycopg.OperationalError as error:
                return "has ended" in str(error) or connection.closed
            return False

        wait_for(ended, "the session to end with the grant")
    with pytest.raises(psycopg.OperationalError, match="is not in force"):
        psycopg.connect(**proxy.app("copilot", token))
    assert "has no grant" in command(*agent, "--on-behalf-of", "ivo", code=1)


def test_an_agents_session_ends_with_the_last_token_of_its_person(proxy: Proxy) -> None:
    person, agent = proxy.token("gus"), proxy.token("copilot", "agent", on_behalf_of="gus")
    with psycopg.connect(**proxy.app("copilot", agent), autocommit=True) as connection:
        connection.execute("SELECT 1")
        assert run(["token", "revoke", person, "-c", str(proxy.config_path)]) == 0

        def ended() -> bool:
            try:
                connection.execute("SELECT 1")
            except psycopg.OperationalError:
                return True
            return False

        wait_for(ended, "the agent's session to end")
    with pytest.raises(psycopg.OperationalError, match="none of whose own tokens is valid any more"):
        psycopg.connect(**proxy.app("copilot", agent))
    proxy.token("gus")
    psycopg.connect(**proxy.app("copilot", agent)).close()
    store = TokenStore(DataDir(proxy.data_dir).identity, lambda: 0, bytes)
    assert any(a.action == "token.revoke" for a in store.claim_actions(1000))
    store.close()
