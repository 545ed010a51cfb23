"""What a spool promises its caller while all is well, and what it says when room runs out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import TypeAdapter

from ingest.spool import (
    RecordTooLargeError,
    Spool,
    SpoolError,
    SpoolFullError,
    SpoolLockedError,
    load_or_create_signer,
    sealing,
    spool_directory,
)
from ingest.spool import room as room_module
from ingest.spool import spool as spool_module
from ingest.spool.lines import LOST_CONTEXT, LOST_STATEMENT, UNKNOWN_OUTCOME, LineFormat
from ingest.spool.segments import Segment
from schemas.config import AuditSettings
from schemas.events import QueryExecuted
from tests.support.spools import (
    CONTEXT,
    OK_OUTCOME,
    SOURCE,
    STARTED,
    STATEMENT,
    Clock,
    Reader,
    abandon,
    dynamic,
    open_spool,
    small,
)


def statement(spool: Spool, name: str, size: int = 0) -> None:
    """Run one statement through the spool, as a proxy does."""
    number = spool.intend(1_700_000_000_000_000, CONTEXT, STATEMENT, dynamic(name, size))
    spool.commit()
    spool.conclude(number, OK_OUTCOME)
    spool.commit()


def test_events_come_out_in_order_numbered_chained_and_valid(tmp_path: Path) -> None:
    clock, reader = Clock(), Reader()
    spool = open_spool(tmp_path, clock)
    spool.record("ProxyStarted", clock(), STARTED)
    for i in range(12):
        statement(spool, f"n{i}")
    spool.seal(clock())
    reader.drain(spool)
    assert [e["seq"] for e in reader.events] == list(range(1, 14))
    assert [h.count for h in reader.headers.values()] == [5, 5, 3]
    assert reader.names() == [f"n{i}" for i in range(12)]
    for line in reader.lines[1:]:
        TypeAdapter(QueryExecuted).validate_json(line)
    spool.close(clock())


def test_epochs_count_up_and_the_chain_goes_on(tmp_path: Path) -> None:
    clock, reader = Clock(), Reader()
    for epoch in (1, 2, 3):
        spool = open_spool(tmp_path, clock)
        assert spool.epoch == epoch
        spool.record("ProxyStarted", clock(), STARTED)
        spool.close(clock())
        spool = open_spool(tmp_path, clock)
        reader.drain(spool)
        spool.close(clock())
    assert sorted(reader.headers) == [1, 2, 3]


def test_the_chain_outlives_its_files(tmp_path: Path) -> None:
    """Everything acknowledged and every segment gone: ACK alone must tell the place."""
    clock, reader = Clock(), Reader()
    spool = open_spool(tmp_path, clock)
    statement(spool, "a")
    spool.seal(clock())
    reader.drain(spool)
    spool.close(clock())
    for path in [*tmp_path.glob("wal-*"), *tmp_path.glob("blocks-*")]:
        path.unlink()
    spool = open_spool(tmp_path, clock)
    assert spool.epoch == 2
    statement(spool, "b")
    spool.seal(clock())
    reader.drain(spool)
    assert reader.names() == ["a", "b"]
    spool.close(clock())


def test_lines_of_acknowledged_and_deleted_blocks_are_not_sealed_again(tmp_path: Path) -> None:
    clock, reader = Clock(), Reader()
    spool = open_spool(tmp_path, clock, small(wal_segment_bytes=1024**2))
    spool.blocks._capacity = 1000  # a file for each block, so that files go while the write-ahead segment stays
    for i in range(4):
        statement(spool, f"n{i}", 20_000)
        spool.seal(clock())
    assert len(list(tmp_path.glob("blocks-*.log"))) == 4
    reader.drain(spool)
    assert len(list(tmp_path.glob("blocks-*.log"))) == 1
    assert len(list(tmp_path.glob("wal-*.log"))) == 2, "the segment with all four lines, and the spare"
    abandon(spool)
    spool = open_spool(tmp_path, clock)
    assert (spool.recovered.events, spool.recovered.unknown, spool.recovered.damaged) == (0, 0, 0)
    reader.drain(spool)
    assert reader.names() == ["n0", "n1", "n2", "n3"]
    spool.close(clock())


def test_acknowledged_files_are_deleted(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock)
    most = 0
    for i in range(60):
        statement(spool, f"n{i}", 40_000)
        spool.seal(clock())
        Reader.drain(Reader(), spool, gap=True)
        most = max(most, sum(p.stat().st_size for p in tmp_path.iterdir()))
    assert most < 6 * 160 * 1024, "60 statements of 40 kB went through: the spool did not shrink"
    assert spool.stats.unacked_bytes == 0
    spool.close(clock())


def test_seal_due_after_the_interval_and_a_full_block_at_once(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock, small(seal_interval_ms=200))
    assert not spool.seal_due(clock())
    statement(spool, "a")
    assert not spool.seal_due(clock.advance(150))
    assert spool.seal_due(clock.advance(60))
    spool.seal(clock())
    assert not spool.seal_due(clock.advance(1000))
    assert spool.stats.blocks_sealed == 1
    for i in range(7):
        statement(spool, f"b{i}")
    assert spool.stats.blocks_sealed == 2, "five lines make a block without waiting"
    spool.close(clock())


def test_blocks_are_bounded_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_BLOCK_BYTES", 10_000)
    spool, reader = open_spool(tmp_path, settings=small(max_events_per_block=1000)), Reader()
    for i in range(6):
        statement(spool, f"n{i}", 4_000)
    statement(spool, "long", 30_000)
    spool.seal(1)
    reader.drain(spool)
    assert reader.names() == [*(f"n{i}" for i in range(6)), "long"]
    assert all(h.count <= 2 for h in reader.headers.values())
    spool.close(1)


def test_a_commit_is_one_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path)
    calls: list[int] = []
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: calls.append(len(data)) or real(fd, data, at))
    for i in range(4):
        spool.conclude(spool.intend(1, CONTEXT, STATEMENT, dynamic(f"{i}")), OK_OUTCOME)
    spool.commit()
    spool.commit()
    assert len(calls) == 1
    spool.close(1)


def test_a_context_is_written_once_a_segment(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, settings=small(max_events_per_block=1000))
    for i in range(50):
        spool.intend(1, CONTEXT, STATEMENT, dynamic(f"{i}"))
    spool.commit()
    assert spool._files.segment.path.read_bytes().count(CONTEXT) == 1
    abandon(spool)


def test_long_texts_are_observed_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MAX_TEXT_HASHES", 3)
    spool, reader = open_spool(tmp_path), Reader()
    for n in (1, 1, 2, 1, 2, 3, 4, 1):
        spool.observe_text(f"hash{n}", f'select "{n}" \u00e9')
    spool.seal(1)
    reader.drain(spool)
    assert [e["text_hash"] for e in reader.events] == ["hash1", "hash2", "hash3", "hash4", "hash1"], (
        "forgotten past the bound, never lost"
    )
    assert reader.events[0]["text"] == 'select "1" é'
    spool.close(1)


def test_concluding_twice_is_an_error(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    number = spool.intend(1, CONTEXT, STATEMENT, dynamic("a"))
    spool.conclude(number, OK_OUTCOME)
    with pytest.raises(SpoolError, match=f"intent {number} is not open"):
        spool.conclude(number, OK_OUTCOME)
    spool.close(1)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tests.support.spools import open_spool\n"
        "try: open_spool(Path(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e)"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.startswith(f"SpoolLockedError spool {tmp_path} is in use by process {os.getpid()}: stop it")
    with pytest.raises(SpoolLockedError):
        open_spool(tmp_path)
    spool.close(1)
    open_spool(tmp_path).close(2)


def test_a_failed_open_lets_go_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "wal-00000001.log").write_bytes(b"\xff" * 100)
    with pytest.raises(SpoolError, match="damaged beyond telling"):
        open_spool(tmp_path)
    (tmp_path / "wal-00000001.log").unlink()
    open_spool(tmp_path).close(1)


# -- room -----------------------------------------------------------------------------------------------------------------------


def test_past_the_limit_it_refuses_and_accepts_again_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock, small(spool_limit_bytes=100_000))
    done = 0
    while spool.accepting:
        statement(spool, f"n{done}", 20_000)
        done += 1
        spool.seal(clock())
        assert done < 100
    assert str(tmp_path) in spool.refusal
    assert "audit.spool_limit_bytes is 100000: bring the log back" in spool.refusal
    with pytest.raises(SpoolFullError, match="spool_limit_bytes"):
        spool.intend(clock(), CONTEXT, STATEMENT, dynamic("refused"))
    spool.record("Heartbeat", clock(), b',"open_sessions":0,"open_statements":0')
    reader = Reader()
    reader.drain(spool)
    assert spool.seal_due(clock())
    spool.seal(clock())
    assert spool.accepting
    statement(spool, "after")
    spool.seal(clock())
    reader.drain(spool)
    assert reader.names() == [*(f"n{i}" for i in range(done)), "after"]
    assert spool.stats.refusals == 1
    spool.close(clock())


def test_records_of_the_source_itself_are_bounded_too(tmp_path: Path) -> None:
    clock = Clock()
    spool = open_spool(tmp_path, clock, small(spool_limit_bytes=100_000))
    body = b',"claimed":"%b"' % os.urandom(2000).hex().encode()
    with pytest.raises(SpoolFullError):
        for _ in range(10_000):
            spool.record("AuthenticationFailed", clock(), body.replace(b"0", os.urandom(1).hex().encode()))
            spool.seal(clock())
    assert spool.stats.unacked_bytes < 130_000
    spool.close(clock())


def test_open_statements_larger_than_a_segment_are_carried(tmp_path: Path) -> None:
    """More is open at once than a segment of the configured size holds: a larger one is made, and all of it survives."""
    spool, reader = open_spool(tmp_path), Reader()
    numbers = []
    for i in range(20):
        numbers.append(spool.intend(1, CONTEXT, STATEMENT, dynamic(f"n{i}", 30_000)))
        spool.commit()
    for number in numbers[:10]:
        spool.conclude(number, OK_OUTCOME)
        spool.commit()
    abandon(spool)
    spool = open_spool(tmp_path)
    assert spool.recovered.unknown == 10
    reader.drain(spool)
    assert sorted(reader.names()) == sorted(f"n{i}" for i in range(20))
    spool.close(1)


@pytest.mark.replaces
def test_a_record_beyond_all_measure_is_refused_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MAX_RECORD_BYTES", 500_000)
    spool = open_spool(tmp_path)
    with pytest.raises(RecordTooLargeError, match="limit is 500000"):
        spool.intend(1, CONTEXT, STATEMENT, dynamic("big", 600_000))
    with pytest.raises(RecordTooLargeError):
        spool.record("TextObserved", 1, b" " * 500_001)
    statement(spool, "next")
    assert spool.accepting
    spool.close(1)


@pytest.mark.replaces
def test_too_many_bytes_open_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MAX_SEGMENT_BYTES", 1_000_000)
    spool, reader, numbers = open_spool(tmp_path), Reader(), []
    with pytest.raises(SpoolFullError, match="statements are open at once"):
        for i in range(100):
            numbers.append(spool.intend(1, CONTEXT, STATEMENT, dynamic(f"n{i}", 40_000)))
            spool.commit()
    assert len(numbers) > 4
    for number in numbers:
        spool.conclude(number, OK_OUTCOME)
        spool.commit()
    spool.seal(1)
    assert spool.accepting
    reader.drain(spool)
    assert len(reader.names()) == len(numbers)
    spool.close(1)


@pytest.mark.replaces
def test_a_write_that_fails_is_told_kept_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, reader = open_spool(tmp_path), Reader()
    statement(spool, "before")
    first = spool.intend(1, CONTEXT, STATEMENT, dynamic("refused"))
    real = Segment.append

    def fail(self: Segment, epoch: int, payload: bytes) -> int:
        os.pwrite(self.fd, b"\xfaAF\xf1 half a frame", self.tail)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Segment, "append", fail)
    with pytest.raises(SpoolError, match=r"cannot be written: .*Input/output error; check the disk"):
        spool.commit()
    assert not spool.accepting
    assert "Input/output error" in spool.refusal
    with pytest.raises(SpoolFullError, match="Input/output error"):
        spool.intend(1, CONTEXT, STATEMENT, dynamic("next"))
    with pytest.raises(SpoolFullError):
        spool.record("Heartbeat", 1, b"")
    spool.conclude(first, OK_OUTCOME.replace(b'"ok"', b'"not_executed"'))
    with pytest.raises(SpoolError):
        spool.seal(1)
    monkeypatch.setattr(Segment, "append", real)
    assert spool.seal_due(1)
    spool.seal(1)
    assert spool.accepting
    reader.drain(spool)
    assert reader.statuses() == {"before": "ok", "refused": "not_executed"}
    spool.close(1)


def test_an_own_thread_seals_rotates_and_deletes(tmp_path: Path) -> None:
    clock, reader = Clock(), Reader()
    spool = Spool.open(tmp_path, SOURCE, small(), clock, None, background=True)
    for i in range(300):
        statement(spool, f"n{i}", 8_000)
        reader.drain(spool)
    spool.seal(clock(), wait=True)
    reader.drain(spool)
    assert reader.names() == [f"n{i}" for i in range(300)]
    spool.close(clock())
    assert not [t for t in __import__("threading").enumerate() if t.name.startswith("spool ")]


# -- lines, ids, keys -----------------------------------------------------------------------------------------------------------


def test_event_ids_are_uuid_version_7_in_order_and_unique() -> None:
    import uuid

    seen = set()
    for source, epoch in (("proxy/0", 1), ("proxy/1", 1), ("proxy/0", 2)):
        format, before = LineFormat(source, epoch), ""
        for seq in (1, 2, 3, 2**32 - 1):
            for at in (1_700_000_000_000_000, 1_700_000_000_001_000):
                event = orjson.loads(format.event("Heartbeat", seq, at, b""))
                value = uuid.UUID(event["event_id"])
                assert (value.version, value.variant) == (7, uuid.RFC_4122)
                assert value.int >> 80 == at // 1000
                assert event["event_id"] == str(value) == format.event_id(seq, at)
                seen.add(event["event_id"])
            later = orjson.loads(format.event("Heartbeat", seq, 1_700_000_000_000_000, b""))["event_id"]
            assert later > before
            before = later
    assert len(seen) == 24


def test_placeholders_and_unknown_outcome_are_valid_events() -> None:
    format = LineFormat("proxy/0", 1)
    line = format.query(1, 5, dynamic("a"), LOST_CONTEXT, LOST_STATEMENT, UNKNOWN_OUTCOME)
    event = TypeAdapter(QueryExecuted).validate_json(line)
    assert (event.outcome.status, event.ended_at, event.facts.flags) == ("unknown", 0, ("opaque",))
    assert set(orjson.loads(UNKNOWN_OUTCOME.replace(b",", b"{", 1) + b"}")["outcome"]) == set(
        __import__("schemas.events", fromlist=["Outcome"]).Outcome.__dataclass_fields__
    )


def test_blocks_are_signed_with_a_key_of_the_source_that_stays(tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path / "keys", "proxy/0")
    assert load_or_create_signer(tmp_path / "keys", "proxy/0")(b"x") == signer(b"x")
    assert (tmp_path / "keys" / "proxy_0.pem").stat().st_mode & 0o777 == 0o600
    spool = Spool.open(tmp_path / "spool", SOURCE, AuditSettings(), Clock(), signer, background=False)
    spool.record("ProxyStarted", 1, STARTED)
    spool.seal(1)
    (block,) = spool.blocks.oldest(1, 1)
    public = load_pem_public_key((tmp_path / "keys" / "proxy_0.pub").read_bytes())
    public.verify(block.signature, block.header.encode())  # type: ignore[union-attr, call-arg]
    spool.close(1)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"not a key", 0o600, "is not an unencrypted PEM key: restore it"),
        (None, 0o644, "can be read by others: run chmod 600"),
    ],
)
def test_a_bad_key_is_named(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    load_or_create_signer(tmp_path, "proxy/0")
    path = tmp_path / "proxy_0.pem"
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SpoolError, match=f"signing key {path} {message}"):
        load_or_create_signer(tmp_path, "proxy/0")


def test_each_source_has_its_directory(tmp_path: Path) -> None:
    assert spool_directory(tmp_path, "proxy/3") == tmp_path / "spool" / "proxy_3"


@pytest.mark.replaces
def test_after_a_failed_sync_a_new_segment_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path, settings=small(durability="fsync"))
    first = spool._files.segment
    number = spool.intend(1, CONTEXT, STATEMENT, dynamic("a"))
    spool.commit()
    monkeypatch.setattr(Segment, "sync", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(SpoolError, match=f"{first.path} cannot be put on disk: Input/output error"):
        spool.sync()
    monkeypatch.undo()
    synced: list[Segment] = []
    monkeypatch.setattr(Segment, "sync", lambda self: synced.append(self))
    spool.conclude(number, OK_OUTCOME)
    spool.commit()
    spool.sync()
    assert spool._files.segment is not first
    assert synced == [spool._files.segment]
    spool.close(1)
