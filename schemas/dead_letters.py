"""Dead letters: records of `affidavit.events` that are no blocks of ours, kept on `affidavit.dlq` with the reason.

A letter is the record as it came, with headers of ours beside the sender's: `reason`, the `partition` and `offset` it was read
at, and `replay_of` where it is the replay of an earlier letter that was rejected again. A *mark* is a record without a reason:
it says that a letter was replayed. It has the letter's key, so that it stands after it in the same partition.

A batch that is run again, or a topic that is read again, writes the same letter again; readers take the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from schemas.integrity import BlockHeader, IntegrityError
from schemas.log import Log, NewRecord, Record
from schemas.topics import DLQ

OURS = frozenset({"reason", "partition", "offset", "replay_of"})
"""Headers that a replay takes away again, so that the record is as its sender made it, but for `replay_of`."""

READ_RECORDS, READ_BYTES = 1000, 16 * 1024 * 1024
"""Read at once: letters may be as large as blocks are, and only their descriptions are kept."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter without its body. `partition` and `offset` are of `affidavit.events`; times are microseconds UTC.

    `letter_id` is its place on the dead letters' topic. `block` is None where the header itself cannot be read.
    """

    letter_id: str
    at: int
    source: str
    reason: str
    partition: int
    offset: int
    size: int
    block: BlockHeader | None = None
    replay_of: str = ""
    replayed_at: int = 0
    replayed_by: str = ""


def buried(record: Record, reason: str) -> NewRecord:
    """Return the letter for a record of `affidavit.events` that was rejected."""
    about = {"reason": reason.encode(), "partition": b"%d" % record.partition, "offset": b"%d" % record.offset}
    kept = {name: value for name, value in record.headers.items() if name not in OURS or name == "replay_of"}
    return NewRecord(record.key, record.value, {**kept, **about})


def raised(letter: Record) -> NewRecord:
    """Return what is sent to `affidavit.events` to have a letter judged again."""
    kept = {name: value for name, value in letter.headers.items() if name not in OURS}
    return NewRecord(letter.key, letter.value, {**kept, "replay_of": letter_id(letter).encode()})


def mark(letter: Record, by: str, at: int) -> NewRecord:
    """Return the mark that says a letter was replayed."""
    about = {"letter": letter_id(letter).encode(), "by": by.encode(), "at": b"%d" % at}
    return NewRecord(letter.key, b"", about)


def letter_id(letter: Record) -> str:
    """Return a letter's name: partition and offset on the dead letters' topic."""
    return f"{letter.partition}-{letter.offset}"


def find(log: Log, wanted: str) -> Record | None:
    """Return the letter of that name with its body, or None. Raises LogError."""
    partition, _, offset = wanted.partition("-")
    if not (partition.isdecimal() and offset.isdecimal()) or int(partition) >= log.partitions(DLQ.name):
        return None
    records = log.read(DLQ.name, int(offset), 1, partition=int(partition))
    return records[0] if records and records[0].offset == int(offset) and "reason" in records[0].headers else None


def letters(log: Log) -> list[DeadLetter]:
    """Return all letters that the log has, oldest first, repeats left out, with who replayed them. Raises LogError."""
    first: dict[tuple[int, int, int, str], DeadLetter] = {}
    marks: dict[str, tuple[int, str]] = {}
    for record in _records(log):
        if "reason" in record.headers:
            letter = _described(record)
            first.setdefault((letter.partition, letter.offset, letter.size, letter.reason), letter)
        elif "letter" in record.headers:
            by = _text(record.headers.get("by", b""))
            marks.setdefault(_text(record.headers["letter"]), (_number(record.headers.get("at", b"")), by))
    found = [
        replace(letter, replayed_at=at, replayed_by=by)
        for letter in first.values()
        for at, by in (marks.get(letter.letter_id, (0, "")),)
    ]
    return sorted(found, key=lambda item: (item.at, item.letter_id))


def _records(log: Log) -> Iterator[Record]:
    for partition in range(log.partitions(DLQ.name)):
        offset, end = 0, log.end_offset(DLQ.name, partition)
        while offset < end and (records := log.read(DLQ.name, offset, READ_RECORDS, READ_BYTES, partition)):
            yield from records
            offset = records[-1].offset + 1


def _described(record: Record) -> DeadLetter:
    headers = record.headers
    try:
        block = BlockHeader.decode(headers["block"])
    except (IntegrityError, KeyError):
        block = None
    return DeadLetter(
        letter_id(record),
        record.timestamp,
        block.source if block else _text(headers.get("source", record.key)),
        _text(headers["reason"]),
        _number(headers.get("partition", b"0")),
        _number(headers.get("offset", b"")),
        len(record.value),
        block,
        _text(headers.get("replay_of", b"")),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _number(data: bytes) -> int:
    return int(data) if data.isdigit() else -1
