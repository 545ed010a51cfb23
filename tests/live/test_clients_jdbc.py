"""pgjdbc on a real server through the proxy: a denied statement leaves client, batch and transaction as any error does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
import yaml

from tests.support import affidavit, jdbc_jars
from tests.support.affidavit import Proxy
from tests.support.ports import wait_for
from tests.support.postgres import APP_PASSWORD, APP_USER, DATABASE, Postgres

WHEN = "'drop_table' in statement.verbs && statement.writes.exists(o, o.endsWith('.jdbc_kept'))"
RULES = [{"id": "no-drop", "effect": "deny", "when": WHEN, "reason": "Ask the owner."}]
ORDINARY, DENIED = "DROP TABLE jdbc_nowhere", "DROP TABLE jdbc_kept"

pytestmark = pytest.mark.skipif(bool(jdbc_jars.missing()), reason=jdbc_jars.missing() or "pgjdbc is here")


@pytest.fixture(scope="module")
def proxy(pg: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({"bundle": "jdbc", "rules": RULES}))
    with affidavit.proxy(pg, {"policy": {"files": [str(path)]}}) as running:
        with psycopg.connect(**running.app(), autocommit=True) as setup:
            setup.execute("CREATE TABLE IF NOT EXISTS jdbc_kept (a int, b text)")
        yield running


def test_a_denial_is_to_jdbc_what_any_error_is(proxy: Proxy, pg: Postgres) -> None:
    direct = jdbc_jars.run(f"jdbc:postgresql://{pg.host}:{pg.port}/{DATABASE}", APP_USER, APP_PASSWORD, ORDINARY)
    through = f"jdbc:postgresql://127.0.0.1:{proxy.port}/{DATABASE}"
    ordinary = jdbc_jars.run(through, "ana", proxy.token("ana"), ORDINARY)
    assert ordinary == direct
    denied = jdbc_jars.run(through, "ana", proxy.token("ana"), DENIED)
    assert [line.replace("42501", "42P01") for line in denied] == ordinary
    assert denied[-1] == "done: " and sum("[42501]" in line for line in denied) >= 12
    for line in (
        "extended rows: 900", "rewritten rows: 900", "simple rows: 900", "extended fetched: 105", "prepared: 36",
        "always rows: 2", "never after it: 25P02", "extended rows after it, automatic false: 0",
    ):  # fmt: skip
        assert line in denied, denied
    with psycopg.connect(**proxy.app(), autocommit=True) as connection:
        assert connection.execute("SELECT count(*) >= 0 FROM jdbc_kept").fetchone() == (True,)

    def told() -> Counter[str]:
        found = [e for e in proxy.trail.refresh() if e["type"] == "QueryExecuted" and e["client"]["application"] == "jdbc"]
        return Counter(e["outcome"]["status"] for e in found if e["text"] == DENIED)

    wait_for(lambda: told()["denied"] >= 12, "the denied statements' events")
    assert set(told()) == {"denied"}, "and none of them ran"
