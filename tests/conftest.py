"""Servers shared by the whole run. Everything a test starts itself lives in tests/support."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

from tests.support import affidavit, clients, kafka_jars, postgres  # noqa: E402 - assertions in support explain themselves as well
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
