"""Which settings does a client ask for as it connects? By name in the startup packet, or as switches in its `options`.

They are in force before the first statement, and so are judged like the SET statements that they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_NO_SETTINGS = frozenset(("replication", "application_name", "client_encoding"))
_WORD = re.compile(r"(?:\\.|[^\\ \t\n\v\f\r])+", re.DOTALL)  # the server's isspace: of a wider one, a value would end early
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
UNREADABLE = b"("
"""Stands for a switch that is not known: text that is no SQL, and so is opaque."""


def settings_asked(parameters: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the settings of a startup packet as SQL texts, one each."""
    for name, value in parameters.items():
        if name.lower() == "options":
            yield from _switches(value)
        elif name.lower() not in _NO_SETTINGS:
            yield _set(name, value)


def _switches(options: str) -> Iterator[bytes]:
    """Read `options` as the server does (pg_split_opts, process_postgres_switches)."""
    words = iter([_ESCAPED.sub(r"\1", word) for word in _WORD.findall(options)])
    for word in words:
        if word.startswith("--"):
            assignment = word[2:]
        elif word.startswith("-c"):
            assignment = word[2:] or next(words, "")
        else:
            yield UNREADABLE
            continue
        name, equals, value = assignment.partition("=")
        yield _set(name.replace("-", "_"), value) if equals and name else UNREADABLE


def _set(name: str, value: str) -> bytes:
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
    return f"SET {quoted} TO '{value.replace(chr(39), chr(39) * 2)}'".encode("utf-8", "replace")
