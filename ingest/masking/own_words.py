"""A plan repeats the constants of its statement: what the client wrote itself need not be hidden from it.

The server shows a constant as `'ada@example.org'::text`, and value detection would mask it (with the quote before it, which
looks like part of an address). So while rows are masked, each constant that stands in the plan exactly as the client wrote it,
from quote to quote, is a meaningless word of the same length. Whatever else a plan has is masked as before: constants of policies
and views, what functions gave, and every constant that is merely part of another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from struct import Struct

from ingest.core.masking import Exposed, Rows

MIN_BYTES, MAX_WORDS = 2, 26
"""Of a constant, shorter ones are not detected; and how many of one statement are known again."""
_LENGTH = Struct(">i")
_DATA_ROW = ord("D")


class OwnWords:
    """`ingest.core.masking.Rows` around another, for the rows of EXPLAIN."""

    def __init__(self, inner: Rows, said: Sequence[bytes]) -> None:
        self._inner = inner
        words = [w for w in dict.fromkeys(said) if len(w) >= MIN_BYTES and not _unusual(w)][:MAX_WORDS]
        self._stand_ins = {w: b"q" + bytes((97 + n,)) + b"z" * (len(w) - 2) for n, w in enumerate(words)}
        self._words = {stand_in: w for w, stand_in in self._stand_ins.items()}

    @property
    def passes(self) -> bool:
        """Whether rows may pass as they are."""
        return self._inner.passes

    @property
    def exposure(self) -> Exposed:
        """What was counted so far."""
        return self._inner.exposure

    def run(self, data: bytes, pos: int) -> tuple[int, bytes, int]:
        """Mask whole row messages at `pos`; see `Rows`."""
        if not self._stand_ins or any(stand_in in data for stand_in in self._words):
            return self._inner.run(data, pos)
        end, masked, rows = self._inner.run(self._hidden(data, pos), pos)
        return end, _exchanged(masked, self._words), rows

    def passed(self, rows: int) -> None:
        """Count rows that nothing masks."""
        self._inner.passed(rows)

    def too_long(self) -> bytes:
        """Return what stands for a row that is too long to hold."""
        return self._inner.too_long()

    def _hidden(self, data: bytes, pos: int) -> bytes:
        """Return the data with stand-ins in the cells of its whole rows, which keep their lengths; odd rows are the other's."""
        changed = bytearray(data)
        size = len(data)
        while size - pos >= 7 and data[pos] == _DATA_ROW:
            end = pos + 1 + int(_LENGTH.unpack_from(data, pos + 1)[0])
            at = pos + 7
            if not at <= end <= size:
                break
            while end - at >= 4:
                length = max(0, int(_LENGTH.unpack_from(data, at)[0]))
                at += 4
                if length > end - at:
                    break
                changed[at : at + length] = _exchanged(data[at : at + length], self._stand_ins)
                at += length
            pos = end
        return bytes(changed)


def _unusual(word: bytes) -> bool:
    return any(byte < 32 or byte in b"'\"\\" for byte in word)  # written otherwise in a plan, or in its JSON


def _exchanged(text: bytes, words: Mapping[bytes, bytes]) -> bytes:
    """Exchange words of the same length, where one stands from quote to quote, or an array of nothing else does."""
    word = b"(?:" + b"|".join(re.escape(w) for w in sorted(words, key=len, reverse=True)) + b")"
    pattern = b'\'(?:%b|\\{"?%b"?(?:,"?%b"?)*\\})\'' % (word, word, word)
    return re.sub(pattern, lambda whole: re.sub(word, lambda found: words[found[0]], whole[0]), text)
