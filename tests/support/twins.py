"""Two databases that differ in what is masked alone, each with a proxy before it, and everything that a client hears of either.

A folder of `tests/golden` has the tables (`schema.sql`, `{word}` for what differs) and dodges by what they are called.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from tests.support.affidavit import Proxy
from tests.support.affidavit import proxy as running_proxy
from tests.support.clients import Parameters
from tests.support.ports import wait_for
from tests.support.postgres import Postgres
from tests.support.postgres import running as running_postgres

GOLDEN = Path(__file__).parents[1] / "golden"
EXTENSIONS = (
    "btree_gist", "citext", "cube", "dblink", "fuzzystrmatch", "hstore", "intarray", "ltree", "pg_stat_statements", "pg_trgm",
    "pgcrypto", "tablefunc", "tcn", "unaccent", "uuid-ossp", "xml2",
)  # fmt: skip
_NOISE = re.compile(r"Request [0-9a-f-]+/m?\d+\.|statement \d+ of this session|(?<=pg_temp_)\d+")


def dodges(folder: Path, name: str) -> dict[str, list[str]]:
    """Return dodges by what they are called: statements, those before `--- later` first."""
    found = {}
    for entry in re.split(r"^-- ", (folder / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = entry.partition("\n")
        found[title] = [s.strip() for s in re.split(r";\n|(?<=\n)(?=--- )", text) if s.strip()]
    return found


Secrets = Mapping[str, str]


class Twin:
    """One of the two databases, and a proxy before it. `known` is a question and its answer once the proxy knows everything."""

    def __init__(
        self, server: Postgres, proxy: Proxy, folder: Path, secrets: Secrets, known: tuple[str, tuple[Any, ...]]
    ) -> None:
        self.server = server
        self.proxy = proxy
        self.known = known
        with server.superuser() as admin:
            for extension in EXTENSIONS:
                admin.execute(f'CREATE EXTENSION "{extension}"')
            admin.execute("GRANT SELECT ON pg_largeobject TO PUBLIC")
        schema = (folder / "schema.sql").read_text(encoding="utf-8")
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
                    return asking.execute(self.known[0]).fetchone() == self.known[1]
                return False

            wait_for(known, "the catalogue to be read anew", 30)


@contextlib.contextmanager
def running(
    folder: Path, secrets: tuple[Secrets, Secrets], known: tuple[str, tuple[Any, ...]], policies: tuple[str, ...] = ()
) -> Iterator[tuple[Twin, Twin]]:
    """Run both, by default with nothing configured."""
    settings = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on"}
    bare = {"policy": {"files": list(policies)}}
    with (
        running_postgres(settings, oracle=False) as one,
        running_postgres(settings, oracle=False) as two,
        running_proxy(one, bare) as before_one,
        running_proxy(two, bare) as before_two,
    ):
        made = Twin(one, before_one, folder, secrets[0], known), Twin(two, before_two, folder, secrets[1], known)
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


def read(twins: tuple[Twin, Twin], folder: Path, name: str, binary: bool) -> tuple[dict[str, Any], list[str]]:
    """Return what told the two apart by the dodge, and the dodges that tell nothing even without a proxy."""
    told: dict[str, Any] = {}
    mute = []
    for title, statements in dodges(folder, name).items():
        if not binary and len({str(tried(twin.ways[0], statements, end=end(title))) for twin in twins}) == 1:
            mute.append(title)
        one, two = (tried(twin.ways[1], statements, binary, end(title)) for twin in twins)
        if one != two:
            told[title] = differing(one, two)
    return told, mute


def made_at_once(twins: tuple[Twin, Twin], folder: Path, name: str) -> tuple[dict[str, Any], list[str]]:
    """The same for objects of one's own, made and used in one transaction."""
    told: dict[str, Any] = {}
    mute = []
    for title, statements in dodges(folder, name).items():
        making, using = parts(statements)
        if len({str(tried(twin.ways[0], making + using)) for twin in twins}) == 1 and end(title) == "ROLLBACK":
            mute.append(title)
        for twin in twins:
            twin.settled()
        one, two = (tried(twin.ways[1], making + using) for twin in twins)
        if one != two:
            told[title] = differing(one, two)
    return told, mute


def made_before(twins: tuple[Twin, Twin], folder: Path, name: str) -> dict[str, Any]:
    """The same for what stays, and the catalogue knows. What masking refuses to make is there where others made it."""
    entries = {title: parts(statements) for title, statements in dodges(folder, name).items()}
    entries = {title: entry for title, entry in entries.items() if entry[1]}
    for twin in twins:
        twin.settled()
    for n in range(max(len(making) for making, _ in entries.values())):
        due = {title: making[n] for title, (making, _) in entries.items() if n < len(making)}
        denied = [_made(twin, due) for twin in twins]
        for twin, mine, others in zip(twins, denied, reversed(denied), strict=True):
            # What was being changed when one of them was asked is refused for a second, and not by what it is.
            _made(twin, {title: due[title] for title in mine - others})
    for twin in twins:
        twin.settled()
    told: dict[str, Any] = {}
    for title, (_, using) in entries.items():
        for binary in (False, True):
            one, two = (tried(twin.ways[1], using, binary, end(title)) for twin in twins)
            if one != two:
                told[title] = differing(one, two)
    return told


def _made(twin: Twin, statements: Mapping[str, str]) -> set[str]:
    """Run statements, for others what masking refuses to make where its title says so. Return which it refuses."""
    twin.settled()
    denied = set()
    with psycopg.connect(**twin.ways[0], autocommit=True) as others, psycopg.connect(**twin.ways[1], autocommit=True) as own:
        for title, statement in statements.items():
            if "statement denied by masking" in str(said(own, statement)):
                denied.add(title)
                if "made by others" in title:
                    said(others, statement)
    return denied
