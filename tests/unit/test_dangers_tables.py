"""The tables of dangers: functions, settings and tables of the server by name, and statements by their kind."""

from __future__ import annotations

import pytest

from processors.statements import Analyser, Lexing, Tokenizer
from schemas.events import Danger


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


CASES = [
    ("select pg_read_file('x')", "file_access"),
    ("delete from t", "mass_delete"),
    ("update t set a = 1", "mass_update"),
    ("set log_statement = none", "audit_tampering"),
    ("reset log_statement", ""),
    ("set role x", "role_change"),
    ("reset role", "role_change"),
    ("reset all", ""),
    ("set search_path = a", ""),
    ("select set_config('log_' || 'statement', 'none', false)", "audit_tampering configuration_change role_change"),
    ("copy t to program 'x'", "file_access program_execution bulk_export"),
    ("copy t to stdout", "bulk_export"),
    ("copy t from stdin", ""),
    ("drop table t", "drop"),
    ("drop table audit_log", "drop audit_tampering"),
    ("truncate t", "truncate"),
    ("alter table t disable trigger all", "audit_tampering schema_change"),
    ("alter table t disable row level security", "privilege_change audit_tampering schema_change"),
    ("alter table t drop column a", "drop schema_change"),
    ("alter table t add column a int", "schema_change"),
    ("alter role x set log_statement = 'none'", "privilege_change audit_tampering"),
    ("alter system set x.y = 1", "configuration_change"),
    ("create function f() returns int language sql security definer as 'select 1'", "privilege_change code_creation"),
    ("create function f() returns int language plpython3u as 'return 1'", "program_execution code_creation opaque"),
    ("create extension dblink", "network_egress code_creation"),
    ("lock table t", "lock_exhaustion"),
    ("lock table t in access share mode", ""),
    ("vacuum full t", "lock_exhaustion"),
    ("vacuum t", ""),
    ("reindex table t", "lock_exhaustion"),
    ("reindex table concurrently t", ""),
    ("select rolpassword from pg_authid", "credential_read"),
    ("update pg_settings set setting = 'x'", "mass_update audit_tampering configuration_change"),
    ("update pg_catalog.pg_class set relname = 'x' where oid = 1", "privilege_change catalogue_write"),
    ("drop owned by x", "drop privilege_change"),
    ("select 1 (", "opaque"),
    ("select 1 from t where id = 1", ""),
]


@pytest.mark.parametrize(("sql", "dangers"), CASES, ids=[c[0] for c in CASES])
def test_each_danger_is_seen_and_no_other(analyser: Analyser, sql: str, dangers: str) -> None:
    [statement] = analyser.analyse(sql.encode(), Lexing()).statements
    assert statement.facts.dangers == tuple(d for d in Danger if d in dangers.split())
    assert len(dangers.split()) == len(statement.facts.dangers)
