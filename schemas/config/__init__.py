"""The configuration file, `affidavit.yaml`, as types. `deploy.config` reads files into it and words the errors.

Every setting has a safe default; unknown settings are errors. Sizes are bytes, times say their unit in the name.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from schemas.classes import DataClass, Style
from schemas.config.approvals import Addresses, ApprovalSettings, ApproverAddresses, NotificationSettings
from schemas.config.base import Alias, HostPort, SettingError, Settings, is_safe_url, with_secrets
from schemas.config.databases import (
    ClientTls,
    ClientTlsMode,
    DatabaseSettings,
    EstimateSettings,
    ServerTlsMode,
    Upstream,
)
from schemas.config.identity import Algorithm, IdentitySettings, IssuerSettings
from schemas.config.log import KafkaMechanism, KafkaSecurity, KafkaSettings, LogKind, LogSettings
from schemas.config.store import ClickHouseSettings

__all__ = [
    "Addresses",
    "Algorithm",
    "Alias",
    "ApiSettings",
    "ApprovalSettings",
    "ApproverAddresses",
    "AuditSettings",
    "ClickHouseSettings",
    "ClientTls",
    "ClientTlsMode",
    "Config",
    "DatabaseSettings",
    "Durability",
    "EstimateSettings",
    "HostPort",
    "IdentitySettings",
    "IssuerSettings",
    "KafkaMechanism",
    "KafkaSecurity",
    "KafkaSettings",
    "LogKind",
    "LogSettings",
    "MaskingSettings",
    "NotificationSettings",
    "OnFailure",
    "PolicySettings",
    "ProcessSettings",
    "ProxySettings",
    "ServerTlsMode",
    "Settings",
    "StatesKind",
    "TracingSettings",
    "Upstream",
    "is_safe_url",
    "with_secrets",
]


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
    busy_poll_us: int = Field(50, ge=0, le=1000)
    metrics_listen: HostPort | None = None


class ApiSettings(Settings):
    """The API and UI."""

    listen: HostPort = "127.0.0.1:8080"
    name: Alias | None = None
    metrics_public: bool = False
    group_roles: dict[Annotated[str, Field(pattern="^(analyst|approver|auditor|admin)$")], tuple[str, ...]] = Field({})


class StatesKind(StrEnum):
    """Where a worker keeps the states of principals beside their changelog."""

    MEMORY = "memory"
    ROCKSDB = "rocksdb"


class ProcessSettings(Settings):
    """The workers of `affidavit process`."""

    listen: HostPort = "127.0.0.1:8082"
    max_rejected: int = Field(100, ge=1, le=100_000)
    archive: Path | None = None
    states: StatesKind = StatesKind.MEMORY


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
    styles: dict[DataClass, Style] = Field({})


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
            raise SettingError(
                ("approvals", "url"),
                "notifications have links: set approvals.url to where approvers reach the page, such as "
                f"https://audit.example.com{_PAGE} (https, since a link can decide; http only on this machine itself)",
            )
        return self

    @model_validator(mode="after")
    def _logins_lead_back(self) -> Config:
        if any(i.client_id is not None for i in self.identity.issuers):
            if not is_safe_url(self.public_url):
                raise SettingError(
                    ("approvals", "url"),
                    "identity.issuers[].client_id has people come back from their provider: set approvals.url to where they "
                    f"reach the page, such as https://audit.example.com{_PAGE} (https; http only on this machine itself)",
                )
            if not self.api.group_roles:
                text = "identity.issuers[].client_id needs api.group_roles: which groups have which role"
                raise SettingError(("api", "group_roles"), text)
        return self

    @model_validator(mode="after")
    def _unambiguous(self) -> Config:
        aliases: dict[str, int] = {}
        shared: dict[str, DatabaseSettings] = {}
        for index, d in enumerate(self.databases):
            if aliases.setdefault(d.alias, index) != index:
                text = (
                    f"{d.alias!r} is given twice, first by databases[{aliases[d.alias]}]; each database needs a name of its own"
                )
                raise SettingError(("databases", index, "alias"), text)
            first = shared.setdefault(d.listen, d)
            if first.client_tls != d.client_tls:
                text = (
                    f"{first.alias!r} and {d.alias!r} share {d.listen} but differ in client_tls; give both the same, or two ports"
                )
                raise SettingError(("databases", index, "client_tls"), text)
        return self
