"""What do log lines look like? Said once, by option or environment, for a process and all those it starts."""

from __future__ import annotations

import os
from enum import StrEnum

VARIABLE = "AFFIDAVIT_LOGS"


class Style(StrEnum):
    """`auto` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def style() -> Style:
    """Return what the environment says; what it says wrong is `auto`."""
    said = os.environ.get(VARIABLE, "")
    return Style(said) if said in Style.__members__.values() else Style.AUTO


def use(wanted: Style) -> None:
    """Have this process and those it starts log so."""
    os.environ[VARIABLE] = wanted.value
