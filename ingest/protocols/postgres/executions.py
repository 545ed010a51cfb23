"""One execution of one statement: what is remembered of it between its request and its outcome, and its fragments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from ingest.core.guarding import Bound
from ingest.core.masking import Rows
from processors.statements import Mistake, Statement
from schemas.native import hot

ALLOW: Final = b'{"verdict":"allow","policies":[],"bundle":"","risk":0,"approval_id":""}'
DENY: Final = b'{"verdict":"deny","policies":[],"bundle":"","risk":0,"approval_id":""}'

_OUTCOME: Final = (
    b',"ended_at":%d,"outcome":{"status":"%b","sqlstate":"%b","rows_returned":%d,"rows_affected":%d,'
    b'"bytes_in":%d,"bytes_out":%d,"db_us":%d,"held_us":%d,"total_us":%d},"exposure":%b'
)
_DYNAMIC: Final = b',"kind":"%b","transaction":"%b","params":%b,"claims":%b,"decision":%b'


MAX_COLUMNS = 8
"""Columns shown in clear that an event names one by one; the rest are counted together."""


class Denial:
    """Why a statement was replaced by one that must fail, and what the client is to read instead of that failure.

    `mistake` is set where the server is to say what is wrong with the text, and this only if it finds nothing (`mistaken`).
    """

    __slots__ = ("hint", "message", "mistake", "sqlstate")

    def __init__(self, sqlstate: bytes, message: str, hint: str) -> None:
        self.sqlstate = sqlstate
        self.message = message
        self.hint = hint
        self.mistake: Mistake | None = None


class Execution:
    """One execution in flight. Times are µs; `rows` counts DataRow messages; `done` once its event is complete.

    `held` is how long it waited for an approval before anything of it was sent on.
    `dynamic` and `outcome` are the two fragments of its event that are its own, where a session hands over both with it.
    `sight` is what it may show that is sensitive, `hides` whether some of that is not for this session, `masker` what sees to it.
    """

    __slots__ = (
        "audited",
        "bounds",
        "bytes_in",
        "copy_in",
        "denial",
        "done",
        "dynamic",
        "held",
        "hides",
        "intent",
        "masker",
        "outcome",
        "portal",
        "rows",
        "sight",
        "started",
        "statement",
        "strict",
    )

    def __init__(self, statement: Statement, started: int, bytes_in: int, audited: bool) -> None:
        self.statement = statement
        self.started = started
        self.bytes_in = bytes_in
        self.audited = audited
        self.intent = 0
        self.held = 0
        self.rows = 0
        self.copy_in = False
        self.done = False
        self.denial: Denial | None = None
        self.portal: object | None = None
        self.sight: object | None = None
        self.hides = False
        self.strict = False
        self.masker: Rows | None = None
        self.bounds: tuple[Bound, ...] = ()
        self.dynamic = b""
        self.outcome = b""


def dynamic_fragment(kind: bytes, transaction: bytes, params: Sequence[str], claims: Mapping[str, str], decision: bytes) -> bytes:
    """Return the part of the event known before the statement runs. Tokens are plain ASCII without quotes."""
    return _dynamic(kind, transaction, params, orjson.dumps(claims) if claims else b"{}", decision)


def dynamic_text(kind: bytes, transaction: bytes, params: Sequence[str], claims: bytes, decision: bytes) -> bytes:
    """Word that part. In C: `hot.dynamic`."""
    tokens = b'["' + '","'.join(params).encode() + b'"]' if params else b"[]"
    return _DYNAMIC % (kind, transaction, tokens, claims, decision)


def outcome_fragment(
    execution: Execution, now: int, began: int, status: bytes, sqlstate: bytes, affected: int, bytes_out: int
) -> bytes:
    """Return the part of the event known at its end; `began` is when the database could first work on it.

    The clock may have been set back meanwhile: then nobody knows how long it took, and it is said to have taken no time.
    """
    started = execution.started
    ready = started + execution.held
    worked = now - (began if began > ready else ready)
    total = now - started
    return _outcome(
        now,
        status,
        sqlstate,
        execution.rows,
        affected,
        execution.bytes_in,
        bytes_out,
        worked if worked > 0 else 0,
        execution.held,
        total if total > 0 else 0,
        _exposure(execution) if execution.masker is not None else b"{}",
    )


def outcome_text(
    ended_at: int,
    status: bytes,
    sqlstate: bytes,
    rows: int,
    affected: int,
    bytes_in: int,
    bytes_out: int,
    db_us: int,
    held_us: int,
    total_us: int,
    exposure: bytes,
) -> bytes:
    """Word that part. In C: `hot.outcome`."""
    return _OUTCOME % (ended_at, status, sqlstate, rows, affected, bytes_in, bytes_out, db_us, held_us, total_us, exposure)


_dynamic: Final[Callable[[bytes, bytes, Sequence[str], bytes, bytes], bytes]] = dynamic_text if hot is None else hot.dynamic
_outcome: Final[Callable[[int, bytes, bytes, int, int, int, int, int, int, int, bytes], bytes]] = (
    outcome_text if hot is None else hot.outcome
)


def _exposure(execution: Execution) -> bytes:
    """Return what of the result was seen, masked and shown: little, for a spool keeps room for it."""
    masker = execution.masker
    assert masker is not None
    if masker.passes:
        masker.passed(execution.rows)
    exposure = masker.exposure
    if not exposure.seen:
        return b"{}"
    columns = dict(sorted(exposure.columns.items(), key=lambda item: -item[1]))
    if len(columns) > MAX_COLUMNS:
        shown = list(columns.items())
        columns = {**dict(shown[: MAX_COLUMNS - 1]), "*": sum(n for _, n in shown[MAX_COLUMNS - 1 :])}
    parts = (orjson.dumps({str(k): v for k, v in m.items()}) for m in (exposure.seen, exposure.masked, columns))
    return b'%b,"masked":%b,"exposed":%b' % tuple(parts)


_RETURNING_TAGS: Final = frozenset((b"FETCH", b"MOVE"))


def finished(tag: bytes, execution: Execution) -> int:
    """Rows a CommandComplete tag says were changed: its last word, for INSERT, UPDATE, DELETE, MERGE and COPY in.

    For COPY out the same word is the number of rows returned, which the messages before it do not tell.
    """
    if tag.startswith(b"SELECT"):
        return 0
    verb, _, rest = tag.partition(b" ")
    if not rest or verb in _RETURNING_TAGS:
        return 0
    last = rest.rpartition(b" ")[2]
    number = int(last) if len(last) < 20 and last.isdigit() else 0
    if verb == b"COPY" and not execution.copy_in:
        execution.rows = number
        return 0
    return number
