"""`affidavit dlq list | show | replay`, `affidavit pipeline resume`: what is done about blocks that were rejected.

A replay sends a letter's record to `affidavit.events` again, as its sender made it: it is judged like any other, so that one that
the store has by now changes nothing, and one that still does not verify becomes a letter again. Letters that were replayed are
marked and left out of the next replay. Whoever looks or replays is in the trail, before it is done.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deploy.layout import DataDir
from ingest.identity.tokens import TokenStore
from schemas.config import Config
from schemas.control import PipelineResumed, pipeline_resumed_at, publish
from schemas.control_keys import ControlSigner
from schemas.dead_letters import DeadLetter, find, letters, mark, raised
from schemas.log import Log, LogError, Record
from schemas.log.place import LogPlace
from schemas.topics import DLQ, EVENTS

MAX_NAMED = 20
"""Letters that an admin action names one by one; of more it gives the count, for an event is no list."""

BATCH_BYTES = 16 * 1024 * 1024
"""Bodies sent again in one append; each may be as large as a block."""


class DeadLetterError(Exception):
    """What was asked for cannot be done; the text says what can."""


def listed(config: Config, actor: str, source: str, *, replayed: bool) -> list[DeadLetter]:
    """Return the letters that wait (also those `replayed`), oldest first, of one source or of all. Raises LogError."""
    with _desk(config, actor) as desk:
        desk.note("dlq.list", source or DLQ.name, {"replayed": "true"} if replayed else {})
        return _chosen(letters(desk.log), source, replayed=replayed)


def shown(config: Config, actor: str, letter_id: str) -> tuple[DeadLetter, Record]:
    """Return one letter and its record, with the body. Raises DeadLetterError, LogError."""
    with _desk(config, actor) as desk:
        desk.note("dlq.show", letter_id[:100], {})
        record = find(desk.log, letter_id)
        letter = next((item for item in letters(desk.log) if item.letter_id == letter_id), None)
        if record is None or letter is None:
            raise DeadLetterError(f"there is no dead letter {letter_id[:100]!r}; `affidavit dlq list --all` shows them")
        return letter, record


def replay(config: Config, actor: str, wanted: Sequence[str], source: str, reason: str) -> int:
    """Send letters again: those `wanted`, or all that wait (of `source`); return how many. Pipelines count rejections anew.

    Cut short, it is simply run again: a block that went through twice changes nothing. Raises DeadLetterError, LogError.
    """
    with _desk(config, actor) as desk:
        there = {item.letter_id: item for item in letters(desk.log)}
        if unknown := [item for item in wanted if item not in there]:
            raise DeadLetterError(f"there is no dead letter {unknown[0][:100]!r}; `affidavit dlq list --all` shows them")
        chosen = [there[item] for item in dict.fromkeys(wanted)] or _chosen(list(there.values()), source, replayed=False)
        if not chosen:
            return 0
        named = [item.letter_id for item in chosen]
        details = {"letters": ",".join(named[:MAX_NAMED]), "count": str(len(named)), "reason": reason}
        with desk.noted("dlq.replay", source or DLQ.name, details):
            for batch in _batches(desk.log, chosen):
                desk.log.append(EVENTS.name, [raised(record) for record in batch])
                desk.log.append(DLQ.name, [mark(record, actor, _now()) for record in batch])
            desk.resume(reason)
        return len(chosen)


def resume_pipeline(config: Config, actor: str, reason: str) -> None:
    """Have pipelines that stopped over rejected blocks go on, and leave those where they are. Raises LogError."""
    with _desk(config, actor) as desk, desk.noted("pipeline.resume", DLQ.name, {"reason": reason}):
        desk.resume(reason)


def print_body(record: Record) -> None:
    """Write a letter's body to stdout as it is."""
    sys.stdout.buffer.write(record.value)
    sys.stdout.buffer.flush()


@dataclass(frozen=True, slots=True)
class _Desk:
    """What one command works with: the log, the outbox of admin actions, and what gives the key that proxies believe."""

    log: Log
    tokens: TokenStore
    actor: str
    signers: Callable[[], ControlSigner]

    def note(self, action: str, target: str, details: dict[str, str]) -> None:
        self.tokens.note_action(self.actor, action, target, {name: value for name, value in details.items() if value})

    @contextlib.contextmanager
    def noted(self, action: str, target: str, details: dict[str, str]) -> Iterator[None]:
        """Note an action before it is done, and that it failed where it did."""
        self.note(action, target, details)
        try:
            yield
        except Exception as error:
            self.note(f"{action}.failed", target, {"because": "the log" if isinstance(error, LogError) else "an error"})
            raise

    def resume(self, reason: str) -> None:
        at = max(_now(), pipeline_resumed_at(self.log) + 1)  # newer than the last one, whatever this machine's clock says
        publish(self.log, [PipelineResumed(at=at, actor=self.actor, reason=reason)], self.signers())


@contextlib.contextmanager
def _desk(config: Config, actor: str) -> Iterator[_Desk]:
    data = DataDir(config.data_dir)
    data.prepare()
    with contextlib.ExitStack() as stack:
        log = LogPlace.of(config.log, data.log, config.audit.durability).open()
        stack.callback(log.close)
        tokens = TokenStore(data.identity, _now, secrets.token_bytes)
        stack.callback(tokens.close)
        yield _Desk(log, tokens, actor, lambda: data.control_signer(config.log.kind))


def _chosen(found: Sequence[DeadLetter], source: str, *, replayed: bool) -> list[DeadLetter]:
    return [item for item in found if (not source or item.source == source) and (replayed or not item.replayed_at)]


def _batches(log: Log, chosen: Sequence[DeadLetter]) -> Iterator[list[Record]]:
    """Their records, oldest first; one source's stay in order."""
    batch: list[Record] = []
    size = 0
    for item in chosen:
        record = find(log, item.letter_id)
        if record is None:
            raise DeadLetterError(f"dead letter {item.letter_id} is gone: its retention ended just now; run it again")
        batch.append(record)
        size += len(record.value)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _now() -> int:
    return time.time_ns() // 1000
