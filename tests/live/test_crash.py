"""Is nothing lost and nothing twice when parts of Affidavit are killed at any moment (invariant 2)?

Eight clients insert, each statement with a number of its own in a comment. The proxy, the pipeline, or both are killed -9 at
random moments. The oracle is PostgreSQL's own log: each statement it says it ran must be exactly one row in ClickHouse. One that
was written ahead and never reached the server is a row too, `unknown`: that is what a crash between the two leaves, and no lie.
On Kafka the broker is killed as well, and the pipeline reads twelve partitions.
AFFIDAVIT_SOAK=1 kills each twenty times; AFFIDAVIT_SEED repeats a run's moments.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schemas.log.kafka_topics import ensure
from tests.support import affidavit, kafka, kafka_jars, postgres
from tests.support.inserting import CLIENTS, Inserting, inserts_go_on, make_ledger, tickets

KILLS = 20 if os.environ.get("AFFIDAVIT_SOAK") else 3


def _stored(machine: affidavit.Machine) -> list[tuple[str, str, int]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.stored_tickets", str(machine.config_path)],
        cwd=affidavit.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(ticket, status, rows) for ticket, status, rows in json.loads(done.stdout.splitlines()[-1])]


@contextlib.contextmanager
def _embedded(server: postgres.Postgres) -> Iterator[tuple[affidavit.Machine, None]]:
    with affidavit.machine(server) as machine:
        yield machine, None


@contextlib.contextmanager
def _on_kafka(server: postgres.Postgres) -> Iterator[tuple[affidavit.Machine, kafka.Kafka]]:
    if reason := kafka_jars.missing():
        pytest.skip(reason)
    with kafka.running() as cluster:
        ensure(cluster.settings(timeout_seconds=60.0))  # a broker of a busy machine lists late what it has made
        settings = cluster.settings(timeout_seconds=5.0)
        with affidavit.machine(server, {"log": cluster.written(settings)}) as machine:
            yield machine, cluster


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("installed", [_embedded, _on_kafka], ids=["embedded", "kafka"])
def test_every_executed_statement_is_one_row(installed: Callable[[postgres.Postgres], Any]) -> None:
    seed = int(os.environ.get("AFFIDAVIT_SEED", random.SystemRandom().randrange(10**6)))
    print(f"AFFIDAVIT_SEED={seed}")
    moments = random.Random(seed)
    kinds = [("proxy/0",), ("node",), ("proxy/0", "node")]
    kills = KILLS
    if installed is _on_kafka:
        kinds.append(("broker",))
        kills = KILLS if KILLS > 3 else 2
    plan = [target for target in kinds for _ in range(kills)]
    moments.shuffle(plan)
    with postgres.running() as server, installed(server) as (machine, cluster):
        make_ledger(server)
        stop = threading.Event()
        token = machine.token("load", "service")
        clients = [Inserting(n, {**machine.app("load", token), "application_name": f"load-{n}"}, stop) for n in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        try:
            for targets in plan:
                if moments.random() < 0.7:  # else whatever was killed last may still be starting, or recovering
                    machine.wait_ready()
                    inserts_go_on(clients)
                time.sleep(moments.uniform(0, 1.5))  # the random moment itself: not a wait for anything
                for target in targets:
                    if target == "broker":
                        cluster.kill(cluster.nodes[0])
                        time.sleep(moments.uniform(0, 2))
                        cluster.launch(cluster.nodes[0])
                    else:
                        machine.kill(machine.node if target == "node" else target)
            if cluster is not None:
                cluster.await_node(cluster.nodes[0])
            machine.wait_ready()
            inserts_go_on(clients)
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert not [client.broken for client in clients if client.broken]
        assert machine.stop() == 0, machine.said()[-3000:]
        if "the next start projects them" in machine.said():  # a stop is bounded; a busy machine leaves some in the log
            machine.start()
            assert machine.stop() == 0, machine.said()[-3000:]

        executed = tickets(server)
        acknowledged = {ticket for client in clients for ticket in client.acknowledged}
        assert len(acknowledged) > CLIENTS * len(plan)
        assert set(executed.values()) == {1}, "the oracle itself: a ticket is sent once"
        assert acknowledged <= executed.keys()

        in_log = Counter(
            e["claims"]["ticket"] for e in machine.trail.refresh() if e["type"] == "QueryExecuted" and e["claims"].get("ticket")
        )
        rows: Counter[str] = Counter()
        statuses: dict[str, str] = {}
        for ticket, status, count in _stored(machine):
            rows[ticket] += count
            statuses[ticket] = status
        for where, held in (("log", in_log), ("ClickHouse", rows)):
            lost = sorted(executed.keys() - held.keys())
            twice = sorted(ticket for ticket, count in held.items() if count != 1)
            what = f"{where}, seed {seed}: {len(lost)} lost, {len(twice)} twice, of {len(executed)}: {(lost + twice)[:20]}"
            assert not lost and not twice, f"{what}\n{machine.said()[-3000:]}"
        assert in_log == rows, "the log and ClickHouse hold the same events"
        never_ran = rows.keys() - executed.keys()
        assert {statuses[ticket] for ticket in never_ran} <= {"unknown", "not_executed"}
        known = sum(status == "ok" for status in statuses.values())
        print(f"{len(plan)} kills, {len(executed)} executed, {known} ok, {len(rows) - known} unknown, {len(never_ran)} never ran")
        assert known > len(rows) * 0.8
        archive = subprocess.run(
            [sys.executable, "-c", "import sys; from deploy.cli import main; sys.exit(main())",
             "archive", "verify", "-c", str(machine.config_path)],
            cwd=affidavit.ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert archive.returncode == 0, archive.stdout + archive.stderr
