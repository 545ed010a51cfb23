"""The demonstration's bookkeeping: it must find what is lost and what is twice, or its summary proves nothing."""

from __future__ import annotations

from random import Random

import pytest

from deploy.demo import data
from deploy.demo.account import Account, Row, account
from deploy.demo.postgres import Logged


def executed(n: int, database: str = "shop", application: str = "psql") -> list[Logged]:
    return [Logged(database, application, f"SELECT {i}") for i in range(n)]


def rows(n: int, database: str = "shop", application: str = "psql", first: int = 0) -> list[Row]:
    return [Row(database, application, f"id-{application}-{i}", ("proxy/0", 1, i)) for i in range(first, first + n)]


@pytest.mark.parametrize(("ran", "seen", "expected"), [
    (executed(3), rows(3), Account(3, 3, 0, 0)),
    ([], [], Account(0, 0, 0, 0)),
    (executed(3), rows(2), Account(3, 2, 1, 0)),
    (executed(3), [], Account(3, 0, 3, 0)),
    (executed(3), rows(4), Account(3, 4, 0, 1)),
    (executed(3), rows(2) + rows(1), Account(3, 3, 0, 1)),
    (executed(3) + executed(3, "hr"), rows(3) + rows(3, "hr", first=3)[:2], Account(6, 5, 1, 0)),
    # One lost here and one too many there must not cancel each other out.
    (executed(3) + executed(3, application="app"), rows(2) + rows(4, application="app", first=9), Account(6, 6, 1, 1)),
    # What was refused is in the trail and was not executed; it does not make up for what was.
    (executed(2), [*rows(2), Row("shop", "psql", "refused", ("proxy/0", 1, 9), executed=False)], Account(2, 3, 0, 0)),
    (executed(3), [*rows(2), Row("shop", "psql", "refused", ("proxy/0", 1, 9), executed=False)], Account(3, 3, 1, 0)),
    (executed(2), [Row("shop", "psql", name, ("proxy/0", 1, 1)) for name in "ab"], Account(2, 2, 0, 1)),
])  # fmt: skip
def test_account(ran: list[Logged], seen: list[Row], expected: Account) -> None:
    found = account(ran, seen)
    assert found == expected
    assert found.balanced is (expected.lost == expected.duplicates == 0)


def test_the_data_is_the_same_every_time_large_and_fictional() -> None:
    made = [{name: list(rows) for name, _, rows in make(Random(data.SEED))} for make in (data.shop, data.hr)]
    again = [{name: list(rows) for name, _, rows in make(Random(data.SEED))} for make in (data.shop, data.hr)]
    assert made == again
    assert sum(len(rows) for tables in made for rows in tables.values()) > 50_000
    for customer in made[0]["customers"]:
        assert str(customer[2]).endswith("@example.com")
        assert str(customer[3]).startswith("+1-202-555-01")
