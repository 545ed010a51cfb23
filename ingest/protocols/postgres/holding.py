"""A statement that waits for an approval: where in the protocol it stops, and what of it may reach the server before.

    simple Query, FunctionCall   the whole message waits, nothing of it was sent
    Parse … Bind … Execute       sent in one go: all of it waits from the Parse on, and asks with the parameters of the Bind
    Parse alone (… Describe)     is sent on, for the client must learn the parameters' types to give any; the Bind waits
    Execute                      waits where only then it is known what is run (EXECUTE and FETCH by name, rules that changed)

A Parse is analysed and not planned by the server, so no function of the statement runs. But from then on the server knows the
statement, and a client could run it under its name unseen, by having a later message that gives the name another meaning fail or
be skipped. So a statement that is held gets a name of the proxy's own, which no message but an approved Bind uses.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ingest.core.guarding import Hold
from ingest.protocols.postgres.expected import Prepared
from ingest.protocols.postgres.messages import message, notice_response

HOLD = b"(it waits)"
MORE = b"(it depends on what follows)"
"""What the reader of a message returns, compared by identity, instead of bytes to send."""

OWN_NAMES = b"affidavit_held_"
"""Names of prepared statements beginning so are the proxy's."""
MAX_AHEAD = 64
"""Messages looked at behind a Parse; drivers send at most a handful before Execute."""

_LENGTH = Struct(">I")
_MAX_NAME = 63
_BIND, _DESCRIBE, _CLOSE, _EXECUTE = b"BDCE"


class Granted(NamedTuple):
    """What an approval lets through: these values of this statement. `hold` is None where nothing waited (an emergency)."""

    approval: object
    hold: Hold | None
    prepared: Prepared
    params: tuple[str, ...]


class Ahead(NamedTuple):
    """What follows a Parse: the Bind's body `[start, end)` if it is executed right away; `need` bytes in all to tell."""

    start: int = 0
    end: int = 0
    need: int = 0


def look_ahead(data: bytes, at: int, name: bytes, limit: int) -> Ahead:
    """Look whether the statement `name`, whose Parse ends at `at`, is bound and executed before anything must be answered.

    Messages longer than `limit` and more than MAX_AHEAD are not waited for.
    """
    found: tuple[int, int, bytes] | None = None
    size = len(data)
    for _ in range(MAX_AHEAD):
        if size - at < 5:
            return Ahead(need=at + 5)
        kind = data[at]
        length: int = _LENGTH.unpack_from(data, at + 1)[0]
        end = at + 1 + length
        if kind not in (_BIND, _DESCRIBE, _CLOSE, _EXECUTE) or not 4 <= length <= limit:
            break
        if end > size:
            return Ahead(need=end)
        if kind == _BIND:
            portal, _, rest = data[at + 5 : end].partition(b"\0")
            if rest.partition(b"\0")[0][:_MAX_NAME] == name:
                found = (at + 5, end, portal)
            elif found is not None and portal == found[2]:
                break
        elif kind == _CLOSE:
            break
        elif kind == _EXECUTE and found is not None and data[at + 5 : end].partition(b"\0")[0] == found[2]:
            return Ahead(found[0], found[1])
        at = end
    return Ahead()


def notice(hold: Hold) -> bytes:
    """Return the NoticeResponse that tells a client that its statement waits, and where somebody decides."""
    said = {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": hold.message, "D": hold.detail, "H": hold.hint}
    return notice_response({letter: text.replace("\0", " ") for letter, text in said.items()})


def renamed_parse(name: bytes, rest: bytes) -> bytes:
    """Return a Parse under another name; `rest` begins with the zero byte behind the old one."""
    return message(b"P", name + rest)


def renamed_bind(portal: bytes, name: bytes, rest: bytes) -> bytes:
    """Return a Bind of another statement; `rest` begins with the zero byte behind the old name."""
    return message(b"B", portal + b"\0" + name + rest)


def renamed(kind: bytes, name: bytes) -> bytes:
    """Return a Describe (`D`) or Close (`C`) of a statement of another name."""
    return message(kind, b"S" + name + b"\0")
