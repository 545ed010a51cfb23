"""Dead letters by the command line, over the embedded log: listed, shown, sent again once, and every use told to the trail."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.cli import run
from deploy.layout import DataDir
from ingest.identity.tokens import TokenStore
from schemas.control import pipeline_resumed_at
from schemas.dead_letters import buried, letters, mark
from schemas.integrity import Block
from schemas.log import NewRecord, Record
from schemas.log.sqlite import SqliteLog
from schemas.topics import DLQ, EVENTS
from tests.support.event_blocks import Source, record

Command = Callable[..., tuple[int, str, str]]


class Site:
    """A data directory with a log, two rejected blocks of one source and one record that is none."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "affidavit.yaml"
        self.config.write_text(yaml.safe_dump({"data_dir": str(folder / "data")}))
        self.data = DataDir(folder / "data")
        self.data.prepare()
        self.log = SqliteLog(self.data.log)
        self.blocks: list[Block] = list(Source().blocks(2, 3))
        sent = [*map(record, self.blocks), NewRecord(b"\xffodd", b"\x1b[31mnonsense\n", {})]
        self.log.append(EVENTS.name, sent)
        self.events = self.log.read(EVENTS.name, 0, 10)
        reasons = ("signature is wrong", "signature is wrong", "log message carries no block header")
        self.log.append(DLQ.name, [buried(r, why) for r, why in zip(self.events, reasons, strict=True)])

    def actions(self) -> list[tuple[str, str, dict[str, str]]]:
        """Return the admin actions noted so far, and forget them."""
        store = TokenStore(self.data.identity, lambda: time.time_ns() // 1000, secrets.token_bytes)
        claimed = store.claim_actions()
        store.settle([a.number for a in claimed])
        store.close()
        return [(a.action, a.target, dict(a.details)) for a in claimed]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def command(site: Site, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        code = run([*words, "-c", str(site.config)])
        said = capsysbinary.readouterr()
        return code, said.out.decode(), said.err.decode()

    return call


def listed(command: Command, *words: str) -> list[dict[str, object]]:
    code, out, err = command("dlq", "list", "--json", *words)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_listed_with_reason_source_and_where_it_was_read(site: Site, command: Command) -> None:
    first, second, odd = listed(command)
    assert (first["source"], first["reason"], first["partition"], first["offset"]) == ("proxy/0", "signature is wrong", 0, 0)
    assert isinstance(second["block"], dict)
    assert (second["block"]["number"], second["block"]["count"], second["size"]) == (2, 3, len(site.blocks[1].body))
    assert (odd["source"], odd["block"]) == ("�odd", None)
    assert [d["letter_id"] for d in listed(command, "--source", "proxy/0", "--limit", "1")] == ["0-1"]
    assert [(a, t) for a, t, _ in site.actions()] == [("dlq.list", DLQ.name), ("dlq.list", "proxy/0")]
    code, out, _ = command("dlq", "list")
    assert code == 0
    assert "signature is wrong" in out


def test_shown_with_nothing_that_a_terminal_obeys_and_written_out_byte_for_byte(site: Site, command: Command) -> None:
    code, out, _ = command("dlq", "show", "0-2")
    assert code == 0
    assert "nonsense" in out
    assert "\x1b" not in out
    code, out, _ = command("dlq", "show", "0-0", "--body")
    assert (code, out.encode()) == (0, site.blocks[0].body)
    code, out, _ = command("dlq", "show", "0-0", "--json")
    assert json.loads(out)["headers"]["reason"] == "signature is wrong"
    for absent in ("0-9", "7-0", "nonsense"):
        code, _, err = command("dlq", "show", absent)
        assert (code, "no dead letter" in err) == (1, True)
    assert {a for a, _, _ in site.actions()} == {"dlq.show"}


def test_replayed_as_its_sender_made_it_marked_and_not_again(site: Site, command: Command) -> None:
    code, _, err = command("dlq", "replay", "--all", "--source", "proxy/0", "--reason", "the key is back")
    assert (code, "2 sent again" in err) == (0, True)
    again = site.log.read(EVENTS.name, 3, 10)
    assert [(r.key, r.value) for r in again] == [(r.key, r.value) for r in site.events[:2]]
    assert [{**r.headers, "replay_of": b""} for r in again] == [{**r.headers, "replay_of": b""} for r in site.events[:2]]
    assert [r.headers["replay_of"] for r in again] == [b"0-0", b"0-1"]
    assert [d["letter_id"] for d in listed(command)] == ["0-2"]
    replayed = [d for d in listed(command, "--all") if d["replayed_at"]]
    assert [d["letter_id"] for d in replayed] == ["0-0", "0-1"]
    assert all("command line" in str(d["replayed_by"]) for d in replayed)
    resumed = pipeline_resumed_at(site.log)
    assert resumed
    noted = [(a, t, d) for a, t, d in site.actions() if a == "dlq.replay"]
    assert noted == [("dlq.replay", "proxy/0", {"letters": "0-0,0-1", "count": "2", "reason": "the key is back"})]
    code, _, err = command("dlq", "replay", "--all", "--source", "proxy/0")
    assert (code, "0 sent again" in err) == (0, True)
    assert site.log.end_offset(EVENTS.name) == 5
    assert (pipeline_resumed_at(site.log), site.actions()) == (resumed, [])
    assert command("dlq", "replay", "0-0")[0] == 0  # asked for by name: once more
    assert site.log.end_offset(EVENTS.name) == 6


def test_a_replay_that_is_rejected_again_is_a_new_letter_that_names_the_old_one(site: Site, command: Command) -> None:
    command("dlq", "replay", "0-1")
    (again,) = site.log.read(EVENTS.name, 3, 10)
    site.log.append(DLQ.name, [buried(again, "signature is wrong still")])
    newest = listed(command)[-1]
    assert (newest["reason"], newest["replay_of"], newest["offset"]) == ("signature is wrong still", "0-1", 3)


def test_letters_written_twice_are_one(site: Site, command: Command) -> None:
    site.log.append(DLQ.name, [buried(site.events[0], "signature is wrong")])  # a batch that ran again after a crash
    assert [d["letter_id"] for d in listed(command)] == ["0-0", "0-1", "0-2"]


def test_no_sender_can_mark_its_letter_as_replayed(site: Site) -> None:
    mine = mark(site.log.read(DLQ.name, 0, 1)[0], "mallory", 1)
    forged = Record(EVENTS.name, 9, mine.key, mine.value, mine.headers)
    site.log.append(DLQ.name, [buried(forged, "no block header")])
    found = letters(site.log)
    assert [d.replayed_at for d in found] == [0, 0, 0, 0]
    assert found[-1].offset == 9


def test_letters_of_before_partitions_were_named_are_read(site: Site) -> None:
    old = buried(replace(site.events[0], offset=77), "an old one")
    headers = {name: value for name, value in old.headers.items() if name != "partition"}
    site.log.append(DLQ.name, [NewRecord(old.key, old.value, headers)])
    assert (letters(site.log)[-1].partition, letters(site.log)[-1].offset) == (0, 77)


def test_resuming_leaves_the_letters_and_is_newer_each_time(site: Site, command: Command) -> None:
    assert command("pipeline", "resume", "--reason", "a source that is gone")[0] == 0
    first = pipeline_resumed_at(site.log)
    assert command("pipeline", "resume")[0] == 0
    assert pipeline_resumed_at(site.log) > first > 0
    assert len(letters(site.log)) == 3
    assert [(a, d) for a, _, d in site.actions()] == [
        ("pipeline.resume", {"reason": "a source that is gone"}),
        ("pipeline.resume", {}),
    ]


@pytest.mark.parametrize("words", [(), ("0-0", "--all"), ("0-0", "--source", "proxy/0")])
def test_what_to_replay_must_be_said_in_one_way(command: Command, words: tuple[str, ...]) -> None:
    code, _, err = command("dlq", "replay", *words)
    assert (code, "--all" in err) == (1, True)
