"""What a client hears on its connection, in clear or not."""

from __future__ import annotations

from typing import Any

import psycopg


class Ear:
    """One connection and everything it is told: cells, notices, errors, notifications, settings."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.heard: list[str] = []
        self.failed: list[str] = []
        connection.add_notice_handler(self._diagnosed)
        connection.add_notify_handler(lambda notify: self.heard.append(notify.payload))

    def _diagnosed(self, diag: psycopg.errors.Diagnostic) -> None:
        self.heard += [str(getattr(diag, name) or "") for name in dir(diag) if not name.startswith("_")]

    def say(self, statement: str, **options: Any) -> None:
        try:
            cursor = self.connection.cursor(binary=options.pop("binary", False))
            cursor.execute(statement, **options)
            while True:
                if cursor.description:
                    self.heard += [_shown(cell) for row in cursor for cell in row]
                if not cursor.nextset():
                    break
            self.heard.append(str(self.connection.info.parameter_status("application_name")))
        except psycopg.Error as error:
            self._diagnosed(error.diag)
            self.failed.append(f"{statement}: {error}")

    def copy(self, statement: str) -> None:
        try:
            with self.connection.cursor().copy(statement) as copy:
                self.heard += [bytes(part).decode("latin-1") for part in copy]
        except psycopg.Error as error:
            self._diagnosed(error.diag)
            self.failed.append(f"{statement}: {error}")


def _shown(cell: Any) -> str:
    return cell.hex() + cell.decode("latin-1") if isinstance(cell, bytes) else str(cell)
