"""Run one scenario twice, on a direct connection and through the proxy, and hold the two results and the trail together."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.support import binaries
from tests.support.affidavit import Proxy
from tests.support.postgres import Executed, Postgres
from tests.support.trail import Event

T = TypeVar("T")
Parameters = dict[str, Any]
_RUN = itertools.count(1)


def needle() -> str:
    """Return a secret that no other text contains, to plant in statements, data and errors."""
    return f"s3cr3t-needle-{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class Compared:
    """What a scenario left behind: its (equal) result, the proxied sessions' events, and what the server says it ran for them."""

    result: Any
    events: list[Event]
    executed: list[Executed]

    def one(self, verb: str) -> Event:
        """Return the only event whose statement has this verb."""
        found = self.verbs(verb)
        assert len(found) == 1, f"{len(found)} events of {verb}: {[(e['text'], e['outcome']) for e in self.events]}"
        return found[0]

    def verbs(self, verb: str) -> list[Event]:
        """Return the events whose statement has this verb, in order."""
        return [event for event in self.events if verb in event["facts"]["verbs"]]


class Comparison:
    """Runs scenarios against `pg` directly and through `proxy`."""

    def __init__(self, pg: Postgres, proxy: Proxy) -> None:
        self.pg = pg
        self.proxy = proxy

    def __call__(self, scenario: Callable[[Parameters], T], *, sessions: int = 1, principal: str = "ana") -> Compared:
        """Return what `scenario(parameters)` left, after asserting that both ways give equal results.

        `sessions` is how many connections one run of it opens; all must use the given application_name.
        """
        name = f"run-{next(_RUN)}"
        direct = scenario({**self.pg.app(), "application_name": f"{name}-direct"})
        proxied = scenario({**self.proxy.app(principal), "application_name": name})
        assert proxied == direct
        events = self.proxy.trail.session(name, sessions)
        for event in events:
            assert event["principal"]["id"] == principal
            assert event["client"]["application"] == name
            assert event["database"]["alias"] == "shop"
            assert event["ended_at"] >= event["at"]
            assert event["outcome"]["total_us"] >= event["outcome"]["db_us"] >= 0
        assert len({event["event_id"] for event in events}) == len(events)
        return Compared(proxied, events, [line for line in self.pg.executed() if line.application == name])


def environment(parameters: Parameters) -> dict[str, str]:
    """Return libpq's environment variables for these parameters."""
    names = {
        "host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD",
        "application_name": "PGAPPNAME", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
    }  # fmt: skip
    return {**os.environ, **{names[key]: str(value) for key, value in parameters.items()}}


def run(
    program: str,
    parameters: Parameters,
    arguments: Sequence[str],
    stdin: bytes | None = None,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
) -> tuple[int, bytes, bytes]:
    """Run one of PostgreSQL's programs; return exit code, output and errors, without what differs by nature."""
    done = subprocess.run(
        [binaries.program(program), *arguments],
        input=stdin if stdin is not None else b"",
        env={**environment(parameters), "LC_ALL": "C.UTF-8", **(extra or {})},
        cwd=cwd,
        capture_output=True,
        check=False,
        timeout=240,
    )
    return done.returncode, stable(done.stdout, parameters), stable(done.stderr, parameters)


def psql(parameters: Parameters, *arguments: str, stdin: str | None = None, cwd: Path | None = None) -> tuple[int, bytes, bytes]:
    """Run psql without anybody's psqlrc."""
    return run("psql", parameters, ["-X", *arguments], stdin.encode() if stdin is not None else None, cwd)


def stable(text: bytes, parameters: Parameters) -> bytes:
    """Return a program's words with the port and server process ids, which differ by nature, replaced."""
    text = text.replace(f"port {parameters['port']}".encode(), b"port PORT")
    return re.sub(rb"PID \d+", b"PID N", text)
