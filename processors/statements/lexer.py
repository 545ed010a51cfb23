r"""Where do literals, comments and names begin and end, exactly as Postgres' scan.l says?

One compiled pattern per reading of plain quotes (`standard_conforming_strings` on and off) walks the text from left to right.
Each match is a run of text that stays (group `SKIP`: words, operators, `$1`, quoted identifiers) and then one thing that does
not: a literal, a comment, or something this lexer does not vouch for (`ODD`, which takes the rest of the text with it).
All loops are possessive, so time is linear in the text. Rules checked against scan.l of PostgreSQL 18; what older servers read
otherwise (`1_000`, `0x1F`, `123abc`) they either refuse or read as a number and an alias.

- `--` and `/*` begin a comment anywhere in a run of operator characters (the action of rule `operator`).
- C comments nest; beyond MAX_COMMENT_DEPTH they are ODD.
- Strings continue across white space with a newline in it, `--` comments included (`quotecontinue`).
- `$` is part of a word, so `a$b$` is a word and not the start of a dollar quote.
- `N'…'` is the word `N` and a plain string; `B''`, `X''` know no doubled quote; `U&` is ODD: its value depends on UESCAPE.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_COMMENT_DEPTH = 8
"""Nesting of C comments understood; people use one, generators two."""

LETTER = r"A-Za-z_\x80-\U0010ffff"
WORD = rf"(?![eEbBxX]'|[uU]&['\"])[{LETTER}][{LETTER}0-9$]*+"
QUOTED = r'"[^"\x00-\x08]*+"'
PARAM = rf"\$[0-9]++(?![{LETTER}])"

_DEC = r"[0-9](?:_?[0-9])*+"
_DECIMAL = rf"(?>(?:{_DEC}(?:\.(?!\.)(?:{_DEC})?)?|\.{_DEC})(?:[eE][-+]?{_DEC})?)(?![{LETTER}])"
_RADIX = rf"(?>0(?:[xX](?:_?[0-9a-fA-F])++|[oO](?:_?[0-7])++|[bB](?:_?[01])++))(?![{LETTER}0-9])"

_LINE = r"--[^\n\r]*+"
_CONTINUE = rf"(?:[ \t\f\v]++|{_LINE})*+[\n\r](?:[ \t\n\r\f\v]++|{_LINE}[\n\r])*+"


def _continued(body: str) -> str:
    return rf"{body}(?:{_CONTINUE}{body})*+"


_PLAIN = _continued(r"'[^']*+(?:''[^']*+)*+'")
_ESCAPED = _continued(r"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'")
_BITS = _continued(r"'[^']*+'")
_DOLLAR = rf"(?P<tag>\$(?:[{LETTER}][{LETTER}0-9]*+)?\$).*?(?P=tag)"


def _block(depth: int) -> str:
    inner = rf"|{_block(depth - 1)}" if depth > 1 else ""
    return rf"/\*[^*/]*+(?:(?:\*(?!/)|/(?!\*){inner})[^*/]*+)*+\*/"


_COMMENT = rf"{_LINE}|{_block(MAX_COMMENT_DEPTH)}"

_SKIP = rf"(?:[ \n(),;:=*<>+%^|&!~@#?`\[\]\t\r\f\v]++|{WORD}|\.\.|\.(?![0-9])|{QUOTED}|-(?!-)|/(?!\*)|{PARAM})*+"


def _compile(plain: str) -> re.Pattern[str]:
    common = rf"{plain}|{_DECIMAL}"
    rare = rf"[eE]{_ESCAPED}|[bBxX]{_BITS}|{_RADIX}|{_DOLLAR}"
    return re.compile(rf"({_SKIP})(?:({common})|({rare})|({_COMMENT})|(.+)|\Z)", re.DOTALL)


# Group order of a match; `tag` stands inside RARE.
SKIP, COMMON, RARE, _TAG, COMMENT, ODD = range(1, 7)

# Longest numbers first: a radix number would else be cut after its `0` and fail there.
CONFORMING = _compile(_PLAIN)
ESCAPING = _compile(_ESCAPED)

Match = tuple[str, str, str, str, str, str]
"""What the finder yields per match: (skip, common literal, rare literal, dollar tag, comment, odd)."""


def finder(standard_conforming_strings: bool) -> Callable[[str], list[Match]]:
    """Return the function that cuts a text into matches under the given reading of plain quotes."""
    return (CONFORMING if standard_conforming_strings else ESCAPING).findall


# Sentinels stand for literals in a template. The lexer leaves no control character but white space in SKIP, so that
# text cannot forge them. MORE stands for the elided rest of a list.
INTEGER, NUMERIC, TEXT, BIT, HEX, MORE = "\x01", "\x02", "\x03", "\x04", "\x05", "\x06"

TYPE_NAMES = {INTEGER: "int", NUMERIC: "numeric", TEXT: "text", BIT: "bit", HEX: "bit"}

_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|''", re.DOTALL)
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PIECES_PLAIN = re.compile(rf"'((?:[^']|'')*+)'(?:{_CONTINUE}(?='))?", re.DOTALL)
_PIECES_ESCAPED = re.compile(rf"'((?:[^'\\]|\\.|'')*+)'(?:{_CONTINUE}(?='))?", re.DOTALL)


def common_literal(token: str, escaping: bool) -> tuple[str, str]:
    """Return (sentinel, value) of a plain string or decimal number. Values are as the server will hold them."""
    if token[0] == "'":
        value = token[1:-1]
        if "'" in value or (escaping and "\\" in value):
            value = _string_value(token, escaping)
        return TEXT, value
    if token.isdigit():
        return INTEGER, token
    if "_" in token:
        token = token.replace("_", "")
    return (INTEGER if token.isdigit() else NUMERIC), token


def rare_literal(token: str, tag: str) -> tuple[str, str]:
    """Return (sentinel, value) of an E, B or X string, a dollar-quoted string, or a hex, octal or binary number."""
    first = token[0]
    if tag:
        return TEXT, token[len(tag) : -len(tag)]
    if first == "0":
        return INTEGER, str(int(token.replace("_", ""), 0))
    if first in "eE":
        return TEXT, _string_value(token[1:], True)
    bits = "".join(_PIECES_PLAIN.findall(token[1:]))
    return (BIT if first in "bB" else HEX), bits


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
