"""What the API measures of itself, in a registry of its own app, and how the node's status appears beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily


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


class _StatusCollector:
    """Numbers and booleans of status() as `affidavit_node{name="a.b"}`."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("affidavit_node", "Numbers of the node's status", labels=["name"])
        for name, value in _numbers(self._status(), ""):
            family.add_metric([name], value)
        yield family


def _numbers(status: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in status.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{name}", float(value)
