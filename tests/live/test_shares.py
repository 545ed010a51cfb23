"""A rule sees what share of a table a statement would change: by the statistics of a real server, read with the catalogue."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import yaml

from tests.support.affidavit import UNMASKED
from tests.support.affidavit import proxy as running_proxy
from tests.support.postgres import Postgres

RULE = {
    "id": "share", "effect": "deny", "reason": "Too much of it.",
    "when": "change.known && change.table_rows >= 10000 && change.percent >= 30",
}  # fmt: skip
SCHEMA = """
CREATE TABLE shares (id int PRIMARY KEY, state text, customer int, note text);
INSERT INTO shares SELECT g, CASE WHEN g % 10 = 0 THEN 'open' ELSE 'done' END, g % 500, CASE WHEN g % 2 = 0 THEN 'x' END
  FROM generate_series(1, 20000) g;
CREATE TABLE parted (id int, state text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50000);
INSERT INTO parted SELECT g, 'done' FROM generate_series(1, 20000) g;
ANALYZE shares; ANALYZE parted;
"""


def test_a_rule_sees_what_share_of_a_table_a_statement_would_change(pg: Postgres, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"bundle": "shares", "rules": [RULE]}))
    with psycopg.connect(**pg.app(), autocommit=True) as setup:
        setup.execute(SCHEMA)
        try:
            with (
                running_proxy(pg, {"policy": {"files": [str(policy)]}, "masking": UNMASKED}) as proxy,
                psycopg.connect(**proxy.app()) as client,
            ):
                for allowed in (
                    "UPDATE shares SET note = 'y' WHERE id = 7",
                    "UPDATE shares SET note = 'y' WHERE customer = 7",
                    "DELETE FROM shares WHERE state = 'done' AND customer IN (3, 4)",
                    "DELETE FROM shares WHERE id < 0",
                    "SELECT count(*) FROM shares WHERE state = 'done'",
                ):
                    client.execute(allowed)
                    client.rollback()
                for refused in (
                    "DELETE FROM shares WHERE state = 'done'",
                    "UPDATE shares SET note = 'y' WHERE note IS NULL",
                    "WITH d AS (DELETE FROM shares WHERE 'done' = state RETURNING 1) SELECT count(*) FROM d",
                    "DELETE FROM parted WHERE state = 'done'",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="policy rule share"):
                        client.execute(refused)
                    client.rollback()
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="policy rule share"):
                    client.execute("DELETE FROM shares WHERE state = %s", ("done",), prepare=True)
        finally:
            setup.execute("DROP TABLE shares, parted")
