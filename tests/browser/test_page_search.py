"""Does the page do, in a real browser, what it promises: search, read, tail, by mouse and by keyboard, dark and light, safely?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from query_api.app import create_app
from query_api.limits import Limits
from tests.support.browser import ARGS, CHROMIUM, MISSING, watched
from tests.support.served import serving
from tests.support.stored_events import IDENTITIES, LONG_TEXT, SETTINGS, STATEMENTS, Recorded, Shop, insert, stored

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=MISSING)


ORDERS = next(s for s in STATEMENTS if s.who == (0, 4))
LOOKUP = next(s for s in STATEMENTS if s.verdict == "mask")
"""Nobody's but an agent's; nothing denied, so that other tests' counts hold."""


def now() -> int:
    return time.time_ns() // 1000


class Site:
    """A served page over a store that holds a day of events, and a browser."""

    def __init__(self, url: str, shop: Shop, store: Any, browser: Browser) -> None:
        self.url, self.shop, self.store, self.browser = url, shop, store, browser

    def count(self, **wanted: str) -> int:
        """How many events have this status or verdict."""
        return sum(
            all(v in (e["outcome"]["status"], e["decision"]["verdict"]) for v in wanted.values()) for e in self.shop.events
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with stored(tmp_path_factory.mktemp("chdb"), now(), 298) as (store, shop), sync_playwright() as playwright:
        clients = [store.new_client() for _ in range(3)]
        limits = Limits(stream_poll_seconds=0.1, stream_settle_us=100_000)
        app = create_app(clients, SETTINGS, IDENTITIES.get, Recorded(), lambda: {"ready": True}, now, limits=limits)
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        with serving(app) as url:
            yield Site(url, shop, store, browser)
            browser.close()


@pytest.fixture
def context(site: Site) -> Iterator[BrowserContext]:
    """A fresh browser profile; at its end: nothing left the host, nothing went wrong, no script ran that should not."""
    with watched(site.browser, site.url) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """The page, logged in."""
    page = context.new_page()
    page.goto("/login#token=token-of-ana")
    expect(page.locator("#rows .row").first).to_be_visible()
    return page


def search(page: Page, text: str) -> None:
    page.fill("#q", text)
    with page.expect_response(lambda r: "/ui/results" in r.url):
        page.press("#q", "Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def test_logging_in_by_form_and_out(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/?q=verdict:deny")
    assert "/login" in page.url
    page.get_by_label("Access token").fill("guess")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("Access token").fill("token-of-ana")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Search events")).to_have_value("verdict:deny")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto("/")
    assert page.url.endswith("/login")


def test_a_link_logs_in_and_forgets_the_token(page: Page) -> None:
    assert "token" not in page.url
    page.go_back()
    assert "token-of-ana" not in page.content()


def test_searching_keeps_the_address_and_history(site: Site, page: Page) -> None:
    search(page, "status:denied")
    denied = site.count(status="denied")
    expect(page.locator("#rows .row")).to_have_count(denied)
    expect(page.locator("#totals")).to_contain_text(f"{denied} event")
    assert page.url.endswith("/?q=status%3Adenied")
    search(page, "verdict:alert")
    expect(page.locator("#rows .row")).to_have_count(site.count(verdict="alert"))
    page.go_back()
    expect(page.locator("#rows .row")).to_have_count(denied)
    expect(page.locator("#q")).to_have_value("status:denied")
    page.reload()
    expect(page.locator("#rows .row")).to_have_count(denied)


def test_older_events_follow_until_there_are_none(site: Site, page: Page) -> None:
    expect(page.locator("#rows .row")).to_have_count(100)
    more = page.get_by_role("link", name="Older events")
    more.click()
    expect(page.locator("#rows .row")).to_have_count(200)
    while more.is_visible():
        before = page.locator("#rows .row").count()
        more.click()
        expect(page.locator("#rows .row")).not_to_have_count(before)
    ids = page.eval_on_selector_all("#rows .row", "rows => rows.map(r => r.dataset.id)")
    assert len(ids) == len(set(ids))
    assert set(ids) >= {e["event_id"] for e in site.shop.events[1:] if e["at"] > now() - 86_000_000_000}


def test_a_bad_search_shows_where_and_what_instead(page: Page) -> None:
    search(page, "db:shop princpal:x")
    expect(page.locator(".where mark")).to_have_text("princpal:")
    expect(page.get_by_role("alert")).to_contain_text("Did you mean principal?")
    search(page, "db:shop")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_nothing_found_says_so(page: Page) -> None:
    search(page, "principal:nobody")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()


def test_fields_and_values_complete(page: Page) -> None:
    page.locator("#q").press_sequentially("-verd")
    expect(page.locator("#suggestions li")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator("#q")).to_have_value("-verdict:")
    expect(page.locator("#suggestions li")).to_have_count(5)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#q")).to_have_attribute("aria-activedescendant", "suggestion-0")
    page.keyboard.press("Enter")
    expect(page.locator("#q")).to_have_value("-verdict:allow ")
    page.keyboard.press("Escape")
    expect(page.locator("#suggestions li")).to_have_count(0)


def test_the_keyboard_does_everything(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    second = page.locator("#rows .row").nth(1)
    expect(second).to_have_class(re.compile("current"))
    page.keyboard.press("Enter")
    expect(second.locator(".open")).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".detail .statement")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".detail")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("l")
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("l")
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "false")


def test_an_event_opens_with_everything_and_its_values_are_filters(site: Site, page: Page) -> None:
    search(page, "policy:pci-scope")
    page.locator("#rows .row").first.click()
    detail = page.locator(".detail")
    for text in ("payments.cards", "card_last4", "agents-no-payments", "42501", "run_7f3c21", "tom.brandt@example.com", "tok_02"):
        expect(detail).to_contain_text(text)
    detail.get_by_role("link", name="support-agent").click()
    expect(page.locator("#q")).to_have_value("policy:pci-scope principal:support-agent")
    expect(page.locator("#rows .row")).to_have_count(sum("pci-scope" in e["decision"]["policies"] for e in site.shop.events))


def test_a_long_statement_is_shown_whole(page: Page) -> None:
    search(page, "needle_in_a_haystack")
    expect(page.locator("#rows .row")).to_have_count(1)
    page.locator("#rows .row").click()
    expect(page.locator(".statement")).to_have_text(LONG_TEXT)


def test_markup_in_a_statement_is_text(page: Page) -> None:
    search(page, '"<img src=x"')
    expect(page.locator("#rows .row .text")).to_contain_text("<img src=x onerror=alert(1)>")
    page.locator("#rows .row").click()
    expect(page.locator(".statement")).to_contain_text("<img src=x")
    assert page.locator("#results img").count() == 0
    search(page, '<script>alert(1)</script> "unclosed')
    expect(page.locator(".where")).to_contain_text("<script>alert(1)")


def test_a_bar_narrows_the_range(page: Page) -> None:
    bar = page.locator(".histogram a:has(rect.ok)").last
    label = bar.get_attribute("aria-label") or ""
    count = int(re.search(r"UTC: ([\d,]+) events", label)[1].replace(",", ""))  # type: ignore[index]
    bar.click()
    expect(page.locator("#range")).to_have_value("custom")
    expect(page.locator("#rows .row")).to_have_count(count)
    expect(page.locator("#from")).to_be_visible()


def test_live_tail_shows_what_happens(site: Site, page: Page) -> None:
    search(page, "principal_kind:agent")
    before = page.locator("#rows .row").count()
    page.get_by_role("button", name="Live").click()
    expect(page.locator("#announce")).to_have_text("Live tail is on")
    late = Shop(now(), seed=23)
    late.events = [{}] * 9000
    made = [late.event(now(), statement) for statement in (LOOKUP, ORDERS, LOOKUP)]
    insert(site.store.client, made)
    agents = [e["event_id"] for e in made if e["principal"]["kind"] == "agent"]
    expect(page.locator("#rows .row")).to_have_count(before + 2)
    assert page.locator("#rows .row").first.get_attribute("data-id") in agents
    page.get_by_role("button", name="Live").click()
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "false")


def test_a_server_that_is_gone_is_said_to_be(context: BrowserContext, page: Page) -> None:
    context.set_offline(True)
    page.fill("#q", "db:shop")
    page.press("#q", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    context.set_offline(False)
    search(page, "db:shop")
    expect(page.locator("#rows .row").first).to_be_visible()


def test_it_works_without_script(site: Site) -> None:
    context = site.browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Access token").fill("token-of-ana")
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Search events").fill("status:denied")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#rows .row")).to_have_count(site.count(status="denied"))
    page.goto("/")
    page.get_by_role("link", name="Older events").click()
    assert "cursor=" in page.url
    expect(page.locator("#rows .row").first).to_be_visible()
    context.close()


def test_the_theme_follows_the_system_until_chosen(context: BrowserContext, page: Page) -> None:
    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert dark != light
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    assert background() == light
    page.reload()
    assert background() == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.locator("#rows .row.s-denied, #rows .row").first.click()
    expect(page.locator(".detail .groups")).to_be_visible()
    too_faint = page.evaluate(_CONTRAST)
    assert too_faint == []


_CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = el => { for (; el; el = el.parentElement) { const c = parse(getComputedStyle(el).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const faint = new Set();
  for (const el of document.querySelectorAll('body *')) {
    const own = [...el.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !el.checkVisibility() || el.closest('.hidden, .skip, svg, select')) continue;
    const a = lum(parse(getComputedStyle(el).color)), b = lum(behind(el));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) faint.add(el.className + ' ' + el.tagName + ' ' + ratio.toFixed(2));
  }
  return [...faint];
}"""


def test_everything_operable_has_a_name(page: Page) -> None:
    page.locator("#rows .row").first.click()
    expect(page.locator(".detail .groups")).to_be_visible()
    nameless = page.eval_on_selector_all(
        "a, button, input:not([type=hidden]), select, [role]",
        """els => els.filter(e => !(e.textContent.trim() || e.ariaLabel || e.title || (e.labels && e.labels.length)
            || e.getAttribute('aria-labelledby') || e.closest('[hidden]') || e.id === 'announce')).map(e => e.outerHTML)""",
    )
    assert nameless == []
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("width", [390, 820, 1100])
def test_narrow_screens_do_not_scroll_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
