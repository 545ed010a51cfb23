"""How a read reaches ClickHouse: bounded in time, memory and number at once, and failing in words.

A clickhouse-connect client runs one query at a time on chDB (it holds a lock), so a Reader is given one or several clients and
lends each to one read. HTTP clients must be made with `autogenerate_session_id=False`, or their reads would share a session.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from query_api.limits import Limits
from query_api.problems import ProblemError
from schemas.config import ClickHouseSettings

_TOO_EXPENSIVE = {"159": "time", "160": "time", "241": "memory", "307": "bytes", "396": "rows"}
_log = logging.getLogger(__name__)


class Result(Protocol):
    """What clickhouse-connect answers a query with."""

    @property
    def column_names(self) -> Sequence[str]: ...

    @property
    def result_rows(self) -> Sequence[Sequence[Any]]: ...


class Client(Protocol):
    """The part of a clickhouse-connect client that reads."""

    def query(self, query: str, parameters: Mapping[str, Any] | None = ..., settings: dict[str, Any] | None = ...) -> Result: ...


class Reader:
    """Runs parameterised SELECTs. Thread-safe."""

    def __init__(self, clients: Sequence[Client], settings: ClickHouseSettings, limits: Limits) -> None:
        if not clients:
            raise ValueError("a Reader needs at least one client")
        self._free: queue.LifoQueue[Client] = queue.LifoQueue()
        for client in clients:
            self._free.put(client)
        self._limits = limits
        self.database = settings.database
        self._settings = {
            "max_execution_time": limits.query_seconds,
            "max_memory_usage": limits.query_memory_bytes,
            "max_threads": limits.query_threads,
        }
        if settings.cluster is not None:
            self._settings["distributed_product_mode"] = "global"  # a subquery's rows stand on other shards than the query's

    def table(self, name: str) -> str:
        """A table's full name; both parts are ours, never a caller's."""
        return f"{self.database}.{name}"

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows as dictionaries. Raises ProblemError: overloaded, search-too-expensive, store-unavailable."""
        try:
            client = self._free.get(timeout=self._limits.queue_seconds)
        except queue.Empty:
            raise ProblemError("overloaded", "All readers of the store are busy.", headers={"Retry-After": "2"}) from None
        try:
            result = client.query(sql, parameters=dict(parameters or {}), settings=dict(self._settings))
        except ClickHouseError as error:
            raise self._problem(error) from error
        finally:
            self._free.put(client)
        names = result.column_names
        return [dict(zip(names, row, strict=True)) for row in result.result_rows]

    def _problem(self, error: ClickHouseError) -> ProblemError:
        code = str(getattr(error, "code", None) or _code(str(error)))
        if what := _TOO_EXPENSIVE.get(code):
            limit = {
                "time": f"{self._limits.query_seconds} seconds",
                "memory": f"{self._limits.query_memory_bytes // 2**20} MiB of memory",
            }.get(what, f"the allowed {what}")
            return ProblemError(
                "search-too-expensive", f"The search needs more than {limit}. Narrow the time range or add a field."
            )
        _log.error("ClickHouse refused a read", exc_info=error)
        if isinstance(error, OperationalError) or code in ("81", "60", "210", "516", "497"):
            return ProblemError(
                "store-unavailable", "ClickHouse does not answer; see the server's log.", headers={"Retry-After": "5"}
            )
        return ProblemError("internal", "ClickHouse refused the read; the server's log says why.")


def _code(message: str) -> str:
    _, found, rest = message.partition("Code: ")
    return rest.split(".", 1)[0].strip() if found else ""
