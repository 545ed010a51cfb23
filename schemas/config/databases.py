"""`databases`: each database, how clients reach it through a proxy, and how the proxy reaches it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from schemas.config.base import Alias, HostPort, Settings
from schemas.events.base import PrincipalKind


class ClientTlsMode(StrEnum):
    """Whether clients may, must or cannot use TLS towards the proxy."""

    OFF = "off"
    ALLOW = "allow"
    REQUIRE = "require"


class ClientTls(Settings):
    """TLS towards clients. Without a certificate, one is generated under the data directory (local use).

    With `client_ca_file` a client may log in by a certificate from those authorities, and then needs no token.
    """

    mode: ClientTlsMode = ClientTlsMode.ALLOW
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    client_kind: PrincipalKind = PrincipalKind.SERVICE
    require_client_certificate: bool = False

    @model_validator(mode="after")
    def _both_or_neither(self) -> ClientTls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.client_ca_file is not None and self.mode is ClientTlsMode.OFF:
            raise ValueError("client_ca_file is for TLS: set mode to allow or require")
        if self.require_client_certificate and (self.client_ca_file is None or self.mode is not ClientTlsMode.REQUIRE):
            raise ValueError("require_client_certificate needs client_ca_file and mode require")
        return self


class ServerTlsMode(StrEnum):
    """TLS towards the database, as libpq's sslmode names it."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Upstream(Settings):
    """The database behind a proxy and the credential the proxy holds for it."""

    host: str = "127.0.0.1"
    port: int = Field(5432, ge=1, le=65535)
    socket_dir: Path | None = Field(None, description="connect by Unix socket in this folder instead of host")
    database: str
    user: str
    password: SecretStr | None = None
    password_env: str | None = None
    password_file: Path | None = None
    tls: ServerTlsMode = ServerTlsMode.PREFER
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    connect_timeout_seconds: float = Field(10.0, ge=0.1)

    @model_validator(mode="after")
    def _one_password(self) -> Upstream:
        if sum(p is not None for p in (self.password, self.password_env, self.password_file)) > 1:
            raise ValueError("give one of password, password_env, password_file")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class EstimateSettings(Settings):
    """How approvers learn what a held statement would cost: EXPLAIN by a login that may only read, or by the proxy's own.

    `count` lets it also count the rows that the statement's condition meets.
    """

    enabled: bool = True
    count: bool = True
    user: str | None = None
    password: SecretStr | None = None
    password_env: str | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _one_password(self) -> EstimateSettings:
        passwords = sum(p is not None for p in (self.password, self.password_env, self.password_file))
        if passwords > 1:
            raise ValueError("give one of password, password_env, password_file")
        if passwords and self.user is None:
            raise ValueError("a password needs a user")
        return self


class DatabaseSettings(Settings):
    """One database. Several may share a `listen` address: the client's database name (alias or real name) then selects."""

    alias: Alias
    engine: Annotated[str, Field(pattern="^(postgres)$")] = "postgres"
    environment: str = "production"
    listen: HostPort = "127.0.0.1:6432"
    upstream: Upstream
    client_tls: ClientTls = ClientTls()
    allow_replication: bool = False
    catalogue: bool = True
    estimates: EstimateSettings = EstimateSettings()
