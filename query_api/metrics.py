"""What the API measures of itself, in a registry of its own app, and how the node's status appears beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from schemas.latencies import Latencies


class Metrics:
    """The counters; labels are route templates, never paths or principals, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry, status: Callable[[], Mapping[str, Any]]) -> None:
        self.registry = registry
        self.requests = Counter("affidavit_api_requests", "Requests answered", ["method", "route", "status"], registry=registry)
        self.seconds = Histogram(
            "affidavit_api_request_seconds",
            "Time to the response's first byte",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.streams = Gauge("affidavit_api_streams", "Live tails open", registry=registry)
        self.streamed = Counter("affidavit_api_streamed_events", "Events sent to live tails", registry=registry)
        registry.register(_StatusCollector(status))


class Kind(StrEnum):
    """What Prometheus may do with a number: take its rate, or take it as it is."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class StatusMetric:
    """One number of the status: where it stands, the metric it becomes, and what one of the status's units is in the metric's."""

    path: str
    name: str
    kind: Kind
    text: str
    unit: float = 1.0


_G, _C = Kind.GAUGE, Kind.COUNTER
STATUS_METRICS = (
    StatusMetric("ready", "affidavit_node_ready", _G, "1 while pipeline and spool have no problem"),
    StatusMetric("pipeline.ready", "affidavit_pipeline_ready", _G, "1 while batches get through"),
    StatusMetric("pipeline.lag", "affidavit_pipeline_lag_blocks", _G, "Blocks in the log that are not yet in the store"),
    StatusMetric("pipeline.next_offset", "affidavit_pipeline_next_offset", _G, "Next offset to read, summed over partitions"),
    StatusMetric("pipeline.end_offset", "affidavit_pipeline_end_offset", _G, "End of the log, summed over partitions"),
    StatusMetric("pipeline.blocks", "affidavit_pipeline_blocks_total", _C, "Blocks projected"),
    StatusMetric("pipeline.events", "affidavit_pipeline_events_total", _C, "Events projected"),
    StatusMetric("pipeline.repeats", "affidavit_pipeline_repeated_blocks_total", _C, "Blocks delivered again and left out"),
    StatusMetric(
        "pipeline.dlq",
        "affidavit_pipeline_rejected_blocks",
        _G,
        "Blocks set aside in affidavit.dlq since the last pipeline resume",
    ),
    StatusMetric("pipeline.gaps", "affidavit_pipeline_gaps_total", _C, "Gaps found in sources' chains"),
    StatusMetric("pipeline.missing_blocks", "affidavit_pipeline_missing_blocks", _G, "Blocks still missing in them"),
    StatusMetric(
        "pipeline.unreadable",
        "affidavit_pipeline_unreadable_events_total",
        _C,
        "Events that could not be read and are kept as their line",
    ),
    StatusMetric(
        "pipeline.activity", "affidavit_pipeline_activity_total", _C, "Records of activity folded into principals' states"
    ),
    StatusMetric(
        "pipeline.activity_repeats",
        "affidavit_pipeline_activity_repeats_total",
        _C,
        "Records of activity that were counted before",
    ),
    StatusMetric(
        "pipeline.activity_unreadable",
        "affidavit_pipeline_activity_unreadable_total",
        _C,
        "Records of activity that could not be read: their counts are lost",
    ),
    StatusMetric(
        "pipeline.activity_lag", "affidavit_pipeline_activity_lag_records", _G, "Records of activity that are not in them yet"
    ),
    StatusMetric(
        "pipeline.activity_next", "affidavit_pipeline_activity_next_offset", _G, "Next of them to read, summed over partitions"
    ),
    StatusMetric("pipeline.batches", "affidavit_pipeline_batches_total", _C, "Batches taken through"),
    StatusMetric(
        "pipeline.retries", "affidavit_pipeline_retries_total", _C, "Batches that had to wait for log, store or archive"
    ),
    StatusMetric(
        "pipeline.last_latency_us",
        "affidavit_pipeline_latency_seconds",
        _G,
        "From the sealing of the newest batch's oldest block to its rows in the store",
        1e-6,
    ),
    StatusMetric(
        "pipeline.last_batch_at", "affidavit_pipeline_last_batch_timestamp_seconds", _G, "Time of the newest batch", 1e-6
    ),
    StatusMetric("notifications.sent", "affidavit_notifications_sent_total", _C, "Messages to approvers that were taken"),
    StatusMetric("notifications.failed", "affidavit_notifications_failed_total", _C, "Attempts at one that was not taken"),
)
"""Every number of the node's status; a test holds this list to the embedded runtime's, and docs/api.md to both."""


LATENCIES = {
    "archive": "Appending a batch's blocks to the archive",
    "insert": "Inserting a batch's rows into the store",
    "projection": "From the sealing of a batch's oldest block to its rows in the store",
}
"""How long batches took, by the runtime's names."""


class _StatusCollector:
    """The numbers of status() under names of their own; what a status lacks is left out."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def describe(self) -> Iterator[Metric]:
        """Say nothing ahead: registering must not ask for a status that is not there yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        numbers = dict(status_numbers(status))
        for metric in STATUS_METRICS:
            if metric.path in numbers:
                family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
                yield family(metric.name, metric.text, value=numbers[metric.path] * metric.unit)
        for name, observed in self._latencies(status).items():
            seen = Latencies()
            seen.load(observed)
            name, text = f"affidavit_pipeline_{name}_seconds", LATENCIES[name]
            yield HistogramMetricFamily(name, text, buckets=seen.cumulative(), sum_value=seen.total_us / 1e6)

    @staticmethod
    def _latencies(status: Mapping[str, Any]) -> Mapping[str, Sequence[int]]:
        found: Mapping[str, Sequence[int]] = status.get("pipeline", {}).get("latencies", {})
        return found


def status_numbers(status: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the dotted path and value of every number and boolean of a status."""
    for name, value in status.items():
        if isinstance(value, Mapping):
            yield from status_numbers(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{name}", float(value)
