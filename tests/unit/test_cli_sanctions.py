"""What can be nobody's name, and no session's id, is refused before anything is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import sanctions
from deploy.cli import run
from schemas.config import Config
from schemas.control import PrincipalResumed


@pytest.mark.parametrize("name", ["", " ", "dana ", " dana", "da\nna", "dana,lee", "x" * 201])
@pytest.mark.parametrize("verb", ["suspend", "resume"])
def test_no_principal(verb: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "affidavit.yaml"
    config.write_text("data_dir: data\n")
    assert run(["principal", verb, name, "-c", str(config)]) == 1
    assert "can be no principal: give 1 to 200 characters without spaces or commas, as events name it" in capsys.readouterr().err
    assert not (tmp_path / "data" / "log" / "log.db").exists()


@pytest.mark.parametrize("session", ["", "dana", "01a2262e-d74b-730d-8c9f", "01A2262E-D74B-730D-8C9F-66D70000029E "])
def test_no_session(session: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "affidavit.yaml"
    config.write_text("data_dir: data\n")
    assert run(["session", "kill", session, "-c", str(config)]) == 1
    assert "is no session's id; `affidavit session list --open` shows them" in capsys.readouterr().err
    assert not (tmp_path / "data" / "log" / "log.db").exists()


def test_a_clock_that_is_slow_suspends_and_resumes_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data_dir=tmp_path / "data")
    clock = [2_000_000_000_000_000]
    monkeypatch.setattr(sanctions, "_now", lambda: clock[0])
    sanctions.suspend(config, "dana", "sam", "left", None)
    clock[0] -= 3_600_000_000
    sanctions.resume(config, "dana", "sam", "back")
    found = sanctions.said(config, "principal/")["principal/dana"]
    assert isinstance(found, PrincipalResumed)
    assert found.at == 2_000_000_000_000_001


def test_a_suspension_of_before_names_had_to_be_seen_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, name = Config(data_dir=tmp_path / "data"), "da\u200bna"
    with monkeypatch.context() as before:
        before.setattr(sanctions, "is_name", lambda name: True)
        sanctions.suspend(config, name, "sam", "left", None)
    with pytest.raises(sanctions.SanctionError, match="can be no principal"):
        sanctions.suspend(config, name, "sam", "left", None)
    sanctions.resume(config, name, "sam", "back")
    assert sanctions.suspensions(config) == {}
