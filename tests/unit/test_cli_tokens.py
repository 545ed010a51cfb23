"""The `token` commands: what a program reads from stdout, what a person reads, and that errors are one message."""

from __future__ import annotations

import json
import os
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from deploy.cli import run
from ingest.identity.tokens import Credential, Refusal, TokenStore


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "affidavit.yaml"
    path.write_text("data_dir: data\n")
    return path


def now() -> int:
    return time.time_ns() // 1000


def store_of(config: Path) -> TokenStore:
    return TokenStore(config.parent / "data" / "identity.db", now, os.urandom)


def create(config: Path, capfd: pytest.CaptureFixture[str], *options: str) -> str:
    assert run(["token", "create", "-c", str(config), *options]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_create_prints_the_token_alone_and_it_verifies(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = create(config, capfd, "--principal", "copilot", "--kind", "agent", "--on-behalf-of", "dana", "--groups", "eng, ai",
                 "--roles", "analyst", "--ttl", "8h")  # fmt: skip
    assert out.endswith("\n")
    assert out.strip() == out[:-1]
    store = store_of(config)
    credential = store.verify(out.strip(), now())
    assert isinstance(credential, Credential)
    assert (credential.principal_id, credential.on_behalf_of, credential.groups) == ("copilot", "dana", ("eng", "ai"))
    assert store.verify(out.strip(), now() + 8 * 3600 * 1_000_000) is Refusal.EXPIRED
    store.close()


@pytest.mark.parametrize(("kind", "ttl", "hours"), [
    ("human", [], 8), ("agent", [], 8), ("service", [], 90 * 24),
    ("human", ["--ttl", "2d"], 48), ("service", ["--ttl", "never"], 0),
])  # fmt: skip
def test_lifetimes(config: Path, capfd: pytest.CaptureFixture[str], kind: str, ttl: list[str], hours: int) -> None:
    create(config, capfd, "--principal", "p", "--kind", kind, *ttl)
    store = store_of(config)
    record = store.tokens()[0]
    store.close()
    assert record.expires_at == (record.created_at + hours * 3600 * 1_000_000 if hours else 0)


def test_list_and_revoke(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    token = create(config, capfd, "--principal", "dana", "--kind", "human").strip()
    token_id = token.split("_")[1]
    assert run(["token", "list", "-c", str(config), "--json"]) == 0
    listed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(t["token_id"], t["principal_id"], t["state"]) for t in listed] == [(token_id, "dana", "valid")]
    assert run(["token", "revoke", "-c", str(config), token_id]) == 0
    assert capfd.readouterr().err == "revoked\n"
    assert run(["token", "list", "-c", str(config)]) == 0
    shown = capfd.readouterr().out
    assert token_id in shown
    assert "revoked" in shown
    assert token.split("_", 2)[2] not in shown


@pytest.mark.parametrize(("arguments", "code", "says"), [
    (["token", "create", "--principal", "p", "--kind", "robot"], 1, "kind must be one of human, agent, service"),
    (["token", "create", "--principal", "a b", "--kind", "human"], 1, "without spaces"),
    (["token", "create", "--principal", "p", "--kind", "human", "--ttl", "soon"], 1, "30m, 8h, 90d"),
    (["token", "create", "--principal", "p", "--kind", "human", "--roles", "root"], 1, "analyst, approver, auditor, admin"),
    (["token", "create", "--kind", "human"], 2, "--principal"),
    (["token", "revoke", "nothing"], 1, "no token with id 'nothing'"),
    (["token", "create", "--principal", "p", "--kind", "human", "--frobnicate"], 2, "--frobnicate"),
    (["events", "search", "", "--from", "yesterday"], 1, "no time"),
    (["events", "search", "x"], 1, "is not running on this data directory"),
    (["events", "search", "x", "--api", "http://127.0.0.1:1", "--token", "t"], 1, "cannot reach the API at http://127.0.0.1:1"),
    (["frobnicate"], 2, "No such command"),
])  # fmt: skip
def test_an_error_is_one_message_and_an_exit_code(
    config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.setenv("AFFIDAVIT_CONFIG", str(config))
    assert run(arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert says in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"affidavit {version('affidavit')}\n"


def test_a_missing_or_wrong_configuration_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "list", "-c", str(tmp_path / "no.yaml")]) == 1
    assert "no.yaml: there is no such file" in capfd.readouterr().err
    (tmp_path / "bad.yaml").write_text("proxy:\n  wrokers: 2\n")
    assert run(["up", "-c", str(tmp_path / "bad.yaml")]) == 1
    assert capfd.readouterr().err == f"error: {tmp_path}/bad.yaml:2: proxy.wrokers: unknown setting; did you mean 'workers'?\n"


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "affidavit.yaml").write_text("data_dir: file/data\n")
    (tmp_path / "file").touch()
    assert run(["token", "list", "-c", str(tmp_path / "affidavit.yaml")]) == 1
    err = capfd.readouterr().err
    assert err.startswith("error: data_dir: cannot write ")
    assert "Not a directory" in err


def test_a_file_that_no_command_expects_to_be_in_the_way_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = "x" * 300
    (tmp_path / "affidavit.yaml").write_text(f"data_dir: data\nprocess: {{archive: {name}}}\n")
    assert run(["archive", "verify", "-c", str(tmp_path / "affidavit.yaml")]) == 1
    assert capfd.readouterr().err == f"error: {tmp_path}/{name}: File name too long; AFFIDAVIT_DEBUG=1 shows where\n"


def test_help_of_every_command_works(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capfd.readouterr().out
    for command in ("demo", "up", "proxy", "migrate", "doctor", "token", "events", "sessions", "archive"):
        assert command in shown
        assert run([command, "--help"]) == 0
