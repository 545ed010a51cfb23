"""Every number of the runtime's status is a metric with a name and unit of its own; docs/api.md lists each and no other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from processors.runtimes.embedded import Status
from query_api.metrics import STATUS_METRICS, Kind, Metrics, status_numbers

MANUAL = (Path(__file__).parents[2] / "docs" / "api.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]


def node_status(**pipeline: int) -> dict[str, object]:
    return {"ready": True, "problems": [], "pipeline": {**Status().as_dict(), **pipeline}}


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
