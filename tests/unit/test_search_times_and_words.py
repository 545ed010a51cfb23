"""Are moments read as meant, and numbers, times and charts written so that people read them right?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_api.store.stats import Stats, step_for
from query_api.times import LATEST, TimeError, parse_time, rfc3339
from query_api.ui import format as fmt
from query_api.ui.chart import HEIGHT, WIDTH, chart

NOW = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-15m", NOW - HOUR // 4),
        ("-24h", NOW - 24 * HOUR),
        ("now-2d", NOW - 48 * HOUR),
        ("-999999w", 0),
        ("2026-09-21T14:13:20Z", NOW),
        ("2026-09-21T14:13:20", NOW),
        ("2026-09-21T16:13:20+02:00", NOW),
        ("2026-09-21T16:13:20 02:00", NOW),
        ("2026-09-21T14:13:20.000001Z", NOW + 1),
        ("2026-09-21", NOW - 14 * HOUR - 800_000_000),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-5", "-5y", "1969-12-31", "2100-01-01", "9999-12-31T23:59:59Z", "-1m; --", "+1h"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(TimeError):
        parse_time(text, NOW)


@given(st.integers(0, LATEST - 1))
def test_what_is_written_is_read_back(micros: int) -> None:
    assert parse_time(rfc3339(micros), NOW) == micros


@given(st.text(max_size=30))
def test_any_text_is_a_moment_in_range_or_an_error(text: str) -> None:
    try:
        assert 0 <= parse_time(text, NOW) < LATEST
    except TimeError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 µs"),
        (999, "999 µs"),
        (1000, "1.00 ms"),
        (12_345, "12.3 ms"),
        (999_499, "999 ms"),
        (999_500, "1.00 s"),
        (59_949_999, "59.9 s"),
        (59_950_000, "1 m 00 s"),
        (185_000_000, "3 m 05 s"),
        (2 * HOUR + 60_000_000, "2 h 01 m"),
    ],
)
def test_durations(micros: int, text: str) -> None:
    assert fmt.duration(micros) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (4_200_000, "4.20 MB"), (3 * 10**12, "3.00 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert fmt.size(count) == text


@given(st.integers(0, 2**64 - 1))
def test_durations_and_sizes_stay_short(number: int) -> None:
    assert len(fmt.size(number)) <= 16
    assert len(fmt.duration(min(number, 10**12))) <= 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "second"), (30, "30 seconds"), (60, "minute"), (1200, "20 minutes"), (3600, "hour"), (604_800, "7 days")],
)
def test_steps(seconds: int, text: str) -> None:
    assert fmt.step(seconds * 1_000_000) == text


@given(st.integers(1, 400 * 24 * HOUR))
def test_a_step_covers_the_range_in_few_buckets(span: int) -> None:
    assert -(-span // step_for(0, span, 89)) <= 89


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=90))
def test_bars_stay_in_their_box_and_no_event_is_invisible(counts: list[tuple[int, int, int]]) -> None:
    step = HOUR
    buckets = [{"at": i * step, "events": ok + bad + no, "errors": bad, "denied": no} for i, (ok, bad, no) in enumerate(counts)]
    drawn = chart(Stats(step, buckets, {}, {}))
    assert len(drawn.bars) == len(buckets)
    for bar, (ok, bad, no) in zip(drawn.bars, counts, strict=True):
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH + 1
        assert [s.kind for s in bar.segments] == [k for k, n in (("ok", ok), ("error", bad), ("denied", no)) if n]
        assert all(s.height >= 1.49 and s.y >= -0.01 and s.y + s.height <= HEIGHT + 0.01 for s in bar.segments)
    assert all(0 <= at < 100 for at, _ in drawn.labels)
