"""What somebody sees who sees masks does not depend on what is masked: two databases that differ in nothing else say the same.

`tests/golden/dodges` has the tables (`schema.sql`) and some hundred ways to read what is masked, or to have something else tell
it: by reading (`reading.sql`), by errors (`failing.sql`), by objects of one's own (`making.sql`). Each is sent to both databases,
to the servers and through proxies with nothing configured. The servers' answers differ, or the dodge would prove nothing; the
proxies' are the same: cells, numbers of rows, notices, errors, notifications, settings, in whatever encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import twins as both
from tests.support.twins import GOLDEN, Twin

FOLDER = GOLDEN / "dodges"
KNOWN = "SELECT v.canary(1), max(o.label), max(c.city) FROM v.orders o, v.clients c"
SECRETS = (
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
)  # fmt: skip


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Twin, Twin]]:
    with both.running(FOLDER, SECRETS, (KNOWN, (2, "pen", "Lyon"))) as made:
        yield made


@pytest.mark.parametrize("name", ["reading.sql", "failing.sql"])
@pytest.mark.parametrize("way", ["simple", "prepared, binary"])
def test_what_is_read_tells_nothing(twins: tuple[Twin, Twin], name: str, way: str) -> None:
    told, mute = both.read(twins, FOLDER, name, way != "simple")
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"


def test_objects_of_ones_own_tell_nothing_at_once(twins: tuple[Twin, Twin]) -> None:
    told, mute = both.made_at_once(twins, FOLDER, "making.sql")
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"


def test_objects_of_ones_own_tell_nothing_later(twins: tuple[Twin, Twin]) -> None:
    """They stay, and the catalogue knows them."""
    assert both.made_before(twins, FOLDER, "making.sql") == {}
