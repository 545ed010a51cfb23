"""What of an error or a notice may be shown when the statement behind it touches masked columns?

PostgreSQL writes values into messages: `Key (email)=(ada@…) already exists`, and code in the database says whatever it likes,
in every field (RAISE … USING). By its own style guide the server quotes what is text and writes numbers as they are: of its own
messages the part before the first of either stays, or all where what is quoted are names that the statement itself has.
"""

from __future__ import annotations

import re

HIDDEN = b"[masked]"
_WHOLE = b"[message masked: it may hold values that are masked here]"

_ALWAYS = frozenset(b"SVCMDHPFLRstcdn")
"""Fields passed on: not the context, nor the text of internal queries, which quote data."""
_SERVERS = frozenset(
    (
        b"_bt_check_unique",
        b"check_exclusion_or_unique_constraint",
        b"ExecConstraints",
        b"ri_ReportViolation",
        b"ExecWithCheckOptions",
        b"ProcessInterrupts",
        b"DeadLockReport",
        b"errorMissingColumn",
        b"parserOpenTable",
        b"RangeVarGetRelidExtended",
        b"ParseFuncOrColumn",
        b"op_error",
        b"aclcheck_error",
        b"heap_lock_tuple",
        b"ExecUpdate",
        b"ExecDelete",
        b"ExecLockRows",
    )
)
"""Where the server's own messages come from, as it names its source, that hold but names where code runs as well."""
_SKIPPING = frozenset((b"DropErrorMsgNonExistent", b"does_not_exist_skipping"))
"""Where it says of names in the statement that there is nothing to drop."""
_NAMING = frozenset((b"23", b"25", b"26", b"28", b"34", b"3D", b"3F", b"40", b"42", b"55", b"57"))
"""Classes of SQLSTATE whose messages name objects."""
_RAISED = frozenset((b"P0001", b"P0002", b"P0003", b"P0004", b"00000", b"01000"))
"""What the server gives to RAISE, STRICT and ASSERT that name no SQLSTATE, and what many do."""
_QUOTED = re.compile(rb'"([^"]*)"')
_NUMBER = re.compile(rb"[\w.$]*\d[\w.$]*")
_VALUE = re.compile(rb"[\"'0-9\x80-\xff]")
_KEY = re.compile(rb"Key \((.*?)\)=\(.*\) (already exists|is still referenced|is not present|conflicts)", re.DOTALL)


def without_values(body: bytes, text: str, code: bool) -> bytes:
    """Return the fields of an ErrorResponse or NoticeResponse without values.

    `text` is the statement's normalised text, whose names may be repeated; `code`: code of the database may have raised it.
    """
    fields = [(field[0], field[1:]) for field in body.split(b"\x00") if field]
    named = dict(fields)
    sqlstate, routine = named.get(ord("C"), b""), named.get(ord("R"), b"")
    raised = code and routine not in _SERVERS
    out: list[bytes] = []
    for kind, value in fields:
        if kind not in _ALWAYS:
            continue
        if kind == ord("M"):
            value = _WHOLE if raised else _message(value, b"42" if routine in _SKIPPING else sqlstate, text)
        elif kind == ord("D"):
            value = HIDDEN if raised else _detail(value)
        elif raised and kind in b"Hstcdn":
            continue
        elif raised and kind == ord("C") and routine == b"exec_stmt_raise" and value not in _RAISED:
            value = b"P0001"  # five letters of the raiser's choice
        out.append(bytes((kind,)) + value)
    return b"\x00".join(out) + b"\x00\x00"


def _message(value: bytes, sqlstate: bytes, text: str) -> bytes:
    if sqlstate[:2] in _NAMING and value.isascii() and value.count(b'"') % 2 == 0:
        names = _QUOTED.findall(value)
        numbers = _NUMBER.findall(_QUOTED.sub(b"", value))
        if all(_is_name(name, text) for name in (*names, *numbers)):
            return value
        if sqlstate[:2] == b"23":  # of a constraint or a table whose name is not in the statement
            return value
    found = _VALUE.search(value)
    return value[: found.start()] + HIDDEN if found else value


def _is_name(name: bytes, text: str) -> bool:
    word = name.decode("ascii", "replace")
    return len(word) <= 130 and word.replace("_", "").replace(".", "").isalnum() and word.lower() in text.lower()


def _detail(value: bytes) -> bytes:
    key = _KEY.match(value)
    return b"Key (%b)=(%b) %b." % (key[1], HIDDEN, key[2]) if key else HIDDEN
