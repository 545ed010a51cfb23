"""What a session asks of whoever masks its results; `ingest.masking` answers. Everything is decided before bytes pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Exposed(Protocol):
    """What of a result was seen: counts by data class, and of what was shown in clear by column."""

    @property
    def seen(self) -> Mapping[str, int]: ...

    @property
    def masked(self) -> Mapping[str, int]: ...

    @property
    def columns(self) -> Mapping[str, int]: ...


class Rows(Protocol):
    """Masks one result. Its methods raise ValueError on rows that do not fit their description."""

    @property
    def passes(self) -> bool:
        """Whether rows may pass as they are, and are only counted."""

    @property
    def exposure(self) -> Exposed:
        """What was counted so far."""

    def run(self, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask whole row messages at `pos`; return where they end, what stands for them, and how many they were."""

    def passed(self, rows: int) -> None:
        """Count rows that nothing masks."""

    def too_long(self) -> bytes:
        """Return what stands for a row that is too long to hold."""


class Masking(ABC):
    """Masks for one session. A sight is what a statement may show (`ingest.masking.sight`); None: nothing sensitive.

    To be inherited, and no Protocol, for calls to be direct where both are compiled.
    `strict` is for a statement that policy wants masked whatever the session may see.
    """

    max_row: int
    """Bytes of one row that may be held until whole."""

    @property
    @abstractmethod
    def known(self) -> object:
        """What is known of the database's objects and the session's own: not equal to what it was where one may be another."""

    @abstractmethod
    def sight(self, statement: Any) -> Any:
        """Return what a statement may show to this session."""

    @abstractmethod
    def saying(self, sight: Any, said: Sequence[bytes]) -> Any:
        """Return the sight of an EXPLAIN whose text has these constants, as the client encodes them."""

    @abstractmethod
    def changing(self, statement: Any) -> None:
        """A statement is about to change objects of the database."""

    @abstractmethod
    def completed(self, statement: Any) -> None:
        """A statement succeeded."""

    @abstractmethod
    def failed(self) -> None:
        """A statement failed."""

    @abstractmethod
    def transaction_ended(self, busy: bool) -> None:
        """A transaction ended: what it changed is there for everybody, or was undone; `busy`: more was sent already."""

    @abstractmethod
    def hides(self, sight: Any, strict: bool) -> bool:
        """Return whether something of it is hidden from this session."""

    @abstractmethod
    def rows(self, sight: Any, description: bytes, formats: tuple[int, ...] | None, strict: bool) -> Rows:
        """Return what masks the rows of a description, as the body of its message. Raises ValueError."""

    @abstractmethod
    def copied(self, sight: Any, form: Any, header: bytes, encoding: str, strict: bool) -> Rows:
        """Return what masks the rows of a COPY, which names no columns. Raises ValueError.

        `form` is how the statement wants them written, `encoding` the client's, `header` the body of CopyOutResponse.
        """

    @abstractmethod
    def counter(self, sight: Any) -> Rows:
        """Return what counts rows that nothing masks and nothing describes, by what the statement may show."""

    @abstractmethod
    def report(self, sight: Any, body: bytes, text: str) -> bytes:
        """Return an error's or notice's fields without values; `sight` None: of a statement that is not known."""

    @abstractmethod
    def payload(self, value: bytes) -> bytes:
        """Return what a notification may say."""
