"""A cluster of one shard in one engine: the statements of profile `Cluster`, with what this engine cannot do taken out.

Distributed tables are real, over the one shard there is without a native port. What is rewritten, and thus not tried: ON CLUSTER,
replication (the engine starts no replicas: `Replicated…` engines become the plain ones), and waiting for replicas. What several
shards do among themselves, and Keeper, need servers.
"""

from __future__ import annotations

import re
from typing import Any

CLUSTER = "audit"
SECTIONS = (
    f"<tcp_port>9000</tcp_port><remote_servers><{CLUSTER}><shard><internal_replication>true</internal_replication>"
    f"<replica><host>127.0.0.1</host><port>9000</port></replica></shard></{CLUSTER}></remote_servers>"
    "<macros><shard>1</shard><replica>a</replica></macros>"
)
"""For the engine's configuration."""


class OneNode:
    """A clickhouse-connect client whose commands are rewritten."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.said: list[str] = []

    def command(self, statement: str, *args: Any, **options: Any) -> Any:
        """Run what one engine can run of a statement."""
        self.said.append(statement)
        if statement.startswith("SYSTEM SYNC REPLICA"):
            return None
        return self._client.command(rewritten(statement), *args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def rewritten(statement: str) -> str:
    """What one engine can run of a statement."""
    text = statement.replace(f" ON CLUSTER `{CLUSTER}`", "")
    text = re.sub(r"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?", r"\1(", text)
    text = text.replace("replicated_deduplication_window = 10000", "non_replicated_deduplication_window = 1000")
    return re.sub(r"replicated_deduplication_window_seconds = \d+, ", "", text)
