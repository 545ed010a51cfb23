"""Print, as JSON, what ClickHouse holds: `[[ticket, status, rows], …]` of a stopped machine's data directory.

A child process (`python -m tests.support.stored_tickets affidavit.yaml`): chDB wants a process of its own and frees nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.config import load
from processors.sinks import clickhouse


def main() -> None:
    """Print the rows of every ticket claimed in a comment, by status."""
    config = load(Path(sys.argv[1]))
    store = clickhouse.connect(config.clickhouse, config.data_dir)
    try:
        found = store.client.query(
            f"SELECT claims['ticket'] AS ticket, status, count() FROM {store.database}.query_events "
            "WHERE ticket != '' GROUP BY ticket, status"
        ).result_rows
    finally:
        store.close()
    print(json.dumps([list(row) for row in found]))


if __name__ == "__main__":
    main()
