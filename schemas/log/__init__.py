"""The log: topics of ordered, keyed records, behind one interface.

Two implementations and one contract suite (`tests/contract/test_log.py`): `schemas.log.sqlite` for one machine, Kafka for many.
An append that returned is durable as the implementation states. Consumers own their offsets, one for each partition: the embedded
log has one partition a topic, Kafka as many as the topic was made with; a record's key chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class LogError(Exception):
    """The log could not do it; the message names the log, the topic and the remedy."""


class LogUnavailableError(LogError):
    """The log is out of reach or busy: the same call may succeed later.

    The embedded log appended nothing. Kafka may have taken the first records of each partition without our hearing of it: the
    same call then appends them again, and readers drop repeats.
    """


class LogCorruptError(LogError):
    """The log's storage is damaged: retrying does not help."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read. `offset` counts up per topic and partition; `timestamp` is microseconds UTC at append.

    A `tombstone` says that its key has no value any more.
    """

    topic: str
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)
    partition: int = 0
    timestamp: int = 0
    tombstone: bool = False


@dataclass(frozen=True, slots=True)
class NewRecord:
    """One record to append. Names of headers hold no zero character.

    `zstd`: the value as one zstd frame that tells its size, for logs that store such; or empty.
    `tombstone`, with an empty value: the key has no value any more; compaction drops what was appended for it.
    """

    key: bytes
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)
    zstd: bytes = b""
    tombstone: bool = False


class Log(Protocol):
    """What producers and consumers need. Methods block; call them from a thread, never from a proxy's event loop."""

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """Append all records, durably, those of a partition in order and side by side; else raise.

        LogUnavailableError is to be retried (see there), LogError is for good.
        """

    def read(self, topic: str, offset: int, limit: int, max_bytes: int = 32 * 1024 * 1024, partition: int = 0) -> list[Record]:
        """Return up to `limit` records from `offset` on, at least one if there is any, stopping past `max_bytes`."""

    def wait(self, topic: str, offset: int, seconds: float, partition: int = 0) -> bool:
        """Return whether there is a record at `offset` or after it, as soon as there is one, at the latest after `seconds`.

        False is no proof that the log was in reach; `end_offset` is.
        """

    def end_offset(self, topic: str, partition: int = 0) -> int:
        """Return the offset the partition's next record will get."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has, counted from 0."""

    def interrupt(self) -> None:
        """Have appends that wait for others, now and later, raise LogUnavailableError instead. From any thread; for good."""

    def close(self) -> None:
        """Release files and connections."""
