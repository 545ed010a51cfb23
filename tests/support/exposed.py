"""Every metric we have, as its own code exposes it: what the manual, rules and dashboards are held to."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from deploy.proxy_metrics import COUNTS, ProxyCollector
from processors.runtimes.embedded import Status
from processors.runtimes.metrics import exposition
from processors.runtimes.work import Timings
from query_api.metrics import Metrics
from schemas.latencies import WAIT_US, WORK_US, Latencies
from schemas.proxy_status import ProxyStatus


class Told:
    """Workers that say what they are given."""

    def __init__(self, *answers: ProxyStatus | None) -> None:
        self._answers = list(answers)

    def answers(self) -> list[ProxyStatus | None]:
        return self._answers


def proxy_status(**counts: float) -> ProxyStatus:
    """What a worker may say, as it arrives."""
    timed = {name: Latencies(WAIT_US) for name in ("seal", "ship", "upstream_login")}
    timed |= {name: Latencies(WORK_US) for name in ("decision", "loop_lag")}
    timed["decision"].observe(30)
    timed["decision"].observe(999_999)
    numbers = {name: latencies.numbers() for name, latencies in timed.items()}
    return ProxyStatus.decode(ProxyStatus((), counts, {"unknown_token": 2}, numbers, "0.1.0", True).encode())


def full_proxy_status() -> ProxyStatus:
    """What a worker says, nothing left out."""
    return proxy_status(**{path: 1.0 for path, _, _ in COUNTS})


def proxies(*answers: ProxyStatus | None) -> CollectorRegistry:
    """The registry of `proxy.metrics_listen`."""
    registry = CollectorRegistry()
    registry.register(ProxyCollector(Told(*answers)))  # type: ignore[arg-type]
    return registry


def node_status(**pipeline: int) -> dict[str, object]:
    """What the node says of itself."""
    numbers = {**Status().as_dict(), **pipeline, "latencies": Timings().numbers()}
    return {"ready": True, "problems": [], "pipeline": numbers, "notifications": {"sent": 0, "failed": 0}}


def worker_page(lag: dict[int, int], timings: Timings | None = None) -> bytes:
    """The page of `process.listen`."""
    names = ("blocks", "events", "repeats", "rejected", "gaps", "batches", "retries", "activity", "principals")
    counts = dict.fromkeys((*names, "activity_repeats", "activity_unreadable", "activity_retries"), 3)
    status = {"ready": True, "assigned": sorted(lag), **counts, "latencies": (timings or Timings()).numbers()}
    return exposition(status, lag, lag)


def node_page() -> bytes:
    """The page of the API's `/metrics`, after one request."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, node_status)
    metrics.requests.labels("GET", "/api/v1/events", "200").inc()
    metrics.seconds.labels("/api/v1/events").observe(0.01)
    return generate_latest(registry)


def pages() -> dict[str, bytes]:
    """Every page, by the job that a scrape would name it."""
    proxy = generate_latest(proxies(full_proxy_status()))
    return {"affidavit-proxy": proxy, "affidavit-process": worker_page({0: 1, 1: 2}), "affidavit-node": node_page()}
