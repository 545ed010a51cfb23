"""The histogram above the table: counts to the geometry of bars, in a box of WIDTH by HEIGHT units."""

from __future__ import annotations

from dataclasses import dataclass

from query_api.store.stats import Stats
from query_api.times import rfc3339
from query_api.ui import format as fmt

WIDTH, HEIGHT = 900.0, 64.0
_LEAST = 1.5  # a single event among thousands is still seen


@dataclass(frozen=True, slots=True)
class Segment:
    """One colour of a bar."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: where it is drawn, what it says, and the range it stands for (RFC 3339)."""

    x: float
    width: float
    label: str
    low: str
    high: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars, labels for the axis as (percent from the left, text), and the highest count."""

    bars: tuple[Bar, ...]
    labels: tuple[tuple[float, str], ...]
    highest: int
    step: str


def chart(stats: Stats) -> Chart:
    """The chart of a search's counts."""
    buckets, step = stats.buckets, stats.step_us
    highest = max((b["events"] for b in buckets), default=0)
    slot = WIDTH / max(1, len(buckets))
    bars = []
    for i, bucket in enumerate(buckets):
        parts = (
            ("ok", bucket["events"] - bucket["errors"] - bucket["denied"]),
            ("error", bucket["errors"]),
            ("denied", bucket["denied"]),
        )
        at, segments = HEIGHT, []
        for kind, number in parts:
            if number:
                height = max(_LEAST, number / highest * (HEIGHT - 3 * _LEAST))
                at -= height
                segments.append(Segment(kind, round(at, 2), round(height, 2)))
        failed = "".join(f", {n} {word}" for n, word in ((bucket["errors"], "failed"), (bucket["denied"], "denied")) if n)
        label = f"{fmt.day(bucket['at'])} {fmt.clock_time(bucket['at'])[:8]} UTC: {bucket['events']:,} events{failed}"
        bars.append(
            Bar(
                round(i * slot, 2),
                round(max(1.0, slot - max(1.0, slot * 0.16)), 2),
                label,
                rfc3339(bucket["at"]),
                rfc3339(bucket["at"] + step),
                tuple(segments),
            )
        )
    span = step * len(buckets)
    marks = [i for i in range(0, len(buckets), max(1, len(buckets) // 6)) if i / max(1, len(buckets)) < 0.96]
    labels = tuple((round(100 * i / len(buckets), 2), fmt.axis_time(buckets[i]["at"], span)) for i in marks)
    return Chart(tuple(bars), labels, highest, fmt.step(step))
