"""What a worker of `affidavit process` shows Prometheus: its status, lag by partition, and how long batches took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from schemas.latencies import Latencies

PREFIX = "affidavit_process_"
_COUNTERS = {
    "blocks": "Blocks projected",
    "events": "Events projected",
    "repeats": "Blocks delivered again and left out",
    "rejected": "Blocks set aside in affidavit.dlq",
    "gaps": "Gaps found in sources' chains",
    "batches": "Batches taken through",
    "activity": "Records of activity folded into principals' states",
    "activity_repeats": "Records of activity that were counted before",
    "activity_unreadable": "Records of activity that could not be read: their counts are lost",
    "activity_retries": "Times that activity had to wait for log or store",
    "retries": "Batches that had to wait for log, store or archive",
}
_LATENCIES = {
    "archive": "Appending a batch's blocks to the archive",
    "insert": "Inserting a batch's rows into ClickHouse",
    "projection": "From the sealing of a batch's oldest block to its rows in ClickHouse",
}


class WorkerCollector:
    """One look at one worker."""

    def __init__(self, status: Mapping[str, Any], lag: Mapping[int, int], activity_lag: Mapping[int, int]) -> None:
        self._status, self._lag, self._activity_lag = status, lag, activity_lag

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of docs/metrics.md, section Workers."""
        status = self._status
        yield GaugeMetricFamily(PREFIX + "ready", "1 while batches get through", value=float(status["ready"]))
        yield GaugeMetricFamily(PREFIX + "partitions", "Partitions that are this worker's", value=len(status["assigned"]))
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}{name}_total", text, value=status[name])
        lag = GaugeMetricFamily(
            PREFIX + "lag_blocks", "Blocks of a partition that are not in the store yet", labels=["partition"]
        )
        for partition, blocks in sorted(self._lag.items()):
            lag.add_metric([str(partition)], blocks)
        yield lag
        waiting = GaugeMetricFamily(
            PREFIX + "activity_lag_records", "Records of activity that are not in principals' states yet", labels=["partition"]
        )
        for partition, records in sorted(self._activity_lag.items()):
            waiting.add_metric([str(partition)], records)
        yield waiting
        yield GaugeMetricFamily(PREFIX + "principals", "Principals whose state this worker holds", value=status["principals"])
        for name, text in _LATENCIES.items():
            seen = Latencies()
            seen.load(status["latencies"][name])
            yield HistogramMetricFamily(f"{PREFIX}{name}_seconds", text, buckets=seen.cumulative(), sum_value=seen.total_us / 1e6)


def exposition(status: Mapping[str, Any], lag: Mapping[int, int], activity_lag: Mapping[int, int]) -> bytes:
    """Return the page."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(status, lag, activity_lag))
    return generate_latest(registry)
