"""What a proxy worker says of itself to its supervisor, which gathers its workers for `/metrics` and `/readyz`.

Counts are since the worker started, the rest is as of now; nothing in it names a principal, a statement or a client. Worker and
supervisor are of one version, since one starts the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

MAX_BYTES = 64 * 1024
"""What a supervisor reads of one worker: some 3 KiB as it is."""


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One worker. `latencies` are the numbers of `schemas.latencies.Latencies` by name; `problems` say why it is not ready.

    `compiled`: whether it runs the hot modules compiled to C.
    """

    problems: tuple[str, ...]
    counts: Mapping[str, float]
    logins_refused: Mapping[str, int]
    latencies: Mapping[str, tuple[int, ...]]
    version: str
    compiled: bool

    def encode(self) -> bytes:
        """Return the bytes that travel."""
        return orjson.dumps(self)

    @classmethod
    def decode(cls, data: bytes) -> ProxyStatus:
        """Read them. Raises ValueError."""
        value = orjson.loads(data)
        try:
            latencies = {name: tuple(numbers) for name, numbers in value["latencies"].items()}
            counts, refused = dict(value["counts"]), dict(value["logins_refused"])
            return cls(tuple(value["problems"]), counts, refused, latencies, str(value["version"]), bool(value["compiled"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the status of a worker: {error}") from None


def status_socket(index: int) -> str:
    """Return the name, in the run folder, of the socket where worker `index` says it."""
    return f"status-{index}.sock"
