"""How is a statement shown? Without literals and comments, and without names or words that could be values.

Works on templates, where literals are sentinels already. Two renderings of one cleaned template: the text for people, with
`?` for every literal, and a text with harmless stand-ins that still parses, from which the fingerprint is made: a
fingerprint over the real text of `ALTER ROLE … PASSWORD '…'` would be a hash of the password.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from pglast import keywords

from processors.statements.facts.collector import HARMLESS_SETTINGS
from processors.statements.facts.names import MAX_NAME_CHARS, is_plain, is_plain_relation
from processors.statements.lexer import BIT, HEX, INTEGER, LETTER, MORE, NUMERIC, TEXT, finder
from processors.statements.verify import agrees, is_slow_to_scan

KEYWORDS = frozenset(
    keywords.RESERVED_KEYWORDS | keywords.UNRESERVED_KEYWORDS | keywords.COL_NAME_KEYWORDS | keywords.TYPE_FUNC_NAME_KEYWORDS
)
MAX_UNPARSED_CHARS = 8192
"""Of text that does not parse, what is shown: enough to recognise it."""

MAX_PARAMETER_CHARS = 6
"""`$65535` is the last parameter there can be: a longer number behind `$` is somebody's value."""

_TOKEN = re.compile(rf'"[^"]*"(?:"[^"]*")*|[{LETTER}][{LETTER}0-9$]*|\$[0-9]+|[ \t\n\r\f\v]+|[\x01-\x06]|.', re.DOTALL)
_SHOWN = {INTEGER: "?", NUMERIC: "?", TEXT: "?", BIT: "?", HEX: "?", MORE: ", ..."}
_PARSED = {INTEGER: "1", NUMERIC: "1.5", TEXT: "'?'", BIT: "B'0'", HEX: "X'0'", MORE: ""}
_HIDDEN_WORD = "\x07"
"""Stands for a word that is a value (SET … TO word): shown as `?`, parsed as a word."""


def clean(template: str, relations: Collection[str], *, has_settings: bool) -> list[str]:
    """Return a statement's template as tokens, white space folded, names that do not look like names hidden."""
    tokens: list[str] = []
    for token in _TOKEN.findall(template):
        first = token[0]
        if first in " \t\n\r\f\v":
            token = " "
        elif first == '"':
            name = token[1:-1].replace('""', '"')
            if not (is_plain(name) or (name in relations and is_plain_relation(name))):
                token = '"?"'
        elif len(token) > MAX_NAME_CHARS or (first == "$" and len(token) > MAX_PARAMETER_CHARS):
            token = _HIDDEN_WORD
        tokens.append(token)
    return _hide_settings(tokens) if has_settings else tokens


def shown(tokens: list[str]) -> str:
    """Render cleaned tokens for people."""
    return "".join(_SHOWN.get(t, "?" if t == _HIDDEN_WORD else t) for t in tokens).strip()


def parseable(tokens: list[str]) -> str:
    """Render cleaned tokens for the parser."""
    return "".join(_PARSED.get(t, "hidden" if t == _HIDDEN_WORD else t) for t in tokens).strip()


def _hide_settings(tokens: list[str]) -> list[str]:
    """Hide words given as the value of a setting that is not known to be harmless: `SET app.token TO hunter2`."""
    words = [(i, t.lower()) for i, t in enumerate(tokens) if t != " "]
    tokens = list(tokens)
    at = 0
    while at < len(words):
        if words[at][1] != "set":
            at += 1
            continue
        at += 1
        while at < len(words) and words[at][1] in ("session", "local"):
            at += 1
        name = words[at][1].strip('"') if at < len(words) else ""
        at += 1
        while at + 1 < len(words) and words[at][1] == ".":
            name, at = f"{name}.{words[at + 1][1]}", at + 2
        if at >= len(words) or words[at][1] not in ("to", "=") or name in HARMLESS_SETTINGS:
            continue
        at += 1
        while at < len(words) and words[at][1] not in (";", "set"):
            index, word = words[at]
            if (word[0].isalpha() or word[0] in '_"' or word[0] > "\x7f") and word not in _SETTING_WORDS:
                tokens[index] = _HIDDEN_WORD
            at += 1
    return tokens


_SETTING_WORDS = frozenset(("default", "on", "off", "true", "false", "from", "current", "none", "local"))


def unparsed(text: str, *, conforming: bool) -> str:
    """Show text that did not parse: key words, punctuation and operators; everything else is `?`.

    A quote that is not closed hides all that follows.
    """
    text = text[: 4 * MAX_UNPARSED_CHARS]
    shown_tokens: list[str] = []
    for skip, common, rare, _tag, _comment, unicode, odd in finder(conforming)(text):
        for token in _TOKEN.findall(skip):
            first = token[0]
            if first in " \t\n\r\f\v":
                shown_tokens.append(" ")
            elif first == '"' or (
                (len(token) > 1 or first.isalpha() or first == "_" or first > "\x7f") and token.lower() not in KEYWORDS
            ):
                parameter = first == "$" and token[1:].isdigit() and len(token) <= MAX_PARAMETER_CHARS
                shown_tokens.append(token if parameter else "?")
            else:
                shown_tokens.append(token)
        shown_tokens.append("?" if common or rare or unicode or odd else " ")
    folded = re.sub(r"\?(?: ?\?)+", "?", re.sub(r" +", " ", "".join(shown_tokens)))
    return folded[:MAX_UNPARSED_CHARS].strip()


_SUSPECT = re.compile(r"['\"$\\0-9]|--|/\*|[^\x01-\x7f]")


def uncertain(text: str) -> str:
    """Show text whose reading is uncertain: as `unparsed`, and nothing from the first quote, digit or odd byte on."""
    found = _SUSPECT.search(text)
    if found is None:
        return unparsed(text, conforming=True)
    return (unparsed(text[: found.start()], conforming=True) + " ?").strip()


def without_literals(text: str) -> str:
    """Show text that nothing else is known of as it is, `?` for its literals; as `unparsed` where it is cut off or odd.

    How plain quotes are to be read is not known either: text that would mean something else the other way is `uncertain`.
    """
    if "\\" in text and finder(True)(text) != finder(False)(text):
        return uncertain(text)
    if len(text) > 4 * MAX_UNPARSED_CHARS or is_slow_to_scan(text) or not agrees(text, conforming=True):
        return unparsed(text, conforming=True)
    parts: list[str] = []
    for skip, common, rare, _tag, comment, unicode, _odd in finder(True)(text):
        parts.append(skip + (TEXT if common or rare or unicode else " " if comment else ""))
    return shown(clean("".join(parts), (), has_settings=True))
