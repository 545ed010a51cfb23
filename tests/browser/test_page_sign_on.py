"""Logging in to the page at an OpenID provider with a real browser: there and back across origins, under our CSP and cookies."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from deploy.api_logins import IdentityTokens
from deploy.sign_on import providers
from ingest.identity.tokens import TokenStore
from query_api.app import create_app
from schemas.config import Config
from schemas.control import PrincipalSuspended
from schemas.suspensions import Suspensions
from tests.live.test_api_access import Nothing
from tests.support.browser import ARGS, CHROMIUM, MISSING, watched
from tests.support.issuer import AUDIENCE, Issuer, published
from tests.support.ports import free_port
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=MISSING)


def now() -> int:
    return time.time_ns() // 1000


@dataclass
class House:
    """A served page and its provider, on two origins of one machine."""

    url: str
    issuer: Issuer
    recorded: Recorded
    refused: list[str]
    suspended: Suspensions


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield started
        started.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    issuer, recorded, suspended, port = Issuer(), Recorded(), Suspensions(), free_port()
    refused: list[str] = []
    issuer.asks = True
    with published(issuer), closing(TokenStore(tmp_path / "identity.db", now, lambda n: b"x" * n)) as tokens:
        settings = Config.model_validate(
            {
                "approvals": {"url": f"http://127.0.0.1:{port}/approvals/{{id}}"},
                "identity": {"issuers": [{"issuer": issuer.name, "audience": AUDIENCE, "client_id": "affidavit-page"}]},
                "api": {"group_roles": {"analyst": ["engineering"], "approver": ["oncall"]}},
            }
        )
        with closing(IdentityTokens(tokens, settings.identity, settings.api.group_roles)) as identity_tokens:
            app = create_app(
                Nothing(),  # type: ignore[arg-type]
                SETTINGS,
                lambda token: identity_tokens.identity(token, now()),
                recorded,
                lambda: {"ready": True},
                now,
                api=settings.api,
                providers=providers(settings, identity_tokens),
                login_refused=lambda reason, address: refused.append(reason),
                public_url=settings.public_url,
                barring=lambda names: suspended.barring(names, now()),
            )
            with serving(app, port) as url:
                yield House(url, issuer, recorded, refused, suspended)


@pytest.fixture
def context(house: House, browser: Browser) -> Iterator[BrowserContext]:
    with watched(browser, house.url, house.issuer.name) as made:
        yield made


def at_provider(page: Page, start: str) -> None:
    """Ask for a page without a login, and choose the provider."""
    page.goto(start)
    page.get_by_role("link", name="Log in with 127.0.0.1").click()
    expect(page.get_by_role("heading", name="Log in at the provider")).to_be_visible()


def test_a_person_logs_in_at_the_provider_and_lands_where_they_wanted(house: House, context: BrowserContext) -> None:
    page = context.new_page()
    at_provider(page, "/approvals?state=all")
    page.get_by_role("link", name="I am dana").click()
    expect(page).to_have_url(re.compile(r"/approvals\?state=all$"))
    expect(page.get_by_text("dana", exact=True).first).to_be_visible()
    kept = {c["name"]: c for c in context.cookies()}
    session = kept["affidavit_session"]
    assert session["httpOnly"] and session["sameSite"] == "Lax" and "affidavit_login" not in kept
    assert page.evaluate("document.cookie").find("affidavit_session") < 0
    assert ("dana", "127.0.0.1", "login", "", 0) in house.recorded.reads and house.refused == []

    # The way back leads nowhere a second time, and another tab is logged in as well.
    other = context.new_page()
    other.goto("/exposure")
    expect(other).to_have_url(re.compile(r"/exposure$"))
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Access token")).to_be_visible()
    other.reload()
    expect(other.get_by_label("Access token")).to_be_visible()


def test_the_keyboard_alone_leads_there_and_back(house: House, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/exposure")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Log in with 127.0.0.1")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="I am dana").press("Enter")
    expect(page).to_have_url(re.compile(r"/exposure$"))


def test_who_says_no_at_the_provider_is_told_and_may_begin_again(house: House, context: BrowserContext) -> None:
    page = context.new_page()
    at_provider(page, "/approvals")
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("alert")).to_have_text("The login came to nothing: it was not allowed there.")
    assert house.refused == ["oidc_denied"] and "affidavit_session" not in {c["name"] for c in context.cookies()}
    page.get_by_role("link", name="Log in with 127.0.0.1").click()
    page.get_by_role("link", name="I am dana").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def test_an_answer_that_another_browser_brings_opens_nothing(house: House, browser: Browser, context: BrowserContext) -> None:
    mallory = context.new_page()
    at_provider(mallory, "/approvals")
    link = mallory.get_by_role("link", name="I am dana").get_attribute("href") or ""
    with watched(browser, house.url, house.issuer.name) as elsewhere:
        victim = elsewhere.new_page()
        victim.goto(house.issuer.name + link)
        expect(victim.get_by_role("alert")).to_have_text("This login was begun in another browser. Begin again here.")
        assert "affidavit_session" not in {c["name"] for c in elsewhere.cookies()}
    assert house.refused == ["oidc_browser"]


def test_who_is_suspended_meanwhile_is_shown_out(house: House, context: BrowserContext) -> None:
    page = context.new_page()
    at_provider(page, "/approvals")
    page.get_by_role("link", name="I am dana").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.goto("about:blank")  # else its live part may hear of it first, and end the session
    said = PrincipalSuspended(at=now(), actor="sam", principal="dana@example.com")
    house.suspended.take(said.key, said)
    page.goto(house.url + "/approvals")
    expect(page.get_by_role("alert")).to_have_text("dana is suspended.")
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in with 127.0.0.1").click()
    page.get_by_role("link", name="I am dana").click()
    expect(page.get_by_role("alert")).to_have_text("dana is suspended.")
    assert house.refused == ["suspended"]
