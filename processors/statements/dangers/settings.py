"""Which settings of a session or server guard it, record it, or run code?"""

from __future__ import annotations

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
        "max_connections",
    )
)

_NONE: frozenset[D] = frozenset()


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
