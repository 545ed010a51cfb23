r"""Is a text that could not be analysed a slip of the pen, which the server's grammar refuses as well?

Only what libpg_query's own parser refuses is one; what is merely too deep, too long or cut differently by our lexer may be valid.
It decides nothing about safety, for it is the grammar of one version: see `ingest.protocols.postgres.mistaken`, and ADR 0017.
"""

from __future__ import annotations

from dataclasses import dataclass

from pglast import parser

from processors.statements.grammar import TooComplexError, tree_json
from processors.statements.parse import within_limits
from processors.statements.verify import is_slow_to_scan, marked


@dataclass(frozen=True, slots=True)
class Mistake:
    """`at_end`: the text is refused for what is missing behind it."""

    at_end: bool


def mistake(text: str, *, conforming: bool) -> Mistake | None:
    r"""Return what is wrong with a text, None where nothing is, or where it is not looked at.

    Text with `\x01` in it is not: nobody could tell it from the byte that is put behind text.
    """
    if "\x01" in text or "\0" in text or not within_limits(text) or is_slow_to_scan(text):
        return None
    try:
        tree_json(marked(text, conforming=conforming))
    except TooComplexError:
        return None
    except parser.ParseError as error:
        return Mistake(str(error.args[0]).endswith("at end of input"))
    return None
