"""From the client that waits to the approver's command line and back: proxy, log, pipeline, store and API, all real."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import yaml

from deploy.cli import run
from tests.support.affidavit import Machine
from tests.support.affidavit import machine as running_machine
from tests.support.deciders import the_request
from tests.support.ports import wait_for
from tests.support.postgres import Postgres

RULES = [
    {"id": "hold-deletes", "effect": "hold", "reason": "Two look first.", "risk": 60, "when": "'delete' in statement.verbs",
     "approvers": {"groups": ["dba", "leads"], "count": 2}},
]  # fmt: skip


@pytest.fixture(scope="module")
def machine(pg: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({"bundle": "live", "rules": RULES}))
    with running_machine(pg, {"policy": {"files": [str(path)]}, "approvals": {"wait_seconds": 20}}) as running:
        with psycopg.connect(**running.app(), autocommit=True) as setup:
            setup.execute("CREATE TABLE IF NOT EXISTS cli_rows (a int)")
            setup.execute("TRUNCATE cli_rows")
            setup.execute("INSERT INTO cli_rows SELECT generate_series(1, 10)")
        yield running


class Commands:
    """`affidavit approvals …` of one machine."""

    def __init__(self, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        self._machine, self._capsys = machine, capsys

    def __call__(self, *words: str, token: str = "") -> tuple[int, str, str]:
        who = ["--token", token] if token else []
        code = run(["approvals", *words, "-c", str(self._machine.config_path), *who])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def waiting(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self("list", "--json")[1].splitlines()]


def test_two_people_approve_by_command_line(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands(machine, capsys)
    people = {name: machine.token(name, groups=["dba"], roles=["approver"]) for name in ("bob", "eve", "ana")}
    outsider = machine.token("otto", groups=["sales"], roles=["approver"])
    unfit = machine.token("cleo", groups=["dba"])
    with psycopg.connect(**machine.app(), autocommit=True, application_name="cli") as connection, ThreadPoolExecutor(1) as pool:
        future = pool.submit(connection.execute, "DELETE FROM cli_rows WHERE a <= 4")
        request = the_request(machine, "cli")
        number = request["approval_id"]
        wait_for(lambda: [r["approval_id"] for r in commands.waiting()] == [number], "the request in the store")
        shown = commands("list")[1]
        assert number in shown and "hold-deletes" in shown and "2 of dba, leads" in shown and "ana" in shown
        code, shown, err = commands("show", number)
        assert code == 0, err
        assert "DELETE FROM cli_rows WHERE a <= ?" in shown and "Two look first." in shown and "ana (human)" in shown
        assert "expected" in shown and "rows, cost" in shown
        assert re.search(r"before +in 24 hours: \d+ statements, 0 denied, 0 failed, \d+ held; this one 0 times", shown)
        for token, words in (
            ("", "local may not decide on this"),
            (people["ana"], "their own statement"),
            (outsider, "approvers of this statement are in: dba, leads"),
            (unfit, "needs the role"),
            ("nonsense", "does not know this token"),
        ):
            code, _, err = commands("approve", number, token=token)
            assert (code, words in err) == (1, True), err
        assert commands("deny", number, token=people["bob"])[0] == 1, "without a reason"
        code, _, err = commands("approve", number, "--reason", "seen", token=people["bob"])
        assert (code, err) == (0, "approved, 1 of 2: others are needed, too\n")
        assert "approved this already" in commands("approve", number, token=people["bob"])[2]
        assert not future.done()
        code, out, _ = commands("approve", number, "--json", token=people["eve"])
        assert code == 0 and json.loads(out)["settled"] is True
        assert future.result(120).rowcount == 4
        assert commands("approve", number, token=machine.token("dan", groups=["dba"], roles=["approver"]))[0] == 1
        assert connection.execute("SELECT count(*) FROM cli_rows").fetchone() == (6,)
    told = ("used", "really", "4 rows changed", "bob approved: seen")  # by two sources: their rows come in any order
    wait_for(lambda: all(words in commands("show", number)[1] for words in told), "the decisions and the execution in the store")
    decided = [e for e in machine.trail.refresh() if e["type"] == "ApprovalDecided"]
    assert [(e["decider"]["id"], e["channel"], e["nth"], e["needed"]) for e in decided] == [
        ("bob", "cli", 1, 2),
        ("eve", "cli", 2, 2),
    ]


def test_a_denial_reaches_the_client_with_its_reason(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands(machine, capsys)
    bob = machine.token("bob", groups=["leads"], roles=["approver"])
    with (
        psycopg.connect(**machine.app(), autocommit=True, application_name="denied") as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        future = pool.submit(connection.execute, "DELETE FROM cli_rows")
        number = the_request(machine, "denied")["approval_id"]
        wait_for(lambda: number in [r["approval_id"] for r in commands.waiting()], "the request in the store")
        assert commands("deny", number, "--reason", "the whole table", token=bob) == (0, "", "denied\n")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="bob denied it: the whole table"):
            future.result(120)
    assert "is no request's id" in commands("show", "../x")[2]
    assert "no such approval" in commands("show", "0000")[2]
