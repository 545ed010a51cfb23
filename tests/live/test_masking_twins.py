"""What somebody sees who sees masks does not depend on what is masked: two databases that differ in nothing else say the same.

`tests/golden/dodges` has the tables (`schema.sql`) and some hundred ways to read what is masked, or to have something else tell
it: by reading (`reading.sql`), by errors (`failing.sql`), by objects of one's own (`making.sql`). Each is sent to both databases,
to the servers and through proxies with nothing configured. The servers' answers differ, or the dodge would prove nothing; the
proxies' are the same: cells, numbers of rows, notices, errors, notifications, settings, in whatever encoding.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.clients import Parameters
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.postgres import running as running_postgres

GOLDEN = Path(__file__).parents[1] / "golden" / "dodges"
EXTENSIONS = (
    "btree_gist", "citext", "cube", "dblink", "fuzzystrmatch", "hstore", "intarray", "ltree", "pg_stat_statements", "pg_trgm",
    "pgcrypto", "tablefunc", "tcn", "unaccent", "uuid-ossp", "xml2",
)  # fmt: skip
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
_NOISE = re.compile(r"Request [0-9a-f-]+/m\d+\.|statement \d+ of this session|(?<=pg_temp_)\d+")


def dodges(name: str) -> dict[str, list[str]]:
    """Return dodges by what they are called: statements, those before `--- later` first."""
    found = {}
    for entry in re.split(r"^-- ", (GOLDEN / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = entry.partition("\n")
        found[title] = [s.strip() for s in re.split(r";\n|(?<=\n)(?=--- )", text) if s.strip()]
    return found


class Twin:
    """One of the two databases, and a proxy before it."""

    def __init__(self, server: Postgres, proxy: Proxy, secrets: dict[str, str]) -> None:
        self.server = server
        self.proxy = proxy
        with server.superuser() as admin:
            for extension in EXTENSIONS:
                admin.execute(f'CREATE EXTENSION "{extension}"')
            admin.execute("GRANT SELECT ON pg_largeobject TO PUBLIC")
        schema = (GOLDEN / "schema.sql").read_text(encoding="utf-8")
        for name, value in secrets.items():
            schema = schema.replace("{" + name + "}", value)
        with psycopg.connect(**server.app(), autocommit=True) as owner:
            owner.execute(schema)
            with owner.cursor().copy(f"COPY (SELECT 'marker2 {secrets['name1']}') TO STDOUT") as copy:
                list(copy)
        self.other = psycopg.connect(**proxy.app(), autocommit=True)
        self.other.execute(f"SELECT 'marker {secrets['name1']}'")
        self.ways: tuple[Parameters, Parameters] = server.app(), proxy.app()

    def settled(self) -> None:
        """Wait until the proxy knows everything as it is."""
        with psycopg.connect(**self.ways[1], autocommit=True) as asking:

            def known() -> bool:
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    asked = "SELECT v.canary(1), max(o.label), max(c.city) FROM v.orders o, v.clients c"
                    return asking.execute(asked).fetchone() == (2, "pen", "Lyon")
                return False

            wait_for(known, "the catalogue to be read anew", 30)


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Twin, Twin]]:
    settings = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on"}
    bare = {"policy": {"files": []}}
    with (
        running_postgres(settings, oracle=False) as one,
        running_postgres(settings, oracle=False) as two,
        running_proxy(one, bare) as before_one,
        running_proxy(two, bare) as before_two,
    ):
        made = Twin(one, before_one, SECRETS[0]), Twin(two, before_two, SECRETS[1])
        yield made
        for twin in made:
            twin.other.close()


def said(connection: psycopg.Connection[Any], statement: str, binary: bool = False) -> list[str]:
    """Return everything that a statement is answered."""
    heard: list[str] = []

    def diagnosed(diag: psycopg.errors.Diagnostic) -> None:
        heard.extend(f"{name}: {getattr(diag, name)}" for name in dir(diag) if name[0] != "_" and getattr(diag, name))

    connection.add_notice_handler(diagnosed)
    connection.add_notify_handler(notified := lambda notify: heard.append(notify.payload))
    try:
        cursor = connection.cursor(binary=binary)
        if statement.startswith("COPY") and "FROM STDIN" in statement:
            with cursor.copy(statement) as copy:
                copy.write(b"1\n")
        elif statement.startswith("COPY"):
            with cursor.copy(statement) as copy:
                heard += [bytes(part).hex() if binary else bytes(part).decode("latin-1") for part in copy]
        else:
            cursor.execute(statement, prepare=True if binary else None)
            while True:
                result = cursor.pgresult
                if result is not None:
                    heard += [repr(result.get_value(r, c)) for r in range(result.ntuples) for c in range(result.nfields)]
                heard.append(str(cursor.statusmessage))
                if not cursor.nextset():
                    break
    except psycopg.Error as error:
        diagnosed(error.diag) if error.diag.sqlstate else heard.append(str(error))
    finally:
        connection.remove_notice_handler(diagnosed)
        connection.remove_notify_handler(notified)
    heard.append(str(connection.info.parameter_status("application_name")))
    return [_NOISE.sub("", h) for h in heard]


def tried(parameters: Parameters, statements: list[str], binary: bool = False, end: str = "ROLLBACK") -> list[list[str]]:
    """Return what each of some statements in a transaction is answered, and its end. An error undoes itself alone."""
    found = []
    with psycopg.connect(**parameters, autocommit=True) as connection:
        connection.execute("LISTEN ch")
        connection.execute("LISTEN tcn")
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute("SAVEPOINT each")
            found.append(said(connection, statement, binary and not statement.startswith("COPY")))
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                connection.execute("ROLLBACK TO each")
        found += [said(connection, end), said(connection, "SELECT 1")]
    return found


def parts(statements: list[str]) -> tuple[list[str], list[str]]:
    """Return what makes objects, and what uses them later; nothing is later where all is one session's."""
    at = next((n for n, s in enumerate(statements) if s.startswith("--- later\n")), len(statements))
    return statements[:at], [s.removeprefix("--- later\n") for s in statements[at:]]


def differing(one: list[list[str]], two: list[list[str]]) -> list[tuple[list[str], list[str]]]:
    return [(a, b) for a, b in zip(one, two, strict=True) if a != b]


def end(title: str) -> str:
    return "COMMIT" if title.endswith("(committed)") else "ROLLBACK"


@pytest.mark.parametrize("name", ["reading.sql", "failing.sql"])
@pytest.mark.parametrize("way", ["simple", "prepared, binary"])
def test_what_is_read_tells_nothing(twins: tuple[Twin, Twin], name: str, way: str) -> None:
    told, mute = {}, []
    for title, statements in dodges(name).items():
        if way == "simple" and len({str(tried(twin.ways[0], statements, end=end(title))) for twin in twins}) == 1:
            mute.append(title)
        one, two = (tried(twin.ways[1], statements, way != "simple", end(title)) for twin in twins)
        if one != two:
            told[title] = differing(one, two)
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"


def test_objects_of_ones_own_tell_nothing_at_once(twins: tuple[Twin, Twin]) -> None:
    told, mute = {}, []
    for title, statements in dodges("making.sql").items():
        making, using = parts(statements)
        if len({str(tried(twin.ways[0], making + using)) for twin in twins}) == 1 and end(title) == "ROLLBACK":
            mute.append(title)
        for twin in twins:
            twin.settled()
        one, two = (tried(twin.ways[1], making + using) for twin in twins)
        if one != two:
            told[title] = differing(one, two)
    assert told == {}
    assert mute == [], "these tell nothing even without a proxy"


def test_objects_of_ones_own_tell_nothing_later(twins: tuple[Twin, Twin]) -> None:
    """They stay, and the catalogue knows them. What masking refuses to make is there all the same where others made it."""
    entries = {title: parts(statements) for title, statements in dodges("making.sql").items()}
    entries = {title: entry for title, entry in entries.items() if entry[1]}
    for twin in twins:
        twin.settled()
    for n in range(max(len(making) for making, _ in entries.values())):
        for twin in twins:
            with (
                psycopg.connect(**twin.ways[0], autocommit=True) as others,
                psycopg.connect(**twin.ways[1], autocommit=True) as own,
            ):
                for title, (making, _) in entries.items():
                    if (
                        n < len(making)
                        and "statement denied by masking" in str(said(own, making[n]))
                        and "made by others" in title
                    ):
                        said(others, making[n])
            twin.settled()
    told = {}
    for title, (_, using) in entries.items():
        for binary in (False, True):
            one, two = (tried(twin.ways[1], using, binary, end(title)) for twin in twins)
            if one != two:
                told[title] = differing(one, two)
    assert told == {}
