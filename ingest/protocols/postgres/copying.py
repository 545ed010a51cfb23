"""What a COPY from the client does to the order of a session's messages.

While the server reads the data, it ignores the Sync and Flush among it, up to its end (CopyDone, CopyFail) or its own error;
where the client sent them ahead, they stand in the queue already when the server says that it begins to read.
"""

from __future__ import annotations

from collections import deque

from ingest.protocols.postgres.expected import Expected, Simple, current, owed


class Copying:
    """The COPY of one session, if there is one; `expected` is what the server owes."""

    def __init__(self, expected: deque[Expected]) -> None:
        self._expected = expected
        self.reading = False
        """The server reads COPY data: a Sync or Flush sent now is ignored by it."""
        self.swallowed = 0
        """Syncs that COPY ignores, unless it fails before it reads them: answers that may still come."""

    def count(self, size: int) -> None:
        """The client sends so many bytes of data."""
        execution = current(self._expected)
        if execution is not None:
            execution.bytes_in += size

    def sent(self, skipping: bool) -> None:
        """The client sends the end of its data; `skipping`: the server ignores that, too."""
        if self.reading:
            self.reading = False
        elif not skipping:
            self._expected.append(Simple.COPY_END)

    def begins(self) -> None:
        """The server begins to read data (CopyInResponse): Syncs already sent before the data's end are ignored by it."""
        expected = self._expected
        first = owed(expected)
        execution = current(expected)
        if execution is not None:
            execution.copy_in = True
        kept = []
        ended = False
        if first is not None:
            kept.append(expected.popleft())
        while expected and not ended:
            entry = expected.popleft()
            if entry is Simple.COPY_END:
                ended = True
            elif entry is Simple.SYNC:
                self.swallowed += 1
            else:
                kept.append(entry)
        expected.extendleft(reversed(kept))
        self.reading = not ended
