"""What can the server's own functions, and those of its usual extensions, do beyond computing a value?

Names are matched without their schema: extensions are installed into schemas of any name, and `pg_catalog.` goes without saying.
PostgreSQL 12 to 18, contrib, and the extensions that clouds offer.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.events import Danger as D

_BY_DANGER: tuple[tuple[str, tuple[D, ...]], ...] = (
    (
        "pg_read_file pg_read_binary_file pg_read_file_old pg_file_read pg_stat_file pg_ls_dir pg_ls_logdir pg_ls_waldir "
        "pg_ls_archive_statusdir pg_ls_tmpdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_summariesdir "
        "pg_current_logfile pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings pg_file_settings pg_logdir_ls "
        "lo_import lo_export be_lo_import be_lo_export",
        (D.FILE_ACCESS,),
    ),
    ("pg_file_write pg_file_unlink pg_file_rename pg_file_sync", (D.FILE_ACCESS, D.PROGRAM_EXECUTION)),
    ("lo_export lo_import be_lo_export be_lo_import", (D.LARGE_OBJECT, D.BULK_EXPORT)),
    (
        "lo_get lo_put lo_create lo_creat lo_from_bytea lo_open lo_close loread lowrite lo_lseek lo_lseek64 lo_tell lo_tell64 "
        "lo_truncate lo_truncate64",
        (D.LARGE_OBJECT,),
    ),
    ("lo_unlink ", (D.LARGE_OBJECT, D.DROP)),
    (
        "dblink dblink_exec dblink_connect dblink_connect_u dblink_open dblink_fetch dblink_close dblink_send_query "
        "dblink_get_result dblink_get_connections dblink_disconnect dblink_build_sql_insert dblink_build_sql_update "
        "dblink_build_sql_delete dblink_get_notify dblink_error_message dblink_is_busy dblink_cancel_query",
        (D.NETWORK_EGRESS,),
    ),
    (
        "http http_get http_post http_put http_patch http_delete http_head http_set_curlopt http_post_async net_http_get "
        "net_http_post http_request http_collect_response postgres_fdw_get_connections postgres_fdw_disconnect "
        "postgres_fdw_disconnect_all table_import_from_s3 query_export_to_s3 export_query_to_s3 aws_lambda_invoke "
        "lambda_invoke invoke_endpoint plproxy_query",
        (D.NETWORK_EGRESS,),
    ),
    ("invoke create_lambda_function_arn", (D.NETWORK_EGRESS,)),
    (
        "query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema ts_stat ts_rewrite "
        "crosstab "
        "crosstab2 crosstab3 crosstab4 crosstabn connectby xpath_table "
        "schedule schedule_in_database pg_background_launch execute exec "
        "exec_sql execute_sql run_sql eval pg_background_result dblink dblink_exec dblink_open dblink_send_query "
        "run_command_on_workers run_command_on_shards run_command_on_placements run_command_on_all_nodes "
        "run_command_on_colocated_placements master_run_on_worker "
        " alter_job add_job",
        (D.OPAQUE,),
    ),
    (
        "table_to_xml table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema "
        "schema_to_xml_and_xmlschema "
        "database_to_xml database_to_xmlschema database_to_xml_and_xmlschema query_to_xml query_to_xml_and_xmlschema "
        "cursor_to_xml",
        (D.BULK_EXPORT,),
    ),
    ("system", (D.PROGRAM_EXECUTION,)),
    (
        "pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_switch_wal pg_switch_xlog pg_promote pg_create_restore_point "
        "pg_start_backup pg_stop_backup pg_backup_start pg_backup_stop pg_wal_replay_pause pg_wal_replay_resume "
        "pg_import_system_collations pg_set_relation_stats pg_restore_relation_stats pg_clear_relation_stats "
        "pg_restore_attribute_stats pg_clear_attribute_stats pg_extension_config_dump pg_nextoid pg_stop_making_pinned_objects "
        "pg_prewarm pg_enable_data_checksums pg_disable_data_checksums",
        (D.CONFIGURATION_CHANGE,),
    ),
    (
        "pg_rotate_logfile pg_rotate_logfile_old pg_stat_reset pg_stat_reset_shared pg_stat_reset_single_table_counters "
        "pg_stat_reset_single_function_counters pg_stat_reset_slru pg_stat_reset_replication_slot "
        "pg_stat_reset_subscription_stats pg_stat_reset_backend_stats pg_stat_statements_reset pg_stat_kcache_reset "
        "pg_stat_monitor_reset pg_qualstats_reset pg_logical_emit_message",
        (D.AUDIT_TAMPERING,),
    ),
    ("pg_terminate_backend pg_cancel_backend ", (D.SESSION_KILL,)),
    (
        "pg_create_logical_replication_slot pg_create_physical_replication_slot pg_drop_replication_slot "
        "pg_copy_logical_replication_slot pg_copy_physical_replication_slot pg_logical_slot_get_changes "
        "pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes "
        "pg_replication_slot_advance pg_replication_origin_create pg_replication_origin_drop pg_replication_origin_advance "
        "pg_replication_origin_session_setup pg_replication_origin_session_reset pg_replication_origin_xact_setup "
        "pg_replication_origin_xact_reset pg_sync_replication_slots",
        (D.REPLICATION,),
    ),
    ("pg_sleep pg_sleep_for pg_sleep_until", (D.RESOURCE_EXHAUSTION,)),
    ("bt_index_parent_check", (D.LOCK_EXHAUSTION,)),
    ("pg_log_backend_memory_contexts gin_clean_pending_list brin_summarize_range", (D.RESOURCE_EXHAUSTION,)),
    (
        "pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock "
        "pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared",
        (D.ADVISORY_LOCK,),
    ),
    (
        "binary_upgrade_create_empty_extension binary_upgrade_set_missing_value binary_upgrade_set_next_pg_authid_oid "
        "binary_upgrade_set_next_pg_type_oid binary_upgrade_set_record_init_privs heap_force_kill heap_force_freeze "
        "pg_truncate_visibility_map page_header get_raw_page heap_page_items heap_page_item_attrs  "
        "bt_page_items gin_leafpage_items verify_heapam ",
        (D.CATALOGUE_WRITE,),
    ),
    (
        "get_raw_page heap_page_items heap_page_item_attrs bt_page_items tuple_data_split fsm_page_contents "
        "pg_get_wal_records_info pg_get_wal_block_info pg_get_wal_record_info",
        (D.BULK_EXPORT,),
    ),
    ("drop_chunks drop_partition undistribute_table ", (D.DROP,)),
    ("truncate_local_data_after_distributing_table", (D.TRUNCATE,)),
    ("dropgeometrytable dropgeometrycolumn", (D.DROP,)),
    ("pgsodium_decrypt", (D.CREDENTIAL_READ,)),
    # What other sessions' statements say, of which the views of these functions show masks.
    ("pg_stat_get_activity pg_stat_get_backend_activity pg_mcv_list_items", (D.CREDENTIAL_READ,)),
    ("file_fdw_handler plpgsql_call_handler plpgsql_inline_handler", (D.CODE_CREATION,)),
)

DYNAMIC: frozenset[str] = frozenset(
    name for names, dangers in _BY_DANGER if D.OPAQUE in dangers or D.BULK_EXPORT in dangers for name in names.split()
) - {"get_raw_page", "heap_page_items", "heap_page_item_attrs", "bt_page_items", "lo_export", "lo_import"}
"""Functions that run SQL, or name a table, given to them as a value."""


def _pairs() -> Iterator[tuple[str, D]]:
    for names, dangers in _BY_DANGER:
        for name in names.split():
            for danger in dangers:
                yield name, danger


_OF: dict[str, frozenset[D]] = {}
for _name, _danger in _pairs():
    _OF[_name] = _OF.get(_name, frozenset()) | {_danger}

_NONE: frozenset[D] = frozenset()


def of_function(name: str) -> frozenset[D]:
    """Return what a function can do, by its name in lower case, with or without a schema."""
    return _OF.get(name.rsplit(".", 1)[-1], _NONE)


def known() -> frozenset[str]:
    """Return every name the tables hold, for tests."""
    return frozenset(_OF)
