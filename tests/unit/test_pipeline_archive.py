"""The archive: appends once, rolls to read-only files, mends torn tails, and its report finds what does not hold."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.archive import Archive, ArchiveError, ArchiveUnavailableError, format_report
from processors.archive_report import Known, verify_archive
from schemas.integrity import Block
from tests.support.event_blocks import Source

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def fill(directory: Path, blocks: list[Block], **options: int) -> None:
    archive = Archive(directory, **options)
    for block in blocks:
        archive.append([block])
    archive.close()


def read(directory: Path) -> list[Block]:
    return list(Archive(directory).blocks())


def only_file(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(f"*/{pattern}")
    return path


def test_blocks_come_back_byte_for_byte(tmp_path: Path) -> None:
    blocks = [*Source(key=KEY).blocks(5, 20), *Source("api/0").blocks(2, 3)]
    fill(tmp_path, blocks)
    assert sorted(read(tmp_path), key=str) == sorted(blocks, key=str)


def test_appending_again_changes_nothing_even_in_another_process(tmp_path: Path) -> None:
    blocks = list(Source().blocks(4, 3))
    archive = Archive(tmp_path)
    assert archive.append(blocks) == 4
    assert archive.append(blocks[2:]) == 0
    archive.close()
    again = Archive(tmp_path)
    assert again.append(blocks) == 0
    again.close()
    assert read(tmp_path) == blocks


def test_full_files_roll_to_read_only_and_keep_their_blocks(tmp_path: Path) -> None:
    blocks = list(Source().blocks(6, 20))
    fill(tmp_path, blocks, roll_bytes=1)
    rolled = sorted(tmp_path.glob("*/*.blocks"))
    assert [p.name for p in rolled] == [f"{n:012d}-{n:012d}-1.blocks" for n in range(1, 6)]
    assert {stat.S_IMODE(p.stat().st_mode) for p in rolled} == {0o444}
    assert only_file(tmp_path, "*.open").name == "000000000006.open"
    before = {p: p.read_bytes() for p in rolled}
    more = Source()
    list(more.blocks(6, 20))
    fill(tmp_path, [*blocks, next(more.blocks(1, 20))], roll_bytes=1)
    assert {p: p.read_bytes() for p in rolled} == before
    assert [b.header.number for b in read(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


def test_quiet_sources_roll_by_time(tmp_path: Path) -> None:
    source = Source()
    first = next(source.blocks(1, 1))
    source.now += 2 * 3600 * 1_000_000
    fill(tmp_path, [first, next(source.blocks(1, 1))], roll_seconds=3600)
    assert only_file(tmp_path, "*.blocks").name == "000000000001-000000000001-1.blocks"


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_tail_is_cut_kept_beside_and_written_again(tmp_path: Path, seed: int) -> None:
    blocks = list(Source().blocks(3, 10))
    fill(tmp_path, blocks)
    path = only_file(tmp_path, "*.open")
    ends = _ends(path)
    cut = random.Random(seed).randrange(ends[1] + 1, ends[2])
    os.truncate(path, cut)
    fill(tmp_path, blocks)
    assert read(tmp_path) == blocks
    assert Archive(tmp_path).verify().ok
    assert len(only_file(tmp_path, "*.torn").read_bytes()) == cut - ends[1]


def test_a_tail_of_zeros_after_power_loss_is_cut_too(tmp_path: Path) -> None:
    blocks = list(Source().blocks(2, 10))
    fill(tmp_path, blocks[:1])
    with only_file(tmp_path, "*.open").open("ab") as file:
        file.write(bytes(5000))
    fill(tmp_path, blocks)
    assert read(tmp_path) == blocks


def test_damage_before_the_tail_is_not_cut_but_named(tmp_path: Path) -> None:
    blocks = list(Source().blocks(4, 10))
    fill(tmp_path, blocks[:3])
    path = only_file(tmp_path, "*.open")
    first, second, _ = _ends(path)
    _flip(path, first + 100)
    fill(tmp_path, [blocks[3]])
    assert [b.header.number for b in read(tmp_path)] == [1, 3, 4]
    report = Archive(tmp_path).verify().sources["proxy/0"]
    (problem,) = report.problems
    assert (problem.offset, problem.file) == (first, "proxy_0/000000000001-000000000003-2.blocks")
    assert f"{second - first} bytes are no block" in problem.message
    assert [(g.first, g.last) for g in report.gaps] == [(2, 2)]


@pytest.mark.parametrize("seed", range(30))
def test_one_changed_byte_anywhere_is_found(tmp_path: Path, seed: int) -> None:
    fill(tmp_path, list(Source(key=KEY).blocks(3, 5)), roll_bytes=1)
    path = random.Random(seed).choice(sorted(tmp_path.glob("*/*.blocks")))
    path.chmod(0o644)
    _flip(path, random.Random(seed).randrange(path.stat().st_size))
    assert not Archive(tmp_path).verify({"proxy/0": KEY.public_key().public_bytes_raw()}).ok


def test_the_report_counts_and_reads_well(tmp_path: Path) -> None:
    blocks = [*Source(key=KEY).blocks(3, 5), *Source("api/0").blocks(2, 3)]
    fill(tmp_path, blocks)
    keys = tmp_path / "keys"
    keys.mkdir()
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (keys / "proxy_0.pub").write_bytes(public)
    shutil.move(keys, tmp_path.parent / f"{tmp_path.name}-keys")
    report = Archive(tmp_path).verify(tmp_path.parent / f"{tmp_path.name}-keys")
    assert (report.ok, report.blocks, report.events) == (True, 5, 21)
    proxy, api = report.sources["proxy/0"], report.sources["api/0"]
    assert (proxy.verified, proxy.unsigned, api.verified, api.unsigned) == (3, 0, 0, 2)
    assert (proxy.first, proxy.last) == (blocks[0].header, blocks[2].header)
    text = format_report(report)
    assert "proxy/0: holds" in text
    assert "5 blocks, 21 events in 2 sources. Every chain is whole, 2 blocks by no signature." in text


def test_the_report_names_gaps_forgeries_and_wrong_keys(tmp_path: Path) -> None:
    blocks = list(Source(key=KEY).blocks(5, 4))
    fill(tmp_path, [blocks[0], *blocks[3:]])
    report = Archive(tmp_path).verify({"proxy/0": Ed25519PrivateKey.generate().public_key().public_bytes_raw()})
    assert [p.message for p in report.sources["proxy/0"].problems] == [
        f"block {n} of proxy/0 epoch 1: its signature does not hold under the registered key" for n in (1, 4, 5)
    ]
    text = format_report(Archive(tmp_path).verify())
    assert "GAP: blocks 2 to 3 are missing" in text
    assert "DOES NOT HOLD" in text


def test_a_late_block_fills_its_gap(tmp_path: Path) -> None:
    blocks = list(Source().blocks(4, 4))
    fill(tmp_path, [blocks[0], blocks[2], blocks[3], blocks[1]])
    assert Archive(tmp_path).verify().ok


def test_a_full_disk_adds_nothing_and_the_same_append_succeeds_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = list(Source().blocks(3, 50))
    archive = Archive(tmp_path)
    archive.append(blocks[:1])
    real, budget = os.write, [100]

    def write(fd: int, data: bytes) -> int:
        if len(data) > budget[0]:
            if budget[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data, budget[0] = data[: budget[0]], 0
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    for _ in range(2):
        with pytest.raises(ArchiveUnavailableError, match="disk is full"):
            archive.append(blocks)
    monkeypatch.setattr(os, "write", real)
    assert archive.append(blocks) == 2
    assert archive.verify().ok
    assert read(tmp_path) == blocks


def test_two_writers_are_refused(tmp_path: Path) -> None:
    one, two = Archive(tmp_path), Archive(tmp_path)
    blocks = list(Source().blocks(1, 1))
    one.append(blocks)
    with pytest.raises(ArchiveError, match="written by another process"):
        two.append(blocks)
    one.close()
    assert two.append(blocks) == 0


def _ends(path: Path) -> list[int]:
    from processors.frames import Frame, scan

    return [item.end for item in scan(path) if isinstance(item, Frame)]


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_forged_header_in_the_archive_does_not_pass(tmp_path: Path) -> None:
    blocks = list(Source(key=KEY).blocks(2, 2))
    forged = replace(blocks[1], header=replace(blocks[1].header, sealed_at=1))
    fill(tmp_path, [blocks[0], forged])
    report = Archive(tmp_path).verify({"proxy/0": KEY.public_key().public_bytes_raw()})
    assert [p.message.split(": ", 1)[1] for p in report.sources["proxy/0"].problems] == [
        "its signature does not hold under the registered key"
    ]


PUBLIC = KEY.public_key().public_bytes_raw()


def stood(blocks: list[Block]) -> dict[str, Known]:
    """Where the chains stand after these blocks, as the pipeline has it on record."""
    return {b.header.source: Known(b.header, PUBLIC) for b in blocks}


def test_what_was_taken_from_an_end_is_found_by_who_knows_where_it_was(tmp_path: Path) -> None:
    blocks = list(Source(key=KEY).blocks(4, 3))
    fill(tmp_path, blocks)
    known, keys = stood(blocks), {"proxy/0": PUBLIC}
    assert verify_archive(tmp_path, keys, known).ok
    assert verify_archive(tmp_path, keys, stood(blocks[:2])).ok, "what came since is no harm"
    file = only_file(tmp_path, "*.open")
    os.truncate(file, _ends(file)[2])
    assert verify_archive(tmp_path, keys).ok, "nothing in the archive shows it"
    report = verify_archive(tmp_path, keys, known).sources["proxy/0"]
    assert [p.message for p in report.problems] == ["ends with block 3, and there was block 4"]
    shutil.rmtree(file.parent)
    report = verify_archive(tmp_path, keys, known).sources["proxy/0"]
    assert [p.message for p in report.problems] == ["nothing is there, and there was block 4"]


def test_a_rolled_file_holds_what_its_name_says(tmp_path: Path) -> None:
    blocks = list(Source(key=KEY).blocks(4, 3))
    archive = Archive(tmp_path)
    archive.append(blocks)
    archive._roll(archive._writers["proxy/0"])
    archive.close()
    file = only_file(tmp_path, "*.blocks")
    assert verify_archive(tmp_path, {"proxy/0": PUBLIC}).ok
    file.chmod(0o644)
    os.truncate(file, _ends(file)[2])
    report = verify_archive(tmp_path, {"proxy/0": PUBLIC}).sources["proxy/0"]
    assert [p.message for p in report.problems] == ["holds 3 blocks, not what its name says"]


def test_a_chain_of_another_source_does_not_stand_for_one(tmp_path: Path) -> None:
    ours, others = list(Source(key=KEY).blocks(3, 2)), list(Source("proxy/1", key=KEY).blocks(3, 2))
    fill(tmp_path, [*ours, *others])
    shutil.rmtree(tmp_path / "proxy_0")
    shutil.copytree(tmp_path / "proxy_1", tmp_path / "proxy_0")
    report = verify_archive(tmp_path, {"proxy/0": PUBLIC, "proxy/1": PUBLIC})
    assert report.sources["proxy/1"].ok
    assert [p.message for p in report.sources["proxy_0"].problems] == [
        f"block {n} of proxy/1 lies in another source's folder" for n in (1, 2, 3)
    ]


def test_a_chain_made_anew_is_another_than_the_one_on_record(tmp_path: Path) -> None:
    blocks = list(Source(key=KEY).blocks(3, 2))
    forger = Ed25519PrivateKey.generate()
    for forged in (list(Source(key=forger).blocks(3, 2)), list(Source().blocks(3, 2))):
        fill(tmp_path, forged)
        keys = {"proxy/0": forger.public_key().public_bytes_raw()} if forged[0].signature else {}
        assert verify_archive(tmp_path, keys).ok, "whoever changes the registered key as well can sign anew"
        said = [p.message for p in verify_archive(tmp_path, keys, stood(blocks)).sources["proxy/0"].problems]
        assert said[0].endswith("key is registered than the one that its blocks were verified by")
        shutil.rmtree(tmp_path / "proxy_0")
    other = list(Source(key=KEY).blocks(3, 3))
    fill(tmp_path, other)
    said = [p.message for p in verify_archive(tmp_path, {"proxy/0": PUBLIC}, stood(blocks)).sources["proxy/0"].problems]
    assert "block 3 is another than the one that the pipeline has on record" in said


def test_a_report_says_how_many_blocks_no_signature_proves(tmp_path: Path) -> None:
    fill(tmp_path, list(Source().blocks(3, 2)))
    assert "Every chain is whole, 3 blocks by no signature." in format_report(Archive(tmp_path).verify())
