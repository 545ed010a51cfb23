"""Which logins at a provider are remembered until their people come back?"""

from __future__ import annotations

from itertools import count

import pytest

from query_api import sign_on
from query_api.identity import Identity
from query_api.sign_on import PENDING_SECONDS, SignOn, SignOnError


class Provider:
    """One that tells in its address which login it is."""

    name = "one"

    def address(self, state: str, nonce: str, challenge: str) -> str:
        return state

    def redeem(self, code: str, verifier: str, nonce: str, issuer: str) -> Identity:
        raise SignOnError("oidc_code", "Nobody is known here.")


@pytest.fixture
def clock() -> list[int]:
    return [0]


@pytest.fixture
def logins(clock: list[int]) -> SignOn:
    numbers = count()
    return SignOn([Provider()], lambda reason, address: None, lambda: clock[0], lambda: f"secret {next(numbers)}")


def begin(logins: SignOn, address: str) -> str:
    return logins.begin(0, "/", address).address


def test_a_morning_of_people_behind_one_proxy_is_remembered(logins: SignOn) -> None:
    begun = [begin(logins, "10.0.0.1") for _ in range(500)]
    assert all(logins.began(state) for state in begun)


def test_a_flood_of_one_address_forgets_its_own(logins: SignOn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_on, "MOST_PENDING", 100)
    other, flood = begin(logins, "10.0.0.2"), [begin(logins, "10.0.0.1") for _ in range(300)]
    assert [logins.began(state) for state in flood] == [False] * 201 + [True] * 99
    assert logins.began(other)


def test_what_has_ended_makes_room_first(logins: SignOn, clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_on, "MOST_PENDING", 10)
    old = [begin(logins, f"10.0.0.{n}") for n in range(5)]
    clock[0] = PENDING_SECONDS * 1_000_000
    new = [begin(logins, f"10.0.1.{n}") for n in range(10)]
    assert not any(logins.began(state) for state in old)
    assert all(logins.began(state) for state in new)
    begin(logins, "10.0.2.1")
    assert [logins.began(state) for state in new] == [False] + [True] * 9
