"""What somebody sees who sees masks does not depend on what is masked: two databases that differ in nothing else say the same.

`tests/golden/dodges` and `dodges_insurer` have tables each (`schema.sql`) and hundreds of ways to read what is masked, or to have
something else tell it: by reading (`reading.sql`), by errors (`failing.sql`), by objects of one's own (`making.sql`). Each is sent to
both databases, to the servers and through proxies with nothing configured. The servers' answers differ, or the dodge would prove
nothing; the proxies' are the same: cells, numbers of rows, notices, errors, notifications, settings, in whatever encoding. What tells
by the number or order of rows or by an error (`inferring.sql`) masking does not hide: policy can deny it, and then nothing tells.
"""

# ruff: noqa: E501 - a person a line

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import twins as both
from tests.support.twins import GOLDEN, Secrets, Twin


class Schema(NamedTuple):
    """Tables and dodges in a folder, what differs, and a question with its answer once a proxy knows everything."""

    folder: Path
    secrets: tuple[Secrets, Secrets]
    known: tuple[str, tuple[Any, ...]]


CLIENTS = Schema(
    GOLDEN / "dodges",
    (
        {
            "name1": "Tarvok Elmsworth", "mail1": "tarvok.elmsworth@example.org", "phone1": "+49 30 5551234", "born1": "1984-02-03",
            "ip1": "10.20.30.40", "iban1": "DE89370400440532013000", "home1": "Elmstrasse 4, Bremen",
            "name2": "Alwina Prost", "mail2": "alwina.prost@example.org", "phone2": "+49 30 5551235", "born2": "1961-12-13",
            "ip2": "10.20.30.41", "iban2": "GB82WEST12345698765432", "home2": "Kirchgasse 19, Genf",
            "name3": "Quendra Moss", "mail3": "quendra.moss@example.org", "phone3": "+49 30 5551236", "born3": "1977-07-07",
            "ip3": "10.20.30.42", "iban3": "FR1420041010050500013M02606", "home3": "Rue Basse 3, Lyon",
        },
        {
            "name1": "Quilby Nandrassoni", "mail1": "q.nandrasso@example.net", "phone1": "+41 22 7770001", "born1": "1991-11-23",
            "ip1": "172.16.5.6", "iban1": "CH9300762011623852957", "home1": "Ahornweg 117, Bremen",
            "name2": "Zed Ito", "mail2": "zed.ito@example.net", "phone2": "+41 22 7770002", "born2": "2001-01-31",
            "ip2": "172.16.5.7", "iban2": "NL91ABNA0417164300", "home2": "Rosenplatz 2, Genf",
            "name3": "Bo Ek", "mail3": "b@example.net", "phone3": "+41 22 7770003", "born3": "1950-05-05",
            "ip3": "172.16.5.8", "iban3": "BE68539007547034", "home3": "Quai Neuf 88, Lyon",
        },
    ),
    ("SELECT v.canary(1), max(o.label), max(c.city) FROM v.orders o, v.clients c", (2, "pen", "Lyon")),
)  # fmt: skip
INSURER = Schema(
    GOLDEN / "dodges_insurer",
    (
        {
            "name1": "Tarvok Elmsworth", "mail1": "tarvok.elmsworth@example.org", "phone1": "+49 30 5551234", "born1": "1984-02-03",
            "ssn1": "536-90-4399", "ip1": "10.20.30.40", "hex1": "7461", "diag1": "E11.9 diabetes", "first1": "Tarvok", "last1": "Elmsworth",
            "name2": "Alwina Prost", "mail2": "alwina.prost@example.org", "phone2": "+49 30 5551235", "born2": "1961-12-13",
            "ssn2": "219-09-9999", "ip2": "10.20.30.41", "hex2": "616c77", "diag2": "J45.0 asthma", "first2": "Alwina", "last2": "Prost",
            "name3": "Quendra Moss", "mail3": "quendra.moss@example.org", "phone3": "+49 30 5551236", "born3": "1977-07-07",
            "ssn3": "457-55-5462", "ip3": "10.20.30.42", "hex3": "71", "diag3": "C50.1 tumour", "first3": "Quendra", "last3": "Moss",
            "num1": "49305551234",
        },
        {
            "name1": "Quilby Nandrassoni", "mail1": "q.nandrasso@example.net", "phone1": "+41 22 7770001", "born1": "1991-11-23",
            "ssn1": "212-09-7694", "ip1": "172.16.5.6", "hex1": "5155494c", "diag1": "B20 hiv", "first1": "Quilby", "last1": "Nandrassoni",
            "name2": "Zed Ito", "mail2": "zed.ito@example.net", "phone2": "+41 22 7770002", "born2": "2001-01-31",
            "ssn2": "078-05-1120", "ip2": "172.16.5.7", "hex2": "7a", "diag2": "F32.1 depression", "first2": "Zed", "last2": "Ito",
            "name3": "Bo Ek", "mail3": "b@example.net", "phone3": "+41 22 7770003", "born3": "1950-05-05",
            "ssn3": "219-09-9990", "ip3": "172.16.5.8", "hex3": "626f65", "diag3": "E10.1 diabetes", "first3": "Bo", "last3": "Ek",
            "num1": "41227770001",
        },
    ),
    ('SELECT hr.canary(1), max(s."Dept"), max(c.state) FROM hr."Staff" s, hr.claims c', (2, "sales", "paid")),
)  # fmt: skip
DENIED = """
bundle: twins
rules:
  - {id: no-inference, effect: deny, when: '"inference" in statement.dangers', reason: It tells of what is masked.}
"""


@pytest.fixture(scope="module", params=[CLIENTS, INSURER], ids=["clients", "insurer"])
def schema(request: pytest.FixtureRequest) -> Schema:
    found: Schema = request.param
    return found


@pytest.fixture(scope="module")
def twins(schema: Schema) -> Iterator[tuple[Twin, Twin]]:
    with both.running(*schema) as made:
        yield made


@pytest.mark.parametrize("name", ["reading.sql", "failing.sql"])
@pytest.mark.parametrize("way", ["simple", "prepared, binary"])
def test_what_is_read_tells_nothing(twins: tuple[Twin, Twin], schema: Schema, name: str, way: str) -> None:
    told, mute = both.read(twins, schema.folder, name, way != "simple")
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"


def test_objects_of_ones_own_tell_nothing_at_once(twins: tuple[Twin, Twin], schema: Schema) -> None:
    told, mute = both.made_at_once(twins, schema.folder, "making.sql")
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"


def test_objects_of_ones_own_tell_nothing_later(twins: tuple[Twin, Twin], schema: Schema) -> None:
    """They stay, and the catalogue knows them."""
    assert both.made_before(twins, schema.folder, "making.sql") == {}


def test_what_tells_by_its_count_or_order_is_inference_to_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(DENIED, encoding="utf-8")
    with both.running(*INSURER, (str(tmp_path / "policy.yaml"),)) as made:
        told, mute = both.read(made, INSURER.folder, "inferring.sql", False)
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"
