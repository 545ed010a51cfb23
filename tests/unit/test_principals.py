"""Stage 2's fold: every activity counted once, whatever repeats, dies, wakes up again or is forgotten."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from processors import principals
from processors.principals import MAX_BUCKETS, Principal, Rows, changed, fold, table, trimmed
from processors.runtimes.states import Place, States
from processors.steps.fields import EARLIEST
from schemas.activity import HOUR_US, MOST, Activity, ActivityError, Bucket, decode

FIRST_HOUR = EARLIEST // HOUR_US + 100


def activity(at: tuple[int, int], *buckets: tuple[int, str, int], rows: int = 1) -> Activity:
    """Activity of ana: buckets are (hour from the first, database, events)."""
    made = [
        Bucket(
            hour=FIRST_HOUR + hour,
            database=database,
            events=events,
            denied=events // 3,
            errors=0,
            rows_returned=rows * events,
            first_at=(FIRST_HOUR + hour) * HOUR_US + at[1],
            last_at=(FIRST_HOUR + hour) * HOUR_US + at[1] + events,
            verbs={"select": events},
            classes={"email": 1} if events % 2 else {},
        )
        for hour, database, events in buckets
    ]
    return Activity(principal="ana", kind="human", at=at, buckets=tuple(made))


class Replacing:
    """Rows as the store keeps them: of one key the highest version."""

    def __init__(self) -> None:
        self.rows: dict[tuple[object, ...], dict[str, object]] = {}

    def insert(self, rows: Rows) -> None:
        for row in table(rows).to_pylist():
            key = (row["principal_id"], row["hour"], row["database_alias"], row["opened"])
            if key not in self.rows or self.rows[key]["version"] <= row["version"]:  # type: ignore[operator]
                self.rows[key] = row

    def sums(self, name: str = "events") -> Counter[str]:
        found: Counter[str] = Counter()
        for row in self.rows.values():
            found[f"{row['hour']} {row['database_alias']}"] += row[name]  # type: ignore[assignment]
        return found


def take(state: Principal, log: list[Activity], store: Replacing) -> Principal:
    """What `processors.runtimes.activity` does with a batch."""
    rows: Rows = {}
    for one in log:
        after = fold(state, one)
        if after is not state:
            changed(rows, after, one)
            state = trimmed(after)
    if rows:
        store.insert(rows)
    return state


def load(rng: random.Random, length: int = 120) -> list[Activity]:
    """Records of two partitions' blocks, in order; some come again, as after a death between sending and noting."""
    log: list[Activity] = []
    ends = [0, 0]
    sent: list[list[Activity]] = [[], []]
    for n in range(length):
        p = rng.randrange(2)
        hours = sorted({rng.randrange(n // 12 + 1) for _ in range(rng.randrange(1, 4))})
        made = activity((p, ends[p]), *[(h, db, rng.randrange(1, 9)) for h in hours for db in rng.sample(["a", "b", "c"], 2)])
        ends[p] += rng.randrange(1, 4)
        sent[p].append(made)
        log.append(made)
        if rng.random() < 0.15:
            log += sent[p][-rng.randrange(1, 4) :]
    return log


def truth(log: list[Activity]) -> Counter[str]:
    """Each place once."""
    found: Counter[str] = Counter()
    for one in {a.at: a for a in log}.values():
        for b in one.buckets:
            found[f"{datetime.fromtimestamp(b.hour * 3600, UTC)} {b.database}"] += b.events
    return found


@pytest.mark.parametrize("seed", range(12))
def test_repeats_and_deaths_at_any_moment_count_nothing_twice_and_leave_nothing_out(seed: int) -> None:
    rng = random.Random(seed)
    log = load(rng)
    store = Replacing()
    kept, at = Principal(principal="ana"), 0
    while at < len(log):
        size = rng.randrange(1, 20)
        after = take(kept, log[at : at + size], store)
        fate = rng.random()
        if fate < 0.3:  # dies when the rows are there and the state is not
            continue
        kept = principals.decode(after.encode())
        if fate < 0.8:  # else it dies when the state is there and the offset is not
            at += size
    assert store.sums() == truth(log)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_activity_makes_the_same_state_however_it_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    log = load(rng)
    one, cut = take(Principal(principal="ana"), log, Replacing()), Principal(principal="ana")
    at = 0
    while at < len(log):
        size = rng.randrange(1, 7)
        cut = take(cut, log[at : at + size], Replacing())
        at += size
    assert one == cut
    assert len(one.totals) <= MAX_BUCKETS


@pytest.mark.parametrize("seed", range(5))
def test_all_states_lost_and_the_topic_read_again_changes_nothing(seed: int) -> None:
    log = load(random.Random(seed))
    store = Replacing()
    take(Principal(principal="ana"), log, store)
    again = take(Principal(principal="ana"), log, store)
    assert store.sums() == truth(log)
    more = [activity((0, 10_000), (0, "a", 5)), activity((1, 10_000), (50, "a", 5))]
    take(again, more, store)
    assert store.sums() == truth([*log, *more])


def test_the_bucket_longest_unused_is_given_up_and_counts_on_in_a_row_of_its_own() -> None:
    store = Replacing()
    fill = [activity((0, n), (n, "a", 1)) for n in range(MAX_BUCKETS)]
    state = take(Principal(principal="ana"), fill, store)
    assert [t.bucket.hour - FIRST_HOUR for t in state.totals] == list(range(MAX_BUCKETS))
    state = take(state, [activity((0, 100), (0, "a", 2))], store)  # hour 0 is now the last used
    state = take(state, [activity((0, 101), (MAX_BUCKETS, "a", 1))], store)
    assert [t.bucket.hour - FIRST_HOUR for t in state.totals] == [*range(2, MAX_BUCKETS), 0, MAX_BUCKETS]
    again = activity((0, 102), (1, "a", 4))
    state = take(state, [again], store)
    newest = state.totals[-1]
    assert (newest.bucket.events, newest.opened >> 12) == (4, 102)  # not 1 + 4: that one is given up
    assert len([row for row in store.rows.values() if row["hour"] == _at(1)]) == 2
    assert store.sums() == truth([*fill, activity((0, 100), (0, "a", 2)), activity((0, 101), (MAX_BUCKETS, "a", 1)), again])


def test_a_record_of_more_buckets_than_are_kept_is_counted_whole() -> None:
    store = Replacing()
    wide = activity((0, 5), *[(hour, "a", hour + 1) for hour in range(3 * MAX_BUCKETS)])
    state = take(Principal(principal="ana"), [wide, wide], store)
    assert len(state.totals) == MAX_BUCKETS
    assert trimmed(state) is state
    assert store.sums() == truth([wide])


def test_states_lost_after_retention_took_the_beginning_count_an_open_bucket_twice() -> None:
    """The limit that the module and docs/operations.md state: at most what was counted since the bucket was opened."""
    store = Replacing()
    log = [activity((0, n), (0, "a", 2)) for n in range(6)]
    take(Principal(principal="ana"), log, store)
    take(Principal(principal="ana"), log[3:], store)
    assert sum(store.sums().values()) == 12 + 6


def _at(hour: int) -> datetime:
    return datetime.fromtimestamp((FIRST_HOUR + hour) * 3600, UTC)


def test_a_worker_that_wakes_up_does_not_put_an_older_state_over_a_newer_one(new_place: Callable[[], Place]) -> None:
    published: list[tuple[str, bytes]] = []
    states = States(lambda partition, records: published.extend(records), new_place())
    old = fold(Principal(principal="ana"), activity((0, 1), (0, "a", 1)))
    new = fold(old, activity((0, 2), (0, "a", 1)))
    states.keep({"ana": new}, 2, 0)
    states.keep({"ana": old}, 1, 0)
    recovered = States(lambda partition, records: None, new_place())
    for key, data in published:
        recovered.heard(key, data, 0)
    assert recovered.state_of("ana") == new
    assert recovered.offsets == {0: 2}
    assert recovered.state_of("ben") == Principal(principal="ben")


def test_a_name_cannot_be_taken_for_an_offset(new_place: Callable[[], Place]) -> None:
    published: list[tuple[str, bytes]] = []
    states = States(lambda partition, records: published.extend(records), new_place())
    state = Principal(principal="next:7", version=3)
    states.keep({"next:7": state}, 1, 0)
    recovered = States(lambda partition, records: None, new_place())
    for key, data in published:
        recovered.heard(key, data, 0)
    assert (recovered.offsets, recovered.state_of("next:7")) == ({0: 1}, state)


def test_sums_stay_within_their_column() -> None:
    store = Replacing()
    log = [activity((0, n), (0, "a", 1), rows=MOST) for n in range(3)]
    take(Principal(principal="ana"), log, store)
    assert set(store.sums("rows_returned").values()) == {MOST}


def test_what_is_published_reads_back_and_what_does_not_read_says_so() -> None:
    one = activity((3, 9), (0, "a", 4), (1, "b", 5))
    assert decode(one.record().value) == one
    assert one.record().key == b"ana"
    for bad in (b"", b"[]", b'{"v":1}', one.record().value.replace(b'"v":1', b'"v":2')):
        with pytest.raises(ActivityError):
            decode(bad)
