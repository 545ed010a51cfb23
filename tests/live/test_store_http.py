"""The way to a ClickHouse server: logins, TLS, what is said when they fail, and what is repeated when the server fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography import x509

from deploy.doctor import findings
from processors.sinks.clickhouse import Store, StoreError, StoreUnavailableError, connect
from tests.support.certificates import Issued, issue
from tests.support.clickhouse import PASSWORD, Server, serving
from tests.support.ports import free_port

USERS = {"default": {"password": PASSWORD}, "certified": {"password": None, "certificate": "certified"}}


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A server in the clear."""
    with serving(users=USERS) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Issued]:
    """The server's, a client's it trusts, and one of an authority that nobody trusts."""

    def made(name: str, common: str, **options: Any) -> Issued:
        return issue(tmp_path_factory.mktemp(name), common, authority=f"authority of {name}", **options)

    return {
        "server": made("server", "localhost"),
        "client": made("client", "certified", client=True),
        "stranger": made("stranger", "certified", client=True),
    }


@pytest.fixture(scope="module")
def secure(certificates: dict[str, Issued]) -> Iterator[Server]:
    """A server by TLS that takes client certificates."""
    with serving(users=USERS, tls=certificates["server"], client_ca=certificates["client"].ca) as server:
        yield server


@pytest.fixture
def store(plain: Server, tmp_path: Path) -> Iterator[Store]:
    """An empty table `t` that remembers tokens."""
    opened = connect(plain.settings(database="tried"), tmp_path)
    opened.client.command("CREATE DATABASE tried")
    opened.client.command(
        "CREATE TABLE tried.t (a UInt32) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    yield opened
    opened.client.command("DROP DATABASE tried")
    opened.close()


def rows(*numbers: int) -> pa.Table:
    return pa.table({"a": pa.array(numbers, pa.uint32())})


def found(store: Store) -> list[int]:
    return [a for (a,) in store.client.query("SELECT a FROM tried.t ORDER BY a").result_rows]


class TestLogin:
    """What keeps us out is told by the setting it stands in, and whether waiting can help."""

    @pytest.mark.parametrize(
        ("wrong", "passes", "told"),
        [
            ({"password": "not-it-8Hd3"}, False, r"refuses the login of 'default'.*clickhouse.user.*password_file"),
            ({"user": "nobody"}, False, r"refuses the login of 'nobody'"),
            ({"port": 9}, True, r"http://127.0.0.1:9 is out of reach.*clickhouse.port"),
            ({"host": "nowhere.invalid"}, True, r"no such host is known: check clickhouse.host"),
            ({"interface": "https"}, False, r"does not speak TLS there.*clickhouse.interface to http"),
        ],
    )
    def test_in_the_clear(self, plain: Server, tmp_path: Path, wrong: dict[str, Any], passes: bool, told: str) -> None:
        with pytest.raises(StoreError, match=told) as refused:
            connect(plain.settings(**wrong), tmp_path)
        assert isinstance(refused.value, StoreUnavailableError) is passes
        assert "not-it-8Hd3" not in str(refused.value)
        assert "query_id" not in str(refused.value)

    def test_by_tls(self, secure: Server, certificates: dict[str, Issued], tmp_path: Path) -> None:
        with_password = connect(secure.settings(), tmp_path)
        assert with_password.client.command("SELECT 1") == 1
        client = certificates["client"]
        certified = {"user": "certified", "password": None, "cert_file": client.cert, "key_file": client.key}
        by_certificate = connect(secure.settings(**certified), tmp_path)
        assert by_certificate.client.command("SELECT 1") == 1
        with_password.close()
        by_certificate.close()

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ("authority", r"not from clickhouse.ca_file, or not for clickhouse.host"),
            ("system", r"not from clickhouse.ca_file, or not for clickhouse.host"),
            ("no certificate", r"refuses the login of 'certified'.*clickhouse.cert_file"),
            ("certificate", r"refuses our certificate[;:] check clickhouse.cert_file"),
            ("clear", r"out of reach"),
        ],
    )
    def test_with_what_is_not_trusted(
        self, secure: Server, certificates: dict[str, Issued], tmp_path: Path, wrong: str, told: str
    ) -> None:
        stranger = certificates["stranger"]
        settings = {
            "authority": {"ca_file": stranger.ca},
            "system": {"ca_file": None},
            "no certificate": {"user": "certified", "password": None},
            "certificate": {"user": "certified", "password": None, "cert_file": stranger.cert, "key_file": stranger.key},
            "clear": {"interface": "http", "ca_file": None},
        }[wrong]
        with pytest.raises(StoreError, match=told) as refused:
            connect(secure.settings(**settings), tmp_path)
        # By TLS 1.3 a refused certificate shows after the handshake, or as an end without a word: that cannot be told apart.
        assert isinstance(refused.value, StoreUnavailableError) is (wrong == "clear") or wrong == "certificate"

    def test_a_certificate_for_another_name_is_not_believed(self, tmp_path: Path) -> None:
        named = issue(tmp_path, "elsewhere", client=True, names=[x509.DNSName("elsewhere.example")])
        with serving(tls=named) as server, pytest.raises(StoreError, match=r"or not for clickhouse.host") as refused:
            connect(server.settings(), tmp_path)
        assert not isinstance(refused.value, StoreUnavailableError)

    def test_the_doctor_looks_at_it(self, plain: Server, tmp_path: Path) -> None:
        def seen(password: str) -> tuple[str, str]:
            config = tmp_path / "affidavit.yaml"
            (tmp_path / "password").write_text(password + "\n")
            config.write_text(
                f"clickhouse: {{interface: http, port: {plain.port}, password_file: password}}\napi: {{listen: '127.0.0.1:1'}}\n"
            )
            return next((f.state, f.seen) for f in findings(config) if f.check == "store")

        assert seen(PASSWORD)[0] == "ok"
        state, said = seen("wrong")
        assert state == "fail"
        assert "clickhouse.user" in said


def test_a_start_with_a_wrong_password_ends_and_says_so_and_with_the_right_one_runs(plain: Server, tmp_path: Path) -> None:
    config = tmp_path / "affidavit.yaml"
    config.write_text(
        f"data_dir: data\napi: {{listen: '127.0.0.1:{free_port()}'}}\n"
        f"clickhouse: {{interface: http, port: {plain.port}, password_env: STORE_PASSWORD, database: started}}\n"
    )
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "up", "-c", str(config)]
    root = Path(__file__).parents[2]

    def start(password: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "STORE_PASSWORD": password, "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    refused = start("wrong-pw-5Rk1")
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert "refuses the login of 'default'" in said
    assert "clickhouse.user" in said
    assert "wrong-pw-5Rk1" not in said
    running = start(PASSWORD)
    try:
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "")
        assert any("ready after" in line for line in lines)
    finally:
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_rows_go_and_come_compressed_as_configured(plain: Server, store: Store, tmp_path: Path, compression: str) -> None:
    other = connect(plain.settings(database="tried", compression=compression), tmp_path)
    other.insert("t", rows(*range(5000)), "once")
    other.client.insert("tried.t", [[9999]], column_names=["a"])
    assert found(other) == [*range(5000), 9999]
    other.close()


class TestRepeats:
    """A server that fails in between; the same token all along."""

    def test_what_was_not_done_is_repeated_with_the_same_token(self, plain: Server, store: Store) -> None:
        before = len(plain.seen()["tokens"])
        plain.fail(too_many=2)
        store.insert("t", rows(1, 2), "token-a")
        assert found(store) == [1, 2]
        assert plain.seen()["tokens"][before:] == ["token-a"] * 3
        assert plain.seen()["queued"][before:] == ["0"] * 3  # returned means written

    def test_repeating_is_bounded(self, plain: Server, store: Store) -> None:
        plain.fail(too_many=100)
        with pytest.raises(StoreUnavailableError, match=r"inserting 1 rows into tried.t.*Too many simultaneous"):
            store.insert("t", rows(1), "token-b")
        assert plain.seen()["too_many"] > 90
        plain.fail(too_many=0)
        assert found(store) == []

    @pytest.mark.parametrize("fault", ["lose_answer", "drop", "unavailable"])
    def test_what_may_have_been_done_is_left_to_whoever_can_look(self, plain: Server, store: Store, fault: str) -> None:
        plain.fail(**{fault: 1})
        with pytest.raises(StoreUnavailableError, match=r"inserting 2 rows into tried.t"):
            store.insert("t", rows(3, 4), "token-c")
        assert found(store) == ([3, 4] if fault == "lose_answer" else [])
        store.insert("t", rows(3, 4), "token-c")
        assert found(store) == [3, 4]

    def test_what_can_never_be_done_is_not_repeated(self, plain: Server, store: Store) -> None:
        before = len(plain.seen()["tokens"])
        with pytest.raises(StoreError, match=r"there is no such table.*affidavit migrate") as refused:
            store.insert("gone", rows(1), "token-d")
        assert not isinstance(refused.value, StoreUnavailableError)
        assert len(plain.seen()["tokens"]) == before + 1

    def test_a_server_that_is_killed_and_comes_back_is_used_again(self, plain: Server, store: Store) -> None:
        plain.kill()
        with pytest.raises(StoreUnavailableError, match="nothing listens there"):
            store.insert("t", rows(5), "token-e")
        plain.start()
        store.insert("t", rows(5), "token-e")
        assert found(store) == [5]
