"""What is said to somebody whose statement masking does not let run: what it would tell, and what to write instead."""

from __future__ import annotations

from ingest.masking.sight import Leak, Sight
from ingest.masking.tags import EVERY, Classes

_UNREAD = (
    "This statement could not be read beforehand (a syntax error, or code that is put together while it runs), so what it shows"
    " could not be masked. It was not executed. Write it as plain SQL, or ask for the right to see clear values."
)
_JUST_CHANGED = (
    "Something that it uses was changed a moment ago, so that it is not known yet what it would carry where. It was not executed."
    " Send it again in a few seconds, or after the transaction that makes the change."
)
_SAID = {
    Leak.COMPARED: (
        "It compares {} with something that is shown, so that the one would tell the other. Compare it with constants or"
        " parameters, or with a column that is masked the same, and join by an id."
    ),
    Leak.COUNTED: "How many rows it gives would tell {}. Let constants or columns that are shown say how many.",
    Leak.COPIED: (
        "It would write {} to a column that is shown. Write it to one that is known to hold the same (by its name, or a comment"
        " on it), or leave it out."
    ),
    Leak.REWORKED: (
        "It would write something made of {} to a column whose masks keep a part, or are equal for equal values. Write values"
        " there as they are, or to a temporary table."
    ),
    Leak.WRITTEN_BY_CODE: (
        "A function or trigger that it runs writes to columns that are shown, and may write {} there. Use no such column with it,"
        " or let an application do it that may see them."
    ),
    Leak.HANDED_OVER: (
        "It would hand {} to a setting, a notification, a lock, a file, another server or a delay, which nothing masks."
        " Hand over an id instead."
    ),
}


def refusal(sight: Sight, clear: Classes) -> str:
    """Return why a statement must not run for somebody to whom `clear` is shown, empty if it may."""
    if sight.leaks is None:
        return _UNREAD
    if sight.leaks <= clear:
        return ""
    said = [_SAID[leak].format(_listed(classes - clear)) for leak, classes in sight.reasons if classes - clear]
    return f"{' '.join(said)} It was not executed." if said else _JUST_CHANGED


def _listed(classes: Classes) -> str:
    """Return classes in words; of most of them, that nobody knows which."""
    if len(classes) > len(EVERY) // 2:
        return "what may be masked (a variable, or a table just made: it is not known what it holds)"
    return f"values that are masked here ({', '.join(sorted(classes))})"
