"""Which tables hold what must not be read or changed, whoever asks? The server's own, and those that record what was done."""

from __future__ import annotations

import re

from schemas.events import Danger as D

_CREDENTIALS = frozenset(
    (
        "pg_authid",
        "pg_shadow",
        "pg_user_mapping",
        "pg_user_mappings",
        "pg_largeobject",
        "pg_statistic",
        "pg_statistic_ext_data",
        "pg_stats_ext",
        "pg_stats_ext_exprs",
        "pg_stats",
        "pg_subscription",
        "pg_foreign_server_options",
    )
)
"""They hold password hashes, remote passwords, or samples of every column's values."""
_CREDENTIALS_ELSEWHERE = frozenset(("user_mapping_options", "_pg_user_mappings"))
_FILES = frozenset(("pg_hba_file_rules", "pg_ident_file_mappings", "pg_file_settings"))
_AUDIT = re.compile(r"audit", re.IGNORECASE)

_NONE: frozenset[D] = frozenset()


def of_read(name: str) -> frozenset[D]:
    """Return what reading a relation (`schema.name`) can do."""
    schema, _, table = name.partition(".")
    if schema == "pg_catalog":
        if table in _CREDENTIALS:
            return (
                frozenset((D.CREDENTIAL_READ, D.LARGE_OBJECT)) if table == "pg_largeobject" else frozenset((D.CREDENTIAL_READ,))
            )
        return frozenset((D.FILE_ACCESS,)) if table in _FILES else _NONE
    if schema == "information_schema" and table in _CREDENTIALS_ELSEWHERE:
        return frozenset((D.CREDENTIAL_READ,))
    return _NONE


def of_write(name: str) -> frozenset[D]:
    """Return what changing a relation of the server itself can do."""
    schema, _, table = name.partition(".")
    if schema == "pg_catalog" and table == "pg_settings":
        return of_settings_table()
    if schema in ("pg_catalog", "pg_toast", "information_schema"):
        return frozenset((D.CATALOGUE_WRITE, D.PRIVILEGE_CHANGE))
    return _NONE


def of_settings_table() -> frozenset[D]:
    """Return what an UPDATE of pg_settings, which sets any setting, can do."""
    return frozenset((D.AUDIT_TAMPERING, D.CONFIGURATION_CHANGE))


def records_actions(name: str) -> bool:
    """Tell whether a relation's name says that it records who did what."""
    return _AUDIT.search(name.rpartition(".")[2]) is not None
