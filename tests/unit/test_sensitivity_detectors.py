"""Every detector on its own cases, the corpus' precision and recall, and the set that gives up."""

from __future__ import annotations

from collections import Counter

import pytest
import re2

from processors.sensitivity import DETECTORS, Detector, Scanner
from schemas.classes import CHECKSUMMED, DataClass
from tests.support.sensitive_corpus import Cell, corpus
from tests.support.sensitive_fields import fields

SCANNER = Scanner()


def found(scanner: Scanner, text: str, detector: Detector) -> bool:
    return any(span.detector == detector.name for span in scanner.scan([text.encode()]))


def test_there_are_forty_detectors_with_validators_or_shapes_of_their_own() -> None:
    assert len(DETECTORS) >= 40
    assert len({d.name for d in DETECTORS}) == len(DETECTORS)
    assert sum(d.validate is not None for d in DETECTORS) >= 40
    assert {d.data_class for d in DETECTORS} == set(DataClass) - {DataClass.FREE_TEXT}


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)
def test_cases(detector: Detector) -> None:
    assert detector.must
    assert detector.must_not
    for text in detector.must:
        assert found(SCANNER, text, detector), text
        assert found(SCANNER, f"x, {text}; y", detector), text
    for text in detector.must_not:
        assert not found(SCANNER, text, detector), text


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)
def test_no_value_goes_over_the_edge_of_a_cell(detector: Detector) -> None:
    for text in detector.must:
        value = text.encode()
        for cut in range(1, len(value)):
            cells = [value[:cut], value[cut:]]
            for span in SCANNER.scan(cells):
                assert span.end <= len(cells[span.cell])
                alone = SCANNER.scan([cells[span.cell]])
                assert [(s.start, s.end, s.detector) for s in alone if s.start == span.start] == [
                    (span.start, span.end, span.detector)
                ]


def measured(cells: list[Cell], scanner: Scanner) -> dict[DataClass, tuple[float, float]]:
    hit: Counter[DataClass] = Counter()
    held: Counter[DataClass] = Counter()
    claimed: Counter[DataClass] = Counter()
    classes = scanner.classes([cell.value for cell in cells])
    for n, cell in enumerate(cells):
        if cell.holds is not None:
            held[cell.holds] += 1
            hit[cell.holds] += cell.holds in classes.get(n, ())
        claimed.update(classes.get(n, ()))
    return {c: (hit[c] / held[c], hit[c] / claimed[c]) for c in held}


@pytest.mark.parametrize("seed", [1, 77, 20_011])
def test_precision_and_recall(seed: int) -> None:
    cells = corpus(seed)
    assert len(cells) >= 5000
    assert sum(cell.holds is None for cell in cells) >= 2500
    for data_class, (recall, precision) in measured(cells, SCANNER).items():
        assert recall >= 0.98, data_class
        assert precision >= (0.97 if data_class in CHECKSUMMED else 0.9), data_class


@pytest.mark.parametrize("seed", [2, 501, 90_210])
def test_precision_and_recall_where_nothing_was_tuned(seed: int) -> None:
    """Values as logs, exports and documents have them, made without a look at the detectors."""
    cells = fields(seed, each=60)
    assert len(cells) >= 3000
    assert sum(cell.holds is None for cell in cells) >= 1500
    for data_class, (recall, precision) in measured(cells, SCANNER).items():
        checked = data_class in CHECKSUMMED
        assert recall >= (0.98 if checked else 0.9), data_class
        assert precision >= (0.97 if checked else 0.9), data_class


def test_a_set_that_gives_up_costs_time_and_misses_nothing() -> None:
    """A set that ran out of memory answers as one that matches nothing, sentinel included: one is put in its place."""
    cells = [cell.value for cell in corpus(3, each=4)]
    silent = Scanner()
    silent._set = re2.Set.SearchSet(re2.Options())
    silent._set.Add("never in any cell")
    silent._set.Compile()
    assert silent.scan(cells) == SCANNER.scan(cells)
    assert silent.fallbacks > 0
    assert SCANNER.fallbacks == 0


def test_cells_may_be_null_empty_binary_and_long() -> None:
    filler = b"plain words of no interest " * 1000
    cells = [None, b"", b"\x00\xff\x00ada@example.org\x00", filler + b"ada@example.org, " + filler, None]
    spans = SCANNER.scan(cells)
    assert [(s.cell, cells[s.cell][s.start : s.end]) for s in spans] == [(2, b"ada@example.org"), (3, b"ada@example.org")]
    assert SCANNER.scan([]) == []


def test_of_spans_in_one_another_the_outer_counts() -> None:
    assert [s.detector for s in SCANNER.scan([b"postgres://app:s3cret@db.example.org/x"])] == ["url_with_password"]
    assert [s.detector for s in SCANNER.scan([b"4539 5787 6362 1486"])] == ["payment_card"]
