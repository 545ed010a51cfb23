"""The dashboards: files are what their source makes, every SQL answers on a filled store, every PromQL on what we really expose.

Queries run with Grafana's macros and variables replaced as Grafana and its ClickHouse plugin do (pkg/macros/macros.go there).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.build import DASHBOARDS, FOLDER, written
from deploy.grafana.panels import CLICKHOUSE, PROMETHEUS
from processors.archive import Archive
from processors.runtimes.embedded import EmbeddedRuntime
from processors.sinks.clickhouse import Store, connect
from schemas.config import ClickHouseSettings
from schemas.topics import EVENTS
from tests.support.approval_events import body, requested
from tests.support.event_blocks import START, Source, record
from tests.support.exposed import pages
from tests.support.memory_log import MemoryLog
from tests.support.promtool import promtool

MADE = [orjson.loads(data) for data in written().values()]
TARGETS = [
    (f"{dashboard['title']} / {panel['title']} / {target['refId']}", panel, target)
    for dashboard in MADE
    for panel in dashboard["panels"]
    for target in panel["targets"]
]
SQL = [(name, panel, target["rawSql"]) for name, panel, target in TARGETS if target["datasource"] == CLICKHOUSE]
PROMQL = [(name, target["expr"]) for name, _, target in TARGETS if target["datasource"] == PROMETHEUS]
VARIABLES = [(v["name"], v) for dashboard in MADE for v in dashboard["templating"]["list"]]


def test_the_files_are_what_their_source_makes() -> None:
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*.json")} == written(), "run: python -m deploy.grafana.build"


def test_uids_are_known_and_panels_fit_side_by_side() -> None:
    sources = yaml.safe_load((FOLDER.parent / "provisioning" / "datasources" / "affidavit.yaml").read_text())["datasources"]
    provisioned = [{"type": s["type"], "uid": s["uid"]} for s in sources]
    assert provisioned == [PROMETHEUS, CLICKHOUSE]
    for dashboard in MADE:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            assert panel["datasource"] in provisioned
            g = panel["gridPos"]
            cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
            assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
            taken |= cells
    assert len({d.uid for d in DASHBOARDS}) == len(DASHBOARDS)


# --- ClickHouse -------------------------------------------------------------------------------------------------------


def changed(source: Source, **members: Any) -> bytes:
    event = orjson.loads(source.query())
    facts, outcome = members.pop("facts", {}), members.pop("outcome", {})
    event.update(members)
    event["facts"] = {**event["facts"], **facts}
    event["outcome"] = {**event["outcome"], **outcome}
    return orjson.dumps(event)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("dashboards")
    store = connect(ClickHouseSettings(), folder)
    store.migrate()
    source, log = Source(), MemoryLog()
    denied = {"verdict": "deny", "policies": ["no-drops"], "bundle": "b", "risk": 80, "approval_id": ""}
    asked = requested("appr_1", START, seconds=10 * 365 * 86_400)
    lines = [
        *(source.query() for _ in range(30)),
        changed(source, decision=denied, outcome={"status": "denied"}, facts={"dangers": ["schema_change"]}),
        changed(source, exposure={"email": 12, "iban": 3}),
        source.event("AuthenticationFailed", {"reason": "unknown_token"}),
        source.event("ApprovalRequested", body(asked)),
    ]
    log.append(EVENTS.name, [record(source.seal(lines))])
    archive = Archive(folder / "archive")
    runtime = EmbeddedRuntime(log, store, archive, folder / "pipeline.db", lambda: source.now)
    while runtime.step():
        pass
    runtime.close()
    archive.close()
    store.client.command(f"USE {store.database}")
    yield store
    store.close()


def expanded(sql: str) -> str:
    """As the plugin sends it, for an hour on both sides of the events and all values of the variables."""
    start, end = START // 1_000_000 - 3600, START // 1_000_000 + 3600
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({start}) AND \1 <= toDateTime({end})", sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)", sql)
    sql = sql.replace("${database:singlequote}", "'shop'").replace("${source:singlequote}", "'proxy/0'")
    assert "$" not in sql, f"something is not replaced: {sql}"
    return sql


@pytest.mark.parametrize(("name", "panel", "sql"), SQL, ids=[name for name, _, _ in SQL])
def test_every_sql_answers(store: Store, name: str, panel: dict[str, Any], sql: str) -> None:
    result = store.client.query(expanded(sql))
    assert result.result_rows, "a panel that stays empty whatever happens"
    if panel["type"] == "timeseries":
        assert result.column_names[0] == "time"
    if panel["type"] == "stat":
        ((value,),) = result.result_rows
        expected = {"Statements": 32, "Stopped": 1, "Logins refused": 1, "Waiting for approval": 1, "Principals": 3}
        assert value == expected.get(panel["title"], 0)


@pytest.mark.parametrize("name,variable", [v for v in VARIABLES if v[1]["datasource"] == CLICKHOUSE], ids=lambda v: str(v)[:12])
def test_every_variable_has_values(store: Store, name: str, variable: dict[str, Any]) -> None:
    assert store.client.query(expanded(variable["query"])).result_rows == [({"database": "shop", "source": "proxy/0"}[name],)]


# --- Prometheus -------------------------------------------------------------------------------------------------------


def series() -> list[dict[str, str]]:
    """What Prometheus would have scraped from all of our endpoints: every sample, growing."""
    found = []
    for job, page in pages().items():
        for family in text_string_to_metric_families(page.decode()):
            for sample in family.samples:
                labels = {"job": job, "instance": "one", **sample.labels}
                text = ",".join(f'{k}="{v}"' for k, v in labels.items())
                found.append({"series": f"{sample.name}{{{text}}}", "values": "1+3x60"})
    return found


def substituted(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


def tried(folder: Path, expressions: list[str], samples: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
    """Have promtool evaluate each expression: an alert that fires if anything comes of it."""
    rules = [{"alert": f"Panel{n}", "expr": f"count({substituted(e)}) > 0"} for n, e in enumerate(expressions)]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    wanted = [
        {"eval_time": "30m", "alertname": r["alert"], "exp_alerts": [{"exp_labels": {}, "exp_annotations": {}}]} for r in rules
    ]
    test = {"interval": "1m", "input_series": samples, "alert_rule_test": wanted}
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    command = [promtool(), "test", "rules", str(folder / "test.yaml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_promql_finds_something_in_what_we_expose(tmp_path: Path) -> None:
    done = tried(tmp_path, [expression for _, expression in PROMQL], series())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wrong", ["sum(rate(affidavit_proxy_statement_total[5m]))", 'affidavit_proxy_up{worker="7"}', "sum(("])
def test_a_name_a_label_or_a_syntax_that_is_wrong_is_found(tmp_path: Path, wrong: str) -> None:
    assert tried(tmp_path, [PROMQL[0][1], wrong], series()).returncode != 0
