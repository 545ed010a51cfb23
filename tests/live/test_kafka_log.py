"""What only the log on Kafka must do, on the real broker: partitions by key, logins and TLS, and errors that say what to mend."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.log import LogError, LogUnavailableError, NewRecord
from schemas.log.kafka import KafkaLog
from schemas.topics import EVENTS
from tests.support.certificates import issue
from tests.support.issuer import Issuer, published
from tests.support.kafka import SCRAM_PASSWORD, SCRAM_USER, Kafka, running
from tests.support.ports import free_port, wait_for

LOGIN = {"mechanism": "SCRAM-SHA-512", "username": SCRAM_USER, "password": SCRAM_PASSWORD}


def round_trip(log: KafkaLog, topic: str) -> None:
    log.append(topic, [NewRecord(b"k", b"v")])
    assert log.read(topic, log.end_offset(topic) - 1, 1)[0].value == b"v"
    log.close()


def refused_at_once(log: KafkaLog, words: str) -> None:
    """Writing and reading both say what to mend, long before the deadline, and no secret."""
    for call in (lambda: log.append("t", [NewRecord(b"", b"v")]), lambda: log.end_offset("t")):
        began = time.monotonic()
        with pytest.raises(LogError, match=words) as raised:
            call()
        assert time.monotonic() - began < 10
        assert not isinstance(raised.value, LogUnavailableError)
        assert "wrong-pw" not in str(raised.value)
    log.close()


def test_a_key_has_one_partition_and_each_partition_its_offsets(kafka: Kafka) -> None:
    kafka.make_topics(["spread"], partitions=4)
    log = KafkaLog(kafka.settings())
    assert log.partitions("spread") == 4
    keys = [b"source/%d" % n for n in range(12)]
    for round_ in range(3):
        log.append("spread", [NewRecord(key, b"%d" % round_) for key in keys])
    found = {p: log.read("spread", 0, 100, partition=p) for p in range(4)}
    assert sum(len(records) for records in found.values()) == 36
    assert sum(bool(records) for records in found.values()) > 1, "all keys fell into one partition"
    for p, records in found.items():
        assert [(r.partition, r.offset) for r in records] == [(p, n) for n in range(log.end_offset("spread", p))]
    for key in keys:
        mine = [(p, r.value) for p, records in found.items() for r in records if r.key == key]
        assert [value for _, value in mine] == [b"0", b"1", b"2"]
        assert len({p for p, _ in mine}) == 1
    log.close()


@pytest.mark.parametrize(
    ("listener", "security"),
    [("TLS", {}), ("MUTUAL", {}), ("SCRAM", LOGIN), ("SCRAM", {**LOGIN, "mechanism": "SCRAM-SHA-256"})],
    ids=["tls", "certificate", "scram-512", "scram-256"],
)
def test_secured_listeners_take_who_may(kafka: Kafka, listener: str, security: dict[str, Any]) -> None:
    topic = f"secured-{listener}-{security.get('mechanism', '')}"
    kafka.make_topics([topic])
    if listener == "MUTUAL":
        security = {"cert_file": kafka.client.cert, "key_file": kafka.client.key}
    round_trip(KafkaLog(kafka.settings(listener, security=security)), topic)


@pytest.mark.parametrize("shown", ["none", "another authority's"])
def test_a_client_certificate_the_brokers_do_not_take_is_said_at_once(kafka: Kafka, tmp_path: Path, shown: str) -> None:
    other = issue(tmp_path, "client", client=True, authority="nobody's authority")
    security = {} if shown == "none" else {"cert_file": other.cert, "key_file": other.key}
    refused_at_once(
        KafkaLog(kafka.settings("MUTUAL", security=security)), r"refuse our certificate.*check cert_file and key_file"
    )


def test_oauthbearer_takes_tokens_of_the_issuer_and_no_others(kafka: Kafka) -> None:
    kafka.make_topics(["oauth"])
    secret = kafka.issuer.secrets["affidavit-proxy"]
    login = {"mechanism": "OAUTHBEARER", "username": "affidavit-proxy", "password": secret}
    with published(kafka.issuer) as url:
        right = {**login, "token_url": f"{url}/token"}
        round_trip(KafkaLog(kafka.settings("OAUTH", security=right)), "oauth")
        wrong = KafkaLog(kafka.settings("OAUTH", security={**right, "password": "wrong-pw-66"}))
        refused_at_once(wrong, r"no token for the login.*invalid_client.*check token_url, and the username and password")
    with published(Issuer()) as url:
        forged = KafkaLog(kafka.settings("OAUTH", security={**login, "token_url": f"{url}/token"}))
        refused_at_once(forged, r"login refused.*invalid_token")
    away = KafkaLog(kafka.settings("OAUTH", security=right))
    with pytest.raises(LogUnavailableError, match=r"no token for the login.*check token_url"):
        away.append("oauth", [NewRecord(b"", b"v")])
    away.close()


def test_a_wrong_password_is_said_at_once(kafka: Kafka) -> None:
    log = KafkaLog(kafka.settings("SCRAM", security={**LOGIN, "password": "wrong-pw-55"}))
    refused_at_once(log, r"login refused.*check mechanism, username and password")


def test_a_certificate_of_another_authority_is_said_at_once(kafka: Kafka, tmp_path: Path) -> None:
    log = KafkaLog(kafka.settings("TLS", security={"ca_file": issue(tmp_path).ca}))
    for call in (lambda: log.append("t", [NewRecord(b"", b"v")]), lambda: log.end_offset("t")):
        with pytest.raises(LogError, match=r"verif.*ca_file must hold the authority") as raised:
            call()
        assert not isinstance(raised.value, LogUnavailableError)
    log.close()


def test_a_file_that_is_no_certificate_is_said_when_opening(kafka: Kafka, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(LogError, match="cannot be used as configured"):
        KafkaLog(kafka.settings("TLS", security={"ca_file": tmp_path / "no.pem"}))


def test_a_broker_out_of_reach_is_unavailable_within_the_deadline(kafka: Kafka) -> None:
    log = KafkaLog(kafka.settings(bootstrap_servers=[f"127.0.0.1:{free_port()}"], timeout_seconds=2))
    for call in (lambda: log.append("t", [NewRecord(b"", b"v")]), lambda: log.end_offset("t")):
        began = time.monotonic()
        with pytest.raises(LogUnavailableError, match=r"Kafka at 127\.0\.0\.1:\d+ .*[Rr]efused.*can be repeated"):
            call()
        assert time.monotonic() - began < 6
    log.close()


def test_an_unknown_topic_names_the_remedy(kafka: Kafka) -> None:
    log = KafkaLog(kafka.settings())
    for call in (
        lambda: log.append("unmade", [NewRecord(b"", b"v")]),
        lambda: log.read("unmade", 0, 1),
        lambda: log.partitions("unmade"),
    ):
        with pytest.raises(LogError, match=r"unmade.*no such topic.*make the topics"):
            call()
    log.close()


def test_a_record_too_large_is_refused_by_us_or_by_the_broker_and_the_log_goes_on(kafka: Kafka) -> None:
    kafka.make_topics(["large"], config={"max.message.bytes": "100000"})
    log = KafkaLog(kafka.settings(max_message_bytes=2 * 1024**2))
    noise = b"".join(b"%x" % (n * n * 2654435761) for n in range(40_000))
    with pytest.raises(LogError, match=r"larger than Kafka takes.*max_message_bytes"):
        log.append("large", [NewRecord(b"", b"first"), NewRecord(b"", b"v" * (2 * 1024**2))])
    assert log.end_offset("large") == 0
    with pytest.raises(LogError, match=r"larger than Kafka takes.*max_message_bytes"):
        log.append("large", [NewRecord(b"", noise)])
    round_trip(log, "large")


def test_a_stopped_broker_loses_nothing_confirmed_and_repeats_leave_no_hole(kafka: Kafka) -> None:
    kafka.make_topics(["paused"])
    log = KafkaLog(kafka.settings(timeout_seconds=2))
    log.append("paused", [NewRecord(b"k", b"0")])
    node = kafka.nodes[0]
    kafka.signal(node, signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailableError, match="did not confirm 3 records"):
            log.append("paused", [NewRecord(b"k", b"%d" % n) for n in (1, 2, 3)])
    finally:
        kafka.signal(node, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while True:
        try:
            log.append("paused", [NewRecord(b"k", b"%d" % n) for n in (1, 2, 3)])
            break
        except LogUnavailableError:
            assert time.monotonic() < deadline
    values = [int(r.value) for r in log.read("paused", 0, 100)]
    assert list(dict.fromkeys(values)) == [0, 1, 2, 3], f"a hole or another order: {values}"
    log.close()


def test_all_brokers_started_anew_are_believed_as_soon_as_they_know_their_topics() -> None:
    """For a while they say that there is no such topic, which the client then went on believing for minutes."""
    with running(3, {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}) as cluster:
        cluster.make_topics(["anew." + EVENTS.name], EVENTS.partitions)
        log = KafkaLog(cluster.settings(topic_prefix="anew.", timeout_seconds=2.0))

        def answers() -> bool:
            with contextlib.suppress(LogError):
                return [log.end_offset(EVENTS.name, p) for p in range(EVENTS.partitions)] == [0] * EVENTS.partitions
            return False

        wait_for(answers, "all brokers to know the new topic", 60, poll=0.2)
        for node in cluster.nodes:
            cluster.signal(node, signal.SIGKILL)
        for node in cluster.nodes:
            cluster.kill(node)
        for node in cluster.nodes:
            cluster.launch(node)
        wait_for(lambda: all(answers() for _ in range(5)), "the brokers to answer for every partition", 60, poll=0.2)
        log.close()
