"""The topics of the log: names, keys and how long they are kept. The one place that names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_ms` -1 keeps for ever; `compacted` keeps the newest value per key."""

    name: str
    key: str
    partitions: int
    retention_ms: int
    compacted: bool = False


_DAY_MS = 86_400_000

EVENTS = Topic("affidavit.events", key="source", partitions=12, retention_ms=7 * _DAY_MS)
ACTIVITY = Topic("affidavit.activity", key="principal", partitions=12, retention_ms=2 * _DAY_MS)
FINDINGS = Topic("affidavit.findings", key="principal", partitions=12, retention_ms=30 * _DAY_MS)
DECISIONS = Topic("affidavit.decisions", key="approval", partitions=3, retention_ms=30 * _DAY_MS)
CONTROL = Topic("affidavit.control", key="subject", partitions=1, retention_ms=-1, compacted=True)
DLQ = Topic("affidavit.dlq", key="source", partitions=3, retention_ms=30 * _DAY_MS)

TOPICS = (EVENTS, ACTIVITY, FINDINGS, DECISIONS, CONTROL, DLQ)
