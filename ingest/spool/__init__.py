"""The spool: everything is written here before it happens and kept until the log has it. See `ingest.spool.spool`."""

from __future__ import annotations

from ingest.spool.errors import RecordTooLargeError, SpoolError, SpoolFullError, SpoolLockedError
from ingest.spool.keeper import Destination
from ingest.spool.lines import UNKNOWN_OUTCOME
from ingest.spool.restart import Recovery
from ingest.spool.shipper import Shipper
from ingest.spool.signing import load_or_create_signer
from ingest.spool.spool import Spool, SpoolStats, spool_directory

__all__ = [
    "UNKNOWN_OUTCOME",
    "Destination",
    "RecordTooLargeError",
    "Recovery",
    "Shipper",
    "Spool",
    "SpoolError",
    "SpoolFullError",
    "SpoolLockedError",
    "SpoolStats",
    "load_or_create_signer",
    "spool_directory",
]
