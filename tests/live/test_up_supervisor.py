"""The supervisor with real child processes: restarts, backoff, order of stopping, orphans, one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from deploy.supervisor import AlreadyRunningError, ChildFatalError, ChildSpec, Supervisor, owning, reason_file

CHILD = """
import os, signal, sys, threading
log = open({log!r}, "a", buffering=1)
config = sys.stdin.buffer.readline()
def watch():
    while os.read(0, 100): pass
    log.write("{name} orphaned\\n"); os._exit(0)
threading.Thread(target=watch, daemon=True).start()
def stop(*_):
    log.write("{name} stopped\\n"); os._exit(0)
signal.signal(signal.SIGTERM, {stop})
log.write("{name} started " + str(os.getpid()) + " " + config.decode())
{then}
signal.pause()
"""


def child(run: Path, name: str, order: int, then: str = "", stop: str = "stop", stop_seconds: float = 5) -> ChildSpec:
    code = CHILD.format(log=str(run / "log"), name=name, then=textwrap.dedent(then), stop=stop)
    return ChildSpec(name, ("-c", code), order, stop_seconds, b"config")


def lines(run: Path) -> list[str]:
    return (run / "log").read_text().splitlines() if (run / "log").exists() else []


def supervise(specs: list[ChildSpec], run: Path, tick: Callable[[Supervisor], None], withheld: Collection[str] = ()) -> list[str]:
    said: list[str] = []
    supervisor = Supervisor(specs, run, said.append, withheld)
    deadline = time.monotonic() + 30

    def guarded() -> None:
        assert time.monotonic() < deadline, (said, lines(run))
        tick(supervisor)

    try:
        supervisor.run(guarded, tick_seconds=0.02)
    finally:
        supervisor.close()
    return said


def test_children_get_the_configuration_and_stop_in_order(tmp_path: Path) -> None:
    def tick(supervisor: Supervisor) -> None:
        if len(lines(tmp_path)) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    supervise([child(tmp_path, "node/0", 2), child(tmp_path, "proxy/0", 1), child(tmp_path, "proxy/1", 1)], tmp_path, tick)
    seen = lines(tmp_path)
    assert all(line.endswith(" config") for line in seen[:3])
    assert sorted(seen[3:5]) == ["proxy/0 stopped", "proxy/1 stopped"]
    assert seen[5:] == ["node/0 stopped"]


def test_children_do_not_get_the_variables_that_hold_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    monkeypatch.setenv("SHOP_COLOUR", "blue")
    seen = tmp_path / "seen"

    def tick(supervisor: Supervisor) -> None:
        if seen.exists() and seen.read_text():
            supervisor.stop()

    then = f"import pathlib; pathlib.Path({str(seen)!r}).write_text(' '.join(os.environ))"
    supervise([child(tmp_path, "proxy/0", 1, then)], tmp_path, tick, {"SHOP_PASSWORD"})
    assert "SHOP_COLOUR" in seen.read_text()
    assert "SHOP_PASSWORD" not in seen.read_text()


def test_a_killed_child_is_back_within_a_second_every_time(tmp_path: Path) -> None:
    healed: list[float] = []
    state = {"killed": 0, "pid": 0, "at": 0.0}

    def tick(supervisor: Supervisor) -> None:
        started = lines(tmp_path)
        now = time.monotonic()
        if len(started) <= state["killed"]:
            return
        if state["pid"] and len(healed) < state["killed"]:
            healed.append(now - state["at"])
            state["up"] = now
        if state["killed"] == 3:
            supervisor.stop()
        elif now - state.get("up", now - 9) > 1.1:
            state["pid"] = supervisor.pids()["proxy/0"]
            os.kill(state["pid"], signal.SIGKILL)
            state["killed"] += 1
            state["at"] = now

    said = supervise([child(tmp_path, "proxy/0", 1)], tmp_path, tick)
    assert len(healed) == 3
    assert max(healed) < 1.0
    assert sum("was killed by SIGKILL" in line for line in said) == 3


def test_a_crash_loop_slows_down_and_says_why(tmp_path: Path) -> None:
    reason = reason_file(tmp_path, "node/0")

    def tick(supervisor: Supervisor) -> None:
        if len(lines(tmp_path)) >= 5:
            supervisor.stop()

    began = time.monotonic()
    then = f"open({str(reason)!r}, 'w').write('chDB is asleep'); os._exit(3)"
    said = supervise([child(tmp_path, "node/0", 1, then)], tmp_path, tick)
    deaths = [line for line in said if "node/0" in line]
    waits = [float(line.split()[-2]) for line in deaths]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert time.monotonic() - began > 1.5
    assert all("chDB is asleep" in line for line in deaths)


@pytest.mark.parametrize("settled_seconds", [10.0, 0.0], ids=["quick", "slow"])
def test_a_fatal_child_stops_everything_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled_seconds: float
) -> None:
    monkeypatch.setattr("deploy.supervisor.SETTLED_SECONDS", settled_seconds)
    reason = reason_file(tmp_path, "node/0")
    then = f"open({str(reason)!r}, 'w').write('port 1 is taken'); os._exit(78)"
    with pytest.raises(ChildFatalError, match="port 1 is taken"):
        supervise([child(tmp_path, "node/0", 2, then), child(tmp_path, "proxy/0", 1)], tmp_path, lambda _: None)


def test_a_child_that_will_not_stop_is_killed_after_its_time(tmp_path: Path) -> None:
    def tick(supervisor: Supervisor) -> None:
        if lines(tmp_path):
            supervisor.stop()

    began = time.monotonic()
    said = supervise([child(tmp_path, "proxy/0", 1, stop="signal.SIG_IGN", stop_seconds=0.3)], tmp_path, tick)
    assert time.monotonic() - began < 5
    assert any("proxy/0 did not stop in time" in line for line in said)


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    spec = child(tmp_path, "proxy/0", 1)
    code = textwrap.dedent("""
        import pathlib, sys
        from deploy.supervisor import ChildSpec, Supervisor
        spec = ChildSpec("proxy/0", ("-c", sys.argv[1]), 1, 5, b"config")
        Supervisor([spec], pathlib.Path(sys.argv[2]), print).run()
    """)
    with subprocess.Popen([sys.executable, "-c", code, spec.arguments[1], str(tmp_path)]) as parent:
        wait_for(lambda: bool(lines(tmp_path)))
        parent.kill()
    wait_for(lambda: lines(tmp_path)[-1] == "proxy/0 orphaned")


def test_a_second_owner_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "up.pid"
    with owning(path, "affidavit up"):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(AlreadyRunningError, match=rf"pid {os.getpid()} .*up\.pid"), owning(path, "affidavit up"):
            pass
    with owning(path, "affidavit up"):
        pass


def wait_for(claim: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.01)
