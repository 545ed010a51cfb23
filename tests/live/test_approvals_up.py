"""The whole way, with `affidavit up`: a statement waits, an approver is told and decides by API or link; it runs, or not."""

from __future__ import annotations

import os
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import yaml
from joserfc import jwk

from schemas.approvals import binding_of
from tests.support.affidavit import UNMASKED, Machine
from tests.support.approval_events import REQUESTED
from tests.support.inbox import PASSWORD, Inbox
from tests.support.issuer import AUDIENCE, Issuer, published
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

RULES = [
    {"id": "hold-deletes", "effect": "hold", "reason": "Somebody looks first.", "risk": 60,
     "when": "'delete' in statement.verbs", "approvers": {"groups": ["dba"]}},
]  # fmt: skip


class House:
    """A machine whose deletes wait, and its approvers carol and ana; ana is who asks."""

    def __init__(self, server: Postgres) -> None:
        self.inbox = Inbox()
        urls = {"urls": [self.inbox.address("all")], "approvers": [{"principal": "carol", "urls_env": "CAROLS"}]}
        approvals = {"url": "http://127.0.0.1:API_PORT/approvals/{id}", "wait_seconds": 90.0}
        self.issuer = Issuer()
        self._published = published(self.issuer)
        trusted = {"issuers": [{"issuer": self._published.__enter__(), "audience": AUDIENCE}]}
        roles = {"group_roles": {"approver": ["dba", "leads"], "analyst": ["dba"]}}
        settings = {"approvals": approvals, "notifications": urls, "masking": UNMASKED, "identity": trusted, "api": roles}
        self.machine = Machine(server, settings)
        policy = self.machine.folder / "policy.yaml"
        policy.write_text(yaml.safe_dump({"bundle": "live", "rules": RULES}))
        settings = yaml.safe_load(self.machine.config_path.read_text().replace("API_PORT", str(self.machine.api_port)))
        self.machine.config_path.write_text(yaml.safe_dump(settings | {"policy": {"files": [str(policy)]}}))

    def start(self) -> None:
        """Start, with the address of carol's own channel in the environment."""
        os.environ["CAROLS"] = self.inbox.address("carols")
        try:
            self.machine.start()
        finally:
            del os.environ["CAROLS"]
        self.carol = self.machine.token("carol", groups=["dba"], roles=["approver", "analyst"])
        self.ana = self.machine.token("ana", groups=["dba"], roles=["approver"])
        with self.connect("setup") as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (a int PRIMARY KEY)")
            connection.execute("INSERT INTO kept SELECT n FROM generate_series(1, 100) n ON CONFLICT DO NOTHING")
            connection.execute("ANALYZE kept")

    def connect(self, application: str) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.machine.app("ana"), autocommit=True, application_name=application)

    def http(self, token: str = "") -> httpx.Client:
        base = f"http://127.0.0.1:{self.machine.api_port}"
        return httpx.Client(
            base_url=base, headers={"authorization": f"Bearer {token}"} if token else {}, trust_env=False, timeout=60
        )

    def open(self, http: httpx.Client, application: str) -> dict[str, Any]:
        """The open request of a client, once the API has it."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            items = http.get("/api/v1/approvals", params={"state": "open"}).json()["items"]
            found[:] = [i for i in items if i["client"]["application"] == application]
            return bool(found)

        wait_for(there, f"the request of {application}", 60)
        return found[0]

    def stands(self, http: httpx.Client, approval_id: str, state: str) -> dict[str, Any]:
        """The request, once it stands so, with what was decided and executed: by two sources, whose rows come in any order."""
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(http.get(f"/api/v1/approvals/{approval_id}").json())
            return bool(found["state"] == state and found["decisions"] and found["executions"])

        wait_for(there, f"state {state}, with decision and execution", 60)
        return found


@pytest.fixture(scope="module")
def house(pg: Postgres) -> Iterator[House]:
    made = House(pg)
    try:
        made.start()
        yield made
    finally:
        made.machine.end()
        made.inbox.close()
        made._published.__exit__(None, None, None)


def test_what_is_approved_by_the_api_runs_and_is_told_beside_its_estimate(house: House) -> None:
    with house.connect("api") as connection, house.http(house.carol) as carol, house.http(house.ana) as ana:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(connection.execute, "DELETE FROM kept WHERE a <= %s", (7,))
            item = house.open(carol, "api")
            path = f"/api/v1/approvals/{item['approval_id']}/decision"
            own = ana.post(path, json={"approved": True, "reason": "mine"})
            assert (own.status_code, "their own" in own.json()["detail"]) == (403, True)
            assert not future.done()
            answer = carol.post(path, json={"approved": True, "reason": "checked"})
            assert answer.json()["settled"] is True, answer.text
            assert future.result(120).rowcount == 7
        used = house.stands(carol, item["approval_id"], "used")
        assert [(e["status"], e["rows_affected"]) for e in used["executions"]] == [("ok", 7)]
        assert used["estimate"]["known"] and used["closed"]["deciders"] == ["carol"]
        assert [(d["principal"], d["channel"], d["reason"]) for d in used["decisions"]] == [("carol", "api", "checked")]
        wait_for(
            lambda: house.stands(carol, item["approval_id"], "used")["history"]["statements"] >= 3, "what ana ran before", 60
        )
        trail = house.machine.trail.refresh()
        (event,) = [e for e in trail if e["type"] == "ApprovalDecided"]
        asked = next(e for e in trail if e["type"] == "ApprovalRequested")
        assert (event["source"], event["binding"]) == (house.machine.node, binding_of(REQUESTED.validate_python(asked)))
        search = {"q": f"approval:{item['approval_id']}"}
        wait_for(lambda: carol.get("/api/v1/events", params=search).json()["items"], "the event in the search", 60)


def test_an_approver_decides_by_an_identity_token_and_others_do_not(house: House) -> None:
    issuer = house.issuer
    refused = {
        "another audience": issuer.token(sub="dana", groups=["dba"], aud="another"),
        "expired": issuer.token(sub="dana", groups=["dba"], exp=int(time.time()) - 600),
        "another key": issuer.token(sub="dana", groups=["dba"], key=jwk.ECKey.generate_key("P-256", {"kid": "k1"})),
        "another issuer": issuer.token(sub="dana", groups=["dba"], iss="https://elsewhere.example"),
        "no role": issuer.token(sub="dana", groups=["engineering"]),
    }
    objected = {
        "not their own": (issuer.token(sub="ana", groups=["dba"]), "their own"),
        "no agent": (issuer.token(sub="dana", groups=["dba"], act={"sub": "copilot", "groups": ["dba"]}), "only people"),
        "not of the rule's group": (issuer.token(sub="dana", groups=["leads"]), "approvers of this statement are in: dba"),
    }
    with house.connect("by jwt") as connection, house.http(house.carol) as carol, ThreadPoolExecutor(1) as pool:
        future = pool.submit(connection.execute, "DELETE FROM kept WHERE a = %s", (55,))
        item = house.open(carol, "by jwt")
        path = f"/api/v1/approvals/{item['approval_id']}/decision"
        for why, token in refused.items():
            with house.http(token) as nobody:
                assert nobody.post(path, json={"approved": True, "reason": "x"}).status_code == 401, why
        for why, (token, words) in objected.items():
            with house.http(token) as somebody:
                answer = somebody.post(path, json={"approved": True, "reason": "x"})
                assert answer.status_code == 403 and words in answer.json()["detail"], (why, answer.text)
        assert not future.done()
        token = issuer.token(sub="dana", groups=["dba"])
        with house.http() as browser:  # by the page: logged in with the token, then its form
            origin = {"origin": str(browser.base_url).rstrip("/")}
            entered = browser.post("/login", data={"token": token, "next": f"/approvals/{item['approval_id']}"}, headers=origin)
            assert entered.status_code == 303, entered.text
            assert "DELETE FROM kept" in browser.get(entered.headers["location"]).text
            done = browser.post(path, json={"approved": True, "reason": "seen"}, headers=origin)
            assert done.json()["settled"] is True, done.text
        assert future.result(120).rowcount == 1
        house.stands(carol, item["approval_id"], "used")
    (event,) = [
        e for e in house.machine.trail.refresh() if e["type"] == "ApprovalDecided" and e["approval_id"] == item["approval_id"]
    ]
    who = event["decider"]
    assert (who["id"], who["kind"], who["groups"], who["auth_method"]) == ("dana", "human", ["dba"], "jwt")
    assert token not in house.machine.said()


def test_an_approver_is_told_and_denies_by_the_link(house: House) -> None:
    with house.connect("link") as connection, house.http() as browser, house.http(house.carol) as carol:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(connection.execute, "DELETE FROM kept")
            item = house.open(carol, "link")

            def links() -> list[str]:
                """Carol's links for this request: what was settled before anybody looked was not told."""
                paths = [urlsplit(m["message"].splitlines()[-1]).path for m in house.inbox.of("carols")]
                return [p for p in paths if item["approval_id"].encode() in urlsafe_b64decode(f"{p[16:].split('.')[0]}===")]

            wait_for(lambda: bool(links()), "carol's message", 60)
            (link,) = links()
            page = browser.get(link)
            assert "DELETE FROM kept" in page.text and not future.done()
            origin = {"origin": str(browser.base_url).rstrip("/")}
            answer = browser.post(link, data={"approved": "no", "reason": "all of them?"}, headers=origin)
            assert answer.status_code == 200, answer.text
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"carol denied it: all of them\?"):
                future.result(120)
        assert [e["status"] for e in house.stands(carol, item["approval_id"], "denied")["executions"]] == ["denied"]
        assert browser.post(link, data={"approved": "yes"}, headers=origin).status_code == 409
    assert {m["title"] for m in house.inbox.of("all")} == {"Approval wanted: DELETE kept on shop"}
    with house.http(house.carol) as carol:
        numbers = dict(re.findall(r"(?m)^affidavit_notifications_(\w+)_total ([\d.]+)$", carol.get("/metrics").text))
    assert float(numbers["sent"]) == len(house.inbox.got) and float(numbers["failed"]) == 0
    token = link.rsplit("/", 1)[1]
    house.machine.assert_nowhere(PASSWORD, token)
