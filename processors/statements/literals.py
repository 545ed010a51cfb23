"""Which value does a literal spell? As the server will hold it, so that it has the token of the same bound parameter."""

from __future__ import annotations

import re

from processors.statements.lexer import BIT, CONTINUE, HEX, INTEGER, NUMERIC, TEXT

_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|''", re.DOTALL)
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PIECES_PLAIN = re.compile(rf"'((?:[^']|'')*+)'(?:{CONTINUE}(?='))?", re.DOTALL)
_PIECES_ESCAPED = re.compile(rf"'((?:[^'\\]|\\.|'')*+)'(?:{CONTINUE}(?='))?", re.DOTALL)
_UNICODE = re.compile(
    r"""(?P<body>[uU]&(?P<quote>['"]).*?)(?:uescape(?:[^'"]|--[^\n\r]*)*'(?P<escape>.)')?\Z""", re.DOTALL | re.IGNORECASE
)


def common_literal(token: str, escaping: bool) -> tuple[str, str]:
    """Return (sentinel, value) of a plain string or decimal number."""
    if token[0] == "'":
        value = token[1:-1]
        if "'" in value or (escaping and "\\" in value):
            value = _string_value(token, escaping)
        return TEXT, value
    if "_" in token:
        token = token.replace("_", "")
    return (INTEGER if token.isdigit() else NUMERIC), token


def rare_literal(token: str, tag: str) -> tuple[str, str]:
    """Return (sentinel, value) of an E, B or X string, a dollar-quoted string, or a hex, octal or binary number."""
    first = token[0]
    if tag:
        return TEXT, token[len(tag) : -len(tag)]
    if first == "0":
        return INTEGER, str(int(token.replace("_", ""), 0)) if len(token) < 1000 else token
    if first in "eE":
        return TEXT, _string_value(token[1:], True)
    bits = "".join(_PIECES_PLAIN.findall(token[1:]))
    return (BIT if first in "bB" else HEX), bits


def unicode_value(token: str) -> tuple[bool, str] | None:
    """Return (is a name, value) of `U&'…'` or `U&"…"`, with its UESCAPE; None where the server would refuse it."""
    match = _UNICODE.match(token)
    if match is None:
        return None
    escape = match["escape"] or "\\"
    if escape in "'\"+" or escape.isspace() or escape in "0123456789abcdefABCDEF":
        return None
    body = match["body"].rstrip()
    if match["quote"] == '"':
        end = body.rindex('"')
        raw = body[3:end].replace('""', '"')
    else:
        raw = "".join(_PIECES_PLAIN.findall(body[2:])).replace("''", "'")
    mark = re.escape(escape)
    pattern = re.compile(rf"{mark}(?:({mark})|([0-9a-fA-F]{{4}})|\+([0-9a-fA-F]{{6}})|())")
    if any(m[4] is not None for m in pattern.finditer(raw)):
        return None
    try:
        value = pattern.sub(lambda m: escape if m[1] else chr(int(m[2] or m[3], 16)), raw)
        return match["quote"] == '"', value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except (ValueError, OverflowError):
        return None


def _string_value(token: str, escaping: bool) -> str:
    if not escaping:
        return "".join(_PIECES_PLAIN.findall(token)).replace("''", "'")
    value = _ESCAPE.sub(_unescape, "".join(_PIECES_ESCAPED.findall(token)))
    if any("\ud800" <= c <= "\udfff" for c in value):
        # \uD83D\uDE00 is one character to the server; a lone half is an error there and a replacement here.
        value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def _unescape(match: re.Match[str]) -> str:
    octal, byte, short, long, other = match.groups()
    if octal:
        return chr(int(octal, 8) & 255)
    if byte or short:
        return chr(int(byte or short, 16))
    if long:
        code = int(long, 16)
        return chr(code) if code <= 0x10FFFF else "\ufffd"
    return _SIMPLE.get(other, other) if other else "'"
