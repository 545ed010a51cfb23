"""Which settings of a session or server guard it, record it, or run code?"""

from __future__ import annotations

import re

from schemas.events import Danger as D

_RECORDING = (
    "log_",
    "pgaudit.",
    "auto_explain.",
    "track_",
    "pg_stat_statements.",
    "set_user.",
    "pgauditlogtofile.",
    "debug_print_",
)
_RECORDING_NAMES = frozenset(
    (
        "logging_collector",
        "session_replication_role",
        "row_security",
        "event_triggers",
        "event_source",
        "syslog_facility",
        "syslog_ident",
        "update_process_title",
        "compute_query_id",
    )
)
_LOADING = frozenset(
    (
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "jit_provider",
        "dynamic_library_path",
        "extension_control_path",
        "archive_command",
        "archive_cleanup_command",
        "archive_library",
        "restore_command",
        "recovery_end_command",
        "ssl_passphrase_command",
        "oauth_validator_libraries",
    )
)
_GUARDING = frozenset(
    (
        "allow_system_table_mods",
        "ignore_system_indexes",
        "ignore_checksum_failure",
        "ignore_invalid_pages",
        "zero_damaged_pages",
        "fsync",
        "full_page_writes",
        "allow_in_place_tablespaces",
        "password_encryption",
        "createrole_self_grant",
        "lo_compat_privileges",
        "backslash_quote",
        "plpgsql.variable_conflict",
        "array_nulls",
        "transform_null_equals",
        "plperl.on_init",
        "plpython.python_path",
        "pljava.libjvm_location",
        "ssl",
        "hba_file",
        "ident_file",
        "data_directory",
        "listen_addresses",
        "archive_mode",
        "wal_level",
        "primary_conninfo",
        "cron.database_name",
        "autovacuum",
        "allow_alter_system",
        "huge_pages",
        "temp_file_limit",
        "max_stack_depth",
        "max_connections",
    )
)

_MEMORY = re.compile(r"(?:work_mem|maintenance_work_mem|autovacuum_work_mem|temp_buffers|logical_decoding_work_mem)\Z")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)?\s*\Z")
_IN_KB = {"B": 1 / 1024, "kB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3}
_MUCH_KB = 8 * 1024**2
"""8 GB of memory for one sort is more than anybody means: some sessions at once take a server's all."""

_NONE: frozenset[D] = frozenset()


_MULTIPLIER = "hash_mem_multiplier"
_MUCH_MULTIPLIED = 64


def takes_memory(name: str) -> bool:
    """Tell whether a setting says how much memory may be taken."""
    return _MEMORY.match(name.lower()) is not None or name.lower() == _MULTIPLIER


def of_size(name: str, value: object) -> frozenset[D]:
    """Return what a setting's value can do: take the server's memory."""
    found = _SIZE.match(str(value))
    if found is None or not takes_memory(name):
        return _NONE
    if name.lower() == _MULTIPLIER:
        return frozenset((D.RESOURCE_EXHAUSTION,)) if float(found[1]) > _MUCH_MULTIPLIED else _NONE
    unit = found[2] or ("kB" if name.lower() != "temp_buffers" else "MB")
    return frozenset((D.RESOURCE_EXHAUSTION,)) if float(found[1]) * _IN_KB[unit] > _MUCH_KB else _NONE


def of_setting(name: str) -> frozenset[D]:
    """Return what changing a setting can do; `*` is a setting not known, which may be any."""
    name = name.lower()
    if name == "*":
        return frozenset((D.AUDIT_TAMPERING, D.CONFIGURATION_CHANGE, D.ROLE_CHANGE))
    if name in ("role", "session_authorization"):
        return frozenset((D.ROLE_CHANGE,))
    if name.startswith(_RECORDING) or name in _RECORDING_NAMES:
        return frozenset((D.AUDIT_TAMPERING,))
    if name in _LOADING:
        return frozenset((D.CONFIGURATION_CHANGE, D.PROGRAM_EXECUTION))
    return frozenset((D.CONFIGURATION_CHANGE,)) if name in _GUARDING else _NONE


_SECRET = frozenset(("primary_conninfo", "ssl_passphrase_command", "krb_server_keyfile", "restore_command", "archive_command"))


def of_showing(name: str) -> frozenset[D]:
    """Return what showing a setting can do: some hold passwords."""
    return frozenset((D.CREDENTIAL_READ,)) if name.lower() in _SECRET else _NONE
