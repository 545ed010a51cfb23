"""`affidavit demo`: sets everything up in temporary folders, lets the clients work, shows what the trail holds.

Order: PostgreSQL and its data; configuration and tokens; `affidavit up` as anyone would start it; the clients; wait until the
trail has caught up; show. With `once`: stop, count again in the store itself, print one line of JSON. Everything is deleted
at the end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import psycopg
import yaml
from rich.console import Console
from rich.table import Table

from deploy.api_client import ApiClient
from deploy.config import load
from deploy.demo import clients, data
from deploy.demo.account import Account, Row, account
from deploy.demo.postgres import ROLE, DemoError, DemoPostgres, free_port
from deploy.layout import DataDir
from ingest.identity.tokens import TokenStore

START_SECONDS = 60.0
CATCH_UP_SECONDS = 60.0
STOP_SECONDS = 90.0
MASKING = {"enabled": True, "styles": {"email": "partial", "phone": "partial", "payment_card": "partial"}}
NOT_EXECUTED = ("denied", "not_executed", "cancelled")


def run_demo(*, once: bool) -> int:
    """Run the demonstration; return the exit code. Raises DemoError."""
    console = Console(stderr=once, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160
    before = {n: signal.signal(n, signal.default_int_handler) for n in (signal.SIGTERM, signal.SIGINT)}  # both end it alike
    serving = False
    try:
        with contextlib.ExitStack() as stack:
            try:
                demo = Demo(console, stack)
                demo.prepare()
                demo.start()
                demo.let_clients_work()
                demo.show(demo.caught_up())
                if once:
                    demo.stop()
                    return demo.settle()
                demo.invite()
                serving = True
                while demo.alive():
                    time.sleep(0.5)
                raise DemoError(f"affidavit ended by itself: {demo.said()}")
            except KeyboardInterrupt:
                for number in before:  # what follows is bounded; let it finish
                    signal.signal(number, signal.SIG_IGN)
                console.print("\nstopping, and deleting everything")
        return 0 if serving else 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Demo:
    """One demonstration. What it starts, `stack` stops and deletes."""

    def __init__(self, console: Console, stack: contextlib.ExitStack) -> None:
        self._console, self._stack = console, stack
        self._began = time.monotonic()
        self._folder = Path(tempfile.mkdtemp(prefix="affidavit-demo-"))
        stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._config = self._folder / "affidavit.yaml"
        self._data = DataDir(self._folder / "data")
        self._output = self._folder / "output"
        self._postgres = DemoPostgres()
        stack.callback(self._postgres.stop)
        self._port, self._api_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        stack.callback(self.stop)
        self._doors: dict[str, clients.Door] = {}
        self._login = self._lead = ""
        self._api_ok = False

    def prepare(self) -> None:
        """Start PostgreSQL, fill it, write the configuration, issue the tokens."""
        self._postgres.start()
        for name, tables, after, rows in (
            ("shop", data.SHOP_TABLES, data.SHOP_INDEXES, data.shop(Random(data.SEED))),  # noqa: S311
            ("hr", data.HR_TABLES, "", data.hr(Random(data.SEED))),  # noqa: S311
        ):
            self._fill(name, tables, after, rows)
        upstream = {"host": "127.0.0.1", "port": self._postgres.port, "user": ROLE, "password": self._postgres.role_password}
        databases = [
            {"alias": n, "environment": "demo", "listen": f"127.0.0.1:{self._port}", "upstream": {**upstream, "database": n}}
            for n in ("shop", "hr")
        ]
        api = {"listen": f"127.0.0.1:{self._api_port}"}
        content = {"data_dir": "data", "api": api, "databases": databases, "masking": MASKING}
        content["policy"] = {"files": [str(Path(__file__).with_name("policy.yaml"))]}
        content["approvals"] = {"url": f"http://127.0.0.1:{self._api_port}/approvals/{{id}}"}
        self._config.write_text(yaml.safe_dump(content, sort_keys=False))
        self._data.prepare()
        store = TokenStore(self._data.identity, lambda: time.time_ns() // 1000, secrets.token_bytes)
        for principal, kind, application, behalf, group in (
            ("storefront", "service", "storefront", "", "applications"),
            ("dana", "human", "psql", "", "engineering"),
            ("copilot", "agent", "copilot", "dana", "agents"),
            ("mallory", "human", "psql", "", "former"),
        ):
            token_id, token = store.create(
                principal, kind, on_behalf_of=behalf, groups=[group], ttl_seconds=8 * 3600, created_by="demo"
            )
            self._doors[principal] = clients.Door("127.0.0.1", self._port, principal, token, application)
            if principal == "mallory":
                store.revoke(token_id, "demo")
        _, self._login = store.create(
            "you", "human", groups=["leads"], roles=("analyst", "auditor", "approver"), ttl_seconds=8 * 3600, created_by="demo"
        )
        _, self._lead = store.create(
            "lee", "human", groups=["leads"], roles=("approver",), ttl_seconds=8 * 3600, created_by="demo"
        )
        store.close()

    def _fill(self, name: str, tables: str, after: str, rows: Iterator[Any]) -> None:
        with psycopg.connect(**self._postgres.conninfo("postgres"), autocommit=True) as server:  # type: ignore[arg-type]
            if name == "shop":
                server.execute(
                    psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                        psycopg.sql.Identifier(ROLE), self._postgres.role_password
                    )
                )
            server.execute(psycopg.sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(psycopg.sql.Identifier, (name, ROLE))))
        count = 0
        with psycopg.connect(**self._postgres.conninfo(name)) as filled:  # type: ignore[arg-type]
            filled.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(ROLE)))
            filled.execute(tables)
            for table, columns, content in rows:
                names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
                into = psycopg.sql.SQL("COPY {} ({}) FROM STDIN").format(psycopg.sql.Identifier(table), names)
                with filled.cursor().copy(into) as copy:
                    for row in content:
                        copy.write_row(row)
                        count += 1
            if after:
                filled.execute(after)
        self._console.print(f"database [bold]{name}[/]: {count:,} rows")

    def start(self) -> None:
        """Start `affidavit up` and wait until it says it is ready."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", "from deploy.cli import main; main()", "up", "-c", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while "ready after" not in self.said(None):
            if not self.alive() or time.monotonic() > deadline:
                raise DemoError(f"affidavit did not start: {self.said()}")
            time.sleep(0.05)
        self._console.print(f"proxy on 127.0.0.1:{self._port}, API on 127.0.0.1:{self._api_port}\n")

    def let_clients_work(self) -> None:
        """All clients, each with its own token, at the same time."""
        say = _locked(lambda text: self._console.print(f"[dim]·[/] {text}"))
        doors = self._doors
        work = [
            lambda: clients.storefront(doors["storefront"], data.SEED, say),
            lambda: clients.engineer(doors["dana"], say),
            lambda: clients.agent(doors["copilot"], say),
            lambda: clients.intruder(doors["mallory"], say),
        ]
        failures: list[BaseException] = []

        def guarded(task: Any) -> None:
            try:
                task()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(task,)) for task in work]
        for thread in threads:
            thread.start()
        approver = ApiClient(f"http://127.0.0.1:{self._api_port}", self._lead)
        guarded(lambda: clients.lead(approver, lambda: any(t.is_alive() for t in threads) and not failures, say))
        approver.close()
        for thread in threads:
            thread.join()
        if failures:
            raise DemoError(f"a client failed: {failures[0]}; affidavit said: {self.said()}") from failures[0]

    def caught_up(self) -> list[dict[str, Any]]:
        """Wait until the trail has as many statements as were executed; return them as the API gives them."""
        api = self.api()
        deadline = time.monotonic() + CATCH_UP_SECONDS
        executed = 0
        while time.monotonic() < deadline:
            executed = sum(1 for _ in self._postgres.executions())
            rows = list(api.pages("/api/v1/events", 1_000_000))
            ran = sum(_executed(row) for row in rows)
            if ran >= executed > 0 and len(rows) - ran >= clients.DENIED:
                self._api_ok = True
                return rows
            time.sleep(0.2)
        self._console.print(f"[red]the API shows {ran} of {executed} statements after {CATCH_UP_SECONDS:.0f} s[/]")
        return rows

    def api(self) -> ApiClient:
        """A client of the API, with the token a visitor gets."""
        return ApiClient(f"http://127.0.0.1:{self._api_port}", self._login)

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Show what the trail holds."""
        from deploy.demo.report import highlights, principals

        self._console.print(principals(rows))
        self._console.print(highlights(rows))
        ledger = account(self._postgres.executions(), map(_from_api, rows))
        verdict = (
            "[green]all there, none twice[/]" if ledger.balanced else f"[red]{ledger.lost} lost, {ledger.duplicates} twice[/]"
        )
        refused = ledger.rows - sum(_executed(row) for row in rows)
        counted = (
            f"{ledger.executed:,} executions in the database's own log; {ledger.rows:,} rows in the trail, {refused} refused"
        )
        self._console.print(f"{counted}: {verdict} ({time.monotonic() - self._began:.0f} s)\n")

    def invite(self) -> None:
        """Say where to look, and keep the tokens at hand."""
        door = self._doors["dana"]
        table = Table.grid(padding=(0, 2))
        table.add_row("[bold]look[/]", f"http://127.0.0.1:{self._api_port}/login#token={self._login}")
        table.add_row("[bold]search[/]", f'affidavit events search "principal_kind:agent flag:no_where" -c {self._config}')
        table.add_row("[bold]follow[/]", f"affidavit events tail -c {self._config}")
        table.add_row("[bold]take part[/]", f"PGPASSWORD={door.token} psql -h 127.0.0.1 -p {self._port} -U dana shop")
        self._console.print(table)
        self._console.print("\nServing until Ctrl-C; everything is deleted then.")

    def settle(self) -> int:
        """After the stop: count in the store itself, print the summary line, return the exit code."""
        from processors.archive import Archive
        from processors.sinks.clickhouse import connect

        config = load(self._config)
        lines = (line for block in Archive(self._data.archive).blocks() for line in block.lines())
        events = sum(orjson.loads(line)["type"] == "QueryExecuted" for line in lines)
        store = connect(config.clickhouse, config.data_dir)
        try:
            found = store.client.query(
                f"SELECT database_name, application, toString(event_id), source, epoch, seq, principal_id, status "  # noqa: S608
                f"FROM {store.database}.query_events"
            ).result_rows
        finally:
            store.close()
        rows = [
            Row(d, a, event_id, (source, epoch, seq), status not in NOT_EXECUTED)
            for d, a, event_id, source, epoch, seq, _, status in found
        ]
        ledger: Account = account(self._postgres.executions(), rows)
        summary = {
            "events": events,
            "principals": len({row[6] for row in found}),
            "databases": len({row[0] for row in found}),
            "rows_in_clickhouse": ledger.rows,
            "lost": ledger.lost,
            "duplicates": ledger.duplicates,
            "api": "ok" if self._api_ok else "behind",
        }
        sys.stdout.write(orjson.dumps(summary).decode() + "\n")
        sys.stdout.flush()
        return 0 if ledger.balanced and self._api_ok else 1

    def alive(self) -> bool:
        """Whether `affidavit up` runs."""
        return self._process is not None and self._process.poll() is None

    def said(self, last: int | None = 1500) -> str:
        """Return what `affidavit up` printed, or its end."""
        text = self._output.read_text(errors="replace") if self._output.exists() else ""
        return text if last is None else text.strip()[-last:]

    def stop(self) -> None:
        """Stop `affidavit up` in order."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _from_api(event: dict[str, Any]) -> Row:
    place = (event["source"], event["epoch"], event["seq"])
    return Row(event["database"]["name"], event["client"]["application"], event["event_id"], place, _executed(event))


def _executed(event: dict[str, Any]) -> bool:
    """Whether the database got the statement."""
    return event["outcome"]["status"] not in NOT_EXECUTED


def _locked(say: Any) -> Any:
    lock = threading.Lock()

    def one_at_a_time(text: str) -> None:
        with lock:
            say(text)

    return one_at_a_time
