"""The configuration file, `affidavit.yaml`, as types. `deploy.config` reads files into it and words the errors.

Every setting has a safe default; unknown settings are errors. Sizes are bytes, times say their unit in the name.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from schemas.classes import DataClass, Style
from schemas.events.base import PrincipalKind

Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,63}$")]
HostPort = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$")]


class Settings(BaseModel):
    """Base of all sections: frozen, nothing unknown."""

    # What is wrong with a setting is worded without its value, which may be a secret: pydantic's own text would repeat it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def with_secrets(settings: BaseModel) -> dict[str, Any]:
    """Return settings as plain values for JSON, passwords included: for a child process's pipe, never for anything else."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {str(name): plain(v) for name, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        return str(value) if isinstance(value, Path | StrEnum) else value

    return {name: plain(value) for name, value in settings.model_dump(mode="python").items()}


class Durability(StrEnum):
    """What "in the spool" means: in the page cache (survives a killed proxy), or on disk (survives power loss)."""

    WRITE = "write"
    FSYNC = "fsync"


class OnFailure(StrEnum):
    """What happens to statements while the spool cannot be written."""

    REFUSE = "refuse"
    PASS = "pass"


class AuditSettings(Settings):
    """How events are kept before the log has them."""

    durability: Durability = Durability.WRITE
    on_failure: OnFailure = OnFailure.REFUSE
    spool_limit_bytes: int = Field(4 * 1024**3, ge=16 * 1024**2)
    wal_segment_bytes: int = Field(16 * 1024**2, ge=1024**2)
    seal_interval_ms: int = Field(200, ge=5, le=60_000)
    max_events_per_block: int = Field(500, ge=1, le=10_000)
    heartbeat_seconds: float = Field(10.0, ge=0.1, le=3600)


class ProxySettings(Settings):
    """The proxy processes: `name` is the first part of each worker's source (`name/0`, `name/1`, …)."""

    name: Alias = "proxy"
    workers: int = Field(1, ge=1, le=64)
    max_connections: int = Field(10_000, ge=1)
    login_timeout_seconds: float = Field(30.0, ge=1)
    max_statement_bytes: int = Field(1024**2, ge=1024, description="analysed up to here; longer text streams, opaque")
    metrics_listen: HostPort | None = None


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
    """How approvers learn what a held statement would cost: EXPLAIN by a login that may only read, or by the proxy's own."""

    enabled: bool = True
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


class Algorithm(StrEnum):
    """Signatures of identity tokens that can be accepted: asymmetric ones only (RFC 7518, RFC 9864)."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    ED25519 = "Ed25519"
    EDDSA = "EdDSA"


class IssuerSettings(Settings):
    """One issuer of identity tokens (JWT, RFC 7519) that clients may give as password.

    Without `jwks_url` and `jwks_file` the keys' address comes from the issuer's OpenID Connect discovery document.
    """

    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    audience: Annotated[str, Field(min_length=1, max_length=500)]
    jwks_url: str | None = None
    jwks_file: Path | None = None
    ca_file: Path | None = None
    algorithms: tuple[Algorithm, ...] = ()
    principal_claim: str = "sub"
    groups_claim: str = "groups"
    kind: PrincipalKind = PrincipalKind.HUMAN
    clock_skew_seconds: float = Field(60.0, ge=0, le=600)
    refresh_seconds: float = Field(3600.0, ge=60, le=86_400)

    @model_validator(mode="after")
    def _reachable(self) -> IssuerSettings:
        if self.jwks_url is not None and self.jwks_file is not None:
            raise ValueError("give one of jwks_url, jwks_file")
        fetched = self.jwks_url or (None if self.jwks_file is not None else self.issuer)
        if fetched is not None and not is_safe_url(fetched):
            raise ValueError("keys are fetched over https (http only from this machine itself); give jwks_url, or jwks_file")
        return self


def is_safe_url(url: str) -> bool:
    """Tell whether what an address answers can be believed: https, or http from this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
    )


class IdentitySettings(Settings):
    """Who else, beside the tokens issued here, says who a client is."""

    issuers: tuple[IssuerSettings, ...] = ()
    max_control_stale_seconds: float = Field(86_400.0, ge=10, le=604_800)
    max_grant_stale_seconds: float = Field(60.0, ge=5, le=86_400)

    @model_validator(mode="after")
    def _distinct(self) -> IdentitySettings:
        names = [i.issuer for i in self.issuers]
        if len(set(names)) != len(names):
            raise ValueError("an issuer is given twice")
        return self


class ApiSettings(Settings):
    """The API and UI."""

    listen: HostPort = "127.0.0.1:8080"
    name: Alias | None = None
    metrics_public: bool = False
    group_roles: dict[Annotated[str, Field(pattern="^(analyst|approver|auditor|admin)$")], tuple[str, ...]] = {}


class ClickHouseSettings(Settings):
    """Where rows land: `interface: chdb` keeps them under the data directory, in one process; `http` and `https` use a server."""

    interface: Annotated[str, Field(pattern="^(chdb|http|https)$")] = "chdb"
    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=1, le=65_535)
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")] = "affidavit"
    user: str = "default"
    password: SecretStr | None = None
    password_env: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    connect_timeout_seconds: int = Field(10, ge=1, le=300)
    timeout_seconds: int = Field(60, ge=1, le=3600)
    compression: Annotated[str, Field(pattern="^(zstd|lz4|none)$")] = "zstd"
    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")] | None = None
    keeper_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.-]+)+$")] = "/clickhouse/tables"
    retention_days: int = Field(400, ge=1)

    @property
    def effective_port(self) -> int:
        """The port, or ClickHouse's usual one for the interface."""
        return self.port or (8443 if self.interface == "https" else 8123)

    @model_validator(mode="after")
    def _consistent(self) -> ClickHouseSettings:
        if sum(p is not None for p in (self.password, self.password_env, self.password_file)) > 1:
            raise ValueError("give one of password, password_env, password_file")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.interface != "https" and (self.ca_file or self.cert_file):
            raise ValueError("certificates are for interface https: set that, or take them out")
        if self.interface == "chdb" and self.cluster is not None:
            raise ValueError("chDB is one process and no cluster: set interface to https, or take cluster out")
        return self


class ProcessSettings(Settings):
    """The workers of `affidavit process`."""

    listen: HostPort = "127.0.0.1:8082"
    max_rejected: int = Field(100, ge=1, le=100_000)
    archive: Path | None = None


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


class TracingSettings(Settings):
    """OpenTelemetry spans of statements whose client names its trace. Off without an endpoint."""

    otlp_endpoint: str | None = None
    ca_file: Path | None = None
    statement_text: bool = False

    @model_validator(mode="after")
    def _safe(self) -> TracingSettings:
        if self.otlp_endpoint is not None and not is_safe_url(self.otlp_endpoint):
            raise ValueError("spans are sent over https (http only to a collector on this machine itself)")
        return self


class PolicySettings(Settings):
    """The guard: files of policy rules, all of them one bundle. Without files every statement is allowed."""

    files: tuple[Path, ...] = ()
    reload_seconds: float = Field(2.0, ge=0.1, le=3600)


class MaskingSettings(Settings):
    """Masking of results. Who may see which classes in clear is policy (`clear:` of its files); all others see masks."""

    enabled: bool = True
    default_style: Style = Style.REDACT
    styles: dict[DataClass, Style] = {}


class ApprovalSettings(Settings):
    """Statements that policy holds until people decide; `url` is where, `{id}` in it stands for the request's.

    `max_open` and `max_hourly` are requests of one principal (or of all that act for one) in one worker. People look at some
    dozens with care, not at hundreds.
    """

    wait_seconds: float = Field(900.0, ge=1, le=86_400)
    url: str = ""
    max_open: int = Field(20, ge=1, le=100_000)
    max_hourly: int = Field(100, ge=1, le=100_000)


class Addresses(Settings):
    """Addresses that messages go to, as apprise writes them; they hold passwords, so they are secrets like any."""

    urls: tuple[SecretStr, ...] = ()
    urls_env: str | None = None
    urls_file: Path | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Addresses:
        if sum(bool(u) for u in (self.urls, self.urls_env, self.urls_file)) > 1:
            raise ValueError("give one of urls, urls_env, urls_file")
        return self

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return bool(self.urls or self.urls_env or self.urls_file)


class ApproverAddresses(Addresses):
    """What one approver alone reads: a message there has a link that decides as that person."""

    principal: Annotated[str, Field(min_length=1, max_length=200)]


class NotificationSettings(Addresses):
    """Who is told that a statement waits: channels that several read, and approvers' own."""

    approvers: tuple[ApproverAddresses, ...] = ()


_PAGE = "/approvals/{id}"


class Config(Settings):
    """The whole file. Relative paths are relative to the file."""

    data_dir: Path = Path("affidavit-data")
    audit: AuditSettings = AuditSettings()
    proxy: ProxySettings = ProxySettings()
    databases: tuple[DatabaseSettings, ...] = ()
    policy: PolicySettings = PolicySettings()
    masking: MaskingSettings = MaskingSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    notifications: NotificationSettings = NotificationSettings()
    identity: IdentitySettings = IdentitySettings()
    log: LogSettings = LogSettings()
    api: ApiSettings = ApiSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    process: ProcessSettings = ProcessSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def public_url(self) -> str:
        """Where people reach the page, as `approvals.url` says; empty if it does not."""
        url = self.approvals.url
        return url.removesuffix(_PAGE) if url.endswith(_PAGE) else ""

    @model_validator(mode="after")
    def _links_are_safe(self) -> Config:
        told = self.notifications.given or any(a.given for a in self.notifications.approvers)
        if told and not is_safe_url(self.public_url):
            raise ValueError(
                "notifications have links: set approvals.url to where approvers reach the page, such as "
                f"https://audit.example.com{_PAGE} (https, since a link can decide; http only on this machine itself)"
            )
        return self

    @model_validator(mode="after")
    def _unambiguous(self) -> Config:
        aliases = [d.alias for d in self.databases]
        for alias in aliases:
            if aliases.count(alias) > 1:
                raise ValueError(f"database alias {alias!r} is given twice")
        shared: dict[str, DatabaseSettings] = {}
        for d in self.databases:
            first = shared.setdefault(d.listen, d)
            if first.client_tls != d.client_tls:
                raise ValueError(f"{first.alias!r} and {d.alias!r} share {d.listen} but differ in client_tls")
        return self
