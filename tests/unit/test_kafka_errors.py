"""Kafka's errors as ours: what passes by itself, what a person must mend and where, and nothing of a login in the text."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from schemas.config import KafkaSettings
from schemas.log import LogError, LogUnavailableError
from schemas.log.kafka_client import Telling

WHERE = "Kafka at broker.example:9093 did not confirm"


def telling() -> Telling:
    return Telling(KafkaSettings(bootstrap_servers=("broker.example:9093",)))


@pytest.mark.parametrize(
    "name",
    [
        "_TRANSPORT",
        "_ALL_BROKERS_DOWN",
        "_TIMED_OUT",
        "_MSG_TIMED_OUT",
        "LEADER_NOT_AVAILABLE",
        "NOT_LEADER_FOR_PARTITION",
        "NOT_ENOUGH_REPLICAS",
        "OFFSET_NOT_AVAILABLE",  # a leader elected this moment, after two of three nodes died
        "FENCED_LEADER_EPOCH",
        "UNKNOWN_LEADER_EPOCH",
        "NETWORK_EXCEPTION",
        "_DESTROY_BROKER",  # seen while a node of three was started again
    ],
)
def test_what_an_election_or_a_broken_network_brings_may_be_repeated(name: str) -> None:
    worded = telling().word(KafkaError(getattr(KafkaError, name)), "did not confirm")
    assert isinstance(worded, LogUnavailableError)
    assert str(worded).startswith(WHERE)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("_TRANSPORT", "broker.example:9093/bootstrap: Connect to ipv4#192.0.2.1:9093 failed: Connection refused"),
        ("_RESOLVE", "Failed to resolve 'broker.example:9093': Name or service not known"),
        ("_ALL_BROKERS_DOWN", "1/1 brokers are down"),  # all that is heard of a port that wants TLS and gets none
        (
            "_TRANSPORT",
            "ssl://broker.example:9093/bootstrap: SSL connection closed by peer: connecting to a PLAINTEXT broker listener?",
        ),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
def test_where_no_broker_answers_the_settings_to_look_at_are_named(code: str, said: str, tls: bool) -> None:
    settings = KafkaSettings.model_validate({"bootstrap_servers": ["broker.example:9093"], "security": {"tls": tls}})
    heard = Telling(settings)
    heard(KafkaError(getattr(KafkaError, code), said))
    worded = heard.word(KafkaError(KafkaError._TRANSPORT, "Failed to get metadata"), "did not confirm")
    assert isinstance(worded, LogUnavailableError)
    assert f"bootstrap_servers, and that they want {'TLS' if tls else 'no TLS'} there (log.kafka.security.tls)" in str(worded)
    heard.newest = None
    assert "bootstrap_servers" not in str(heard.word(KafkaError(KafkaError.LEADER_NOT_AVAILABLE), "did not confirm"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("_AUTHENTICATION", "login refused"),
        ("SASL_AUTHENTICATION_FAILED", "check mechanism, username and password in log.kafka.security"),
        ("UNKNOWN_TOPIC_OR_PART", "make the topics first"),
        ("TOPIC_AUTHORIZATION_FAILED", "give this user the right in Kafka's access lists"),
        ("MSG_SIZE_TOO_LARGE", "raise log.kafka.max_message_bytes"),
        ("INVALID_REQUIRED_ACKS", WHERE),
    ],
)
def test_what_a_person_must_mend_is_for_good_and_says_where(name: str, words: str) -> None:
    worded = telling().word(KafkaError(getattr(KafkaError, name)), "did not confirm")
    assert isinstance(worded, LogError)
    assert not isinstance(worded, LogUnavailableError)
    assert words in str(worded)


@pytest.mark.parametrize("alert", ["bad certificate", "certificate required", "certificate expired", "unknown ca"])
def test_brokers_that_refuse_our_certificate_are_told_from_brokers_that_are_away(alert: str) -> None:
    said = f"ssl://broker.example: Receive failed: error:0A000412:SSL routines::ssl/tls alert {alert}"
    refused = KafkaError(KafkaError._TRANSPORT, said)
    heard = telling()
    heard(refused)
    with pytest.raises(LogError, match=r"refuse our certificate.*check cert_file and key_file") as raised:
        heard.check("did not confirm")
    assert not isinstance(raised.value, LogUnavailableError)
    heard.check("did not confirm")  # said once; the next call tries again
    heard(KafkaError(KafkaError._TRANSPORT, "connect to broker.example failed: Connection refused"))
    heard.check("did not confirm")


@pytest.mark.parametrize(
    ("answer", "passes"),
    [('{"error": "invalid_client"}', False), ("Failed to connect to idp.example: Could not connect to server", True)],
)
def test_a_token_that_cannot_be_had_names_the_issuer_and_passes_if_that_is_away(answer: str, passes: bool) -> None:
    error = KafkaError(KafkaError._AUTHENTICATION, f"Failed to acquire SASL OAUTHBEARER token: {answer}")
    worded = telling().word(error, "did not confirm")
    assert isinstance(worded, LogUnavailableError) == passes
    assert f"no token for the login: {answer}; check token_url" in str(worded)
