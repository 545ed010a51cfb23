"""What do a statement's comments claim about where it comes from? Unverified, and only of known kinds.

Two spellings: sqlcommenter (`key='url-encoded value'`, comma-separated; google.github.io/sqlcommenter/spec) and bare
`key=value`, for agents and people. A comment is text of the client's: only known keys, short values and harmless characters pass,
so that no value of a commented-out statement does. Only the reason somebody gives for breaking the glass is a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import unquote

KEYS = frozenset(
    (
        "traceparent",
        "tracestate",
        "application",
        "controller",
        "action",
        "route",
        "framework",
        "db_driver",
        "job",
        "agent",
        "agent_run",
        "agent_session",
        "tool",
        "tool_call",
        "ticket",
        "request_id",
        "trace_id",
        "span_id",
        "workflow",
        "task",
        "model",
        "change",
        "break_glass",
    )
)
SENTENCES = frozenset(("break_glass",))
"""Claims that people write for people, in quotes."""
MAX_CLAIMS = 16
"""More than any sqlcommenter integration writes."""
MAX_CLAIM_CHARS = 128
"""A tracestate of a few vendors; a traceparent is 55."""
MAX_COMMENT_CHARS = 4096
"""Of each comment, what is searched: claims stand in short comments."""

NO_CLAIMS: Mapping[str, str] = MappingProxyType({})

_PAIR = re.compile(r"(?<![\w%.-])([a-z_]{2,32})\s{0,2}[=:]\s{0,2}(?:'((?:[^'\\]|\\'){0,512})'|([\w.:/@+#%-]{1,512}))")
_SAFE = re.compile(r"[\w.:/@+#=,~<>{}*-]{1,128}\Z", re.ASCII)
_SENTENCE = re.compile(r"[\w .:/@+#=,;!?()-]{1,128}\Z")


def claims_of(comments: Iterable[str]) -> Mapping[str, str]:
    """Return the claims in comments; the first of a key counts. Values that break the rules are left out."""
    found: dict[str, str] = {}
    for comment in comments:
        for key, quoted, bare in _PAIR.findall(comment[:MAX_COMMENT_CHARS]):
            if key not in KEYS or key in found:
                continue
            value = unquote(quoted.replace("\\'", "'")) if quoted else bare
            if (_SENTENCE if key in SENTENCES and quoted else _SAFE).match(value):
                found[key] = value
                if len(found) >= MAX_CLAIMS:
                    return found
    return found or NO_CLAIMS
