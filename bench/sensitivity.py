"""How fast are cells scanned for sensitive values? Prints MB/s of CPU by how many cells hold one, and `re` on the same cells.

    python -m bench.sensitivity [--quick]

`ordinary` cells are words, amounts, timestamps and identifiers; the share named holds a value of one of the classes. `re` runs
the same patterns one by one, as a program without RE2 would. Then precision and recall on the labelled corpus of the tests.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time

from processors.sensitivity import DETECTORS, Scanner
from tests.support.sensitive_corpus import NEGATIVE, corpus
from tests.unit.test_sensitivity_detectors import measured

ORDINARY = ("prose", "prose", "amount", "timestamp", "uuid", "integer", "sku", "json", "version", "path")


def cells(count: int, share: float) -> list[bytes]:
    r = random.Random(7)
    sensitive = [cell.value for cell in corpus(7, each=20) if cell.holds is not None]
    return [r.choice(sensitive) if r.random() < share else NEGATIVE[r.choice(ORDINARY)](r).encode() for _ in range(count)]


def rate(scan: object, values: list[bytes], rounds: int) -> float:
    size = sum(map(len, values))
    times = []
    for _ in range(rounds):
        began = time.process_time_ns()
        scan(values)  # type: ignore[operator]
        times.append(time.process_time_ns() - began)
    return size * 1000 / statistics.median(times)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the cells")
    count = 10_000 if arguments.parse_args().quick else 100_000
    scanner = Scanner()
    patterns = [re.compile(d.searched.encode()) for d in DETECTORS]

    def with_re(values: list[bytes]) -> None:
        for value in values:
            for pattern in patterns:
                pattern.search(value)

    print(f"{len(DETECTORS)} detectors, {count:,} cells{'MB/s':>12}{'re MB/s':>10}")
    for share in (0.0, 0.001, 0.01, 0.1, 1.0):
        values = cells(count, share)
        print(f"{share:6.1%} sensitive{rate(scanner.scan, values, 5):28.1f}{rate(with_re, values[: count // 20], 1):10.1f}")
    print(f"\n{'class':16}{'recall':>8}{'precision':>11}")
    for data_class, (recall, precision) in sorted(measured(corpus(99), scanner).items()):
        print(f"{data_class:16}{recall:8.3f}{precision:11.3f}")


if __name__ == "__main__":
    main()
