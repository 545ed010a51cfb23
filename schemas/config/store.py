"""`clickhouse`: the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from schemas.config.base import Settings


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
