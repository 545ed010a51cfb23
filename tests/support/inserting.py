"""Clients that insert without end, each statement with a ticket of its own; and the oracle: the tickets in PostgreSQL's log."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from tests.support.ports import wait_for
from tests.support.postgres import Postgres

CLIENTS = 8
_TICKET = re.compile(r"ticket='(c\d+-\d+)'")


def make_ledger(server: Postgres) -> None:
    """Make the table they insert into, anew."""
    with server.superuser() as admin:
        admin.execute("DROP TABLE IF EXISTS crash_ledger")
        admin.execute("CREATE TABLE crash_ledger (client int, n int, PRIMARY KEY (client, n))")
        admin.execute("GRANT INSERT ON crash_ledger TO app_owner")


@dataclass
class Inserting:
    """One client that inserts until told to stop: what it sent, and what the server acknowledged to it."""

    number: int
    parameters: dict[str, object]
    stop: threading.Event
    pause: float = 0.002
    sent: int = 0
    acknowledged: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    refused: str = ""
    """How the last connection that failed did."""

    def run(self) -> None:
        """Connect, insert, connect again after each crash; never send a ticket twice."""
        while not self.stop.is_set():
            try:
                self._session()
            except psycopg.OperationalError as error:
                self.refused = str(error)
            self.stop.wait(0.05)

    def _session(self) -> None:
        with psycopg.connect(**self.parameters, autocommit=True, connect_timeout=20) as connection:  # type: ignore[arg-type]
            while not self.stop.is_set():
                self.sent += 1
                ticket = f"c{self.number}-{self.sent}"
                text = f"INSERT INTO crash_ledger (client, n) VALUES ({self.number}, {self.sent}) /*ticket='{ticket}'*/"
                if self.number % 2:  # half of the clients use the extended protocol
                    text = f"INSERT INTO crash_ledger (client, n) VALUES (%s, %s) /*ticket='{ticket}'*/"
                try:
                    connection.execute(text, (self.number, self.sent) if self.number % 2 else None)
                except psycopg.OperationalError:
                    raise
                except psycopg.Error as error:
                    self.broken.append(str(error))
                    raise
                self.acknowledged.append(ticket)
                self.stop.wait(self.pause)


def inserts_go_on(clients: Sequence[Inserting], seconds: float = 60) -> None:
    """Wait until some more inserts are acknowledged; raise if they are not."""

    def acknowledged() -> int:
        return sum(len(client.acknowledged) for client in clients)

    before = acknowledged()
    try:
        wait_for(lambda: acknowledged() > before + len(clients), "inserts to go on", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; the clients' last failures: {[client.refused for client in clients]}") from None


def tickets(server: Postgres) -> Counter[str]:
    """Return the tickets of what the server says it ran, and how often."""
    return Counter(match[1] for line in server.executed() if (match := _TICKET.search(line.text)))
