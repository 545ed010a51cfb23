"""Which parts of a template only repeat? Long lists of values, so that a bulk insert of any length is one template.

`IN (1, 2, 3)` keeps its first element, `VALUES (1, 'a'), (2, 'b')` its first row; MORE stands for the rest. Only elements that
can hide nothing are elided: literals, `$1`, NULL, TRUE, FALSE, DEFAULT, each with an optional sign and simple cast. Anything else
in a list (a column, a call, a subquery) keeps the list as it is.
"""

from __future__ import annotations

import re

from processors.statements.lexer import LETTER, MORE

_ELEMENT = (
    rf"(?>(?:[-+]\s*+)?[\x01-\x05]|\$[0-9]++|(?:NULL|TRUE|FALSE|DEFAULT)(?![{LETTER}0-9$]))"
    rf"(?:::[{LETTER}][{LETTER}0-9]*+(?:\[\])?(?!\s*+[.(\[{LETTER}]))?+"
)
_NEXT = rf"\s*+,\s*+{_ELEMENT}"
_ROW = rf"\(\s*+{_ELEMENT}(?:{_NEXT})*+\s*+\)"
_LIST = re.compile(
    rf"(?<![{LETTER}0-9$.])(?:(IN\s*+\(\s*+{_ELEMENT})((?:{_NEXT})++)(\s*+\))"
    rf"|(ARRAY\s*+\[\s*+{_ELEMENT})((?:{_NEXT})++)(\s*+\])"
    rf"|(VALUES\s*+{_ROW})((?:\s*+,\s*+{_ROW})++))",
    re.IGNORECASE,
)
_REPLACEMENT = rf"\1\4\7{MORE}\3\6"
_QUOTED = re.compile(r'"[^"]*"')


def collapse(template: str) -> str:
    """Return the template with its lists elided."""
    if not _applies(template):
        return template
    return _LIST.sub(_REPLACEMENT, template)


def kept_literals(template: str) -> list[int]:
    """Return which literals of the uncollapsed template, by position, `collapse` keeps."""
    kept: list[int] = []
    elided = (
        [m.span(2) if m[2] else m.span(5) if m[5] else m.span(8) for m in _LIST.finditer(template)] if _applies(template) else []
    )
    elided.append((len(template), len(template)))
    begin = index = 0
    for start, end in elided:
        for char in template[begin:start]:
            if "\x01" <= char <= "\x05":
                kept.append(index)
                index += 1
        index += sum("\x01" <= char <= "\x05" for char in template[start:end])
        begin = end
    return kept


def _applies(template: str) -> bool:
    """A list inside a quoted name is a name; what array_fill is given are sizes."""
    if "array_fill" in template.lower():
        return False
    return '"' not in template or not any("(" in name or "[" in name for name in _QUOTED.findall(template))
