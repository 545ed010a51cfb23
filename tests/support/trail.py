"""What the audit trail says, read from the log itself: decoded events, block by block, each block checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from schemas import topics
from schemas.events import EVENT_TYPES
from schemas.integrity import Block, BlockHeader, verify_block, verify_successor
from schemas.log import Log
from schemas.log.sqlite import SqliteLog
from tests.support.ports import wait_for

Event = dict[str, Any]
_ADAPTERS = {name: TypeAdapter(event_type) for name, event_type in EVENT_TYPES.items()}


def checked(line: bytes) -> Event:
    """Return one event line as plain JSON after validating it against its type."""
    event: Event = json.loads(line)
    _ADAPTERS[event["type"]].validate_json(line)
    return event


class Trail:
    """Reads a data directory's log on and on, or the one that `open_log` opens; keeps every event seen, in log order."""

    def __init__(self, data_dir: Path, open_log: Callable[[], Log] | None = None) -> None:
        self.path = data_dir / "log" / "log.db"
        self._open_log = open_log
        self.events: list[Event] = []
        self._offsets: dict[int, int] = {}
        self.repeats = 0
        self._heads: dict[str, BlockHeader] = {}
        self._blocks: dict[tuple[str, int], str] = {}

    def open(self) -> Log:
        """Open the log, for reading or for saying something; it is the caller's to close."""
        return self._open_log() if self._open_log is not None else SqliteLog(self.path)

    def refresh(self) -> list[Event]:
        """Read what is new, verify each block and its chain, drop repeats, return every event so far."""
        if self._open_log is None and not self.path.exists():
            return self.events
        log = self.open()
        try:
            for partition in range(log.partitions(topics.EVENTS.name)):
                if log.end_offset(topics.EVENTS.name, partition) <= self._offsets.get(partition, 0):
                    continue  # to read where nothing is costs brokers a fetch that waits
                while records := log.read(topics.EVENTS.name, self._offsets.get(partition, 0), 1000, partition=partition):
                    for record in records:
                        self._take(Block.from_log(record.value, dict(record.headers)))
                    self._offsets[partition] = records[-1].offset + 1
        finally:
            log.close()
        return self.events

    def begin_again(self) -> None:
        """The log is another, whose first block follows the last one read."""
        self._offsets.clear()

    def _take(self, block: Block) -> None:
        verify_block(block)
        known = self._blocks.setdefault((block.header.source, block.header.number), block.header.block_id)
        if known == block.header.block_id and self._is_behind(block.header):
            self.repeats += 1  # shipped again: its acknowledgement was lost
            return
        verify_successor(self._heads.get(block.header.source), block.header)
        self._heads[block.header.source] = block.header
        self.events.extend(checked(line) for line in block.lines())

    def _is_behind(self, header: BlockHeader) -> bool:
        head = self._heads.get(header.source)
        return head is not None and header.number <= head.number

    def session(self, application: str, sessions: int = 1, seconds: float = 120) -> list[Event]:
        """Return the QueryExecuted events of `application`, once that many of its sessions have closed."""

        def closed() -> set[str]:
            found = self.refresh()
            return {e["session_id"] for e in found if e["type"] == "SessionClosed" and e["client"]["application"] == application}

        wait_for(lambda: len(closed()) >= sessions, f"{sessions} SessionClosed of {application!r}", seconds, poll=0.05)
        ids = closed()
        return [e for e in self.events if e["type"] == "QueryExecuted" and e["session_id"] in ids]

    def of_type(self, name: str) -> list[Event]:
        """Return every event of one type."""
        return [event for event in self.refresh() if event["type"] == name]


def brief(events: Iterable[Event]) -> list[tuple[str, str, str]]:
    """Return (kind, verbs, status) of each event: what most assertions compare."""
    return [(e["kind"], "+".join(e["facts"]["verbs"]), e["outcome"]["status"]) for e in events]
