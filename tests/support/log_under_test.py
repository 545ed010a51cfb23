"""Which log do the tests run on? The embedded one, or with `AFFIDAVIT_TEST_LOG=kafka` topics on a broker for the whole run.

One switch for every test that runs Affidavit's own processes and names no log itself. Tests about the embedded log's file are
marked `embedded_log` and skip then. With `AFFIDAVIT_TEST_LOG=faust` the log is Kafka as well, and whole machines have a worker
of `affidavit process` and a ClickHouse server in the place of `up`'s pipeline (`tests.support.pipeline_under_test`); tests about
that pipeline are marked `embedded_pipeline`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from deploy.layout import DataDir
from schemas.config import Durability, KafkaSettings, LogSettings
from schemas.log.kafka_topics import ensure
from schemas.log.place import LogPlace
from schemas.topics import TOPICS
from tests.support.kafka import Kafka

VARIABLE = "AFFIDAVIT_TEST_LOG"
KINDS = ("embedded", "kafka", "faust")
_PREFIX = "log-under-test-"
_numbers = itertools.count(1)
_cluster: list[Kafka] = []


def kind() -> str:
    """Return the log asked for. Raises ValueError for one there is none of: a typing error must not test the wrong log."""
    asked = os.environ.get(VARIABLE) or "embedded"
    if asked not in KINDS:
        raise ValueError(f"{VARIABLE}={asked!r}: there is {', '.join(KINDS)}")
    return asked


def use(cluster: Kafka) -> None:
    """Have everything started from now on write to this cluster."""
    _cluster[:] = [cluster]


def section() -> dict[str, Any]:
    """Return sections of affidavit.yaml for the log under test, whose topics are made: none for the embedded one."""
    if not _cluster:
        return {}
    settings = _cluster[0].settings(topic_prefix=f"{_PREFIX}{next(_numbers)}.")
    ensure(settings)
    return {"log": Kafka.written(settings)}


def place(settings: Mapping[str, Any], data_dir: Path) -> LogPlace:
    """Return where the log of these settings (sections of affidavit.yaml) and data directory is."""
    return LogPlace.of(LogSettings.model_validate(settings.get("log", {})), DataDir(data_dir).log, Durability.WRITE)


def forget(settings: KafkaSettings | None) -> None:
    """Delete the topics that `section` made; of other settings nothing."""
    if not _cluster or settings is None or not settings.topic_prefix.startswith(_PREFIX):
        return
    admin = AdminClient({"bootstrap.servers": ",".join(settings.bootstrap_servers)})
    for gone in admin.delete_topics([settings.topic_prefix + topic.name for topic in TOPICS]).values():
        gone.exception(30)  # topics left over harm nobody: the broker ends with the run
