"""Does the archive hold? Walks every chain with hashlib, zstandard and cryptography alone, and says what is there and what not.

Per source: blocks and events, gaps in the chain, first and last block, what signatures say, and each error by file and offset.
Whether the trail is complete up to now only its source can say; whether it has holes, the chain shows. What was taken from a
chain's end, or a whole source, nothing in the archive shows: who has a record of where the chains stood (`Known`) sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from processors.chain import Chain, Gap, Place, follow
from processors.frames import Damage, Frame, files_of, rolled_span, source_folders, walk
from processors.signatures import KeyFileError, registered_key, verify_signature
from schemas.integrity import BlockHeader, IntegrityError, verify_block


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold, and where."""

    file: str
    offset: int
    message: str


@dataclass(slots=True)
class SourceReport:
    """What one source's files hold. `signed_unchecked` blocks carry a signature but no key was given to check it by."""

    source: str
    blocks: int = 0
    events: int = 0
    verified: int = 0
    unsigned: int = 0
    signed_unchecked: int = 0
    first: BlockHeader | None = None
    last: BlockHeader | None = None
    gaps: tuple[Gap, ...] = ()
    missing_blocks: int = 0
    unfinished_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No problem and no gap."""
        return not self.problems and not self.missing_blocks


@dataclass(frozen=True, slots=True)
class Known:
    """Where a source's chain stood once, and the public key (32 bytes) it was verified by, empty for none."""

    last: BlockHeader
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """All sources' reports."""

    sources: Mapping[str, SourceReport]

    @property
    def ok(self) -> bool:
        """Every chain is whole."""
        return all(s.ok for s in self.sources.values())

    @property
    def blocks(self) -> int:
        """Blocks that hold."""
        return sum(s.blocks for s in self.sources.values())

    @property
    def events(self) -> int:
        """Events in them."""
        return sum(s.events for s in self.sources.values())


def verify_archive(
    directory: Path, keys: Path | Mapping[str, bytes] | None = None, known: Mapping[str, Known] | None = None
) -> ArchiveReport:
    """Check every block of every source: lines against root, chain, signature.

    `keys` is the folder of registered public keys, or public keys (32 bytes) by source. `known`: where chains stood, read before
    this is called; what the archive lacks of that, or has otherwise, does not hold. Memory is one block, and the open gaps.
    """
    known = known or {}
    reports: dict[str, SourceReport] = {}
    for folder in source_folders(directory):
        report = _verify_source(folder, keys, known)
        reports[report.source] = report
    for source, stood in known.items():
        if source not in reports:
            lost = SourceReport(source)
            lost.problems.append(Problem(_folder_of(source), 0, f"nothing is there, and there was block {stood.last.number}"))
            reports[source] = lost
    return ArchiveReport(reports)


def _folder_of(source: str) -> str:
    return source.replace("/", "_")


def _verify_source(folder: Path, keys: Path | Mapping[str, bytes] | None, known: Mapping[str, Known]) -> SourceReport:
    report = SourceReport(folder.name)
    chain = Chain()
    key: bytes | None = None
    stood: Known | None = None
    held: dict[Path, tuple[int, int, int]] = {}
    rolled = [path for path in files_of(folder) if rolled_span(path) is not None]
    for path, item in walk(folder):
        where = f"{folder.name}/{path.name}"
        if isinstance(item, Frame):
            first, last, count = held.get(path, (item.header.number, 0, 0))
            held[path] = (first, max(last, item.header.number), count + 1)
        if isinstance(item, Damage):
            if path.suffix == ".open" and item.end == path.stat().st_size and item.reason == "ends within a frame":
                report.unfinished_bytes += item.end - item.offset
            else:
                report.problems.append(Problem(where, item.offset, f"{item.end - item.offset} bytes are no block: {item.reason}"))
            continue
        try:
            if _folder_of(item.header.source) != folder.name:
                raise IntegrityError(f"block {item.header.number} of {item.header.source} lies in another source's folder")
            if key is None:
                report.source = item.header.source
                stood = known.get(report.source)
                key = _key(keys, item.header.source)
                if stood is not None and stood.key and key != stood.key:
                    registered = "another key is registered" if key else "no key is registered"
                    report.problems.append(Problem(where, 0, f"{registered} than the one that its blocks were verified by"))
            if stood is not None and item.header.number == stood.last.number and item.header.block_id != stood.last.block_id:
                raise IntegrityError(f"block {item.header.number} is another than the one that the pipeline has on record")
            chain = _verify_frame(report, chain, item, key)
        except (IntegrityError, KeyFileError) as error:
            report.problems.append(Problem(where, item.offset, str(error)))
    for path in rolled:
        if held.get(path, (0, 0, 0)) != rolled_span(path):
            said = f"holds {held.get(path, (0, 0, 0))[2]} blocks, not what its name says"
            report.problems.append(Problem(f"{folder.name}/{path.name}", 0, said))
    if stood is not None and (chain.last is None or chain.last.number < stood.last.number):
        there = f"block {chain.last.number}" if chain.last else "nothing that holds"
        report.problems.append(Problem(folder.name, 0, f"ends with {there}, and there was block {stood.last.number}"))
    report.gaps, report.missing_blocks, report.last = chain.gaps, chain.missing, chain.last
    return report


def _verify_frame(report: SourceReport, chain: Chain, frame: Frame, key: bytes) -> Chain:
    h = frame.header
    if h.source != report.source:
        raise IntegrityError(f"block {h.number} of {h.source} lies in the folder of {report.source}")
    block = frame.block()
    verify_block(block)
    if key:
        verify_signature(block, key)
    chain, place = follow(chain, h)
    if place is Place.SEEN:
        raise IntegrityError(f"block {h.number} of {h.source} epoch {h.epoch}: is there twice")
    report.blocks += 1
    report.events += h.count
    report.verified += bool(key)
    report.unsigned += not key and not block.signature
    report.signed_unchecked += not key and bool(block.signature)
    if report.first is None or h.number < report.first.number:
        report.first = h
    return chain


def _key(keys: Path | Mapping[str, bytes] | None, source: str) -> bytes:
    if keys is None:
        return b""
    return registered_key(keys, source) if isinstance(keys, Path) else keys.get(source, b"")


def format_report(report: ArchiveReport) -> str:
    """Return the report for people, one paragraph a source and one line a finding."""
    if not report.sources:
        return "The archive is empty.\n"
    out = []
    for s in report.sources.values():
        out.append(f"{s.source}: {'holds' if s.ok else 'DOES NOT HOLD'}")
        out.append(f"  {s.blocks:,} blocks, {s.events:,} events")
        if s.first and s.last:
            out.append(f"  block {s.first.number} ({_when(s.first)}) to block {s.last.number} ({_when(s.last)})")
        out.append(
            f"  signatures: {s.verified:,} verified, {s.signed_unchecked:,} signed but no key given, {s.unsigned:,} unsigned"
        )
        for gap in s.gaps:
            out.append(f"  GAP: blocks {gap.first} to {gap.last} are missing")
        if s.unfinished_bytes:
            out.append(
                f"  {s.unfinished_bytes:,} bytes at the end are not finished yet (being written, or cut at the next start)"
            )
        for p in s.problems:
            out.append(f"  ERROR: {p.file} at byte {p.offset:,}: {p.message}")
    unproven = sum(s.unsigned + s.signed_unchecked for s in report.sources.values())
    whole = f"Every chain is whole, {unproven:,} blocks by no signature." if unproven else "Every chain is whole."
    verdict = whole if report.ok else "The archive does not hold: see above."
    out.append(f"{report.blocks:,} blocks, {report.events:,} events in {len(report.sources)} sources. {verdict}")
    return "\n".join(out) + "\n"


def _when(header: BlockHeader) -> str:
    return datetime.fromtimestamp(header.sealed_at / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
