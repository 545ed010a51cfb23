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
- `N'…'` is the word `N` and a plain string; `B''` and `X''` know no doubled quote; `U&` takes a following UESCAPE with it.
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
CONTINUE = rf"(?:[ \t\f\v]++|{_LINE})*+[\n\r](?:[ \t\n\r\f\v]++|{_LINE}[\n\r])*+"


def _continued(body: str) -> str:
    return rf"{body}(?:{CONTINUE}{body})*+"


_PLAIN = _continued(r"'[^']*+(?:''[^']*+)*+'")
_ESCAPED = _continued(r"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'")
_BITS = _continued(r"'[^']*+'")
_DOLLAR = rf"(?P<tag>\$(?:[{LETTER}][{LETTER}0-9]*+)?\$).*?(?P=tag)"


def _block(depth: int) -> str:
    inner = rf"|{_block(depth - 1)}" if depth > 1 else ""
    return rf"/\*[^*/]*+(?:(?:\*(?!/)|/(?!\*){inner})[^*/]*+)*+\*/"


_COMMENT = rf"{_LINE}|{_block(MAX_COMMENT_DEPTH)}"

# Most words start with a letter that begins no literal: these need no look-ahead. Negated classes are bitmaps to `re`.
_NO_LETTER = r"\x00-@\[-^`{-\x7f"
_EASY_WORD = rf"[^{_NO_LETTER}eEbBxXuU][^\x00-#%-/:-@\[-^`{{-\x7f]*+"
_OTHER = r"[ \n(),;:=*<>+%^|&!~@#?`\[\]\t\r\f\v]++"
_SKIP = rf"(?:{_OTHER}(?:{_EASY_WORD}{_OTHER})*+|{_EASY_WORD}|{WORD}|\.\.|\.(?![0-9])|{QUOTED}|-(?!-)|/(?!\*)|{PARAM})*+"


_GAP = rf"(?:[ \t\n\r\f\v]++|{_COMMENT})*+"
_UESCAPE = rf"(?:{_GAP}(?<![{LETTER}0-9$])[uU][eE][sS][cC][aA][pP][eE]{_GAP}'[^'](?:'(?!'))|)"
_UNICODE_NAME = rf"[uU]&{QUOTED}(?:{QUOTED})*+"


def _compile(plain: str, unicode: str) -> re.Pattern[str]:
    common = rf"{plain}|{_DECIMAL}"
    # A radix number is no decimal one: that would be cut after its `0`, where the look-ahead forbids it.
    rare = rf"[eE]{_ESCAPED}|[bBxX]{_BITS}|{_RADIX}|{_DOLLAR}"
    return re.compile(rf"({_SKIP})(?:({common})|({rare})|({_COMMENT})|((?:{unicode}){_UESCAPE})|(.+)|\Z)", re.DOTALL)


# Groups of a match; the dollar quote's tag stands inside RARE.
SKIP, COMMON, RARE, TAG, COMMENT, UNICODE, ODD = range(1, 8)

CONFORMING = _compile(_PLAIN, rf"[uU]&{_PLAIN}|{_UNICODE_NAME}")
# U& strings are errors where plain strings have escapes.
ESCAPING = _compile(_ESCAPED, _UNICODE_NAME)

Match = tuple[str, str, str, str, str, str, str]
"""What the finder yields per match: (skip, common literal, rare literal, dollar tag, comment, U& literal or name, odd)."""


def finder(standard_conforming_strings: bool) -> Callable[[str], list[Match]]:
    """Return the function that cuts a text into matches under the given reading of plain quotes."""
    return (CONFORMING if standard_conforming_strings else ESCAPING).findall


# Sentinels stand for literals in a template. The lexer leaves no control character but white space in SKIP, so that
# text cannot forge them. MORE stands for the elided rest of a list.
INTEGER, NUMERIC, TEXT, BIT, HEX, MORE = "\x01", "\x02", "\x03", "\x04", "\x05", "\x06"
