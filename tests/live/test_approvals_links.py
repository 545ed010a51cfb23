"""Being told, and deciding by a link: who gets what, once; what a link can do, and what it cannot; that no secret is written."""

from __future__ import annotations

import logging
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from deploy.ballot import ControlBallot
from deploy.notices import approvers
from ingest.identity.tokens import TokenStore
from processors.sinks.clickhouse import Store, connect
from query_api.app import create_app
from query_api.limits import Limits
from query_api.links import Link, Links
from query_api.notifications import Channel, Notifier, harmless, knows, message
from query_api.problems import ProblemError
from query_api.store import approvals
from query_api.store.reader import Reader
from schemas.log.sqlite import SqliteLog
from schemas.topics import CONTROL
from tests.support.approval_events import Projected, body, closed, principal, requested
from tests.support.control_key import SIGNER, TRUST
from tests.support.inbox import PASSWORD, Inbox
from tests.support.ports import wait_for
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

NOW = 1_790_000_000_000_000
SECOND = 1_000_000
KEY = bytes(range(32))


class Site:
    """A served app with links, and all that tells approvers; `now` is everybody's clock."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.now, self.count = store, folder, NOW, 0
        self.events, self.inbox, self.recorded = Projected(store), Inbox(), Recorded()
        self.said: list[dict[str, Any]] = []
        self.log = SqliteLog(folder / "log.db")
        self.tokens = TokenStore(folder / "identity.db", lambda: self.now, secrets.token_bytes)
        self.approver = approvers(self.tokens.tokens, lambda: self.now)
        self.links = Links(KEY, "http://127.0.0.1:1")
        self.token("carol", groups=["dba"])
        self.app = create_app(
            [store.new_client() for _ in range(2)],
            SETTINGS,
            lambda token: None,
            self.recorded,
            lambda: {"ready": True},
            lambda: self.now,
            ballot=ControlBallot(
                self.log, lambda e: self.said.append(orjson.loads(orjson.dumps(e))), lambda: self.now, SIGNER, TRUST
            ),
            links=self.links,
            approver=self.approver,
        )
        self.http = httpx.Client(timeout=60, trust_env=False)

    def token(self, who: str, roles: tuple[str, ...] = ("approver",), **options: Any) -> str:
        return self.tokens.create(who, options.pop("kind", "human"), roles=roles, created_by="test", **options)[0]

    def notifier(self, **own: str) -> Notifier:
        """What tells the path `all`, and `own`: path by name of approver."""
        channels = [Channel(self.inbox.address("all"))]
        channels += [Channel(self.inbox.address(path), who) for who, path in own.items()]
        reader = Reader([self.store.new_client()], SETTINGS, Limits())
        return Notifier(reader, channels, self.links, self.approver, lambda: self.now, self.folder / "sent.db")

    def ask(self, *, ago: int = 5, **changed: Any) -> str:
        self.count += 1
        approval_id = f"0197f0c2-a3b4-7c11-8d00-{self.count:012d}"
        event = requested(approval_id, self.now - ago * SECOND, **changed)
        self.events.put("ApprovalRequested", body(event), event["at"])
        return approval_id

    def link(self, approval_id: str, who: str = "carol", seconds: int = 600) -> str:
        """The path of a link."""
        return urlsplit(self.links.made(Link(approval_id, who, self.now + seconds * SECOND))).path

    def decide(self, path: str, approved: str = "yes", reason: str = "fine", **headers: str) -> httpx.Response:
        headers = headers or {"origin": str(self.http.base_url).rstrip("/")}
        return self.http.post(path, data={"approved": approved, "reason": reason}, headers=headers)

    def told(self) -> list[dict[str, Any]]:
        return [orjson.loads(r.value) for r in self.log.read(CONTROL.name, 0, 1000)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with closing(connect(SETTINGS, tmp_path_factory.mktemp("chdb"))) as store:
        store.migrate()
        yield store


@contextmanager
def opened(store: Store, folder: Path) -> Iterator[Site]:
    store.truncate()
    site = Site(store, folder)
    with serving(site.app) as url:
        site.http.base_url = httpx.URL(url)
        yield site
    site.inbox.close()
    site.http.close()
    site.log.close()
    site.tokens.close()


@pytest.fixture
def site(store: Store, tmp_path: Path) -> Iterator[Site]:
    with opened(store, tmp_path) as site:
        yield site


class TestLinks:
    """What a link can do."""

    def test_looking_decides_nothing_and_the_form_decides_as_its_person(self, site: Site) -> None:
        approval_id = site.ask()
        path = site.link(approval_id)
        for _ in range(3):
            page = site.http.get(path)
            assert page.status_code == 200
            assert "DELETE FROM orders" in page.text
        site.http.head(path)
        site.http.get(f"{path}?approved=yes")
        assert (site.said, site.told()) == ([], [])
        assert [(w, e, q) for w, _, e, q, _ in site.recorded.reads][:1] == [("carol", "approvals/link", approval_id)]
        answer = site.decide(path)
        assert (answer.status_code, "Approved. The statement goes on." in answer.text) == (200, True)
        (message,) = site.told()
        assert (message["principal"], message["groups"], message["channel"]) == ("carol", ["dba"], "link")
        assert (site.said[0]["decider"]["auth_method"], site.said[0]["channel"]) == ("link", "link")

    def test_a_link_is_good_once(self, site: Site) -> None:
        path = site.link(site.ask(needs=[{"rule": "a", "groups": ["dba"], "count": 2}]))
        assert site.decide(path).status_code == 200
        again = site.decide(path, "no", "after all")
        assert (again.status_code, "a decision is made once" in again.text) == (409, True)
        assert len(site.told()) == 1

    def test_two_hands_on_one_link_decide_once(self, site: Site) -> None:
        path = site.link(site.ask())
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(site.decide(path).status_code)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (answers.count(200), len(site.told()), len(site.said)) == (1, 1, 1)
        assert set(answers) <= {200, 409, 429}

    def test_another_sites_form_decides_nothing(self, site: Site) -> None:
        path = site.link(site.ask())
        for origin in ("https://evil.example", "null"):
            assert site.decide(path, origin=origin).status_code == 403
        assert site.http.post(path, data={"approved": "yes"}).status_code == 403
        assert site.told() == []

    def test_links_that_are_not_ours_open_nothing(self, site: Site) -> None:
        approval_id, other = site.ask(), site.ask()
        path = site.link(approval_id)
        payload, mac = path.rsplit("/", 1)[1].split(".")
        theirs = urlsplit(Links(bytes(32), "").made(Link(approval_id, "carol", NOW + 600 * SECOND))).path
        moved = site.link(other).rsplit("/", 1)[1].split(".")[0] + "." + mac
        tried = [theirs, f"/approvals/link/{moved}", f"/approvals/link/{payload}.", f"/approvals/link/{payload}"]
        tried += [f"{path[:-1]}{'A' if path[-1] != 'A' else 'B'}", f"{path}=", f"/approvals/link/{'x' * 5000}", f"{path}.{mac}"]
        tried += [f"/approvals/link/{payload}.{'A' * 43}", "/approvals/link/é.é", f"/approvals/link/.{mac}"]
        for one in tried:
            assert site.http.get(one).status_code == 404, one
            assert site.decide(one).status_code == 404, one
        assert site.told() == []

    def test_every_changed_character_is_noticed(self, site: Site) -> None:
        token = site.link("a").rsplit("/", 1)[1]
        assert site.links.read(token, NOW).principal == "carol"
        for i in range(len(token)):
            for other in ("A", "z", "_", "."):
                if token[i] != other:
                    with pytest.raises(ProblemError):
                        site.links.read(token[:i] + other + token[i + 1 :], NOW)

    def test_after_its_time_it_is_over(self, site: Site) -> None:
        path = site.link(site.ask(), seconds=60)
        site.now += 60 * SECOND
        page = site.http.get(path)
        assert (page.status_code, "has expired" in page.text) == (409, True)
        assert site.decide(path).status_code == 409
        assert site.told() == []

    def test_who_may_not_decide_may_not_by_a_link(self, site: Site) -> None:
        approval_id = site.ask()
        site.token("maria.keller@example.com", groups=["dba"])
        site.token("dan", groups=["support"])
        site.token("ann", roles=("analyst",), groups=["dba"])
        site.token("bot", kind="agent", groups=["dba"])
        site.token("zoe", groups=["dba"], on_behalf_of="carol")
        site.token("gone", groups=["dba"], ttl_seconds=5)
        site.now += 10 * SECOND
        for who in ("maria.keller@example.com", "dan", "ann", "bot", "zoe", "gone", "nobody"):
            assert site.decide(site.link(approval_id, who)).status_code == 403, who
        assert site.told() == []

    def test_revoking_tokens_ends_links(self, site: Site) -> None:
        approval_id = site.ask()
        token_id = site.token("dave", groups=["dba"])
        path = site.link(approval_id, "dave")
        assert site.http.get(path).status_code == 200
        site.tokens.revoke(token_id, "test")
        assert (site.http.get(path).status_code, site.decide(path).status_code) == (403, 403)

    def test_what_people_wrote_does_not_run(self, site: Site) -> None:
        script = "<script>alert(1)</script>"
        approval_id = site.ask(text=f"SELECT 1 -- {script}", reason=script, principal=principal(script, "human"))
        page = site.http.get(site.link(approval_id))
        assert script not in page.text
        assert "&lt;script&gt;" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"

    def test_what_is_shown_reads_as_it_runs(self, site: Site) -> None:
        turned = 'DELETE FROM "a\u202e1 = di EREHW\u2066\u200b\x1b[2J"'
        approval_id = site.ask(
            text=turned, reason="line\none \u00e9 \U0001f600 \u6f22", principal=principal("da\u200bna", "human")
        )
        page = site.http.get(site.link(approval_id)).text
        assert not set(page) & set("\u202e\u2066\u200b\x1b")
        assert "DELETE FROM &#34;a⟨U+202E⟩1 = di EREHW⟨U+2066⟩⟨U+200B⟩⟨U+001B⟩[2J" in page
        assert "da⟨U+200B⟩na" in page
        assert "\u00e9 \U0001f600 \u6f22" in page

    def test_a_failure_of_ours_writes_no_link_into_the_log(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        path = site.link(site.ask())
        site.app.state.service.links.read = None  # what calls it raises an error that nobody foresaw
        assert site.http.get(path).status_code == 500
        ours = [f"{r.getMessage()} {r.__dict__}" for r in caplog.records if r.name.startswith("query_api")]
        assert len(ours) == 1
        assert "/approvals/link/{token}" in ours[0]
        assert path.rsplit("/", 1)[1] not in ours[0]

    @pytest.mark.parametrize("approved", ["", "maybe", "Yes", "1"])
    def test_forms_that_say_neither(self, site: Site, approved: str) -> None:
        path = site.link(site.ask())
        assert site.decide(path, approved).status_code == 400
        origin = {"origin": str(site.http.base_url).rstrip("/")}
        assert site.http.post(path, content=b"approved=yes&approved=no", headers=origin).status_code == 400
        assert site.http.post(path, content=b"x" * 200_000, headers=origin).status_code == 413
        assert site.told() == []


class TestBeingTold:
    """By apprise, to a receiver on this machine."""

    def test_everybody_gets_the_page_and_an_approver_their_own_link(self, site: Site) -> None:
        approval_id = site.ask()
        assert site.notifier(carol="carols").look() == 2
        (to_all,), (to_carol,) = site.inbox.of("all"), site.inbox.of("carols")
        assert to_all["title"] == "Approval wanted: DELETE orders on shop"
        for part in ("migrations-bot (agent) for maria.keller@example.com", "risk 80", "12,000", "email, address"):
            assert part in to_all["message"].replace("\u2060", "")
        assert to_all["message"].endswith(f"http://127.0.0.1:1/approvals/{approval_id}")
        assert "placed_at" not in to_all["message"]  # no statement leaves for elsewhere
        address = to_carol["message"].splitlines()[-1]
        assert site.links.read(address.rsplit("/", 1)[1], NOW) == Link(approval_id, "carol", NOW + 895 * SECOND)
        assert site.decide(urlsplit(address).path).status_code == 200

    def test_only_those_who_may_decide_get_a_link(self, site: Site) -> None:
        site.token("maria.keller@example.com", groups=["dba"])
        site.token("dan", groups=["support"])
        site.ask()
        notifier = site.notifier(**{"maria.keller@example.com": "marias", "dan": "dans", "nobody": "nobodys", "carol": "carols"})
        assert notifier.look() == 2
        assert {path for path, _ in site.inbox.got} == {"/all", "/carols"}

    def test_once_for_each_request_also_after_a_restart(self, site: Site) -> None:
        site.ask()
        notifier = site.notifier(carol="carols")
        assert [notifier.look(), notifier.look(), site.notifier(carol="carols").look()] == [2, 0, 0]
        site.ask()
        assert site.notifier(carol="carols").look() == 2
        assert (len(site.inbox.of("all")), len(site.inbox.of("carols"))) == (2, 2)

    def test_what_died_between_sending_and_noting_is_sent_once_more(self, site: Site) -> None:
        site.ask()
        site.notifier().look()
        with closing(sqlite3.connect(site.folder / "sent.db")) as db, db:
            db.execute("UPDATE sent SET settled = 0")
        assert [site.notifier().look(), site.notifier().look()] == [1, 0]

    def test_what_is_settled_or_over_is_no_news(self, site: Site) -> None:
        site.events.put("ApprovalClosed", closed(site.ask(), "cancelled"), NOW)
        site.ask(ago=120, seconds=60)
        site.ask(binding="ab" * 32)
        assert site.notifier().look() == 0

    def test_a_use_of_break_glass_is_told(self, site: Site) -> None:
        glass = body(requested("g1", NOW)) | {"justification": "disk full", "groups": ["oncall"]}
        site.events.put("BreakGlassUsed", glass, NOW)
        old = body(requested("g0", NOW)) | {"justification": "disk full", "groups": ["oncall"]}
        site.events.put("BreakGlassUsed", old, NOW - 2 * 86_400 * SECOND)
        assert site.notifier().look() == 1
        assert site.inbox.of("all")[0]["title"] == "Break-glass was used: DELETE orders on shop"

    def test_what_is_not_taken_is_tried_again_less_and_less_often(self, site: Site) -> None:
        site.ask()
        site.inbox.busy = True
        notifier = site.notifier()
        tries: list[int] = []
        for _ in range(60):
            before = notifier.failed
            notifier.look()
            tries.append(notifier.failed - before)
            site.now += SECOND
        assert sum(tries) == 4  # after 0, 5, 15 and 35 seconds
        site.inbox.busy = False
        site.now += 60 * SECOND
        assert (notifier.look(), len(site.inbox.of("all"))) == (1, 1)

    def test_the_thread_tells_and_stops(self, site: Site) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=site.notifier().run, args=(stop,))
        thread.start()
        site.ask()
        wait_for(lambda: len(site.inbox.of("all")) == 1, "the message", 60)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()

    def test_no_secret_is_written_anywhere(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        approval_id = site.ask()
        site.inbox.busy = True
        site.notifier(carol="carols").look()
        gone = Channel(f"json://x:{PASSWORD}@127.0.0.1:1/x")
        Notifier(
            Reader([site.store.new_client()], SETTINGS, Limits()), [gone], site.links, site.approver, lambda: site.now,
            site.folder / "sent.db",
        ).look()  # fmt: skip
        site.inbox.busy = False
        site.now += 10 * SECOND
        site.notifier(carol="carols").look()
        path = urlsplit(site.inbox.of("carols")[0]["message"].splitlines()[-1]).path
        site.http.get(path)
        site.decide(path)
        token = path.rsplit("/", 1)[1]
        ours = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]  # the test's own client
        written = "\n".join(f"{r.getMessage()} {r.__dict__}" for r in ours)
        assert approval_id in written
        kept = (site.folder / "sent.db").read_bytes() + (site.folder / "log.db").read_bytes()
        for secret in (PASSWORD, token, token.split(".")[1]):
            assert secret not in written
            assert secret.encode() not in kept
        assert token not in repr(site.recorded.reads) + repr(site.said)


class TestMessages:
    """Names are whatever their makers chose."""

    def test_names_can_do_no_harm_in_a_chat(self, site: Site) -> None:
        name = (
            "<!channel> @everyone https://evil.example [x](y) `z` \u202egnp\n*b* approve.evil.example/ok ~x~ \U000e0041\x9b\u061c"
        )
        approval_id = site.ask(
            rule="r",
            reason=name * 50,
            principal=principal(name, "human"),
            facts={"verbs": ["select"], "reads": [name] + [f"public.t{i}" for i in range(40)], "writes": [], "columns": []},
        )
        asked = approvals.one(Reader([site.store.new_client()], SETTINGS, Limits()), approval_id, NOW)
        assert asked is not None
        title, text = message(asked, "http://a/")
        assert len(title) <= 200
        for bad in (*"<>[`*~\u202e\U000e0041\x9b\u061c", "https://evil", "@everyone", "evil.example"):
            assert bad not in title + text.rsplit("\n", 1)[0], bad
        assert "and 35 more" in text
        assert len(text) < 3000
        readable = "ana@example.com wants public.orders, at 1.5 s."
        assert harmless(readable).replace("\u2060", "") == readable

    def test_an_unreadable_request_is_not_told(self, site: Site) -> None:
        approval_id = site.ask(needs=[{"groups": 5}], binding="x")
        asked = approvals.one(Reader([site.store.new_client()], SETTINGS, Limits()), approval_id, NOW)
        assert asked is not None
        assert (asked.event, asked.binding) == (None, "")
        assert site.notifier().look() == 0

    @pytest.mark.parametrize("address", ["", "nonsense://x", "not an address", "file:///etc/passwd"])
    def test_addresses_that_are_none(self, address: str) -> None:
        assert not knows(address)
        assert knows("json://127.0.0.1:9/x")


def test_the_page_of_a_link_has_no_script(site: Site) -> None:
    page = site.http.get(site.link(site.ask())).text
    assert re.findall(r"<script[^>]*>", page) == []
