"""Which literals say nothing, or so much that facts depend on them: patterns that nearly everything matches, large numbers."""

from __future__ import annotations

import re

_MAX_PATTERN = 1000
_CLASSES = re.compile(r"\[[^\]]*\]|\\[sSwWdDyYmMAZ]|\{\d*,?\d*\}")
_OPTIONAL = re.compile(r"(?:\\?[^\s()|*?%_]|\[[^\]]*\])(?:[*?]|\{0?,\d*\}|\{0\})")
_GROUP = re.compile(r"\((?:\?:)?([^()]*)\)([*?]|\{0?,\d*\}|\{0\})?")
_ABOUT = re.compile(r"^\*{3}[:=]|\(\?(?:[a-z]+\)|<?![^()]*\))")
"""What a regular expression says of itself, and what it says must not be there: both leave the rest to match."""


def is_trivial(pattern: str) -> bool:
    """Tell whether a LIKE or regular expression pattern may match nearly everything: no letter or digit has to be there.

    In a regular expression none has to be that is optional, or one of several alternatives of which another needs none.
    """
    if len(pattern) > _MAX_PATTERN:
        return True  # nobody means it, and what it says takes long to find out
    pattern = _ABOUT.sub("", pattern)
    if not any(c.isalnum() for c in _CLASSES.sub("", pattern)) or _is_of_letters(pattern):
        return True
    rest = _OPTIONAL.sub("", pattern)
    for _ in range(20):
        rest, found = _GROUP.subn(_needed, rest)
        if not found:
            break
    return any(not any(c.isalnum() for c in _CLASSES.sub("", arm)) for arm in rest.split("|"))


def _is_of_letters(pattern: str) -> bool:
    """Tell whether a regular expression asks for one of several letters or digits, anywhere: `(a|e|i|o|u)`."""
    arms = pattern.strip("^()").split("|")
    return len(arms) > 2 and all(len(arm) == 1 for arm in arms)


LARGE_DIGITS = 6


def is_telling(literal: str) -> bool:
    """Tell whether facts may depend on a literal of which only this was asked: a trivial pattern, or a large number."""
    return len(literal) >= LARGE_DIGITS if literal[:1].isdigit() and literal.replace(".", "").isdigit() else is_trivial(literal)


def _needed(group: re.Match[str]) -> str:
    return "" if group[2] or any(not any(c.isalnum() for c in arm) for arm in group[1].split("|")) else "x"
