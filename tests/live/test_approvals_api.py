"""Approvals by the API: what approvers are shown, who may decide, once and in time, and that decisions are recorded and told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from deploy.ballot import ControlBallot
from processors.sinks.clickhouse import Store, connect
from query_api.app import create_app
from query_api.identity import Identity
from query_api.limits import Limits
from schemas import control
from schemas.approvals import binding_of
from schemas.control import PrincipalResumed, PrincipalSuspended, publish
from schemas.log.sqlite import SqliteLog
from schemas.topics import CONTROL
from tests.support.approval_events import REQUESTED, Projected, body, closed, decided, principal, requested
from tests.support.control_key import SIGNER, TRUST
from tests.support.ports import wait_for
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

NOW = 1_790_000_000_000_000
SECOND = 1_000_000


def person(name: str, *roles: str, groups: Sequence[str] = (), kind: str = "human", behalf: str = "") -> Identity:
    return Identity(name, kind, frozenset(roles), tuple(groups), behalf, (behalf,) if behalf else (), f"tok_{name}")


IDENTITIES = {
    "carol": person("carol", "approver", groups=["dba"]),
    "dave": person("dave", "approver", groups=["dba", "leads"]),
    "erin": person("erin", "admin", groups=["leads"]),
    "root": person("root", "admin"),
    "ana": person("ana", "analyst", groups=["dba"]),
    "maria": person("maria.keller@example.com", "approver", groups=["dba"]),
    "MARIA": person("Maria.Keller@Example.com", "approver", groups=["dba"]),
    "bot": person("review-bot", "approver", groups=["dba"], kind="agent", behalf="carol"),
    "service": person("ci", "approver", groups=["dba"], kind="service"),
    "proxy-of-carol": person("zoe", "approver", groups=["dba"], behalf="carol"),
}


@dataclass
class Site:
    """A served API over a real store and a real log; `now` is the API's clock."""

    store: Store
    log: SqliteLog
    http: httpx.Client
    events: Projected
    recorded: Recorded
    said: list[dict[str, Any]]
    now: int = NOW
    broken: set[str] = field(default_factory=set)
    count: int = 0

    def ask(self, *, ago: int = 5, **changed: Any) -> str:
        """Have a statement wait since `ago` seconds; return the approval's id."""
        self.count += 1
        approval_id = f"0197f0c2-a3b4-7c11-8d00-{self.count:012d}"
        event = requested(approval_id, self.now - ago * SECOND, **changed)
        self.events.put("ApprovalRequested", body(event), event["at"])
        return approval_id

    def get(self, path: str, who: str = "carol", **params: str) -> httpx.Response:
        return self.http.get(f"/api/v1{path}", params=params, headers={"authorization": f"Bearer {who}"})

    def decide(self, approval_id: str, who: str, approved: bool = True, reason: str = "fine", **extra: Any) -> httpx.Response:
        return self.http.post(
            f"/api/v1/approvals/{approval_id}/decision",
            json={"approved": approved, "reason": reason, **extra},
            headers={"authorization": f"Bearer {who}"},
        )

    def told(self, approval_id: str) -> list[control.ApprovalDecided]:
        """What stands on the control topic about a request, in order."""
        found = (control.decode(r.key.decode(), r.value) for r in self.log.read(CONTROL.name, 0, 10_000))
        return [m for m in found if isinstance(m, control.ApprovalDecided) and m.approval_id == approval_id]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with closing(connect(SETTINGS, tmp_path_factory.mktemp("chdb"))) as store:
        store.migrate()
        yield store


@pytest.fixture
def site(store: Store, tmp_path: Path) -> Iterator[Site]:
    store.truncate()
    said: list[dict[str, Any]] = []
    recorded = Recorded()
    with closing(SqliteLog(tmp_path / "log.db")) as log, closing(SqliteLog(tmp_path / "log.db")) as ballot_log:

        def record(event: Any) -> None:
            if "record" in made.broken:
                raise OSError("no space left on device")
            said.append(orjson.loads(orjson.dumps(event)))

        class Ballot(ControlBallot):
            def tell(self, message: control.ApprovalDecided) -> None:
                if "tell" in made.broken:
                    raise OSError("the brokers are away")
                super().tell(message)

        app = create_app(
            [store.new_client() for _ in range(2)],
            SETTINGS,
            lambda token: IDENTITIES.get(token),
            recorded,
            lambda: {"ready": True},
            lambda: made.now,
            limits=Limits(stream_poll_seconds=0.05, stream_settle_us=50_000),
            ballot=Ballot(ballot_log, record, lambda: made.now, SIGNER, TRUST),
        )
        with serving(app) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            made = Site(store, log, http, Projected(store), recorded, said)
            yield made


def problem(response: httpx.Response, status: int, name: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["type"] == f"urn:affidavit:problem:{name}"
    return str(found["detail"])


class TestShown:
    """What approvers see."""

    def test_the_queue_has_what_one_needs_to_judge(self, site: Site) -> None:
        first, second = site.ask(ago=30), site.ask(ago=9)
        found = site.get("/approvals", state="open").json()
        assert [i["approval_id"] for i in found["items"]] == [second, first]
        item = found["items"][1]
        assert (item["state"], item["type"], item["rule"], item["risk"]) == ("open", "request", "hold-mass-deletes", 80)
        assert item["principal"]["on_behalf_of"] == "maria.keller@example.com"
        assert (item["facts"]["writes"], item["data_classes"]) == (["public.orders"], ["email", "address"])
        assert (item["estimate"]["rows"], item["may_decide"], item["objection"]) == (12_000, True, "")
        event = REQUESTED.validate_python(requested(first, NOW - 30 * SECOND))
        assert item["binding"] == binding_of(event)

    def test_pages_follow_each_other_without_loss(self, site: Site) -> None:
        made = [site.ask(ago=100 - i) for i in range(7)]
        seen: list[str] = []
        cursor: str | None = None
        while True:
            answer = site.get("/approvals", limit="3", **({"cursor": cursor} if cursor else {})).json()
            seen += [i["approval_id"] for i in answer["items"]]
            if (cursor := answer["next_cursor"]) is None:
                break
            site.ask(ago=0)  # what arrives meanwhile moves nothing
        assert seen == made[::-1]
        first = site.get("/approvals", limit="3").json()["next_cursor"]
        problem(site.get("/approvals", state="open", cursor=first), 400, "bad-cursor")

    def test_every_state_is_told_apart_and_found_by_its_filter(self, site: Site) -> None:
        ids = {name: site.ask(ago=60) for name in ("open", "denied", "used", "cancelled", "lost", "approved", "two of two")}
        ids["expired"] = site.ask(ago=600, seconds=60)
        put = site.events.put
        put("ApprovalDecided", decided(ids["denied"], "dave", False), NOW)
        for name in ("cancelled", "lost"):
            put("ApprovalClosed", closed(ids[name], name), NOW)
        site.events.executed(ids["cancelled"], NOW, status="cancelled", db_us=0)  # Ctrl-C: the statement is an event, too
        put("ApprovalDecided", decided(ids["approved"], "dave", True), NOW)
        put("ApprovalClosed", closed(ids["approved"], "approved", deciders=["dave"]), NOW)
        put("ApprovalDecided", decided(ids["used"], "dave", True), NOW)
        put("ApprovalClosed", closed(ids["used"], "approved", deciders=["dave"]), NOW)
        site.events.executed(ids["used"], NOW, status="ok", rows_affected=12_114)
        ids["cancelled in the database"] = site.ask(ago=60)
        put("ApprovalClosed", closed(ids["cancelled in the database"], "approved", deciders=["dave"]), NOW)
        site.events.executed(ids["cancelled in the database"], NOW, status="cancelled", db_us=7)
        put("ApprovalDecided", decided(ids["two of two"], "dave", True, nth=1, needed=2), NOW)
        glass = body(requested("g1", NOW)) | {"justification": "disk full", "groups": ["oncall"]}
        put("BreakGlassUsed", glass, NOW)
        expected = {name: name for name in ids} | {"two of two": "open", "cancelled in the database": "used"}
        for state in set(expected.values()):
            found = {i["approval_id"] for i in site.get("/approvals", state=state).json()["items"]}
            assert found == {ids[n] for n, s in expected.items() if s == state}, state
        assert [i["approval_id"] for i in site.get("/approvals", state="review").json()["items"]] == ["g1"]
        problem(site.get("/approvals", state="perhaps"), 400, "bad-request")

    def test_one_shows_history_estimate_and_what_it_became(self, site: Site) -> None:
        for i in range(12):
            before = orjson.loads(site.events.source.query())
            before |= {"at": NOW - 3600 * SECOND + i, "ended_at": NOW}
            before["principal"] = principal("migrations-bot", "agent", "maria.keller@example.com")
            before["outcome"] |= {"status": "denied" if i == 3 else "ok"}
            site.events.lines(orjson.dumps(before))
        approval_id = site.ask(params=["text:00ff"])
        event_id = site.events.executed(approval_id, NOW, status="ok", rows_affected=12_114)
        one = site.get(f"/approvals/{approval_id}").json()
        assert (one["text"], one["text_truncated"]) == ("DELETE FROM orders WHERE placed_at < $1", False)
        history = one["history"]
        assert (history["statements"], history["denied"], len(history["recent"]), history["hours"]) == (12, 1, 10, 24)
        (run,) = one["executions"]
        assert (run["event_id"], run["rows_affected"], one["estimate"]["rows"]) == (event_id, 12_114, 12_000)
        assert one["state"] == "used"

    def test_the_count_is_not_told_to_those_who_ask_before_it_ran(self, site: Site) -> None:
        approval_id = site.ask()
        for who in ("maria", "MARIA"):  # the agent that asks acts for her
            for item in (site.get(f"/approvals/{approval_id}", who).json(), site.get("/approvals", who).json()["items"][0]):
                assert item["estimate"]["rows"] == 12_000 and not item["estimate"]["dry_run"]["known"]
                assert item["estimate"]["dry_run"]["rows"] == 0 and "not told" in item["estimate"]["dry_run"]["absent"]
        for who in ("carol", "ana"):
            assert site.get(f"/approvals/{approval_id}", who).json()["estimate"]["dry_run"]["rows"] == 12_100
        site.events.put("ApprovalClosed", closed(approval_id, "cancelled"), NOW)
        assert not site.get(f"/approvals/{approval_id}", "maria").json()["estimate"]["dry_run"]["known"]
        site.events.executed(approval_id, NOW, status="ok", rows_affected=12_114)
        assert site.get(f"/approvals/{approval_id}", "maria").json()["estimate"]["dry_run"]["rows"] == 12_100

    def test_a_long_statement_is_shown_whole(self, site: Site) -> None:
        text = "DELETE FROM orders WHERE id IN (" + "$1, " * 9000 + "$1)"
        event = requested("long", NOW, text=text)
        site.events.put("TextObserved", {"text_hash": event["text_hash"], "text": text}, NOW)
        site.events.put("ApprovalRequested", body(event) | {"text": ""}, NOW)
        assert site.get("/approvals/long").json()["text"] == text

    def test_reads_are_recorded_before_they_are_answered(self, site: Site) -> None:
        approval_id = site.ask()
        site.get("/approvals", "ana", state="open")
        site.get(f"/approvals/{approval_id}", "carol")
        assert [(w, e, q, n) for w, _, e, q, n in site.recorded.reads] == [
            ("ana", "approvals", "state:open", 1),
            ("carol", "approvals/{id}", approval_id, 1),
        ]
        site.recorded.broken = True
        problem(site.get("/approvals"), 503, "not-recorded")
        problem(site.get(f"/approvals/{approval_id}"), 503, "not-recorded")

    @pytest.mark.parametrize("name", ["nothing", "0197", "'; DROP TABLE approvals; --", "x" * 500, "%00", "..%2f..%2fevents"])
    def test_ids_that_are_none_are_not_found(self, site: Site, name: str) -> None:
        site.ask()
        response = site.get(f"/approvals/{name}")
        assert response.status_code == 404
        assert site.decide(name, "carol").status_code == 404


class TestStream:
    """Live."""

    def test_what_happens_arrives_in_order_and_continues(self, site: Site) -> None:
        approval_id = site.ask()
        headers = {"authorization": "Bearer carol"}
        place = ""

        def items(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
            nonlocal place
            for line in lines:
                if line.startswith("id: "):
                    place = line[4:]
                if line.startswith("data: "):
                    yield orjson.loads(line[6:])

        with site.http.stream("GET", "/api/v1/approvals/stream", headers=headers) as response:
            stream = items(response.iter_lines())
            later = site.ask()
            assert (next(i for i in stream if i["approval_id"] == later))["state"] == "open"
        site.events.put("ApprovalClosed", closed(approval_id, "cancelled"), NOW)
        with site.http.stream("GET", "/api/v1/approvals/stream", headers=headers | {"last-event-id": place}) as response:
            found = next(items(response.iter_lines()))
            assert (found["approval_id"], found["state"]) == (approval_id, "cancelled")


class TestDeciding:
    """Who, when, how often; what is written."""

    def test_an_approval_is_recorded_and_told(self, site: Site) -> None:
        approval_id = site.ask()
        answer = site.decide(approval_id, "carol", reason="  ticket\n checked ")
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "approval_id": approval_id,
            "approved": True,
            "nth": 1,
            "needed": 1,
            "review": False,
            "settled": True,
        }
        (event,) = site.said
        binding = site.get(f"/approvals/{approval_id}").json()["binding"]
        assert (event["decider"]["id"], event["decider"]["credential_id"], event["channel"]) == ("carol", "tok_carol", "api")
        assert (event["reason"], event["binding"], event["review"], event["address"]) == (
            "ticket checked",
            binding,
            False,
            "127.0.0.1",
        )
        (message,) = site.told(approval_id)
        assert (message.approved, message.binding, message.principal) == (True, binding, "carol")
        assert (message.groups, message.kind, message.acts_for) == (("dba",), "human", ())
        assert message.expires_at == NOW - 5 * SECOND + 900 * SECOND

    def test_a_denial_needs_a_reason_and_ends_it(self, site: Site) -> None:
        approval_id = site.ask()
        problem(site.decide(approval_id, "carol", False, reason=" "), 400, "bad-request")
        assert site.decide(approval_id, "carol", False, reason="not on a Friday").json()["settled"] is True
        assert "denied by carol" in problem(site.decide(approval_id, "dave"), 409, "conflict")
        assert [m.approved for m in site.told(approval_id)] == [False]

    @pytest.mark.parametrize(
        ("who", "why"),
        [
            ("maria", "their own"),
            ("MARIA", "their own"),
            ("bot", "only people"),
            ("service", "only people"),
            ("proxy-of-carol", "only people"),
            ("root", "approvers of this statement are in: dba, leads"),
            ("ana", "needs the role"),
        ],
    )
    def test_those_who_may_not(self, site: Site, who: str, why: str) -> None:
        approval_id = site.ask()
        assert why in problem(site.decide(approval_id, who), 403, "forbidden")
        assert (site.told(approval_id), site.said) == ([], [])

    def test_nobody_in_a_longer_chain_decides_either(self, site: Site) -> None:
        asks = principal("inner-agent", "agent", "maria.keller@example.com") | {"delegation": ["outer", "carol", "maria"]}
        approval_id = site.ask(principal=asks)
        assert "run in their name" in problem(site.decide(approval_id, "carol"), 403, "forbidden")
        assert site.decide(approval_id, "dave").status_code == 200

    def test_without_a_token_or_with_a_wrong_one(self, site: Site) -> None:
        approval_id = site.ask()
        problem(site.decide(approval_id, "nobody"), 401, "unauthenticated")
        problem(site.http.get("/api/v1/approvals"), 401, "unauthenticated")

    def test_two_rules_need_two_people(self, site: Site) -> None:
        needs = [{"rule": "a", "groups": ["dba"], "count": 2}, {"rule": "b", "groups": ["leads"], "count": 1}]
        approval_id = site.ask(needs=needs)
        first = site.decide(approval_id, "carol").json()
        assert (first["nth"], first["needed"], first["settled"]) == (1, 2, False)
        assert "a decision is made once" in problem(site.decide(approval_id, "carol"), 409, "conflict")
        assert "a decision is made once" in problem(site.decide(approval_id, "carol", False), 409, "conflict")
        second = site.decide(approval_id, "dave").json()
        assert (second["nth"], second["needed"], second["settled"]) == (2, 2, True)
        assert "approved by carol, dave" in problem(site.decide(approval_id, "erin"), 409, "conflict")

    def test_one_of_two_who_decide_at_once_is_told_it_is_settled(self, site: Site) -> None:
        approval_id = site.ask()
        answers: list[httpx.Response] = []
        start = threading.Barrier(6)

        def decide(who: str, approved: bool) -> None:
            start.wait()
            answers.append(site.decide(approval_id, who, approved))

        threads = [threading.Thread(target=decide, args=(w, a)) for w in ("carol", "dave", "erin") for a in (True, False)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(a.status_code for a in answers) == [200, 409, 409, 409, 409, 409]
        assert len(site.told(approval_id)) == len(site.said) == 1

    def test_after_it_expired_nobody_decides(self, site: Site) -> None:
        approval_id = site.ask(ago=0, seconds=30)
        site.now += 30 * SECOND
        assert "has expired" in problem(site.decide(approval_id, "carol"), 409, "conflict")
        assert site.get(f"/approvals/{approval_id}").json()["state"] == "expired"
        site.now = NOW - 120 * SECOND
        assert "clock is wrong" in problem(site.decide(approval_id, "carol"), 409, "conflict")

    @pytest.mark.parametrize("status", ["cancelled", "expired", "lost", "denied", "approved", "vanished"])
    def test_after_the_wait_is_over_nobody_decides(self, site: Site, status: str) -> None:
        approval_id = site.ask()
        site.events.put("ApprovalClosed", closed(approval_id, status), NOW)
        problem(site.decide(approval_id, "carol"), 409, "conflict")

    def test_after_it_was_used_nobody_decides(self, site: Site) -> None:
        approval_id = site.ask()
        site.events.executed(approval_id, NOW, status="ok")
        problem(site.decide(approval_id, "carol"), 409, "conflict")

    def test_what_is_not_as_it_was_published_cannot_be_decided_on(self, site: Site) -> None:
        forged = site.ask(binding="ab" * 32)
        unread = site.ask(needs=[{"groups": 5}], binding="ab" * 32)
        for approval_id in (forged, unread):
            problem(site.decide(approval_id, "carol"), 409, "conflict")
            item = site.get(f"/approvals/{approval_id}").json()
            assert (item["readable"], item["may_decide"]) == (False, False)

    def test_a_decision_bound_to_something_else_counts_for_nothing(self, site: Site) -> None:
        approval_id = site.ask()
        other = control.ApprovalDecided(
            at=NOW, actor="dave", approval_id=approval_id, approved=False, binding="cd" * 32, principal="dave", kind="human"
        )
        publish(site.log, [other], SIGNER)
        assert site.decide(approval_id, "carol").status_code == 200

    def test_decisions_made_elsewhere_are_seen(self, site: Site) -> None:
        approval_id = site.ask()
        binding = site.get(f"/approvals/{approval_id}").json()["binding"]
        there = {"binding": binding, "principal": "dave", "kind": "human", "groups": ("dba",), "channel": "cli"}
        publish(
            site.log, [control.ApprovalDecided(at=NOW, actor="dave", approval_id=approval_id, approved=True, **there)], SIGNER
        )
        assert "approved by dave" in problem(site.decide(approval_id, "carol"), 409, "conflict")

    def test_who_was_suspended_since_has_decided_nothing(self, site: Site) -> None:
        approval_id = site.ask()
        binding = site.get(f"/approvals/{approval_id}").json()["binding"]
        there = {"binding": binding, "principal": "dave", "kind": "human", "groups": ("dba",), "channel": "cli"}
        given = control.ApprovalDecided(at=NOW, actor="dave", approval_id=approval_id, approved=True, **there)
        publish(site.log, [given, PrincipalSuspended(at=NOW, actor="erin", principal="dave")], SIGNER)
        assert site.decide(approval_id, "carol").json()["settled"]
        publish(site.log, [PrincipalResumed(at=NOW + 1, actor="erin", principal="dave")], SIGNER)

    def test_the_suspended_do_not_decide(self, site: Site) -> None:
        approval_id = site.ask()
        publish(site.log, [PrincipalSuspended(at=NOW, actor="erin", principal="carol", reason="gone")], SIGNER)
        assert "suspended" in problem(site.decide(approval_id, "carol"), 403, "forbidden")
        publish(site.log, [PrincipalResumed(at=NOW + 1, actor="erin", principal="carol")], SIGNER)
        assert site.decide(approval_id, "carol").status_code == 200

    def test_what_cannot_be_recorded_is_not_told(self, site: Site) -> None:
        approval_id = site.ask()
        site.broken = {"record"}
        problem(site.decide(approval_id, "carol"), 503, "not-recorded")
        assert site.told(approval_id) == []
        site.broken = {"tell"}
        problem(site.decide(approval_id, "carol"), 503, "not-told")
        site.broken = set()
        assert site.decide(approval_id, "carol").status_code == 200
        assert [e["decider"]["id"] for e in site.said] == ["carol", "carol"]

    def test_a_use_of_break_glass_is_reviewed_by_somebody_else(self, site: Site) -> None:
        glass = body(requested("g1", NOW)) | {"justification": "disk full", "groups": ["oncall"]}
        site.events.put("BreakGlassUsed", glass, NOW)
        problem(site.decide("g1", "maria"), 403, "forbidden")
        assert site.decide("g1", "carol", False, "there was room").status_code == 200
        assert (site.said[0]["review"], site.said[0]["approved"], site.told("g1")) == (True, False, [])

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}",
            b"[]",
            b"nul",
            b'{"approved":"yes","reason":""}',
            b'{"approved":1}',
            b'{"approved":true,"reason":null}',
            b'{"approved":true,"who":"dave"}',
            b'{"approved":true,"approved_by":"dave","binding":"x"}',
            b'{"approved":true,"reason":"' + b"x" * 1001 + b'"}',
            b'{"approved":true,"reason":"\xff"}',
        ],
    )
    def test_bodies_that_are_no_decision(self, site: Site, content: bytes) -> None:
        approval_id = site.ask()
        headers = {"authorization": "Bearer carol", "content-type": "application/json"}
        path = f"/api/v1/approvals/{approval_id}/decision"
        problem(site.http.post(path, content=content, headers=headers), 400, "bad-request")
        problem(
            site.http.post(path, content=b'{"approved":true}', headers=headers | {"content-type": "text/plain"}),
            400,
            "bad-request",
        )
        problem(site.http.post(path, content=b" " * 20_000, headers=headers), 413, "too-large")
        problem(site.http.get(path, headers=headers), 405, "method-not-allowed")
        assert site.told(approval_id) == []


class TestFromABrowser:
    """A cookie is sent by the browser whoever asks: it counts from our own page only."""

    def test_another_sites_page_decides_nothing(self, site: Site) -> None:
        approval_id = site.ask()
        own = str(site.http.base_url).rstrip("/")
        cookie = site.http.post("/login", data={"token": "carol"}, headers={"origin": own}).headers["set-cookie"]
        assert "SameSite=strict" in cookie
        assert "HttpOnly" in cookie
        path = f"/api/v1/approvals/{approval_id}/decision"
        for foreign in ({"origin": "https://evil.example"}, {"origin": "null"}, {}, {"sec-fetch-site": "same-site"}):
            problem(site.http.post(path, json={"approved": True}, headers=foreign), 403, "forbidden")
        assert site.told(approval_id) == []
        assert site.http.post(path, json={"approved": True}, headers={"origin": own}).status_code == 200


def test_a_server_without_a_log_only_reads(store: Store) -> None:
    store.truncate()
    Projected(store).put("ApprovalRequested", body(requested("a", NOW)), NOW)
    app = create_app(store.new_client(), SETTINGS, IDENTITIES.get, Recorded(), lambda: {"ready": True}, lambda: NOW)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, headers={"authorization": "Bearer carol"}) as http:
        wait_for(lambda: http.get("/api/v1/approvals/a").status_code == 200, "the request to be there", 30)
        problem(http.post("/api/v1/approvals/a/decision", json={"approved": True}), 503, "not-told")
