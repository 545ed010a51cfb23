"""What can go wrong with a spool, by what the caller should do about it."""

from __future__ import annotations


class SpoolError(Exception):
    """The spool could not do it. The message names the directory or file and the remedy."""


class SpoolFullError(SpoolError):
    """No room: on the disk, under `audit.spool_limit_bytes`, or in the reserve. Passes by itself when room returns."""


class SpoolLockedError(SpoolError):
    """Another process has this source's spool open."""


class RecordTooLargeError(SpoolError):
    """One record is larger than any segment may be: the statement must be refused."""
