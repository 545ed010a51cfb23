"""The event fragments that describe a session: who, on whose behalf, from where, to which database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ingest.identity.tokens import Credential
from ingest.protocols.postgres.session import PostgresSession
from processors.policy import Values, subject_values
from schemas.config import DatabaseSettings
from schemas.events import Client, Database, Principal


def _fragment(fields: Mapping[str, Any]) -> bytes:
    return b"," + orjson.dumps(fields)[1:-1]


class Described:
    """Makes the fragments of one session."""

    def __init__(
        self,
        session_id: str,
        principal: Principal,
        database: Database,
        db_user: str,
        client: Client,
        behalf: tuple[Principal, ...] = (),
    ) -> None:
        self.session_id = session_id
        self._behalf = behalf
        self._principal = principal
        self._database = database
        self._db_user = db_user
        self._client = client

    @classmethod
    def of(cls, session_id: str, credential: Credential, settings: DatabaseSettings, client: Client) -> Described:
        """Describe a session that logged in with `credential`."""
        database = Database(
            alias=settings.alias,
            engine=settings.engine,
            environment=settings.environment,
            name=settings.upstream.database,
        )
        return cls(session_id, credential.principal(), database, settings.upstream.user, client, credential.behalf())

    def _fields(self, client: Client) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "principal": self._principal,
            "database": self._database,
            "db_user": self._db_user,
            "client": client,
        }

    def context(self, application: str) -> bytes:
        """Return the context fragment under the application name the server last reported."""
        client = Client(
            address=self._client.address, application=application[:64], driver=self._client.driver, tls=self._client.tls
        )
        self._client = client
        return _fragment(self._fields(client))

    def subject(self) -> Values:
        """Return what a policy may know of the session."""
        return self._seen(self._principal)

    def behalf(self) -> tuple[Values, ...]:
        """Return the same of everybody the session acts for, each as if acting directly."""
        return tuple(self._seen(principal) for principal in self._behalf)

    def _seen(self, principal: Principal) -> Values:
        return subject_values(principal, self._database, self._db_user, self._client.address, bool(self._client.tls))

    def client_fragment(self) -> bytes:
        """Return the client alone, as a JSON object."""
        return orjson.dumps(self._client)

    def opened(self, server_version: str) -> bytes:
        """Return the body of SessionOpened."""
        return _fragment({**self._fields(self._client), "server_version": server_version})

    def closed(self, session: PostgresSession, reason: str, duration_us: int) -> bytes:
        """Return the body of SessionClosed."""
        return _fragment(
            {
                **self._fields(self._client),
                "reason": reason,
                "statements": session.statements,
                "bytes_in": session.bytes_in,
                "bytes_out": session.bytes_out,
                "duration_us": duration_us,
            }
        )

    @staticmethod
    def failed(claimed: str, database: str, client: Client, reason: str, count: int = 1) -> bytes:
        """Return the body of AuthenticationFailed."""
        return _fragment({"claimed": claimed, "database": database, "client": client, "reason": reason, "count": count})
