"""Logging in to the page at an OpenID provider, the tests' own issuer on loopback: what opens a session, and what never does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest

from deploy.api_logins import IdentityTokens
from deploy.config import ConfigError
from deploy.sign_on import CALLBACK, providers
from ingest.identity.tokens import TokenStore
from query_api.app import create_app
from query_api.limits import Limits
from query_api.sign_on import MOST_ASKING
from schemas.config import Config
from schemas.control import PrincipalSuspended
from schemas.suspensions import Suspensions
from tests.live.test_api_access import NOW, Nothing
from tests.support.issuer import AUDIENCE, Issuer, published
from tests.support.ports import wait_for
from tests.support.served import serving
from tests.support.stored_events import SETTINGS, Recorded

PUBLIC = "https://audit.example"
ROLES = {"analyst": ["engineering"], "approver": ["oncall"]}


@dataclass
class House:
    """A served page, its provider, and what was recorded."""

    url: str
    issuer: Issuer
    recorded: Recorded
    refused: list[tuple[str, str]]
    clock: list[int]
    suspended: Suspensions = field(default_factory=Suspensions)
    browsers: list[httpx.Client] = field(default_factory=list)

    def browser(self) -> httpx.Client:
        """A browser of its own. Cookies that are for https alone are kept by it all the same and sent by `cookies`."""
        made = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self.browsers.append(made)
        return made

    def begin(self, browser: httpx.Client, next: str = "/approvals") -> str:
        """Begin, and return the provider's address that the browser is sent to."""
        answer = browser.get("/login/with/0", params={"next": next})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def provided(self, address: str, **changed: str) -> str:
        """Be at the provider, and return the path and query that it sends the browser back to, some of it changed."""
        back = urlsplit(httpx.get(address, trust_env=False).headers["location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == PUBLIC + CALLBACK
        return f"{CALLBACK}?{urlencode({**dict(parse_qsl(back.query)), **changed})}"

    def back(self, browser: httpx.Client, path: str) -> httpx.Response:
        return browser.get(path, headers=cookies(browser))


def cookies(browser: httpx.Client) -> dict[str, str]:
    return {"cookie": "; ".join(f"{c.name}={c.value}" for c in browser.cookies.jar)}


def config(issuer: Issuer, **changed: Any) -> Config:
    given = {"issuer": issuer.name, "audience": AUDIENCE, "client_id": "affidavit-page", **changed}
    return Config.model_validate(
        {
            "approvals": {"url": PUBLIC + "/approvals/{id}"},
            "identity": {"issuers": [given]},
            "api": {"group_roles": ROLES},
        }
    )


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    issuer, recorded, refused, clock = Issuer(), Recorded(), [], [NOW]
    suspended = Suspensions()
    secret = getattr(request, "param", "")
    more: dict[str, Any] = {}
    if secret:
        issuer.clients["affidavit-page"] = "s3cret:%/"
        (tmp_path / "secret").write_text(secret + "\n")
        more = {"client_secret_file": tmp_path / "secret", "scopes": ("groups",)}
    with published(issuer), closing(TokenStore(tmp_path / "identity.db", lambda: NOW, lambda n: b"x" * n)) as tokens:
        settings = config(issuer, **more)
        with closing(IdentityTokens(tokens, settings.identity, settings.api.group_roles)) as identity_tokens:
            app = create_app(
                Nothing(),  # type: ignore[arg-type]
                SETTINGS,
                lambda token: identity_tokens.identity(token, clock[0]),
                recorded,
                lambda: {"ready": True},
                lambda: clock[0],
                api=settings.api,
                limits=Limits(login_failures_per_minute=100),
                providers=providers(settings, identity_tokens),
                login_refused=lambda reason, address: refused.append((reason, address)),
                public_url=settings.public_url,
                barring=lambda names: suspended.barring(names, clock[0]),
            )
            with serving(app) as url:
                made = House(url, issuer, recorded, refused, clock, suspended)
                yield made
                for browser in made.browsers:
                    browser.close()


@pytest.mark.parametrize("house", ["", "s3cret:%/"], indirect=True, ids=["public", "confidential"])
def test_a_person_logs_in_and_out(house: House) -> None:
    browser = house.browser()
    page = browser.get("/approvals", follow_redirects=True)
    assert "/login/with/0?next=" in page.text and urlsplit(house.issuer.name).netloc in page.text
    address = house.begin(browser, "/approvals?state=all")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert (asked["code_challenge_method"], asked["redirect_uri"]) == ("S256", PUBLIC + CALLBACK)
    assert asked["scope"].split()[0] == "openid"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3 and len(asked["code_challenge"]) == 43
    answer = house.back(browser, house.provided(address))
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals?state=all")
    session = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("affidavit_session="))
    assert all(word in session for word in ("HttpOnly", "SameSite=lax", "Secure", "Max-Age=3600", "Path=/"))
    assert house.recorded.reads == [("dana", "127.0.0.1", "login", "", 0)] and house.refused == []
    assert house.back(browser, "/approvals").status_code == 200 and house.back(browser, "/").status_code == 200
    assert house.back(browser, "/api/v1/events").status_code == 200
    elsewhere = {**cookies(browser), "origin": "https://evil.example"}
    assert browser.post("/logout", headers=elsewhere).status_code == 403
    assert browser.post("/approvals/x/decision", headers=elsewhere).status_code == 403
    kept = cookies(browser)
    assert browser.post("/logout", headers={**kept, "origin": house.url}).status_code == 303
    assert browser.get("/api/v1/events", headers=kept).status_code == 401


def test_who_is_suspended_is_out_at_once_and_logs_in_no_more(house: House) -> None:
    browser = house.browser()
    house.back(browser, house.provided(house.begin(browser)))
    assert house.back(browser, "/api/v1/events").status_code == 200
    said = PrincipalSuspended(at=NOW, actor="sam", principal="Dana@example.com")  # the provider says dana
    house.suspended.take(said.key, said)
    answer = house.back(browser, "/api/v1/events")
    assert answer.status_code == 403 and answer.json()["detail"] == "dana is suspended."
    assert house.back(browser, "/approvals").headers["location"].startswith("/login")
    again = house.browser()
    answer = house.back(again, house.provided(house.begin(again)))
    assert answer.status_code == 403 and "dana is suspended." in answer.text and "affidavit_session" not in again.cookies
    assert house.refused == [("suspended", "127.0.0.1")]
    house.suspended.clear()
    assert house.back(browser, "/api/v1/events").status_code == 401, "a session that a suspension ended comes back"
    house.back(again, house.provided(house.begin(again)))
    assert house.back(again, "/api/v1/events").status_code == 200


def test_a_session_ends_within_the_hour_and_its_secret_is_no_token(house: House) -> None:
    browser = house.browser()
    house.back(browser, house.provided(house.begin(browser)))
    assert house.back(browser, "/api/v1/events").status_code == 200
    house.clock[0] += 3599 * 1_000_000
    assert house.back(browser, "/api/v1/events").status_code == 200
    house.clock[0] += 2 * 1_000_000
    assert house.back(browser, "/api/v1/events").status_code == 401
    for forged in ("signed-on:", "signed-on:" + browser.cookies["affidavit_session"]):
        assert browser.get("/api/v1/events", headers={"authorization": f"Bearer {forged}"}).status_code == 401
        origin = {"origin": house.url}
        assert browser.post("/login", data={"token": forged}, headers=origin).status_code == 401


def refusal(house: House, browser: httpx.Client, path: str, reason: str, words: str) -> None:
    answer = house.back(browser, path)
    assert answer.status_code == 401 and words in answer.text, answer.text
    assert house.refused == [(reason, "127.0.0.1")] and house.recorded.reads == []
    assert "affidavit_session" not in answer.headers.get("set-cookie", "")
    assert house.back(browser, "/api/v1/events").status_code == 401


def test_a_state_that_is_not_ours(house: House) -> None:
    browser = house.browser()
    refusal(house, browser, house.provided(house.begin(browser), state="guess"), "oidc_state", "not begun here")


def test_guessers_of_an_address_stop_nobody_who_has_begun(house: House) -> None:
    """Behind a proxy that ends TLS everybody has one address."""
    browser, guesser = house.browser(), house.browser()
    path = house.provided(house.begin(browser))
    said = [guesser.get(f"{CALLBACK}?state=guess&code=x").status_code for _ in range(101)]
    assert said == [401] * 100 + [429]
    assert len(house.refused) == 100
    assert house.back(browser, path).status_code == 303


def test_an_answer_brought_by_another_browser(house: House) -> None:
    path = house.provided(house.begin(house.browser()))
    other = house.browser()
    house.begin(other)
    refusal(house, other, path, "oidc_browser", "another browser")


def test_an_answer_that_is_played_again(house: House) -> None:
    browser = house.browser()
    path = house.provided(house.begin(browser))
    cookie = cookies(browser)
    assert browser.get(path, headers=cookie).status_code == 303
    again = house.browser().get(path, headers=cookie)
    assert again.status_code == 401 and house.refused == [("oidc_state", "127.0.0.1")]


def test_a_code_that_was_used_or_is_of_another_login(house: House) -> None:
    browser, other = house.browser(), house.browser()
    stolen = dict(parse_qsl(urlsplit(house.provided(house.begin(other))).query))["code"]
    refusal(house, browser, house.provided(house.begin(browser), code=stolen), "oidc_code", "did not take the code")


def test_too_late(house: House) -> None:
    browser = house.browser()
    path = house.provided(house.begin(browser))
    house.clock[0] += 600 * 1_000_000
    refusal(house, browser, path, "oidc_too_late", "10 minutes")


@pytest.mark.parametrize(
    ("changed", "reason", "words"),
    [
        ({"nonce": "of another login"}, "oidc_nonce", "another login"),
        ({"nonce": None}, "oidc_nonce", "another login"),
        ({"aud": AUDIENCE}, "jwt_wrong_audience", "another audience"),
        ({"azp": "another client"}, "jwt_wrong_audience", "another client"),
        ({"exp": 1_700_000_000}, "jwt_expired", "expired"),
        ({"iss": "https://elsewhere.example"}, "oidc_issuer", "another issuer"),
        ({"groups": ["guests"]}, "oidc_no_role", "none of your groups"),
        ({"sub": None}, "jwt_no_principal", "names no principal"),
    ],
)
def test_a_token_that_does_not_fit(house: House, changed: dict[str, Any], reason: str, words: str) -> None:
    house.issuer.changed = changed
    browser = house.browser()
    refusal(house, browser, house.provided(house.begin(browser)), reason, words)


def test_a_token_signed_by_somebody_else(house: House) -> None:
    house.issuer.key = Issuer().key
    browser = house.browser()
    refusal(house, browser, house.provided(house.begin(browser)), "jwt_signature", "signature is wrong")


def test_an_answer_of_another_provider(house: House) -> None:
    browser = house.browser()
    path = house.provided(house.begin(browser), iss="https://elsewhere.example")
    refusal(house, browser, path, "oidc_issuer", "another provider")


@pytest.mark.parametrize(("error", "reason"), [("access_denied", "oidc_denied"), ("<script>", "oidc_error")])
def test_a_provider_that_says_no(house: House, error: str, reason: str) -> None:
    browser = house.browser()
    path = house.provided(house.begin(browser), error=error, code="")
    refusal(house, browser, path, reason, "came to nothing")


@pytest.mark.parametrize("house", ["wrong"], indirect=True)
def test_a_wrong_secret_of_the_client(house: House) -> None:
    browser = house.browser()
    refusal(house, browser, house.provided(house.begin(browser)), "oidc_code", "did not take the code")


def test_a_provider_out_of_reach_is_said_and_nothing_leads_elsewhere(house: House) -> None:
    browser = house.browser()
    for outside in ("https://evil.example/", "//evil.example", "/\\evil.example", "/login/with/0"):
        answer = house.back(browser, house.provided(house.begin(browser, outside)))
        assert answer.headers["location"] == "/"
    house.issuer.down = True
    answer = browser.get("/login/with/0")
    assert answer.status_code == 502 and "cannot be used" in answer.text
    assert browser.get("/login/with/7").status_code == 502
    assert browser.get(CALLBACK, params={"state": "x" * 5000}).status_code == 400


def test_logins_that_others_of_the_address_begin_cost_nobody_its_own(house: House) -> None:
    browser = house.browser()
    first = house.provided(house.begin(browser))
    cookie = cookies(browser)
    for _ in range(30):
        house.begin(browser)
    assert browser.get(first, headers=cookie).status_code == 303


def test_a_provider_that_is_slow_takes_not_every_thread(house: House) -> None:
    """Beginning needs no login: whoever begins many at once would stop decisions and searches as well."""
    house.issuer.answers.clear()
    with ThreadPoolExecutor(60) as threads:
        begun = [threads.submit(httpx.get, house.url + "/login/with/0", timeout=60, trust_env=False) for _ in range(60)]
        done, _ = wait(begun, 60, FIRST_COMPLETED)
        answer = done.pop().result()
        assert answer.status_code == 502 and "Too many people" in answer.text
        wait_for(lambda: sum(b.done() for b in begun) >= 60 - MOST_ASKING, "the others to be turned away")
        assert house.browser().get("/login").status_code == 200
        house.issuer.answers.set()
        states = [b.result().status_code for b in begun]
    assert states.count(303) <= MOST_ASKING and states.count(303) + states.count(502) == 60
    house.back(house.browser(), house.provided(house.begin(house.browser())))


def test_an_agent_that_a_provider_names_is_one_here_too(house: House) -> None:
    house.issuer.changed = {"act": {"sub": "copilot", "groups": ["engineering", "oncall"]}}
    browser = house.browser()
    house.back(browser, house.provided(house.begin(browser)))
    assert house.recorded.reads[0][0] == "copilot"
    seen = browser.get("/approvals", headers=cookies(browser)).text
    assert "copilot" in seen


@pytest.mark.parametrize(
    "changed",
    [
        {"approvals": {}},
        {"api": {}},
        {"approvals": {"url": "http://audit.example/approvals/{id}"}},
        {"identity": {"issuers": [{"issuer": "https://i.example", "audience": "a", "client_secret_file": "s"}]}},
        {"identity": {"issuers": [{"issuer": "i", "audience": "a", "client_id": "c", "jwks_file": "k"}]}},
    ],
)
def test_settings_that_cannot_work_are_refused(changed: dict[str, Any]) -> None:
    given = {
        "approvals": {"url": PUBLIC + "/approvals/{id}"},
        "identity": {"issuers": [{"issuer": "https://i.example", "audience": "a", "client_id": "c"}]},
        "api": {"group_roles": ROLES},
    }
    Config.model_validate(given)
    with pytest.raises((ValueError, ConfigError)):
        Config.model_validate({**given, **changed})
