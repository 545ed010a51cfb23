"""Which tables hold what must not be read or changed, whoever asks? The server's own, and those that record what was done."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from schemas.events import Danger as D

_SECRETS: dict[str, tuple[str, ...]] = {
    "pg_catalog.pg_authid": ("rolpassword",),
    "pg_catalog.pg_shadow": ("passwd",),
    "pg_catalog.pg_user_mapping": ("umoptions",),
    "pg_catalog.pg_user_mappings": ("umoptions",),
    "information_schema.user_mapping_options": ("option_value",),
    "information_schema._pg_user_mappings": ("umoptions",),
    "pg_catalog.pg_subscription": ("subconninfo",),
    "pg_catalog.pg_largeobject": ("data",),
    "pg_catalog.pg_stats": ("most_common_vals", "histogram_bounds", "most_common_elems", "range_bounds_histogram"),
    "pg_catalog.pg_stats_ext": ("most_common_vals", "dependencies"),
    "pg_catalog.pg_stats_ext_exprs": ("most_common_vals", "histogram_bounds", "most_common_elems"),
    "pg_catalog.pg_statistic": tuple(f"stavalues{i}" for i in range(1, 6)),
    "pg_catalog.pg_statistic_ext_data": ("stxdmcv", "stxdexpr"),
}
"""Columns that hold password hashes, remote passwords, or samples of other columns' values."""
_FILES = frozenset(f"pg_catalog.{name}" for name in ("pg_hba_file_rules", "pg_ident_file_mappings", "pg_file_settings"))
_AUDIT = re.compile(r"audit", re.IGNORECASE)

_NONE: frozenset[D] = frozenset()


def secret_columns() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return the server's own relations that hold secrets or samples of values, and the columns that do."""
    return iter(_SECRETS.items())


def of_read(name: str, columns: Container[str]) -> frozenset[D]:
    """Return what reading a relation (`schema.name`) can do, of which `columns` (`schema.name.column`) are used."""
    secrets = _SECRETS.get(name)
    if secrets is not None and any(f"{name}.{c}" in columns or f"?.{c}" in columns for c in (*secrets, "*")):
        return frozenset((D.CREDENTIAL_READ, *((D.LARGE_OBJECT,) if name.endswith("pg_largeobject") else ())))
    return frozenset((D.FILE_ACCESS,)) if name in _FILES else _NONE


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
    """Tell whether a relation's name, or its schema's, says that it records who did what."""
    return _AUDIT.search(name) is not None
