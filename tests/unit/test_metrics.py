"""Every number of the runtime's status is a metric with a name and unit of its own; docs/api.md lists each and no other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.spool.status import SealerState
from processors.runtimes.work import Timings
from query_api.metrics import STATUS_METRICS, Kind, Metrics, status_numbers
from schemas.latencies import Latencies
from tests.support.exposed import full_proxy_status, node_status, proxies, proxy_status, worker_page

DOCS = Path(__file__).parents[2] / "docs"
MANUAL = (DOCS / "api.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]


def test_every_number_of_the_embedded_runtime_is_a_metric_and_every_metric_is_one_of_its_numbers() -> None:
    assert {m.path for m in STATUS_METRICS} == {path for path, _ in status_numbers(node_status())}


def test_the_manual_lists_every_metric_and_no_other() -> None:
    registry = CollectorRegistry()
    Metrics(registry, node_status)
    exposed = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    documented = re.findall(r"^\| `(affidavit_\w+)` \|", MANUAL, re.M)
    assert sorted(documented) == sorted(exposed)


def test_names_say_the_unit_and_counters_end_in_total() -> None:
    for metric in STATUS_METRICS:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.name.endswith("_seconds") == (metric.unit != 1), metric.name


def test_values_are_in_seconds_and_what_a_status_lacks_is_left_out() -> None:
    registry = CollectorRegistry()
    status = node_status(last_latency_us=250_000, retries=2)
    Metrics(registry, lambda: status)
    families = {f.name: f for f in text_string_to_metric_families(generate_latest(registry).decode())}
    assert families["affidavit_pipeline_latency_seconds"].samples[0].value == 0.25
    assert families["affidavit_pipeline_retries"].type == "counter"
    assert registry.get_sample_value("affidavit_pipeline_retries_total") == 2
    status.pop("pipeline")
    assert registry.get_sample_value("affidavit_pipeline_retries_total") is None


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_the_manual_lists_every_metric_of_the_proxies_and_no_other() -> None:
    section = (DOCS / "metrics.md").read_text().partition("\n## Proxies\n")[2].partition("\n## ")[0]
    families = list(proxies(full_proxy_status()).collect())
    assert all(f.samples for f in families)
    exposed = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    assert sorted(re.findall(r"^\| `(affidavit_\w+)` \|", section, re.M)) == sorted(exposed)
    assert all(f.documentation in section for f in families)


def test_workers_are_told_apart_and_a_silent_one_is_down() -> None:
    registry = proxies(proxy_status(statements=5), None, proxy_status(statements=7, control_stale_seconds=1.5))
    assert [registry.get_sample_value("affidavit_proxy_up", {"worker": str(n)}) for n in range(3)] == [1, 0, 1]
    assert registry.get_sample_value("affidavit_proxy_statements_total", {"worker": "2"}) == 7
    assert registry.get_sample_value("affidavit_proxy_statements_total", {"worker": "1"}) is None
    assert registry.get_sample_value("affidavit_proxy_control_stale_seconds", {"worker": "0"}) is None
    assert registry.get_sample_value("affidavit_proxy_logins_refused_total", {"worker": "0", "reason": "unknown_token"}) == 2


def test_histograms_are_cumulative_and_in_seconds() -> None:
    registry = proxies(proxy_status())

    def up_to(bound: str) -> float | None:
        return registry.get_sample_value("affidavit_proxy_decision_seconds_bucket", {"worker": "0", "le": bound})

    assert [up_to(b) for b in ("2.5e-05", "5e-05", "0.25", "+Inf")] == [0, 1, 1, 2]
    assert registry.get_sample_value("affidavit_proxy_decision_seconds_sum", {"worker": "0"}) == 1.000029


def test_a_sealers_latencies_come_through_its_page_and_go_on_with_its_successor() -> None:
    seals = Latencies()
    seals.observe(7_000)
    seals.observe(-5)  # the clock was set back
    state = SealerState.decode(SealerState(seals=seals.numbers(), problem="disk").encode())
    assert state is not None
    successor = Latencies()
    successor.load(state.seals)
    successor.observe(99_000_000)
    assert successor.total_us == 99_007_000
    assert [count for _, count in successor.cumulative()] == [1, 1, 1, *[2] * 9, 3]
    assert (state.shipments, state.problem) == ((0,) * len(Latencies().numbers()), "disk")


# --- workers ----------------------------------------------------------------------------------------------------------


def test_the_manual_lists_every_metric_of_the_workers_and_no_other() -> None:
    section = (DOCS / "metrics.md").read_text().partition("\n## Workers\n")[2].partition("\n## ")[0]
    timings = Timings()
    timings.insert.observe(40_000)
    families = {f.name: f for f in text_string_to_metric_families(worker_page({4: 2, 0: 0}, timings).decode())}
    exposed = {f"{f.name}_total" if f.type == "counter" else f.name for f in families.values()}
    assert sorted(re.findall(r"^\| `(affidavit_\w+)` \|", section, re.M)) == sorted(exposed)
    assert all(f.documentation in section for f in families.values())
    assert [s.value for s in families["affidavit_process_lag_blocks"].samples] == [0, 2]
    sums = {s.name: s.value for s in families["affidavit_process_insert_seconds"].samples}
    assert sums["affidavit_process_insert_seconds_sum"] == 0.04
    assert families["affidavit_process_partitions"].samples[0].value == 2
