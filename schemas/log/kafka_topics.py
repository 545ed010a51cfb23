"""Are the topics in Kafka as `schemas.topics` wants them? Makes the missing ones; says what differs in the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from schemas.config import KafkaSettings
from schemas.log import LogUnavailableError
from schemas.log.kafka_client import Telling, made, properties, sliced
from schemas.topics import TOPICS, Topic


@dataclass(frozen=True, slots=True)
class Found:
    """One topic: `made` since we looked, or there already, with what `differs` from what it should be (one sentence each)."""

    name: str
    partitions: int
    made: bool
    differs: tuple[str, ...] = ()


def wanted(topic: Topic, settings: KafkaSettings) -> dict[str, str]:
    """Return the properties a topic is made with; a write needs a majority of the copies, so that no single broker holds it."""
    return {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(settings.max_message_bytes),
        "min.insync.replicas": str(settings.replication // 2 + 1 if settings.replication > 2 else 1),
    }


def ensure(settings: KafkaSettings, topics: Sequence[Topic] = TOPICS, make: bool = True) -> list[Found]:
    """Make the topics that are missing (or only name them) and check the others. Raises LogError and LogUnavailableError."""
    telling = Telling(settings)
    admin: AdminClient = made(lambda: AdminClient(properties(settings, telling)), telling)
    what, seconds = "cannot list its topics", settings.timeout_seconds
    there = sliced(lambda t: admin.list_topics(timeout=t).topics, lambda: admin.poll(0), telling, what, seconds)
    found: list[Found] = []
    for topic in topics:
        name, properties_wanted = settings.topic_prefix + topic.name, wanted(topic, settings)
        try:
            if name not in there and not make:
                found.append(Found(name, 0, made=False, differs=("is missing",)))
            elif name not in there:
                new = NewTopic(name, topic.partitions, settings.replication, config=properties_wanted)
                admin.create_topics([new], operation_timeout=seconds, request_timeout=seconds)[name].result()
                found.append(Found(name, topic.partitions, made=True))
            else:
                resource = ConfigResource(ConfigResource.Type.TOPIC, name)
                config = admin.describe_configs([resource], request_timeout=seconds)[resource].result()
                found.append(_check(topic, name, there[name].partitions, config, settings))
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # the client's own repeat, or another of us, was faster
                found.append(Found(name, topic.partitions, made=True))
                continue
            raise telling.word(error.args[0], f"cannot make or check {name} with {settings.replication} copies") from None
    _await(admin, {topic.name for topic in found if topic.made}, telling, seconds)
    return found


def _await(admin: AdminClient, names: set[str], telling: Telling, seconds: float) -> None:
    """Wait until the broker that answers us lists the topics: brokers hear from the controller one after the other."""
    deadline = time.monotonic() + seconds
    while True:
        there = sliced(
            lambda t: admin.list_topics(timeout=t).topics, lambda: admin.poll(0), telling, "cannot list its topics", seconds
        )
        missing = names - there.keys()
        if not missing:
            return
        if time.monotonic() > deadline:
            raise LogUnavailableError(f"{telling.where} made {', '.join(sorted(missing))}, but lists none such yet; call again")
        time.sleep(0.1)


def _check(topic: Topic, name: str, partitions: dict[int, Any], config: dict[str, Any], settings: KafkaSettings) -> Found:
    differs = []
    if len(partitions) != topic.partitions:
        differs.append(f"has {len(partitions)} partitions, not {topic.partitions}")
    copies = {len(p.replicas) for p in partitions.values()}
    if copies != {settings.replication}:
        differs.append(f"has {min(copies)} copies, not {settings.replication}")
    for key, value in wanted(topic, settings).items():
        if config[key].value != value:
            differs.append(f"{key} is {config[key].value}, not {value}")
    return Found(name, len(partitions), made=False, differs=tuple(differs))
