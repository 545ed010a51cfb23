"""Whoever is suspended loses the dashboard and the API with everything open there, within a second; so does their agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.control_record import KEPT
from schemas.control import PrincipalSuspended, publish, standing
from schemas.control_keys import load_control_signer, load_control_trust
from tests.live.test_up_machine import Node, command
from tests.support.ports import wait_for


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("suspended")).start()
    yield made
    if made.process is not None:
        made.stop()


def token(node: Node, principal: str, *options: str) -> str:
    made = command("token", "create", "--principal", principal, *options, "-c", str(node.config))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def principal(node: Node, verb: str, name: str) -> None:
    done = command("principal", verb, name, "-c", str(node.config))
    assert done.returncode == 0, done.stderr


def events(node: Node, credential: str) -> int:
    return node.get("/api/v1/events", credential).status_code


class Tail(threading.Thread):
    """A live tail and when it ended (seconds, steady)."""

    def __init__(self, node: Node, credential: str) -> None:
        super().__init__(daemon=True)
        self.url, self.credential = f"http://127.0.0.1:{node.port}/api/v1/events/stream", credential
        self.opened, self.ended, self.said = threading.Event(), 0.0, ""
        self.start()
        assert self.opened.wait(20)

    def run(self) -> None:
        headers = {"authorization": f"Bearer {self.credential}"}
        with httpx.stream("GET", self.url, headers=headers, timeout=60, trust_env=False) as answer:
            for text in answer.iter_text():
                self.opened.set()
                self.said += text
        self.ended = time.monotonic()


def test_a_suspension_ends_what_is_open_and_keeps_out(node: Node) -> None:
    dana = token(node, "dana@example.com", "--kind", "human", "--roles", "admin")
    agent = token(node, "copilot", "--kind", "agent", "--roles", "analyst", "--on-behalf-of", "dana@example.com")
    olaf = token(node, "olaf", "--kind", "human", "--roles", "analyst")
    everybody = (dana, agent, olaf)
    assert [events(node, t) for t in everybody] == [200] * 3
    with httpx.Client(base_url=f"http://127.0.0.1:{node.port}", trust_env=False, timeout=20) as browser:
        origin = {"origin": f"http://127.0.0.1:{node.port}"}
        assert browser.post("/login", data={"token": dana, "next": "/"}, headers=origin).status_code == 303
        assert browser.get("/").status_code == 200
        tails = [Tail(node, t) for t in everybody]
        principal(node, "suspend", "Dana")
        told = time.monotonic()
        wait_for(lambda: events(node, dana) == 403, "dana to be refused")
        wait_for(lambda: tails[0].ended and tails[1].ended, "both tails to end")
        assert all("dana@example.com is suspended" in t.said for t in tails[:2])
        assert max(t.ended for t in tails[:2]) - told < 5, "a tail goes on"  # a second on a machine that is not busy
        assert [events(node, t) for t in everybody] == [403, 403, 200] and tails[2].is_alive()
        page = browser.get("/", headers={"accept": "text/html"})
        assert page.status_code == 403 and "dana@example.com is suspended." in page.text and "Log out" in page.text
        assert browser.get("/ui/results").status_code == browser.get("/exposure").status_code == 403
        again = browser.post("/login", data={"token": dana, "next": "/"}, headers=origin)
        assert again.status_code == 403 and "dana@example.com is suspended" in again.text
    assert "dana@example.com is suspended" in node.get("/api/v1/events", dana).json()["detail"]
    principal(node, "resume", "Dana")
    wait_for(lambda: events(node, dana) == 200, "dana to be let in again")
    assert events(node, agent) == 200


def test_a_restart_forgets_no_suspension(node: Node, tmp_path: Path) -> None:
    erin = token(node, "erin", "--kind", "human", "--roles", "analyst")
    principal(node, "suspend", "erin")
    wait_for(lambda: events(node, erin) == 403, "erin to be refused")
    assert node.stop() == 0
    node.start()
    assert events(node, erin) == 403
    principal(node, "resume", "erin")
    wait_for(lambda: events(node, erin) == 200, "erin to be let in again")


@pytest.mark.embedded_log("its file is lost; test_control_record.py has the rest")
def test_a_lost_control_topic_loses_no_suspension(node: Node) -> None:
    fay = token(node, "fay", "--kind", "human", "--roles", "analyst")
    at = time.time_ns() // 1000 - 600_000_000
    said = PrincipalSuspended(at=at, actor="sam", principal="fay", reason="left the company")
    log = node.trail.open()
    publish(log, [said], load_control_signer(node.data.keys))
    log.close()
    wait_for(lambda: events(node, fay) == 403, "fay to be refused")
    assert node.stop() == 0
    node.trail.refresh()
    node.trail.begin_again()
    for part in node.data.log.parent.iterdir():
        part.unlink()
    node.start()
    assert events(node, fay) == 403
    reader = node.trail.open()
    trust = load_control_trust(node.data.keys)
    wait_for(lambda: standing(reader, trust, *KEPT).get(said.key) == said, "the topic to have it again, as it was said")
    reader.close()
    wait_for(lambda: "control.repeat" in {e["action"] for e in node.trail.of_type("AdminActionPerformed")}, "the event")
    principal(node, "resume", "fay")
    wait_for(lambda: events(node, fay) == 200, "fay to be let in again")
