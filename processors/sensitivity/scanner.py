"""Finds sensitive values in cells, in bulk: one RE2 set over groups of cells, then spans, then validators.

The set answers for a whole group at once and most groups hold nothing. RE2 gives up when its automaton runs out of memory, and
the set then reports no match as if there were none; every group therefore ends in a sentinel that one more pattern always
matches. A group whose sentinel is missing is searched pattern by pattern, which never gives up.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import re2

from processors.sensitivity.detector import Detector
from processors.sensitivity.detectors import DETECTORS
from schemas.classes import CHECKSUMMED, DataClass

GROUP = 4096
"""Bytes of cells searched at once: large enough that the call costs little beside the search, small enough that one hit does not
make much else be searched again. A group ends at a zero byte, which no pattern matches, so that no value is cut."""

SET_MEMORY = 64 * 1024**2
"""Bytes the set's automaton may take; it is thrown away and begun again when they are full."""

SEPARATOR = b"\x00"
"""Between cells that are searched together: no pattern matches it."""
_SENTINEL = b"\x00\x01end-of-group\x01"


@dataclass(frozen=True, slots=True)
class Span:
    """A sensitive value: bytes `start` to `end` of cell number `cell`."""

    cell: int
    start: int
    end: int
    data_class: DataClass
    detector: str


class Scanner:
    """Searches cells with the detectors given. Holds no state between calls; not for use by two threads at once."""

    def __init__(self, detectors: Sequence[Detector] = DETECTORS, set_memory: int = SET_MEMORY) -> None:
        self._detectors = tuple(detectors)
        self._patterns = [re2.compile(d.searched.encode(), _options(8 * 1024**2)) for d in self._detectors]
        self._whole = [re2.compile(d.pattern.encode(), _options(8 * 1024**2)) for d in self._detectors]
        self._set = re2.Set.SearchSet(_options(set_memory))
        for detector in self._detectors:
            self._set.Add(detector.searched.encode())
        self._end = len(self._detectors)
        self._set.Add(_SENTINEL)
        self._set.Compile()
        self.fallbacks = 0
        """Groups that the set gave up on and that were searched pattern by pattern."""

    def scan(self, cells: Sequence[bytes | None]) -> list[Span]:
        """Return the spans found, by cell and place. A cell that is None (NULL) holds nothing."""
        values = [cell or b"" for cell in cells]
        return self.joined(SEPARATOR.join(values), values)

    def joined(self, text: bytes, values: Sequence[bytes]) -> list[Span]:
        """Return the same of cells that `SEPARATOR` joins to a text already."""
        match, find, size, alone = self._set.Match, text.find, len(text), self._end
        found: list[Span] = []
        starts: list[int] = []
        start = 0
        while start < size:
            end = find(SEPARATOR, start + GROUP)
            if end < 0:
                end = size
            group = text[start:end] + _SENTINEL
            hits: Sequence[int] = match(group) or ()
            if len(hits) != 1 or hits[0] != alone:
                starts = starts or list(accumulate((len(v) + 1 for v in values[:-1]), initial=0))
                self._spans(group, start, hits, starts, values, found)
            start = end + 1
        return _outermost(found) if len(found) > 1 else found

    def classes(self, cells: Sequence[bytes | None]) -> dict[int, frozenset[DataClass]]:
        """Return the classes found by number of cell; cells in which nothing was found are not in it."""
        by_cell: dict[int, set[DataClass]] = {}
        for span in self.scan(cells):
            by_cell.setdefault(span.cell, set()).add(span.data_class)
        return {cell: frozenset(classes) for cell, classes in by_cell.items()}

    def holds(self, value: bytes) -> bool:
        """Whether a single value holds anything at all."""
        return bool(self.scan((value,)))

    def whole(self, values: Iterable[bytes]) -> dict[str, int]:
        """Return, by detector, how many values are one whole valid value of it, labels or not: evidence about a column."""
        counts: dict[str, int] = {}
        for value in values:
            for detector, pattern in zip(self._detectors, self._whole, strict=True):
                if pattern.fullmatch(value) and (detector.validate is None or detector.validate(value)):
                    counts[detector.name] = counts.get(detector.name, 0) + 1
        return counts

    def _spans(
        self, group: bytes, base: int, hits: Sequence[int], starts: list[int], values: Sequence[bytes], found: list[Span]
    ) -> None:
        """Find what the set says is in the group; `base` is where it begins in the text of all cells."""
        if self._end not in hits:
            self.fallbacks += 1
            hits = range(self._end)
        for hit in hits:
            if hit == self._end:
                continue
            detector = self._detectors[hit]
            for match in self._patterns[hit].finditer(group):
                start, end = match.span(1)
                if _counts(detector, group, start, end):
                    at = bisect_right(starts, base + start) - 1
                    begin = base + start - starts[at]
                    found.append(Span(at, begin, min(begin + end - start, len(values[at])), detector.data_class, detector.name))


_OCTET_BEFORE = re.compile(rb"(?:^|[^0-9A-Za-z])[0-9A-Fa-f]{2}:\Z")
_OCTET_BEHIND = re.compile(rb":[0-9A-Fa-f]{2}(?![0-9A-Za-z])")


def _outermost(found: list[Span]) -> list[Span]:
    """Order spans, and drop those inside another: the four-digit groups of a card hold no identity number."""
    found.sort(key=lambda s: (s.cell, s.start, -s.end))  # stable: of two equal spans the earlier detector's is kept
    kept: list[Span] = []
    for span in found:
        if not kept or kept[-1].cell != span.cell or span.end > kept[-1].end:
            kept.append(span)
    return kept


def _counts(detector: Detector, text: bytes, start: int, end: int) -> bool:
    if detector.isolated and not _isolated(text, start, end):
        return False
    if detector.octets and (_OCTET_BEFORE.search(text[max(start - 4, 0) : start]) or _OCTET_BEHIND.match(text[end : end + 4])):
        return False
    value = text[start:end]
    if ((b" " in value and detector.data_class in CHECKSUMMED) or value.startswith(b"00")) and not _apart(text, start, end):
        return False
    return detector.validate is None or detector.validate(value)


def _isolated(text: bytes, start: int, end: int) -> bool:
    """Whether the match is no part of a longer code: no letter or digit follows or leads by way of a dash or a dot."""
    before = start >= 2 and text[start - 1] in b"-." and text[start - 2 : start - 1].isalnum()
    behind = text[end] in b"-." and text[end + 1 : end + 2].isalnum()
    return not (before or behind)


def _apart(text: bytes, start: int, end: int) -> bool:
    """Whether a number written in groups is no part of one with more groups."""
    before = start >= 2 and text[start - 1 : start] == b" " and text[start - 2 : start - 1].isdigit()
    return not (before or (text[end : end + 1] == b" " and text[end + 1 : end + 2].isdigit()))


def _options(memory: int) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = memory
    options.log_errors = False
    return options
