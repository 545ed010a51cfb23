"""What a masked session's client may see of what the server sends: rows, COPY data, errors, notices, notifications.

Only what an execution that may show something sensitive (`Execution.sight`) returns is looked into; all else passes as it is.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from ingest.core.errors import ServerProtocolError
from ingest.core.masking import Rows
from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.expected import Batch, Parsed, Portal, Simple, current, owed
from processors.statements import Statement

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

_LENGTH: Final = Struct(">I")
_DATA_ROW: Final = ord("D")
_ROW_DESCRIPTION, _NOTICE, _NOTIFICATION, _COPY_DATA = b"TNAd"
_MAX_DESCRIPTION = 1024 * 1024
"""Of a RowDescription held until whole: 1,664 columns, names of 63 bytes, are 140 KiB. Longer notices are left out."""
_SYNC: Final = Simple.SYNC


class Results:
    """What masks the results of one session. Errors raised are ServerProtocolError, and end the session."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._expected = session.expected

    # Rows

    def masker(self, execution: Execution) -> Rows | None:
        """Return what masks the rows of an execution, None if nothing needs to."""
        masking = self._session.masking
        portal = execution.portal
        if masking is None or not isinstance(portal, Portal):
            if execution.hides:
                raise ServerProtocolError("rows came that no RowDescription describes, so they cannot be masked")
            return None
        shape = portal.shape(self._session.catalogue)
        if shape is None:
            if execution.hides:
                raise ServerProtocolError("rows came whose columns are not known, so they cannot be masked")
            execution.masker = masking.counter(execution.sight)
            return execution.masker
        return self.described(execution, shape[0], shape[1])

    def described(self, execution: Execution, description: bytes, formats: tuple[int, ...] | None) -> Rows:
        """Make what masks the rows of an execution by the body of a RowDescription; `formats` where those are not in it."""
        assert self._session.masking is not None
        try:
            execution.masker = self._session.masking.rows(execution.sight, description, formats, execution.strict)
        except ValueError as error:
            raise ServerProtocolError(f"a RowDescription cannot be read: {error}") from None
        return execution.masker

    def masked(self, masker: Rows, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask the rows from `pos` on: return where they end, what to send in their place, and how many they are."""
        try:
            end, instead, rows = masker.run(data, pos)
        except ValueError as error:
            raise ServerProtocolError(f"rows do not fit their description: {error}") from None
        if end == pos:
            raise ServerProtocolError(f"message {chr(data[pos])!r} is not what was announced, so it cannot be masked")
        return end, instead, rows

    def copy_out(self, data: bytes, pos: int, end: int) -> bytes | None:
        """CopyOutResponse: make what masks the data to come."""
        execution, session = current(self._expected), self._session
        if execution is not None and execution.sight is not None and session.masking is not None:
            form, encoding = execution.statement.shape.copy, session.lexing.client_encoding
            try:
                execution.masker = session.masking.copied(execution.sight, form, data[pos:end], encoding, execution.strict)
            except ValueError as error:
                if execution.hides:
                    raise ServerProtocolError(f"a COPY cannot be masked: {error}") from None
                execution.masker = session.masking.counter(execution.sight)
        return None

    # Messages that are not whole yet

    def gathered(self, kind: int) -> int:
        """Return up to how many bytes a message is held until whole because of masking; 0: it passes while it arrives."""
        if kind in (_ROW_DESCRIPTION, _NOTICE, _NOTIFICATION):
            return _MAX_DESCRIPTION
        execution = current(self._expected)
        if execution is None or execution.sight is None:
            return 0
        masker = execution.masker or self.masker(execution)
        masking = self._session.masking
        return 0 if masker is None or masker.passes or masking is None else masking.max_row

    def too_long(self, kind: int, length: int) -> bytes:
        """Return what stands for a message that is too long to hold until whole."""
        execution = current(self._expected)
        if kind in (_DATA_ROW, _COPY_DATA) and execution is not None and execution.masker is not None:
            execution.rows += kind == _DATA_ROW
            return execution.masker.too_long()
        if kind == _ROW_DESCRIPTION:
            raise ServerProtocolError(f"a RowDescription of {length} bytes is too long to mask by")
        return b""

    # What the server tells

    def reported(self, kind: bytes, body: bytes) -> bytes | None:
        """An error or notice: return what of it may be shown, None if all of it."""
        session = self._session
        masking, head = session.masking, owed(self._expected)
        if masking is None or head is None:
            return None
        statement: Statement | None = None
        sight: object = None
        if type(head) is Batch:
            execution = current(self._expected)
            if execution is None or not execution.hides:
                return None
            statement, sight = execution.statement, execution.sight
        elif head is not _SYNC:
            # A Parse that failed, or else what the next execution runs: it may fail in its Bind.
            for entry in self._expected:
                if entry is _SYNC or type(entry) is Batch:
                    break
                if type(entry) is Execution:
                    if not entry.hides:
                        return None
                    statement, sight = entry.statement, entry.sight
                    break
                if type(entry) is Parsed and statement is None and entry is head:
                    sight = masking.sight(entry.prepared.statement)
                    if sight is None or not masking.hides(sight, False):
                        return None
                    statement = entry.prepared.statement
                    break
        fields = masking.report(sight, body, statement.text if statement is not None else "")
        return None if fields is body else kind + _LENGTH.pack(len(fields) + 4) + fields

    def notice(self, data: bytes, pos: int, end: int) -> bytes | None:
        """NoticeResponse: return what of it may be shown, None if all of it."""
        return self.reported(b"N", data[pos:end])

    def notification(self, data: bytes, pos: int, end: int) -> bytes | None:
        """NotificationResponse: the same."""
        masking = self._session.masking
        if masking is None:
            return None
        channel_end = data.find(b"\x00", pos + 4, end)
        payload = data[channel_end + 1 : end - 1]
        shown = masking.payload(payload)
        if channel_end < 0 or shown == payload:
            return None
        body = data[pos : channel_end + 1] + shown + b"\x00"
        return b"A" + _LENGTH.pack(len(body) + 4) + body
