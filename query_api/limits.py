"""Every limit of the API in one place, with its reason; docs/api.md lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults fit one machine. A limit passed is an error that names it, never a silently shorter answer."""

    page_default: int = 100
    page_max: int = 1000  # a page of full events is about 2 MB at most texts' length
    query_seconds: int = 10  # ClickHouse max_execution_time: a search that takes longer wants a narrower time range
    query_memory_bytes: int = 2 * 1024**3  # ClickHouse max_memory_usage for one search
    query_threads: int = 2  # ClickHouse max_threads: searches leave cores to the pipeline
    queue_seconds: float = 5.0  # how long a search waits for a free client before 503
    reads_per_principal: int = 4  # searches of one principal at the same time before 429
    streams: int = 32  # live tails at the same time: each polls the store
    stream_batch: int = 200  # events of one poll: all that is ever buffered for one live tail
    stream_threads: int = 4  # threads all live tails share to read the store
    stream_poll_seconds: float = 0.5
    stream_settle_us: int = 500_000  # rows younger than this may still have older ones committing beside them
    stream_lookback_us: int = 3600 * 10**6  # how far back a tailed event may have started, and a resume may reach
    stream_heartbeat_seconds: float = 15.0  # below the idle limits of usual proxies
    stream_recheck_seconds: float = 30.0  # how soon a revoked token ends its live tail
    login_bytes: int = 32 * 1024
    login_failures_per_minute: int = 10  # by client address
    decision_bytes: int = 16 * 1024  # body of a decision: two words and a reason
    browser_sessions: int = 1000
    browser_session_seconds: int = 8 * 3600
    signed_on_seconds: int = 3600  # of a login at a provider: whom that stops, or takes out of a group, is out within the hour
    histogram_buckets: int = 90
    top_values: int = 8
    texts_bytes: int = 8 * 1024**2  # a long text given with one event
