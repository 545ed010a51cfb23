"""What does `affidavit topics` print? One line a topic; exit code 1 where one differs from what it should be."""

from __future__ import annotations

import sys
from dataclasses import asdict

import orjson
from rich.console import Console
from rich.table import Table

from deploy.maintenance import MaintenanceError
from schemas.config import Config


def ensure_topics(config: Config, *, as_json: bool) -> int:
    """Make missing topics, check the others, print what was found; return the exit code."""
    if config.log.kind != "kafka":
        raise MaintenanceError("log.kind is embedded, which makes its topics by itself; this command is for kafka")
    from schemas.log.kafka_topics import ensure

    found = ensure(config.log.kafka)
    if as_json:
        for topic in found:
            sys.stdout.write(orjson.dumps(asdict(topic)).decode() + "\n")
    else:
        table = Table("topic", "partitions", "state")
        for topic in found:
            state = "made" if topic.made else "; ".join(topic.differs) or "as it should be"
            table.add_row(topic.name, str(topic.partitions), state)
        Console().print(table)
    return 1 if any(topic.differs for topic in found) else 0
