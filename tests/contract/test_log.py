"""What every log must do: one suite, each implementation by its maker. Then what only the SQLite file must do.

What only Kafka must do is in tests/live/test_kafka_log.py.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.log import Log, LogCorruptError, LogError, LogUnavailableError, NewRecord
from schemas.log.kafka import KafkaLog
from schemas.log.sqlite import SqliteLog
from tests.support import kafka_jars
from tests.support.kafka import Kafka

Opener = Callable[[], Log]


Maker = Callable[[Path], Opener]
TOPICS = ("t", "a", "b", "c", "nothing")
HEADER_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_counter = itertools.count()


@pytest.fixture(params=["sqlite", "kafka"])
def maker(request: pytest.FixtureRequest) -> Maker:
    """Return what makes a new, empty log for a folder. On Kafka, each has topics of its own: TOPICS with a prefix."""
    if request.param == "sqlite":
        return lambda folder: lambda: SqliteLog(folder / "log.db")
    if reason := kafka_jars.missing():
        pytest.skip(reason)
    cluster: Kafka = request.getfixturevalue("kafka")

    def make(_: Path) -> Opener:
        prefix = f"log{next(_counter)}."
        cluster.make_topics(prefix + name for name in TOPICS)
        return lambda: KafkaLog(cluster.settings(topic_prefix=prefix))

    return make


@pytest.fixture
def opener(maker: Maker, tmp_path: Path) -> Iterator[Opener]:
    make = maker(tmp_path)
    opened: list[Log] = []

    def open_log() -> Log:
        opened.append(make())
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


def test_records_come_back_in_order_with_key_value_and_headers(opener: Opener) -> None:
    log = opener()
    log.append("t", [NewRecord(b"k1", b"one", {"h": b"\x00\xff\n", "": b""}), NewRecord(b"", b"", {})])
    log.append("t", [NewRecord(b"k2", b"x" * 100_000, {"root": b"ab"})])
    records = log.read("t", 0, 10)
    assert [(r.offset, r.key, r.value, dict(r.headers)) for r in records] == [
        (0, b"k1", b"one", {"h": b"\x00\xff\n", "": b""}),
        (1, b"", b"", {}),
        (2, b"k2", b"x" * 100_000, {"root": b"ab"}),
    ]
    assert all(r.topic == "t" and r.timestamp > 1_600_000_000_000_000 for r in records)


def test_offsets_count_up_per_topic(opener: Opener) -> None:
    log = opener()
    assert log.end_offset("a") == 0
    log.append("a", [NewRecord(b"", b"1"), NewRecord(b"", b"2")])
    log.append("b", [NewRecord(b"", b"3")])
    assert (log.end_offset("a"), log.end_offset("b"), log.end_offset("c")) == (2, 1, 0)
    log.append("a", [])
    assert log.end_offset("a") == 2


def test_read_stops_at_limit_and_past_max_bytes_but_gives_at_least_one(opener: Opener) -> None:
    log = opener()
    log.append("t", [NewRecord(b"", b"v" * 1000) for _ in range(10)])
    assert [r.offset for r in log.read("t", 4, 3)] == [4, 5, 6]
    assert [r.offset for r in log.read("t", 0, 10, max_bytes=2500)] == [0, 1]
    assert [r.offset for r in log.read("t", 7, 10, max_bytes=1)] == [7]
    assert log.read("t", 10, 10) == []
    assert log.read("nothing", 0, 10) == []


def test_a_second_reader_sees_appends_and_they_survive_closing(opener: Opener) -> None:
    one, two = opener(), opener()
    one.append("t", [NewRecord(b"k", b"v")])
    assert [r.value for r in two.read("t", 0, 10)] == [b"v"]
    two.append("t", [NewRecord(b"k", b"w")])
    one.close()
    two.close()
    assert [r.value for r in opener().read("t", 0, 10)] == [b"v", b"w"]


def test_threads_append_and_read_at_once(opener: Opener) -> None:
    log = opener()
    failures: list[BaseException] = []

    def work(name: bytes) -> None:
        try:
            for i in range(25):
                log.append("t", [NewRecord(name, b"%d" % i), NewRecord(name, b"%d+" % i)])
                assert log.read("t", 0, 3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(b"%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    records = log.read("t", 0, 1000)
    assert [r.offset for r in records] == list(range(200))
    for n in range(4):
        mine = [r for r in records if r.key == b"%d" % n]
        assert [r.value for r in mine] == [v for i in range(25) for v in (b"%d" % i, b"%d+" % i)]
    for before, after in zip(records[::2], records[1::2], strict=True):
        assert after.value == before.value + b"+", "a batch was split"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=400), st.dictionaries(HEADER_NAMES, st.binary(max_size=40))))
)
def test_any_bytes_come_back(
    maker: Maker, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes, bytes, dict[str, bytes]]]
) -> None:
    log = maker(tmp_path_factory.mktemp("log"))()
    log.append("t", [NewRecord(*row) for row in rows])
    assert [(r.key, r.value, dict(r.headers)) for r in log.read("t", 0, 10_000)] == rows
    log.close()


def test_a_tombstone_comes_back_as_one_and_an_empty_value_does_not(opener: Opener) -> None:
    log = opener()
    log.append("t", [NewRecord(b"k", b"v"), NewRecord(b"k", b"", {"h": b"1"}, tombstone=True), NewRecord(b"k", b"")])
    found = [(r.key, r.value, dict(r.headers), r.tombstone) for r in log.read("t", 0, 10)]
    assert found == [(b"k", b"v", {}, False), (b"k", b"", {"h": b"1"}, True), (b"k", b"", {}, False)]


def test_waiting_ends_with_the_first_record_or_with_the_time(opener: Opener) -> None:
    log, other = opener(), opener()
    assert not log.wait("t", 0, 0.1)
    other.append("t", [NewRecord(b"", b"0")])
    assert log.wait("t", 0, 30)
    assert [r.value for r in log.read("t", 0, 10)] == [b"0"], "waiting took nothing away"
    assert log.wait("t", 0, 30), "what is there already is waited for no more"
    assert not log.wait("t", 1, 0.1)
    heard: list[bool] = []
    waiting = threading.Thread(target=lambda: heard.append(log.wait("t", 1, 60)))
    waiting.start()
    other.append("t", [NewRecord(b"", b"1"), NewRecord(b"", b"2")])
    waiting.join(30)
    assert heard == [True]
    offset, values = 1, []
    while records := log.read("t", offset, 10):
        values += [r.value for r in records]
        offset = records[-1].offset + 1
    assert values == [b"1", b"2"]


def test_one_partition_is_one_partition(opener: Opener) -> None:
    log = opener()
    assert log.partitions("t") == 1
    with pytest.raises(LogError, match="partition"):
        log.read("t", 0, 1, partition=1)


_APPENDER = """
import sys
from pathlib import Path
from schemas.log import NewRecord
from schemas.log.sqlite import SqliteLog
log = SqliteLog(Path(sys.argv[1]), busy_timeout_ms=30000)
for i in range(40):
    log.append("t", [NewRecord(sys.argv[2].encode(), b"%d" % i)])
"""


def test_sqlite_takes_several_processes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    children = [subprocess.Popen([sys.executable, "-c", _APPENDER, str(path), str(n)]) for n in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    log = SqliteLog(path)
    records = log.read("t", 0, 1000)
    assert [r.offset for r in records] == list(range(120))
    for n in range(3):
        assert [r.value for r in records if r.key == b"%d" % n] == [b"%d" % i for i in range(40)]
    log.close()


def test_sqlite_is_made_by_several_at_once(tmp_path: Path) -> None:
    """Proxies, their sealers and the node all open it at the first start."""
    failures: list[BaseException] = []

    def open_all(start: threading.Barrier) -> None:
        for n in range(20):
            start.wait(30)
            try:
                SqliteLog(tmp_path / f"{n}.db").close()
            except BaseException as error:
                failures.append(error)

    start = threading.Barrier(4)
    threads = [threading.Thread(target=open_all, args=(start,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_sqlite_says_unavailable_while_another_process_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    holder, log = SqliteLog(path), SqliteLog(path, busy_timeout_ms=20)
    holder._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailableError, match=r"log\.db did not take 1 records for t: .*can be repeated"):
        log.append("t", [NewRecord(b"", b"v")])
    holder._db.execute("ROLLBACK")
    log.append("t", [NewRecord(b"", b"v")])
    assert log.end_offset("t") == 1
    holder.close()
    log.close()


def test_sqlite_says_unavailable_when_the_disk_is_full_and_appends_nothing(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.append("t", [NewRecord(b"", b"first")])
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count = {pages}")
    noise = bytes(range(256)) * 4
    batch = [NewRecord(b"", bytes(b ^ (i & 0xFF) ^ (j * 7 & 0xFF) for j, b in enumerate(noise)) * 40) for i in range(50)]
    with pytest.raises(LogUnavailableError, match="free disk space"):
        for _ in range(1000):
            log.append("t", batch)
    kept = log.end_offset("t")
    assert (kept - 1) % 50 == 0, "half a batch was kept"
    assert [r.offset for r in log.read("t", 0, 100_000)] == list(range(kept))
    log._db.execute("PRAGMA max_page_count = 1000000")
    log.append("t", batch)
    assert log.end_offset("t") == kept + 50
    log.close()


def test_sqlite_truncates_and_never_reuses_offsets(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog(path)
    log.append("t", [NewRecord(b"", b"%d" % i) for i in range(10)])
    log.append("other", [NewRecord(b"", b"stays")])
    assert log.start_offset("t") == 0
    assert log.truncate_before("t", 7) == 7
    assert log.start_offset("t") == 7
    assert [r.offset for r in log.read("t", 0, 100)] == [7, 8, 9]
    assert log.truncate_before("t", 1000) == 3
    log.close()
    log = SqliteLog(path)
    assert (log.start_offset("t"), log.end_offset("t")) == (10, 10)
    log.append("t", [NewRecord(b"", b"next")])
    assert [r.offset for r in log.read("t", 0, 100)] == [10]
    assert [r.value for r in log.read("other", 0, 100)] == [b"stays"]
    log.close()


def test_sqlite_compacts_to_the_newest_of_each_key(tmp_path: Path) -> None:
    times = iter(range(100, 200))
    log = SqliteLog(tmp_path / "log.db", clock=lambda: next(times))
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None), (b"c", b"1"), (b"c", None), (b"d", b"1")):
        log.append("t", [NewRecord(key, value or b"", tombstone=value is None)])
    log.append("other", [NewRecord(b"a", b"stays"), NewRecord(b"a", b"stays too")])
    assert log.compact("t", tombstones_before=104) == 4  # a=1, b=1, c=1, and b's tombstone, of time 103
    left = [(r.offset, r.key, r.value, r.tombstone) for r in log.read("t", 0, 100)]
    assert left == [(2, b"a", b"2", False), (5, b"c", b"", True), (6, b"d", b"1", False)]
    assert log.compact("t", tombstones_before=104, also=[6]) == 1
    log.append("t", [NewRecord(b"d", b"2")])
    assert [r.offset for r in log.read("t", 3, 100)] == [5, 7], "offsets are never used again"
    assert log.end_offset("t") == 8
    assert len(log.read("other", 0, 100)) == 2
    log.close()


def test_sqlite_gives_room_back(tmp_path: Path) -> None:
    import random

    path, random_bytes = tmp_path / "log.db", random.Random(7).randbytes
    log = SqliteLog(path)
    log.append("t", [NewRecord(b"", random_bytes(50_000)) for _ in range(40)])
    log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = path.stat().st_size
    log.truncate_before("t", 40)
    log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert path.stat().st_size < before // 4
    log.close()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"this is not a database, " * 400, LogCorruptError, r"log\.db is damaged or not a SQLite database.*move it"),
        (b"SQLite format 3\x00" + b"\xff" * 8000, LogCorruptError, r"log\.db is damaged or not a SQLite database.*move it"),
    ],
)
def test_sqlite_names_the_file_and_the_remedy(tmp_path: Path, content: bytes, error: type[LogError], message: str) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        SqliteLog(path)
    assert path.read_bytes() == content, "a file that is not ours was changed"


def test_sqlite_refuses_a_database_of_something_else(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "log.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE customers (name)")
    db.close()
    with pytest.raises(LogError, match="something else"):
        SqliteLog(path)


def test_sqlite_refuses_a_newer_format_and_an_unknown_setting(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log._db.execute("PRAGMA user_version = 99")
    log.close()
    with pytest.raises(LogError, match="newer version"):
        SqliteLog(tmp_path / "log.db")
    with pytest.raises(LogError, match="NORMAL or FULL"):
        SqliteLog(tmp_path / "other.db", synchronous="OFF")


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_sqlite_is_as_durable_as_told(tmp_path: Path, synchronous: str, level: int) -> None:
    log = SqliteLog(tmp_path / "log.db", synchronous=synchronous)
    assert log._db.execute("PRAGMA synchronous").fetchone()[0] == level
    assert log._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    log.close()


def test_sqlite_finds_a_flipped_bit_in_a_value(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog(path)
    value = b"".join(b"%d " % (i * i) for i in range(400))
    log.append("t", [NewRecord(b"", value)])
    stored = bytearray(log._db.execute("SELECT value FROM records").fetchone()[0])
    stored[len(stored) // 2] ^= 1
    log._db.execute("UPDATE records SET value = ?", (bytes(stored),))
    with pytest.raises(LogCorruptError, match=r"record 0 of t does not decompress.*move it"):
        log.read("t", 0, 1)
    log.close()


def test_sqlite_in_a_folder_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError, match="cannot be opened"):
        SqliteLog(tmp_path / "file" / "log.db")
