"""`log`: the log between the proxies and the pipeline, and Kafka's brokers where it is there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from schemas.config.base import HostPort, Settings


class LogKind(StrEnum):
    """Where sealed blocks go: a file in the data directory, for one machine, or Kafka, for many."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


class KafkaMechanism(StrEnum):
    """How to log in to Kafka, as SASL names it; `none` for no login (or by client certificate)."""

    NONE = "none"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    PLAIN = "PLAIN"
    OAUTHBEARER = "OAUTHBEARER"


class KafkaSecurity(Settings):
    """TLS towards the brokers and the login. For OAUTHBEARER, `username` and `password` are the client's id and secret."""

    tls: bool = True
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    mechanism: KafkaMechanism = KafkaMechanism.NONE
    username: str = ""
    password: SecretStr | None = None
    password_env: str | None = None
    password_file: Path | None = None
    token_url: str = ""
    scope: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSecurity:
        passwords = sum(p is not None for p in (self.password, self.password_env, self.password_file))
        if passwords > 1:
            raise ValueError("give one of password, password_env, password_file")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("certificates are for TLS: set tls to true, or take them out")
        if self.mechanism is KafkaMechanism.NONE and (self.username or passwords):
            raise ValueError("a username or password needs a mechanism, such as SCRAM-SHA-512")
        if self.mechanism is not KafkaMechanism.NONE and not (self.username and passwords):
            raise ValueError(f"mechanism {self.mechanism.value} needs username and a password")
        if self.mechanism is KafkaMechanism.PLAIN and not self.tls:
            raise ValueError("mechanism PLAIN sends the password as it is: set tls to true")
        if (self.mechanism is KafkaMechanism.OAUTHBEARER) != bool(self.token_url):
            raise ValueError("token_url and mechanism OAUTHBEARER go together")
        return self


class KafkaSettings(Settings):
    """The brokers, how to reach them, and how `affidavit topics` makes the topics."""

    bootstrap_servers: tuple[HostPort, ...] = ()
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    replication: int = Field(3, ge=1, le=9)
    max_message_bytes: int = Field(16 * 1024**2, ge=2 * 1024**2)
    timeout_seconds: float = Field(30.0, ge=1, le=600)
    security: KafkaSecurity = KafkaSecurity()


class LogSettings(Settings):
    """The log between the proxies and the pipeline."""

    kind: LogKind = LogKind.EMBEDDED
    kafka: KafkaSettings = KafkaSettings()

    @model_validator(mode="after")
    def _reachable(self) -> LogSettings:
        if self.kind is LogKind.KAFKA and not self.kafka.bootstrap_servers:
            raise ValueError("kind kafka needs kafka.bootstrap_servers, a list such as [kafka-1.example:9093]")
        return self
