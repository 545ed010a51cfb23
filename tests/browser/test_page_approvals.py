"""Does the page of approvals, in a real browser, let people see and decide: by mouse, by keys, live, safely, without script?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from deploy.ballot import ControlBallot
from processors.sinks.clickhouse import Store, connect
from query_api.app import create_app
from query_api.identity import Identity
from query_api.limits import Limits
from schemas.log.sqlite import SqliteLog
from schemas.topics import CONTROL
from tests.support.approval_events import Projected, body, closed, principal, requested
from tests.support.browser import ARGS, CHROMIUM, MISSING, watched
from tests.support.control_key import SIGNER, TRUST
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=MISSING)
IDENTITIES = {
    "carol": Identity("carol@example.com", "human", frozenset({"approver"}), ("dba",)),
    "maria": Identity("maria.keller@example.com", "human", frozenset({"approver", "analyst"}), ("dba",)),
    "ana": Identity("ana@example.com", "human", frozenset({"analyst"})),
}
SCRIPT = "<img src=x onerror=alert(1)></textarea><script>alert(2)</script>"


def now() -> int:
    return time.time_ns() // 1000


class Site:
    """A served page over a real store and log; decisions that are recorded are projected like any event."""

    def __init__(self, store: Store, folder: Path, browser: Browser) -> None:
        self.events, self.node, self.browser = Projected(store), Projected(store, "node/0"), browser
        self.log = SqliteLog(folder / "log.db")
        self.url = ""
        self.count = 0
        ballot = ControlBallot(SqliteLog(folder / "log.db"), self._record, now, SIGNER, TRUST)
        self.app = create_app(
            [store.new_client() for _ in range(3)],
            SETTINGS,
            IDENTITIES.get,
            Recorded(),
            lambda: {"ready": True},
            now,
            limits=Limits(stream_poll_seconds=0.1, stream_settle_us=100_000),
            ballot=ballot,
        )

    def _record(self, event: Any) -> None:
        self.node.put("ApprovalDecided", orjson.loads(orjson.dumps(event)), now())

    def ask(self, seconds: int = 900, **changed: Any) -> str:
        """Have a statement wait; return the approval's id."""
        self.count += 1
        approval_id = f"0197f0c2-a3b4-7c11-8d00-{self.count:012d}"
        event = requested(approval_id, now(), seconds=seconds, **changed)
        self.events.put("ApprovalRequested", body(event), event["at"])
        return approval_id

    def told(self) -> list[dict[str, Any]]:
        """What stands on the control topic."""
        return [orjson.loads(r.value) for r in self.log.read(CONTROL.name, 0, 1000)]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Browser]]:
    with closing(connect(SETTINGS, tmp_path_factory.mktemp("chdb"))) as store, sync_playwright() as playwright:
        store.migrate()
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield store, browser
        browser.close()


@pytest.fixture
def site(started: tuple[Store, Browser], tmp_path: Path) -> Iterator[Site]:
    store, browser = started
    store.truncate()
    made = Site(store, tmp_path, browser)
    with serving(made.app) as url:
        made.url = url
        yield made


@pytest.fixture
def context(site: Site) -> Iterator[BrowserContext]:
    with watched(site.browser, site.url) as context:
        yield context


def opened(context: BrowserContext, who: str = "carol", path: str = "/approvals") -> Page:
    page = context.new_page()
    page.goto(f"/login?next={path}#token={who}")
    expect(page.locator("#queue")).to_be_attached()
    return page


def test_a_request_is_opened_judged_and_approved(site: Site, context: BrowserContext) -> None:
    approval_id = site.ask()
    page = opened(context)
    page.get_by_role("link", name="DELETE").click()
    pane = page.locator("#approval")
    expect(pane.get_by_role("heading", level=1)).to_contain_text("DELETE")
    for text in (
        "DELETE FROM orders WHERE placed_at < $1",
        "12,000",
        "email",
        "mass delete",
        "maria.keller@example.com",
        "OPS-311",
    ):
        expect(pane.get_by_text(text, exact=False).first).to_be_visible()
    assert page.url.endswith(f"/approvals/{approval_id}?state=open")
    pane.get_by_label("Why").fill("OPS-311, checked the count")
    pane.get_by_role("button", name="Approve").click()
    expect(pane.locator(".notice.good")).to_contain_text("Approved. The statement goes on.")
    (message,) = site.told()
    assert (message["approved"], message["reason"], message["channel"]) == (True, "OPS-311, checked the count", "ui")
    expect(page.locator(".ask")).to_have_count(0)  # it does not wait any more
    page.reload()
    expect(pane.get_by_text("by ui")).to_be_visible()
    expect(pane.get_by_role("button", name="Approve")).to_have_count(0)


def test_keys_move_and_decide_but_never_one_alone(site: Site, context: BrowserContext) -> None:
    first, second = site.ask(), site.ask()
    page = opened(context)
    expect(page.locator(".ask")).to_have_count(2)
    page.keyboard.press("j")
    expect(page.locator(f"article[data-id='{second}']")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator(f"article[data-id='{first}']")).to_be_visible()
    page.keyboard.press("d")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.press("Enter")  # a denial without a reason
    expect(page.get_by_role("alert")).to_contain_text("Say why")
    page.keyboard.press("Escape")
    expect(page.locator("#reason")).not_to_be_focused()
    assert site.told() == []
    page.keyboard.press("d")
    page.keyboard.type("aajk not today")
    page.keyboard.press("Enter")
    expect(page.locator(".notice.good").filter(has_text="Denied")).to_be_visible()
    assert [(m["approval_id"], m["approved"], m["reason"]) for m in site.told()] == [(first, False, "aajk not today")]


def test_requests_come_and_go_by_themselves(site: Site, context: BrowserContext) -> None:
    page = opened(context)
    expect(page.locator("#empty")).to_contain_text("Nothing waits")
    expect(page.locator("#live-text")).to_have_text("Live")
    beside = page.locator("#approval .empty:visible h2")
    expect(beside).to_have_text("Nothing waits.")
    approval_id = site.ask()
    expect(page.locator(f".ask[data-id='{approval_id}']")).to_be_visible()
    expect(beside).to_have_text("Nothing selected")
    expect(page).to_have_title("(1) Approvals · Affidavit")
    page.keyboard.press("j")
    expect(page.locator("article .left")).to_contain_text("left")
    site.events.put("ApprovalClosed", closed(approval_id, "cancelled"), now())
    expect(page.locator(".ask")).to_have_count(0)
    expect(page.locator("article .approval-state").first).to_have_text("cancelled")
    expect(page).to_have_title("Approvals · Affidavit")


def test_what_is_being_written_is_not_taken_away(site: Site, context: BrowserContext) -> None:
    needs = [{"rule": "a", "groups": ["dba"], "count": 2}]
    approval_id = site.ask(needs=needs)
    page = opened(context, path=f"/approvals/{approval_id}")
    page.locator("#reason").fill("half a sent")
    site.events.put("ApprovalDecided", {"approval_id": approval_id, "approved": True, "decider": principal("dave")}, now())
    other = site.ask()
    expect(page.locator(f".ask[data-id='{other}']")).to_be_visible()
    expect(page.locator("#reason")).to_have_value("half a sent")


def test_own_requests_and_readers_without_the_role_cannot_be_decided(site: Site, context: BrowserContext) -> None:
    approval_id = site.ask()
    page = opened(context, "maria", f"/approvals/{approval_id}")
    expect(page.locator("#approval .notice")).to_contain_text("nobody decides on their own statement")
    expect(page.locator(".decide")).to_have_count(0)
    page.keyboard.press("a")
    page.get_by_role("button", name="Log out").click()
    page = opened(context, "ana", f"/approvals/{approval_id}")
    expect(page.locator(".decide")).to_have_count(0)
    forced = page.evaluate(
        "id => fetch('/approvals/' + id + '/decision', {method: 'POST', body: new URLSearchParams({approved: 'yes'})})"
        ".then(r => r.status)",
        approval_id,
    )
    assert forced == 403
    assert site.told() == []


def test_nothing_that_was_written_by_others_runs(site: Site, context: BrowserContext) -> None:
    facts = {"verbs": ["select"], "reads": [SCRIPT], "writes": [], "columns": [{"name": SCRIPT, "roles": ["output"]}]}
    facts |= {"functions": [SCRIPT], "flags": [], "dangers": []}
    approval_id = site.ask(
        text=f"SELECT 1 -- {SCRIPT}",
        facts=facts,
        principal=principal(SCRIPT, "human", SCRIPT, (SCRIPT,)),
        rule=SCRIPT,
        reason=SCRIPT,
        claims={SCRIPT: SCRIPT},
        data_classes=[SCRIPT],
        needs=[{"rule": SCRIPT, "groups": ["dba", SCRIPT], "count": 2}],
        client={"address": SCRIPT, "application": SCRIPT, "driver": SCRIPT, "tls": SCRIPT},
    )
    page = opened(context)
    page.keyboard.press("j")
    pane = page.locator("#approval")
    expect(pane.locator(".statement")).to_have_text(f"SELECT 1 -- {SCRIPT}")
    pane.get_by_label("Why").fill(SCRIPT)
    pane.get_by_role("button", name="Approve").click()
    expect(pane.locator(".notice.good")).to_contain_text("1 of 2")
    page.goto(f"/approvals/{approval_id}")
    expect(pane.locator("q").first).to_have_text(SCRIPT)
    site.ask(facts=facts)
    expect(page.locator(".ask")).to_have_count(2)
    assert page.locator("img[src=x]").count() == 0


def test_it_works_without_script(site: Site) -> None:
    approval_id = site.ask()
    with watched(site.browser, site.url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/approvals")
        page.get_by_label("Access token").fill("carol")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="DELETE").click()
        page.get_by_label("Why").fill("no")
        page.get_by_role("button", name="Deny").click()
        expect(page.locator(".notice.good").filter(has_text="Denied")).to_be_visible()
    assert [(m["approval_id"], m["approved"]) for m in site.told()] == [(approval_id, False)]


def test_an_approver_comes_here_and_is_shown_only_what_is_theirs_to_open(site: Site, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login#token=carol")
    expect(page).to_have_url(f"{site.url}/approvals")
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_text(["Approvals"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_everything_has_a_name_and_enough_contrast(site: Site, scheme: str, width: int) -> None:
    approval_id = site.ask()
    viewport = {"width": width, "height": 900}
    with watched(site.browser, site.url, color_scheme=scheme, viewport=viewport) as context:
        page = opened(context, path=f"/approvals/{approval_id}")
        expect(page.locator(".decide")).to_be_visible()
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, a, textarea, input')].filter(e => e.checkVisibility() && "
            "!(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert nameless == []
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readers_go_from_events_to_the_exposure_ledger(site: Site, scheme: str) -> None:
    event = orjson.loads(site.events.source.query())
    event |= {
        "at": now(),
        "ended_at": now(),
        "exposure": {"email": 40, "iban": 2},
        "masked": {"iban": 2},
        "exposed": {SCRIPT: 40},
    }
    site.events.lines(orjson.dumps(event))
    with watched(site.browser, site.url, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto("/login#token=ana")
        page.get_by_role("link", name="Exposure").click()
        table = page.get_by_role("region", name="By class").get_by_role("row")
        expect(table.filter(has_text="email")).to_contain_text("40")
        expect(page.get_by_text(SCRIPT)).to_be_visible()
        assert page.evaluate(CONTRAST) == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.get_by_placeholder("principal").fill("nobody")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_text("Nothing is counted")).to_be_visible()


CONTRAST = """() => {
  const light = (c) => { const v = c.map((x) => { x /= 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".hidden, .skip, dialog")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(e.outerHTML.slice(0, 80) + " " + ratio.toFixed(2));
  }
  return bad;
}"""
