"""Would a source begin its chain a second time? Asked before anything starts.

A source numbers its blocks from one, in a chain that its spool remembers. A site that is restored from its backup has the archive
with the old chain, and no spool: under the same name the chain would begin again, and what it records would be rejected as a
forgery of what is archived. The old chain ends where the backup does; what comes after is another source's.
"""

from __future__ import annotations

from collections.abc import Iterable

from deploy.layout import DataDir
from processors.frames import files_of


class LostSpoolError(Exception):
    """A source's archive is here and its spool is not; the message names the setting that gives it another name."""


def refuse_second_chains(data: DataDir, sources: Iterable[tuple[str, str]]) -> None:
    """Raise LostSpoolError if one of `sources` (and the setting it is named by) has blocks in the archive, and no spool."""
    for source, setting in sources:
        folder = source.replace("/", "_")
        archived = data.archive / folder
        spool = data.root / "spool" / folder
        if archived.is_dir() and files_of(archived) and not (spool.is_dir() and any(spool.iterdir())):
            raise LostSpoolError(
                f"source {source} has blocks in {archived}, and its spool {spool} is gone: its chain cannot begin a second time. "
                f"After a restore give {setting} a name that was never used; otherwise put the spool back as it was"
            )
