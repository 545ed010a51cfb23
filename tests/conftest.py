"""Servers shared by the whole run. Everything a test starts itself lives in tests/support."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

from tests.support import affidavit, clients, kafka_jars, log_under_test, postgres  # noqa: E402 - assertions in support explain themselves as well
from tests.support import kafka as kafka_cluster  # noqa: E402

settings.register_profile("affidavit", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("affidavit")


@pytest.fixture(scope="session")
def pg() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server that logs every statement it runs; TLS where the server was built with it."""
    with postgres.running({"max_connections": "200"}, tls=postgres.can_tls()) as server:
        yield server


@pytest.fixture(scope="session")
def proxy(pg: postgres.Postgres) -> Iterator[affidavit.Proxy]:
    """One proxy worker in front of `pg`; tests tell their events apart by application name."""
    with affidavit.proxy(pg) as running:
        yield running


@pytest.fixture(scope="session")
def compare(pg: postgres.Postgres, proxy: affidavit.Proxy) -> clients.Comparison:
    """Run a scenario directly and through the proxy: see tests.support.clients."""
    return clients.Comparison(pg, proxy)


@pytest.fixture(scope="session")
def kafka() -> Iterator[kafka_cluster.Kafka]:
    """A Kafka of one node; tests keep to topics of their own. Skips, with the reason, where Kafka cannot be had."""
    if reason := kafka_jars.missing():
        pytest.skip(reason)
    with kafka_cluster.running() as cluster:
        yield cluster


@pytest.fixture(scope="session", autouse=True)
def _log_under_test(request: pytest.FixtureRequest) -> None:
    """Start the broker for all, where the run's switch asks for it; see tests.support.log_under_test."""
    if log_under_test.kind() != "embedded":
        if reason := kafka_jars.missing():
            pytest.exit(
                f"{log_under_test.VARIABLE}={log_under_test.kind()}: {reason}", 4
            )  # asked for: to skip everything would look like success
        log_under_test.use(request.getfixturevalue("kafka"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is about the embedded log, or the pipeline within `up`, where the run is on another one."""
    kind = log_under_test.kind()
    for name, replaced in (("embedded_log", kind != "embedded"), ("embedded_pipeline", kind == "faust")):
        for item in items if replaced else ():
            if marker := item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"about the {name.replace('_', ' ')}: {marker.args[0]}"))
