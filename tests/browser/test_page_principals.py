"""The page of principals in a real browser: who was active, and on to what they did; narrow, dark, empty, and lost ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from processors.archive import Archive
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import connect
from query_api.app import create_app
from query_api.identity import Identity
from schemas.topics import EVENTS
from tests.browser.test_page_approvals import CONTRAST
from tests.live.test_api_principals import HOUR, made
from tests.support.browser import ARGS, CHROMIUM, MISSING, watched
from tests.support.event_blocks import START, record
from tests.support.memory_log import MemoryLog
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=MISSING)
WHO = {"ana": Identity("ana", "human", frozenset({"analyst"})), "ben": Identity("ben", "human", frozenset({"approver"}))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Browser, Recorded]]:
    """A page over what a pipeline made of two blocks."""
    folder: Path = tmp_path_factory.mktemp("chdb")
    recorded = Recorded()
    with closing(connect(SETTINGS, folder)) as store, sync_playwright() as playwright:
        store.migrate()
        log, archive = MemoryLog(), Archive(folder / "archive")
        log.append(EVENTS.name, [record(b) for b in made()])
        runtime = EmbeddedRuntime(log, store, archive, folder / "pipeline.db", lambda: START)
        while runtime.step():
            pass
        runtime.close()
        archive.close()
        clients = [store.new_client() for _ in range(2)]
        app = create_app(clients, SETTINGS, WHO.get, recorded, lambda: {"ready": True}, lambda: START + 2 * HOUR)
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        with serving(app) as url:
            yield url, browser, recorded
            browser.close()


@pytest.fixture(params=["light", "dark"])
def context(site: tuple[str, Browser, Recorded], request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    with watched(site[1], site[0], color_scheme=request.param) as made:
        yield made


def opened(context: BrowserContext, who: str = "ana") -> Page:
    page = context.new_page()
    page.goto(f"/login?next=/principals#token={who}")
    expect(page).to_have_url(re.compile("/principals$"))
    return page


def test_from_a_principal_to_what_was_denied_it(site: tuple[str, Browser, Recorded], context: BrowserContext) -> None:
    page = opened(context)
    expect(page.get_by_role("link", name="Principals", exact=True)).to_have_attribute("aria-current", "page")
    rows = page.locator("tbody tr")
    assert rows.count() >= 1 and page.evaluate(CONTRAST) == []
    assert site[2].reads[-1][2] == "ui/principals"
    denied = rows.filter(has=page.locator("td.clear a[href*='status%3Adenied']")).first
    expect(denied.locator("td.clear a[href*='status%3Adenied']")).to_have_text("1")
    denied.locator("td.clear a[href*='status%3Adenied']").click()
    expect(page.locator("#q")).to_have_value(re.compile("principal:.* status:denied"))
    expect(page.locator("#rows .row")).to_have_count(1)

    # The event has an address of its own, to send on.
    page.locator("#rows .row .open").click()
    link = page.get_by_title("This event alone: an address to send on")
    page.goto(link.get_attribute("href") or "")
    expect(page.locator("#rows .row")).to_have_count(1)
    expect(page.locator("#q")).to_have_value(re.compile("^id:"))


def test_narrow_empty_and_wrong(context: BrowserContext) -> None:
    page = opened(context)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.get_by_label("Kind").select_option("service")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("kind=service"))
    page.goto("/principals?range=nonsense&kind=nonsense")
    expect(page.get_by_label("Time range")).to_have_value("-24h")
    page.goto("/nowhere")
    expect(page.get_by_role("alert")).to_have_text("There is nothing at /nowhere.")
    page.get_by_role("link", name="Back to the events").click()
    expect(page.locator("#rows .row").first).to_be_visible()
    statement, status = page.locator("#rows .row .c-what").first, page.locator("#rows .row .c-status").first
    assert (statement.bounding_box() or {})["width"] > 300, "a statement is readable on a narrow screen"
    assert (status.bounding_box() or {})["y"] < (statement.bounding_box() or {})["y"]
    page.locator("#rows .row .open").first.click()
    expect(page.locator(".detail")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_who_may_not_read_the_trail_is_not_shown_it(context: BrowserContext) -> None:
    page = opened(context, "ben")
    expect(page.get_by_text("ben may not read the audit trail")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Access token")).to_be_visible()
