"""`affidavit up` as a person meets it: what it says, what it refuses and how, what it survives, what its commands show."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from deploy.layout import DataDir
from deploy.supervisor import pid_file
from ingest.net.lineage_register import LineageRegister
from tests.support import affidavit, certificates, log_under_test, postgres, small_disk
from tests.support.ports import accepts, free_port, wait_for
from tests.support.trail import Trail

ROOT = Path(__file__).parents[2]


def command(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from deploy.cli import main; main()", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


class Node:
    """`affidavit up` without databases: the supervisor and the node."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.port = free_port()
        self.config = folder / "affidavit.yaml"
        settings = {
            "data_dir": "data",
            "api": {"listen": f"127.0.0.1:{self.port}"},
            "audit": {"heartbeat_seconds": 60},
            **log_under_test.section(),
            **sections,
        }
        self.config.write_text(yaml.safe_dump(settings))
        self.data = DataDir(folder / "data")
        self.output = folder / "output"
        self.log = log_under_test.place(settings, self.data.root)
        self.trail = Trail(self.data.root, self.log.open if self.log.kafka is not None else None)
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> Node:
        with self.output.open("ab") as output:
            line = [sys.executable, "-c", "from deploy.cli import main; main()", "up", "-c", str(self.config)]
            self.process = subprocess.Popen(
                line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        return self

    def start(self) -> Node:
        said = self.said().count("ready after")
        self.launch()
        wait_for(lambda: self.said().count("ready after") > said or self._dead(), "affidavit to be ready", 60)
        return self

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def get(self, path: str, token: str | None = None, **parameters: str) -> httpx.Response:
        token = token or self.data.local_token.read_text()
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.get(url, params=parameters, headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=20)

    def pid(self, name: str) -> int:
        def alive() -> int:
            with contextlib.suppress(OSError, ValueError):
                pid = int(pid_file(self.data.run, name).read_text())
                os.kill(pid, 0)
                return pid
            return 0

        return wait_for(alive, f"a live {name}", 120)

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError, OSError):
            return self.get("/readyz").status_code == 200
        return False

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(90)
        self.process = None
        return code

    def _dead(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"affidavit up ended: {self.said()}")
        return False


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    log_under_test.forget(made.log.kafka)


def test_it_says_what_listens_where_serves_and_stops_in_order(node: Node) -> None:
    node.start()
    assert f"http://127.0.0.1:{node.port}  API and search page" in node.said()
    assert ("no database is configured, so nobody can connect" in node.said()) == (node.log.kafka is None)
    assert node.data.local_token.stat().st_mode & 0o777 == 0o600
    assert node.get("/api/v1/events").json()["items"] == []
    assert node.get("/api/v1/events", token="nonsense").status_code == 401
    token = node.data.local_token.read_text()
    assert node.stop() == 0
    assert node.said().rstrip().endswith("stopped")
    assert not node.data.local_token.exists()
    assert token not in node.said()
    types = [e["type"] for e in node.trail.refresh()]
    assert types[0] == "ProxyStarted"
    assert types[-1] == "ProxyStopped"
    assert types.count("AuditTrailRead") == 1, "the read with a wrong token gave nothing and is none"


def test_a_second_one_on_the_same_data_or_address_is_told_what_is_in_its_way(node: Node, tmp_path: Path) -> None:
    node.start()
    again = command("up", "-c", str(node.config))
    assert again.returncode == 1
    assert node.process is not None
    assert again.stderr.startswith(f"error: affidavit runs already on this data directory, pid {node.process.pid} ")
    other = tmp_path / "other.yaml"
    other.write_text(node.config.read_text().replace("data_dir: data", "data_dir: other"))
    beside = command("up", "-c", str(other))
    assert beside.returncode == 1
    assert (
        beside.stderr
        == f"error: api.listen: 127.0.0.1:{node.port} is taken by another process; stop that one, or give another address\n"
    )
    assert node.answers()


def test_a_taken_database_address_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        database = {"alias": "shop", "listen": f"127.0.0.1:{port}", "upstream": {"database": "d", "user": "u"}}
        node = Node(tmp_path, databases=[database])
        done = command("up", "-c", str(node.config))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: databases[0].listen: 127.0.0.1:{port} is taken by another process")


@pytest.mark.parametrize(
    ("listen", "said"),
    [("203.0.113.7:6432", "is no address of this machine"), ("no.such.host.invalid:6432", "its name has no address")],
)
def test_an_address_that_is_not_of_this_machine_is_named(tmp_path: Path, listen: str, said: str) -> None:
    node = Node(tmp_path, databases=[{"alias": "shop", "listen": listen, "upstream": {"database": "d", "user": "u"}}])
    done = command("up", "-c", str(node.config))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: databases[0].listen: {listen} ") and said in done.stderr


def test_a_policy_that_cannot_be_used_stops_all_with_its_words_once(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "bundle: b\nrules: [{id: a, effect: no, when: 'true', reason: r}, {id: B, effect: deny, when: 'true', reason: r}]"
    )
    database = {"alias": "shop", "listen": f"127.0.0.1:{free_port()}", "upstream": {"database": "d", "user": "u"}}
    node = Node(tmp_path, databases=[database], policy={"files": [str(rules)]})
    done = command("up", "-c", str(node.config), timeout=120)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[3] for line in said] == ["rules[0].effect", "rules[1].id"], done.stderr
    assert all(line.startswith(f"error: policy.files: {rules}: ") for line in said)


def test_proxies_alone_want_a_database(tmp_path: Path) -> None:
    done = command("proxy", "-c", str(Node(tmp_path).config))
    assert (done.returncode, done.stderr[:33]) == (1, "error: databases: none is configu")


def test_admin_actions_become_events_exactly_once_through_kills(node: Node) -> None:
    node.start()
    issued: list[str] = []
    for round_ in range(4):
        for n in range(3):
            done = command("token", "create", "-c", str(node.config), "--principal", f"p{round_}-{n}", "--kind", "human")
            assert done.returncode == 0, done.stderr
            issued.append(done.stdout.split("_")[1])
        with contextlib.suppress(ProcessLookupError):
            os.kill(node.pid("node/0"), signal.SIGKILL)
    assert command("token", "revoke", "-c", str(node.config), issued[0]).returncode == 0

    def actions() -> list[tuple[str, str]]:
        return [(e["action"], e["target"]) for e in node.trail.of_type("AdminActionPerformed")]

    expected = sorted([("token.create", token_id) for token_id in issued] + [("token.revoke", issued[0])])
    wait_for(lambda: len(actions()) >= len(expected), "all admin actions to be events", 60)
    wait_for(node.answers, "the node to answer again", 60)
    assert node.stop() == 0
    assert sorted(actions()) == expected


def test_a_killed_node_is_back_and_everything_recorded_is_still_there(node: Node) -> None:
    node.start()
    assert node.get("/api/v1/events", q="db:before").status_code == 200
    first = node.pid("node/0")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: node.pid("node/0") != first and node.answers(), "the node to answer again", 120)
    assert "was killed by SIGKILL" in node.said()
    wait_for(lambda: any(e["query"] == "db:before" for e in node.trail.of_type("AuditTrailRead")), "the read before", 120)
    assert node.stop() == 0
    assert [e["query"] for e in node.trail.of_type("AuditTrailRead")].count("db:before") == 1


def test_children_of_a_killed_supervisor_end_and_the_next_start_waits_for_them(node: Node) -> None:
    node.start()
    child = node.pid("node/0")
    assert node.process is not None
    node.process.kill()
    node.process.wait()
    node.start()
    assert node.pid("node/0") != child
    wait_for(lambda: not runs(child), "the last node, which has let go of everything, to be gone", 120)


def test_a_store_held_by_another_process_is_named_and_taken_when_free(node: Node) -> None:
    node.data.prepare()
    lock = os.open(node.data.root / "clickhouse.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(lock, b"4711\n")
    fcntl.flock(lock, fcntl.LOCK_EX)
    node.launch()
    wait_for(lambda: "is in use by process 4711" in node.said(), "the owner to be named", 120)
    os.close(lock)
    wait_for(node.answers, "the node to take the store", 60)


@pytest.mark.embedded_pipeline("it has the store to itself, which `migrate` and `doctor` are told")
def test_commands_on_a_running_machine(pg: postgres.Postgres) -> None:
    with affidavit.machine(pg) as machine:
        config = str(machine.config_path)
        token = machine.token("dana", "human", groups=["eng"])
        parameters = machine.app("dana", token) | {"application_name": "up-test"}
        line = [
            sys.executable,
            "-c",
            "from deploy.cli import main; main()",
            "events",
            "tail",
            "app:up-test",
            "--json",
            "-c",
            config,
        ]
        tail = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        wait_for(lambda: any(e["endpoint"] == "events/stream" for e in machine.trail.of_type("AuditTrailRead")), "the tail", 120)
        with psycopg.connect(**parameters, autocommit=True) as app:
            app.execute("SELECT 'needle-4711', 42")
            with contextlib.suppress(psycopg.Error):
                app.execute("SELECT no_such_column")

        def found(*search: str) -> list[dict[str, Any]]:
            done = command("events", "search", *search, "--json", "-c", config)
            assert done.returncode == 0, done.stderr
            return [json.loads(line) for line in done.stdout.splitlines()]

        wait_for(lambda: len(found("app:up-test")) == 2, "both statements in the search", 120)
        failed, ok = found("app:up-test", "--from", "1h")
        assert (failed["outcome"]["sqlstate"], ok["text"], ok["principal"]["groups"]) == ("42703", "SELECT ?, ?", ["eng"])
        assert tail.stdout is not None
        assert {json.loads(tail.stdout.readline())["event_id"] for _ in range(2)} == {failed["event_id"], ok["event_id"]}
        tail.terminate()
        tail.wait(10)
        tail.stdout.close()
        assert found("app:up-test", "--to", "2001-01-01") == []
        assert len(found("app:up-test", "--limit", "1")) == 1
        shown = command("events", "search", "app:up-test status:error", "-c", config).stdout
        assert "error 42703" in shown
        assert "needle-4711" not in shown
        wait_for(lambda: "up-test" in command("sessions", "list", "--principal", "dana", "-c", config).stdout, "the session", 120)
        assert command("sessions", "list", "--principal", "nobody", "-c", config).stdout == "nothing found\n"

        refused = command("events", "search", "", "-c", config, "--token", token)
        assert (refused.returncode, "this token may not do that" in refused.stderr) == (1, True)
        unknown = command("events", "search", "", "-c", config, "--token", "afd_x_y")
        assert (unknown.returncode, "does not know this token" in unknown.stderr) == (1, True)
        wrong = command("events", "search", "nofield:1", "-c", config)
        assert (wrong.returncode, "nofield" in wrong.stderr) == (1, True)

        states = doctor(config)
        assert set(states.values()) == {"ok"}, states
        assert {"hot modules", "proxy", "store", "API", "archive", "clock", "spool", "disk"} <= states.keys()
        verified = command("archive", "verify", "--json", "-c", config)
        assert (verified.returncode, json.loads(verified.stdout)["ok"]) == (0, True)
        assert "in use by process" in command("migrate", "-c", config).stderr
        assert "affidavit runs already" in command("archive", "rebuild", "-c", config).stderr

        proxy = machine.child("proxy/0")
        os.kill(proxy, signal.SIGKILL)
        wait_for(lambda: machine.child("proxy/0") != proxy and accepts(machine.port), "the proxy to accept again", 60)

        assert machine.stop() == 0
        before = command("archive", "verify", "-c", config).stdout
        assert command("archive", "rebuild", "-c", config).returncode == 0
        assert command("archive", "verify", "-c", config).stdout == before
        assert "nothing to apply" in command("migrate", "-c", config).stdout


def test_doctor_names_what_is_wrong(pg: postgres.Postgres, tmp_path: Path) -> None:
    upstream = {"host": pg.host, "port": pg.port, "database": postgres.DATABASE, "user": postgres.APP_USER, "password": "wrong"}
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = map(certificates.issue, folders)
    pairs = [{"cert_file": str(one.cert), "key_file": str(key)} for key in (two.key, one.key)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        down = {**upstream, "port": free_port()}
        rules = tmp_path / "rules.yaml"
        rules.write_text("bundle: b\nrules: [{id: a, effect: deny, when: principal.kin == 'x', reason: r}]")
        node = Node(tmp_path, databases=[
            {"alias": "shop", "listen": address, "upstream": upstream, "client_tls": pairs[0]},
            {"alias": "down", "listen": f"127.0.0.1:{free_port()}", "upstream": down, "client_tls": pairs[1]},
        ], policy={"files": [str(rules)]})  # fmt: skip
        node.data.prepare()
        node.data.root.chmod(0o755)
        done = command("doctor", "-c", str(node.config))
    assert done.returncode == 1
    said = {line[5:29].strip(): line for line in done.stdout.splitlines()}
    for check, state, words in (
        ("addresses", "fail", f"databases[0].listen: {address} is taken"),
        ("database shop", "fail", "check upstream.user and the password"),
        ("database down", "fail", "is the server running"),
        ("certificate shop", "fail", "does not belong to the first certificate"),
        ("certificate down", "warn", "renew it"),
        ("data directory", "warn", "chmod 700"),
        ("policy", "fail", "did you mean principal.kind?"),
        ("store", "ok", "makes its folder"),
        ("hot modules", "ok", "interpreted"),
    ):
        assert said[check].startswith(state), said[check]
        assert words in said[check]
    assert "wrong" not in done.stdout


def test_a_damaged_file_is_named_without_a_traceback_while_others_go_on(node: Node) -> None:
    node.start()
    assert node.stop() == 0
    (node.data.root / "pipeline.db").write_bytes(b"no database of ours" * 100)
    for beside in node.data.root.glob("pipeline.db-*"):
        beside.unlink()
    node.launch()
    wait_for(lambda: "starting it again" in node.said(), "the supervisor to say what is wrong", 60)
    said = node.said()
    (line,) = [line for line in said.splitlines() if "starting it again in 0.1 s" in line]
    assert "pipeline.db cannot be read: file is not a database. Move it away" in line
    assert "Traceback" not in said and "StateError" not in said


def test_a_data_directory_on_a_read_only_disk_is_named(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk", 16 << 20) as disk:
        node = Node(tmp_path, data_dir=str(disk / "data"))
        DataDir(disk / "data").prepare()
        (disk / "data" / "clickhouse").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for arguments in (("up",), ("token", "list"), ("migrate",)):
            done = command(*arguments, "-c", str(node.config))
            assert done.returncode == 1
            assert done.stderr.startswith(f"error: data_dir: cannot write {disk}/data: Read-only file system"), done.stderr
        examined = command("doctor", "-c", str(node.config))
        assert (examined.returncode, examined.stderr) == (1, "")
        assert all(words in examined.stdout for words in ("/spool: Read-only file system", "clickhouse.lock cannot be written"))


def test_doctor_makes_nothing_and_migrate_a_folder_that_is_closed_to_others(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert command("doctor", "-c", str(node.config)).returncode == 0
    assert not node.data.root.exists()
    assert command("migrate", "-c", str(node.config)).returncode == 0
    assert {path.stat().st_mode & 0o777 for path in (node.data.root, node.data.root / "clickhouse")} == {0o700}


def test_doctor_finds_a_damaged_register_of_lineage(node: Node) -> None:
    """With it every column is masked: somebody must learn why."""
    register = node.data.root / "lineage.db"
    node.data.prepare()
    LineageRegister(register, "shop").look()
    assert "lineage" not in doctor(str(node.config)), "whole"
    register.write_bytes(b"no database" * 1000)
    found = command("doctor", "-c", str(node.config))
    assert (found.returncode, "lineage.db cannot be read" in found.stdout, "move it away" in found.stdout) == (1, True, True)


def test_doctor_finds_a_corrupt_block(node: Node) -> None:
    node.start()
    node.get("/api/v1/events")
    assert node.stop() == 0
    assert doctor(str(node.config))["archive"] == "ok"
    file = next(node.data.archive.glob("*/*.open"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert doctor(str(node.config))["archive"] == "fail"
    verified = command("archive", "verify", "-c", str(node.config))
    assert (verified.returncode, "DOES NOT HOLD" in verified.stdout) == (1, True)
    rebuilt = command("archive", "rebuild", "-c", str(node.config))
    assert (rebuilt.returncode, "; passed over 1 damaged places: `affidavit archive verify`" in rebuilt.stderr) == (1, True)


def runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def doctor(config: str) -> dict[str, str]:
    done = command("doctor", "--json", "-c", config)
    return {finding["check"]: finding["state"] for finding in map(json.loads, done.stdout.splitlines())}
