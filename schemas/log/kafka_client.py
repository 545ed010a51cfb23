"""How a `KafkaSettings` becomes a client's properties, and a Kafka error one of ours that names the remedy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from schemas.config import KafkaMechanism, KafkaSettings
from schemas.log import LogError, LogUnavailableError

LOGIN_ERRORS = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL}
"""Told by the client beside any call: waiting does not help against these."""

SLICE_SECONDS = 1.0
"""A call that blocks is made in slices of this, so that a refused login is seen before the call's deadline."""

_REFUSES_US = re.compile(r"alert (bad certificate|certificate \w+|unknown ca|access denied|no certificate)", re.IGNORECASE)
"""What brokers that ask for a client certificate answer, as TLS names its alerts; the client reports a broken connection."""

_TOKEN = "Failed to acquire SASL OAUTHBEARER token"
_OUT_OF_REACH = re.compile(r"connect|resolve|timed? ?out|HTTP 5\d\d", re.IGNORECASE)

_NO_CONNECTION = re.compile(r"brokers are down|refused|resolve|listener\?|closed by peer", re.IGNORECASE)
"""Nothing answers there as a broker does. One that wants TLS where we do not just hangs up, and the client names no reason."""

_UNKNOWN = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}
_SIZE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_PASSING = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._DESTROY_BROKER,  # a handle the client replaced, by an address it learnt meanwhile
    KafkaError._QUEUE_FULL,
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    # A new leader that is not one in full yet, and brokers that learn of it one after the other.
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.LISTENER_NOT_FOUND,
}


class Telling:
    """What a client told beside its calls: the newest error, and the newest that waiting does not help against."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.newest: KafkaError | None = None
        self.login: KafkaError | None = None
        self._tls = settings.security.tls
        self.where = f"Kafka at {', '.join(settings.bootstrap_servers)}"

    def __call__(self, error: KafkaError) -> None:
        """Take an error; the client calls this."""
        if error.code() in LOGIN_ERRORS or _REFUSES_US.search(error.str()):
            self.login = error
        elif error.code() != KafkaError._ALL_BROKERS_DOWN or self.newest is None:  # the one before it says why
            self.newest = error

    def check(self, what: str) -> None:
        """Raise LogError if the brokers refuse us; the next call tries again."""
        if self.login is not None:
            error, self.login = self.login, None
            raise self.word(error, what)

    def word(self, error: KafkaError, what: str) -> LogError:
        """Return our error for Kafka's: what did not work, why, what to do."""
        code, text = error.code(), error.str()
        begin = f"{self.where} {what}"
        if code == KafkaError._SSL or "SSL handshake failed" in text:
            return LogError(
                f"{begin}: {text}; check log.kafka.security: ca_file must hold the authority of the brokers' certificates"
            )
        if _REFUSES_US.search(text):
            return LogError(
                f"{begin}: the brokers refuse our certificate: {text}; check cert_file and key_file in log.kafka.security"
            )
        if _TOKEN in text:
            why = text.partition(_TOKEN)[2].lstrip(": ")
            remedy = "check token_url, and the username and password it knows, in log.kafka.security"
            kind = LogUnavailableError if _OUT_OF_REACH.search(why) else LogError
            return kind(f"{begin}: no token for the login: {why}; {remedy}")
        if code in LOGIN_ERRORS:
            return LogError(f"{begin}: login refused: {text}; check mechanism, username and password in log.kafka.security")
        if code in _UNKNOWN:
            return LogError(f"{begin}: there is no such topic or partition; make the topics first")
        if code in _DENIED:
            return LogError(f"{begin}: {text}; give this user the right in Kafka's access lists")
        if code in _SIZE:
            remedy = "raise log.kafka.max_message_bytes and the topic's max.message.bytes"
            return LogError(f"{begin}: the record is larger than Kafka takes ({text}); {remedy}")
        if code in _PASSING or error.retriable() or error.fatal():
            because = f" ({self.newest.str()})" if self.newest is not None and self.newest.str() != text else ""
            hint = ""
            if _NO_CONNECTION.search(text + because):
                speaks = "TLS" if self._tls else "no TLS"
                hint = f"; see that brokers run at log.kafka.bootstrap_servers, and that they want {speaks} there"
                hint += " (log.kafka.security.tls)"
            return LogUnavailableError(f"{begin}: {text}{because}{hint}; the call can be repeated")
        return LogError(f"{begin}: {text}")


def properties(settings: KafkaSettings, telling: Telling) -> dict[str, Any]:
    """Return the properties every client has. Its own log is off: what matters in it comes to `telling`."""
    security = settings.security
    login = security.mechanism is not KafkaMechanism.NONE
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": "affidavit",
        "security.protocol": f"{'SASL_' if login else ''}{'SSL' if security.tls else 'PLAINTEXT'}",
        "error_cb": telling,
        "log_level": 2,
        "reconnect.backoff.max.ms": 2000,
        "socket.connection.setup.timeout.ms": 5000,
        "topic.metadata.propagation.max.ms": 3000,
    }
    for name, file in (
        ("ssl.ca.location", security.ca_file),
        ("ssl.certificate.location", security.cert_file),
        ("ssl.key.location", security.key_file),
    ):
        if file is not None:
            found[name] = str(file)
    if not login:
        return found
    secret = security.password.get_secret_value() if security.password else ""
    found["sasl.mechanisms"] = security.mechanism.value
    if security.mechanism is KafkaMechanism.OAUTHBEARER:
        found |= {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": security.token_url,
            "sasl.oauthbearer.client.id": security.username,
            "sasl.oauthbearer.client.secret": secret,
        }
        if security.scope:
            found["sasl.oauthbearer.scope"] = security.scope
    else:
        found |= {"sasl.username": security.username, "sasl.password": secret}
    return found


def made(make: Callable[[], Any], telling: Telling) -> Any:
    """Make a client; what is wrong with its properties is a LogError."""
    try:
        return make()
    except KafkaException as error:
        raise telling.word(error.args[0], "cannot be used as configured") from None


def sliced(call: Callable[[float], Any], serve: Callable[[], object], telling: Telling, what: str, seconds: float) -> Any:
    """Return `call(timeout)`, made in slices until it answers, a login is refused or `seconds` are over; then raise."""
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            return call(max(0.05, min(SLICE_SECONDS, left)))
        except KafkaException as error:
            serve()
            telling.check(what)
            worded = telling.word(error.args[0], what)
            if left <= 0 or not isinstance(worded, LogUnavailableError):
                raise worded from None
