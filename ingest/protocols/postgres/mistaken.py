r"""How does the server say what is wrong with a text that must not run?

The text is sent with TAIL behind it, which no reading of it can take in: the newline ends a line comment, and `\x01` is a token
of no grammar; where a quote or a comment is open, it is not closed either. PostgreSQL parses a whole text before it runs any of
it (manual, chapter 55.2.2.1), so it fails for certain, and nothing is analysed, planned or executed, whatever we took it for.
Nearly always it fails before the tail, with a message and a position that are those of the text alone. See ADR 0017.
"""

from __future__ import annotations

from processors.statements import Mistake

TAIL = b"\n\x01"
_OURS = TAIL[1:]
_AT_END = b"syntax error at end of input"
_TEXT, _POSITION = ord("M"), ord("P")


def told(mistake: Mistake, body: bytes) -> bytes | None:
    """Return the fields of an ErrorResponse as they were without the tail; None if the server found nothing wrong before it.

    None of the values in it are the database's: only the text was read.
    """
    fields = [(field[0], field[1:]) for field in body.split(b"\0") if field]
    text = dict(fields).get(_TEXT, b"").replace(TAIL, b"")  # behind a quote that is not closed, which is told to its end
    reached = _OURS in text
    if reached and not mistake.at_end:
        return None
    out: list[bytes] = []
    for kind, value in fields:
        if kind == _TEXT:
            value = _AT_END if reached else text
        elif kind == _POSITION and reached and value.isdigit():
            value = b"%d" % (int(value) - 1)
        out.append(bytes((kind,)) + value)
    return b"\0".join(out) + b"\0\0"
