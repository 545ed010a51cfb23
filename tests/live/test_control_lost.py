"""A proxy that cannot read the control topic lets nobody in: a suspension or a revocation could stand there."""

from __future__ import annotations

import psycopg
import pytest

from deploy.layout import DataDir
from tests.support.affidavit import Proxy
from tests.support.ports import wait_for
from tests.support.postgres import Postgres


@pytest.mark.embedded_log("its file is spoilt; test_kafka_shipping.py has a broker that is away")
def test_nobody_logs_in_until_the_topic_was_read_once(pg: Postgres) -> None:
    running = Proxy(pg)
    log = DataDir(running.data_dir).log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"this is no database " * 300)
    try:
        running.start()
        to = running.app("lena")
        with pytest.raises(psycopg.OperationalError, match="who is suspended cannot be told"):
            psycopg.connect(**to)
        log.unlink()

        def let_in() -> bool:
            try:
                psycopg.connect(**to).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_for(let_in, "logins once the topic can be read")
        refused = running.trail.of_type("AuthenticationFailed")
        assert {e["reason"] for e in refused} == {"control_unknown"}
    finally:
        running.kill()
        running.remove()
