"""Does this worker run the hot modules compiled to C (`deploy.compiled`), or the interpreter?"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES

from ingest.net import connection
from ingest.protocols.postgres import session
from ingest.spool import spool

MODULES = (connection, session, spool)
"""One of each part. A copy is compiled whole or not at all; `affidavit doctor` counts all of them."""


def runs_compiled() -> bool:
    """Return whether they were loaded from extension modules."""
    return all((module.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES)) for module in MODULES)
