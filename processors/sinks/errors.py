"""What went wrong between us and ClickHouse: does it pass by itself, and if not, which setting is it?

The driver raises its own types; behind a lost connection stand urllib3's and the system's. `refined` makes one of ours of each:
StoreUnavailableError for what may succeed later, StoreError for what will not until a person changes something. A wrong password
or certificate is of the second kind: repeating it for ever would only hide it.
"""

from __future__ import annotations

import re
import ssl

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from schemas.config import ClickHouseSettings


class StoreError(Exception):
    """The store refused for good: retrying the same thing does not help."""


class StoreUnavailableError(StoreError):
    """The store is out of reach, overloaded or out of space: the same call may succeed later."""


class MigrationError(Exception):
    """The store's schema and the migration files do not fit together; the message says which and what to do."""


class StoreLockedError(StoreError):
    """Another process owns the chDB folder."""


# Server-side errors that pass: memory or too many queries/parts, disk, network, timeouts, read-only, Keeper, shutting down.
TRANSIENT = frozenset({159, 164, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 319, 394, 425, 439, 745, 999})

NOT_DONE = frozenset({201, 202, 203, 252, 745})
"""Of these, the ones a server answers before it does anything."""

_LOGIN = frozenset({192, 193, 194, 516})
_RIGHTS = frozenset({164, 291, 497})
_NAMES = {
    81: "there is no such database; check clickhouse.database, or make it: `affidavit migrate`",
    60: "there is no such table; make the tables: `affidavit migrate`",
    701: "the server knows no such cluster; check clickhouse.cluster against its remote_servers",
    139: "the server has no such macro; the replicated profile needs {shard} and {replica} in its macros",
}
_STATUS = re.compile(r"HTTP status (\d{3})")


def refined(error: BaseException, doing: str, settings: ClickHouseSettings) -> StoreError:
    """Return our error for the driver's, saying what was being done and, where it can be known, which setting to look at."""
    said = _said(error)
    code = getattr(error, "code", None)
    if code in _LOGIN:
        return StoreError(
            f"{doing}: ClickHouse at {place(settings)} refuses the login of {settings.user!r} (code {code}); check "
            "clickhouse.user and its password (clickhouse.password_env, password_file), or the certificate (clickhouse.cert_file)"
        )
    if code in _RIGHTS and code not in TRANSIENT:
        return StoreError(f"{doing}: {said}; clickhouse.user lacks a right: `affidavit migrate --users` prints who needs which")
    if code in _NAMES:
        return StoreError(f"{doing}: {_NAMES[code]} ({said})")
    if code is not None:
        passes = code in TRANSIENT or "No space left" in said
        return (StoreUnavailableError if passes else StoreError)(f"{doing}: {said}")
    if (untrusted := _cause(error, ssl.SSLError)) is not None:
        return _of_tls(untrusted, doing, settings)
    if isinstance(error, OperationalError | OSError):
        return StoreUnavailableError(f"{doing}: ClickHouse at {place(settings)} is out of reach: {said}; {_remedy(said)}")
    if isinstance(error, ClickHouseError):
        status = _STATUS.search(said)
        if status is None or status[1].startswith("5"):
            return StoreUnavailableError(f"{doing}: {said}") if status else StoreError(f"{doing}: {said}")
        return StoreError(
            f"{doing}: what answers at {place(settings)} is no ClickHouse, or something stands before it ({status[0]}); "
            "check clickhouse.interface, clickhouse.host and clickhouse.port"
        )
    return StoreUnavailableError(f"{doing}: {type(error).__name__}: {said}")


def place(settings: ClickHouseSettings) -> str:
    """Where a server is, as a message says it."""
    return f"{settings.interface}://{settings.host}:{settings.effective_port}"


def was_not_done(error: BaseException) -> bool:
    """Whether it is certain that an insert was not done: no connection was made, or the server (or a proxy before it) said so."""
    if getattr(error, "code", None) in NOT_DONE:
        return True
    said = str(error)
    if (status := _STATUS.search(said)) is not None:
        return status[1] == "429"  # not 503: some proxies say so when a server ends in the middle of a request
    return any(name in said for name in ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError"))


_NOISE = re.compile(
    r" with url: \S+| executing HTTP request attempt \d+ \(\S+\)| \(for url \S+\)"
    r"|Received ClickHouse exception, code: \d+, server response: "
)


def _said(error: BaseException) -> str:
    return " ".join(_NOISE.sub("", str(error)).split())[:1000]


def _of_tls(error: BaseException, doing: str, settings: ClickHouseSettings) -> StoreError:
    said = " ".join(str(error).split())
    where = place(settings)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        why = "its certificate is not from clickhouse.ca_file, or not for clickhouse.host"
    elif "WRONG_VERSION_NUMBER" in said or "record layer failure" in said:
        why = "it does not speak TLS there; check clickhouse.port, or set clickhouse.interface to http"
    elif "ALERT" in said.upper():
        why = "it refuses our certificate; check clickhouse.cert_file and clickhouse.key_file"
    elif isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        hint = (
            "; perhaps it refuses our certificate: check clickhouse.cert_file and clickhouse.key_file"
            if settings.cert_file
            else ""
        )
        return StoreUnavailableError(f"{doing}: ClickHouse at {where} ended the TLS connection{hint} ({said[:300]})")
    else:
        why = "check clickhouse.ca_file, clickhouse.cert_file and clickhouse.key_file"
    return StoreError(f"{doing}: no trusted connection to {where}: {why} ({said[:300]})")


def _cause(error: BaseException | None, wanted: type[BaseException]) -> BaseException | None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, wanted):
            return error
        inner = (getattr(error, "reason", None), *error.args)  # where urllib3 keeps what it wraps
        error = next((e for e in inner if isinstance(e, BaseException)), None) or error.__cause__ or error.__context__
    return None


def _remedy(said: str) -> str:
    if "NameResolutionError" in said or "getaddrinfo" in said:
        return "no such host is known: check clickhouse.host"
    if "refused" in said:
        return "nothing listens there: check that it runs, and clickhouse.host and clickhouse.port"
    if "ConnectTimeoutError" in said:
        return "no answer to the connection: a firewall, or the wrong clickhouse.host?"
    if "Read timed out" in said:
        return "it did not answer within clickhouse.timeout_seconds"
    return "check `clickhouse` in the configuration, and the server's own log"
