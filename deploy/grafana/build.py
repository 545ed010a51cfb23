"""Writes the dashboards beside it: `python -m deploy.grafana.build`. A test holds the files to what this would write.

Three: what happened (ClickHouse), the proxies (Prometheus), the pipeline (both).
"""

from __future__ import annotations

from pathlib import Path

import orjson

from deploy.grafana.panels import CLICKHOUSE, PROMETHEUS, Dashboard, Panel

FOLDER = Path(__file__).parent / "dashboards"

_AT = "$__timeFilter(at) AND database_alias IN (${database:singlequote})"
_STEP = "$__timeInterval(at) AS time"

TRAIL = Dashboard(
    "affidavit-trail",
    "Affidavit: what happened",
    variables=[("database", "Database", CLICKHOUSE, "SELECT DISTINCT database_alias FROM query_events ORDER BY 1")],
    since="now-24h",
    panels=[
        Panel("Statements", "stat", f"SELECT count() FROM query_events WHERE {_AT}", width=4, height=4),
        Panel("Stopped", "stat", f"SELECT countIf(status = 'denied') FROM query_events WHERE {_AT}", width=4,
              height=4, text="Statements that policy kept from the database.", bad=1),
        Panel("Unknown outcomes", "stat", f"SELECT countIf(status = 'unknown') FROM query_events WHERE {_AT}", width=4,
              height=4, text="Sent, and never seen to end: something died. They may or may not have run.", bad=1),
        Panel("Principals", "stat", f"SELECT uniqExact(principal_id) FROM query_events WHERE {_AT}", width=4, height=4),
        Panel("Logins refused", "stat",
              "SELECT count() FROM other_events WHERE type = 'AuthenticationFailed' AND $__timeFilter(at)", width=4, height=4),
        Panel("Waiting for approval", "stat",
              "SELECT countIf(NOT ended AND expires > now64(6)) FROM (SELECT approval_id, max(expires_at) AS expires, "
              "approval_id IN (SELECT approval_id FROM approval_steps WHERE step = 'closed') AS ended "
              "FROM approvals FINAL WHERE $__timeFilter(at) GROUP BY approval_id)", width=4, height=4),
        Panel("Statements by outcome", "timeseries",
              f"SELECT {_STEP}, status, count() AS statements FROM query_events WHERE {_AT} GROUP BY time, status ORDER BY time",
              width=12),
        Panel("Statements by kind of principal", "timeseries",
              f"SELECT {_STEP}, principal_kind, count() AS statements FROM query_events WHERE {_AT} "
              "GROUP BY time, principal_kind ORDER BY time", width=12),
        Panel("Who does most", "table",
              "SELECT principal_id AS principal, principal_kind AS kind, on_behalf_of AS behalf, count() AS statements, "
              "sum(rows_returned) AS rows, countIf(status = 'error') AS errors, countIf(verdict = 'deny') AS denied "
              f"FROM query_events WHERE {_AT} GROUP BY principal, kind, behalf ORDER BY statements DESC LIMIT 20", width=12),
        Panel("Slowest statements", "table",
              "SELECT fingerprint, any(text) AS statement, count() AS times, quantile(0.95)(db_us) / 1000 AS p95_ms, "
              f"max(total_us) / 1000 AS worst_ms FROM query_events WHERE {_AT} "
              "GROUP BY fingerprint ORDER BY p95_ms DESC LIMIT 20", width=12),
        Panel("Dangers seen", "timeseries",
              f"SELECT {_STEP}, arrayJoin(dangers) AS danger, count() AS statements FROM query_events WHERE {_AT} "
              "GROUP BY time, danger ORDER BY time", width=12),
        Panel("Sensitive cells that left the database", "timeseries",
              f"SELECT {_STEP}, class, sum(cells) AS cells FROM (SELECT at, arrayJoin(mapKeys(exposure)) AS class, "
              f"exposure[class] AS cells FROM query_events WHERE {_AT}) GROUP BY time, class ORDER BY time", width=12),
        Panel("Stopped lately", "table",
              "SELECT at, principal_id AS principal, on_behalf_of AS behalf, database_alias AS database, policies, risk, text "
              f"FROM query_events WHERE {_AT} AND verdict IN ('deny', 'hold') ORDER BY at DESC LIMIT 50", width=24),
    ],
)  # fmt: skip

_PROXY = '{instance=~"$instance"}'


def _rate(name: str, by: str = "instance, worker") -> str:
    return f"sum by ({by}) (rate(affidavit_proxy_{name}{_PROXY}[$__rate_interval]))"


def _quantiles(metric: str, selector: str) -> dict[str, str]:
    buckets = f"sum by (le) (rate({metric}_bucket{selector}[$__rate_interval]))"
    return {name: f"histogram_quantile({part}, {buckets})" for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


_EACH = "{{instance}} {{worker}}"
PROXIES = Dashboard(
    "affidavit-proxies",
    "Affidavit: proxies",
    variables=[("instance", "Proxy", PROMETHEUS, "label_values(affidavit_proxy_up, instance)")],
    panels=[
        Panel("Workers that answer", "stat", {"": f"sum(affidavit_proxy_up{_PROXY})"}, width=4, height=4),
        Panel("Workers that do not", "stat", {"": f"count(affidavit_proxy_up{_PROXY}) - sum(affidavit_proxy_up{_PROXY})"},
              width=4, height=4, bad=1),
        Panel("Without a record", "stat",
              {"": f"sum(affidavit_proxy_statements_unaudited_total{_PROXY}) + sum(affidavit_proxy_events_lost_total{_PROXY})"},
              width=4, height=4, bad=1, text="Statements that ran unaudited, and events lost. 0, for ever."),
        Panel("Fullest spool", "stat",
              {"": f"max(affidavit_proxy_spool_bytes{_PROXY} / affidavit_proxy_spool_limit_bytes{_PROXY})"}, "percentunit",
              width=4, height=4, bad=0.5),
        Panel("Sessions", "stat", {"": f"sum(affidavit_proxy_sessions_open{_PROXY})"}, width=4, height=4),
        Panel("Waiting for approval", "stat", {"": f"sum(affidavit_proxy_statements_waiting{_PROXY})"}, width=4, height=4),
        Panel("Statements", "timeseries", {_EACH: _rate("statements_total")}, "ops"),
        Panel("Stopped", "timeseries", {
            "denied": _rate("statements_denied_total", "instance"),
            "held": _rate("statements_held_total", "instance"),
            "not recorded": _rate("statements_refused_total", "instance"),
        }, "ops"),
        Panel("Logins refused", "timeseries", {"{{reason}}": _rate("logins_refused_total", "reason")}, "ops"),
        Panel("Sessions and connections", "timeseries", {
            "sessions": f"sum(affidavit_proxy_sessions_open{_PROXY})",
            "connections": f"sum(affidavit_proxy_connections{_PROXY})",
            "statements under way": f"sum(affidavit_proxy_statements_open{_PROXY})",
        }),
        Panel("Bytes", "timeseries", {
            "from clients": _rate("client_received_bytes_total", "instance"),
            "to clients": _rate("client_sent_bytes_total", "instance"),
        }, "Bps"),
        Panel("Processor time", "timeseries", {_EACH: _rate("cpu_seconds_total")}, "percentunit"),
        Panel("Spool", "timeseries", {_EACH: f"affidavit_proxy_spool_bytes{_PROXY}"}, "bytes",
              text="What the log has not taken. It grows while brokers are away."),
        Panel("Sealing", "timeseries", _quantiles("affidavit_proxy_seal_seconds", _PROXY), "s"),
        Panel("Shipping", "timeseries", _quantiles("affidavit_proxy_ship_seconds", _PROXY), "s"),
        Panel("Statements known again", "timeseries", {
            "texts": f"1 - {_rate('analysis_misses_total', 'instance')} / {_rate('statements_total', 'instance')}",
            "templates": f"1 - {_rate('analysis_parses_total', 'instance')} / {_rate('statements_total', 'instance')}",
        }, "percentunit"),
        Panel("Decisions remembered", "timeseries", {
            "share": f"1 - {_rate('decision_seconds_count', 'instance')} / {_rate('statements_total', 'instance')}",
        }, "percentunit"),
        Panel("Decisions that were not", "timeseries", _quantiles("affidavit_proxy_decision_seconds", _PROXY), "s"),
        Panel("Logging in to databases", "timeseries", _quantiles("affidavit_proxy_upstream_login_seconds", _PROXY), "s"),
        Panel("Event loop late", "timeseries", _quantiles("affidavit_proxy_loop_lag_seconds", _PROXY), "s"),
        Panel("Control topic, age of what is known", "timeseries", {_EACH: f"affidavit_proxy_control_stale_seconds{_PROXY}"},
              "s"),
        Panel("Memory", "timeseries", {
            _EACH: f"affidavit_proxy_resident_bytes{_PROXY}",
            "statement cache {{instance}} {{worker}}": f"affidavit_proxy_analysis_cache_bytes{_PROXY}",
        }, "bytes"),
    ],
)  # fmt: skip

PIPELINE = Dashboard(
    "affidavit-pipeline",
    "Affidavit: pipeline",
    variables=[("source", "Source", CLICKHOUSE, "SELECT DISTINCT source FROM blocks ORDER BY 1")],
    panels=[
        Panel("Workers that get batches through", "stat", {"": "sum(affidavit_process_ready)"}, width=4, height=4),
        Panel("Node ready", "stat", {"": "min(affidavit_node_ready)"}, width=4, height=4),
        Panel("Blocks not in the store yet", "stat",
              {"workers": "sum(affidavit_process_lag_blocks)", "node": "sum(affidavit_pipeline_lag_blocks)"}, width=4, height=4),
        Panel("Rejected blocks", "stat",
              {"workers": "sum(affidavit_process_rejected_total)", "node": "sum(affidavit_pipeline_rejected_blocks)"}, width=4,
              height=4, bad=1),
        Panel("Blocks missing in the chains", "stat",
              "SELECT sum(last - first + 1 - present) FROM (SELECT source, min(number) AS first, max(number) AS last, "
              "uniqExact(number) AS present FROM blocks WHERE source IN (${source:singlequote}) GROUP BY source)", width=4,
              height=4, bad=1, text="Between the first and the last block of each source that the store has."),
        Panel("Events that could not be read", "stat", {"": "sum(affidavit_pipeline_unreadable_events_total)"}, width=4,
              height=4, bad=1),
        Panel("Lag by partition", "timeseries", {
            "{{partition}}": "sum by (partition) (affidavit_process_lag_blocks)",
            "node": "sum(affidavit_pipeline_lag_blocks)",
        }),
        Panel("Events projected", "timeseries", {
            "{{instance}}": "sum by (instance) (rate(affidavit_process_events_total[$__rate_interval]))",
            "node": "sum(rate(affidavit_pipeline_events_total[$__rate_interval]))",
        }, "ops"),
        Panel("Batches that had to wait", "timeseries", {
            "{{instance}}": "sum by (instance) (rate(affidavit_process_retries_total[$__rate_interval]))",
            "node": "sum(rate(affidavit_pipeline_retries_total[$__rate_interval]))",
        }, "ops"),
        Panel("From seal to row, workers", "timeseries", _quantiles("affidavit_process_projection_seconds", ""), "s"),
        Panel("Inserts, workers", "timeseries", _quantiles("affidavit_process_insert_seconds", ""), "s"),
        Panel("Archive, workers", "timeseries", _quantiles("affidavit_process_archive_seconds", ""), "s"),
        Panel("From seal to row, node", "timeseries", _quantiles("affidavit_pipeline_projection_seconds", ""), "s"),
        Panel("Inserts, node", "timeseries", _quantiles("affidavit_pipeline_insert_seconds", ""), "s"),
        Panel("API, first byte", "timeseries", _quantiles("affidavit_api_request_seconds", ""), "s"),
        Panel("API requests", "timeseries",
              {"{{status}}": "sum by (status) (rate(affidavit_api_requests_total[$__rate_interval]))"}, "ops"),
        Panel("Events sealed, by source", "timeseries",
              "SELECT $__timeInterval(sealed_at) AS time, source, sum(count) AS events FROM blocks "
              "WHERE $__timeFilter(sealed_at) AND source IN (${source:singlequote}) GROUP BY time, source ORDER BY time"),
        Panel("From seal to row, as stored", "timeseries",
              "SELECT $__timeInterval(sealed_at) AS time, quantile(0.5)(dateDiff('ms', sealed_at, inserted_at)) AS p50_ms, "
              "quantile(0.99)(dateDiff('ms', sealed_at, inserted_at)) AS p99_ms FROM blocks "
              "WHERE $__timeFilter(sealed_at) AND source IN (${source:singlequote}) GROUP BY time ORDER BY time", "ms"),
        Panel("Sources, and how long they have been silent", "table",
              "SELECT source, max(sealed_at) AS last_block, dateDiff('second', max(sealed_at), now64(6)) AS silent_seconds, "
              "max(number) AS blocks, sum(count) AS events FROM blocks FINAL WHERE source IN (${source:singlequote}) "
              "GROUP BY source ORDER BY silent_seconds DESC", width=24),
    ],
)  # fmt: skip

DASHBOARDS = (TRAIL, PROXIES, PIPELINE)


def written() -> dict[str, bytes]:
    """Return each file's name and content."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {f"{d.uid.removeprefix('affidavit-')}.json": orjson.dumps(d.json(), option=option) for d in DASHBOARDS}


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name, data in written().items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
