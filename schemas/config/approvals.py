"""`approvals` and `notifications`: statements that wait for people, and how these learn of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from schemas.config.base import Settings


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
