"""What could a statement other than a query do harm by, going by its kind and the fields of its node?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from processors.statements.dangers.objects import records_actions
from processors.statements.dangers.settings import of_setting
from schemas.events import Danger as D

Node = dict[str, Any]

_BY_KIND: dict[str, tuple[D, ...]] = {
    "AlterDatabaseRefreshCollStmt": (D.CONFIGURATION_CHANGE,),
    "AlterDatabaseSetStmt": (D.CONFIGURATION_CHANGE,),
    "AlterDatabaseStmt": (D.CONFIGURATION_CHANGE,),
    "AlterCollationStmt": (D.SCHEMA_CHANGE,),
    "AlterDomainStmt": (D.SCHEMA_CHANGE,),
    "AlterDefaultPrivilegesStmt": (D.PRIVILEGE_CHANGE,),
    "AlterEventTrigStmt": (D.AUDIT_TAMPERING, D.CODE_CREATION),
    "AlterExtensionContentsStmt": (D.CODE_CREATION,),
    "AlterExtensionStmt": (D.CODE_CREATION,),
    "AlterFdwStmt": (D.NETWORK_EGRESS,),
    "AlterForeignServerStmt": (D.NETWORK_EGRESS,),
    "AlterFunctionStmt": (D.CODE_CREATION,),
    "AlterObjectDependsStmt": (D.SCHEMA_CHANGE,),
    "AlterObjectSchemaStmt": (D.SCHEMA_CHANGE,),
    "AlterOperatorStmt": (D.CODE_CREATION,),
    "AlterOpFamilyStmt": (D.CODE_CREATION,),
    "AlterOwnerStmt": (D.PRIVILEGE_CHANGE,),
    "AlterPolicyStmt": (D.PRIVILEGE_CHANGE,),
    "AlterPublicationStmt": (D.REPLICATION,),
    "AlterRoleSetStmt": (D.PRIVILEGE_CHANGE,),
    "AlterRoleStmt": (D.PRIVILEGE_CHANGE,),
    "AlterSeqStmt": (D.SCHEMA_CHANGE,),
    "AlterEnumStmt": (D.SCHEMA_CHANGE,),
    "AlterSubscriptionStmt": (D.REPLICATION, D.NETWORK_EGRESS),
    "AlterSystemStmt": (D.CONFIGURATION_CHANGE,),
    "AlterTableMoveAllStmt": (D.LOCK_EXHAUSTION, D.SCHEMA_CHANGE),
    "AlterStatsStmt": (D.SCHEMA_CHANGE,),
    "AlterTSConfigurationStmt": (D.SCHEMA_CHANGE,),
    "AlterTSDictionaryStmt": (D.SCHEMA_CHANGE,),
    "AlterTypeStmt": (D.SCHEMA_CHANGE,),
    "AlterTableSpaceOptionsStmt": (D.CONFIGURATION_CHANGE,),
    "AlterUserMappingStmt": (D.NETWORK_EGRESS, D.PRIVILEGE_CHANGE),
    "CheckPointStmt": (D.RESOURCE_EXHAUSTION,),
    "ClusterStmt": (D.LOCK_EXHAUSTION,),
    "CreateAmStmt": (D.CODE_CREATION,),
    "CreateCastStmt": (D.CODE_CREATION,),
    "CreateConversionStmt": (D.CODE_CREATION,),
    "CreateEventTrigStmt": (D.CODE_CREATION, D.AUDIT_TAMPERING),
    "CreateExtensionStmt": (D.CODE_CREATION,),
    "CreateFdwStmt": (D.NETWORK_EGRESS, D.CODE_CREATION),
    "CreateForeignServerStmt": (D.NETWORK_EGRESS,),
    "CreateForeignTableStmt": (D.NETWORK_EGRESS, D.SCHEMA_CHANGE),
    "CreateFunctionStmt": (D.CODE_CREATION,),
    "CreateOpClassStmt": (D.CODE_CREATION,),
    "CreateOpFamilyStmt": (D.CODE_CREATION,),
    "CreatePLangStmt": (D.CODE_CREATION,),
    "CreatePolicyStmt": (D.PRIVILEGE_CHANGE,),
    "CreatePropGraphStmt": (D.SCHEMA_CHANGE,),
    "CreatePublicationStmt": (D.REPLICATION, D.BULK_EXPORT),
    "CreateRoleStmt": (D.PRIVILEGE_CHANGE,),
    "CreateSubscriptionStmt": (D.REPLICATION, D.NETWORK_EGRESS),
    "CreateTableSpaceStmt": (D.FILE_ACCESS, D.CONFIGURATION_CHANGE),
    "CreateTransformStmt": (D.CODE_CREATION,),
    "CreateTrigStmt": (D.CODE_CREATION,),
    "CreateUserMappingStmt": (D.NETWORK_EGRESS, D.PRIVILEGE_CHANGE),
    "CreatedbStmt": (D.CONFIGURATION_CHANGE, D.RESOURCE_EXHAUSTION),
    "DropOwnedStmt": (D.DROP, D.PRIVILEGE_CHANGE),
    "DropRoleStmt": (D.DROP, D.PRIVILEGE_CHANGE),
    "DropSubscriptionStmt": (D.DROP, D.REPLICATION),
    "DropTableSpaceStmt": (D.DROP, D.CONFIGURATION_CHANGE),
    "DropUserMappingStmt": (D.DROP, D.NETWORK_EGRESS),
    "DropdbStmt": (D.DROP, D.SESSION_KILL),
    "GrantRoleStmt": (D.PRIVILEGE_CHANGE,),
    "GrantStmt": (D.PRIVILEGE_CHANGE,),
    "ImportForeignSchemaStmt": (D.NETWORK_EGRESS, D.SCHEMA_CHANGE),
    "LoadStmt": (D.PROGRAM_EXECUTION, D.CODE_CREATION),
    "ReassignOwnedStmt": (D.PRIVILEGE_CHANGE,),
    "RepackStmt": (D.LOCK_EXHAUSTION,),
    "RuleStmt": (D.CODE_CREATION,),
    "SecLabelStmt": (D.PRIVILEGE_CHANGE,),
    "TruncateStmt": (D.TRUNCATE,),
}
_BY_OBJECT: dict[str, tuple[D, ...]] = {
    "OBJECT_ACCESS_METHOD": (D.CODE_CREATION,),
    "OBJECT_EVENT_TRIGGER": (D.AUDIT_TAMPERING,),
    "OBJECT_EXTENSION": (D.CONFIGURATION_CHANGE,),
    "OBJECT_FDW": (D.NETWORK_EGRESS,),
    "OBJECT_FOREIGN_SERVER": (D.NETWORK_EGRESS,),
    "OBJECT_POLICY": (D.PRIVILEGE_CHANGE,),
    "OBJECT_ROLE": (D.PRIVILEGE_CHANGE,),
    "OBJECT_RULE": (D.CODE_CREATION,),
    "OBJECT_TRIGGER": (D.AUDIT_TAMPERING,),
    "OBJECT_PUBLICATION": (D.REPLICATION,),
}
"""What dropping or renaming such an object does besides."""
_ALTER: dict[str, tuple[D, ...]] = {
    "AT_DropColumn": (D.DROP,),
    "AT_DropConstraint": (D.DROP, D.SCHEMA_CHANGE),
    "AT_DetachPartition": (D.DROP,),
    "AT_DropInherit": (D.SCHEMA_CHANGE,),
    "AT_ChangeOwner": (D.PRIVILEGE_CHANGE,),
    "AT_AddInherit": (D.SCHEMA_CHANGE,),
    "AT_SetUnLogged": (D.LOCK_EXHAUSTION, D.CONFIGURATION_CHANGE),
    "AT_SetLogged": (D.LOCK_EXHAUSTION,),
    "AT_SetTableSpace": (D.LOCK_EXHAUSTION,),
    "AT_ReplicaIdentity": (D.REPLICATION,),
    "AT_AlterColumnType": (D.SCHEMA_CHANGE,),
    "AT_GenericOptions": (D.NETWORK_EGRESS,),
    "AT_AlterColumnGenericOptions": (D.NETWORK_EGRESS,),
    "AT_EnableRowSecurity": (D.PRIVILEGE_CHANGE,),
    "AT_ForceRowSecurity": (D.PRIVILEGE_CHANGE,),
    "AT_DisableRowSecurity": (D.PRIVILEGE_CHANGE, D.AUDIT_TAMPERING),
    "AT_NoForceRowSecurity": (D.PRIVILEGE_CHANGE, D.AUDIT_TAMPERING),
}
_GUARDING_TRIGGERS = ("AT_DisableTrig", "AT_DisableRule", "AT_EnableReplica", "AT_EnableAlways")

_BLOCKING_MODE = 5
"""SHARE and above keep writers out (lockdefs.h: modes count from 1)."""


def of_statement(kind: str, fields: Node) -> set[D]:
    """Return what a statement can do by its kind; queries and what they call are judged elsewhere."""
    found: set[D] = set(_BY_KIND.get(kind, ()))
    judge = _JUDGES.get(kind)
    if judge is not None:
        found |= judge(fields)
    if (D.DROP in found or D.TRUNCATE in found or kind in _CHANGES) and any(records_actions(n) for n in _names(fields)):
        found.add(D.AUDIT_TAMPERING)
    setting = fields.get("setstmt")
    if isinstance(setting, dict):
        found |= of_setting(setting.get("name") or "*")
    return found


_CHANGES = frozenset(("RenameStmt", "AlterObjectSchemaStmt", "AlterOwnerStmt", "CreateTrigStmt", "RuleStmt"))


def _names(node: Any, depth: int = 6) -> Iterator[str]:
    """Yield the names of relations and objects a definition names."""
    if depth < 0:
        return
    if isinstance(node, list):
        for item in node[:100]:
            yield from _names(item, depth - 1)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("relname", "sval", "trigname", "name", "newname", "extname") and isinstance(value, str):
                yield value
            elif isinstance(value, dict | list):
                yield from _names(value, depth - 1)


def _drop(fields: Node) -> set[D]:
    kind = fields.get("removeType", "OBJECT_TABLE")
    found = {D.DROP, *_BY_OBJECT.get(kind, ())}
    if kind == "OBJECT_EXTENSION" and any("audit" in n for n in _names(fields.get("objects", ()))):
        found.add(D.AUDIT_TAMPERING)
    return found


def _rename(fields: Node) -> set[D]:
    found = {D.SCHEMA_CHANGE, *_BY_OBJECT.get(fields.get("renameType", ""), ())}
    return found | {D.CONFIGURATION_CHANGE} if fields.get("renameType") == "OBJECT_DATABASE" else found


def _view(fields: Node) -> set[D]:
    return {D.SCHEMA_CHANGE} if fields.get("replace") and fields.get("view", {}).get("relpersistence") != "t" else set()


def _alter_domain(fields: Node) -> set[D]:
    return {D.DROP} if fields.get("subtype") == "X" else set()


def _alter_table(fields: Node) -> set[D]:
    found: set[D] = {D.SCHEMA_CHANGE}
    for item in fields.get("cmds", ()):
        command = item.get("AlterTableCmd", {})
        subtype = command.get("subtype", "")
        found.update(_ALTER.get(subtype, ()))
        if subtype.startswith(_GUARDING_TRIGGERS):
            found.add(D.AUDIT_TAMPERING)
        if subtype in ("AT_SetRelOptions", "AT_ResetRelOptions") and fields.get("objtype") == "OBJECT_VIEW":
            found.add(D.PRIVILEGE_CHANGE)  # security_invoker and security_barrier are the options that views have
        if subtype == "AT_DropColumn" and records_actions(fields.get("relation", {}).get("relname", "")):
            found.add(D.AUDIT_TAMPERING)
    return found


def _copy(fields: Node) -> set[D]:
    if fields.get("is_program"):
        return {D.PROGRAM_EXECUTION, D.FILE_ACCESS} | (set() if fields.get("is_from") else {D.BULK_EXPORT})
    if "filename" in fields:
        return {D.FILE_ACCESS} | (set() if fields.get("is_from") else {D.BULK_EXPORT})
    if not fields.get("is_from") and "relation" in fields:
        return {D.BULK_EXPORT}
    return set()


def _lock(fields: Node) -> set[D]:
    return {D.LOCK_EXHAUSTION} if fields.get("mode", 8) >= _BLOCKING_MODE else set()


def _vacuum(fields: Node) -> set[D]:
    return {D.LOCK_EXHAUSTION} if _is_on(fields.get("options", ()), "full") else set()


def _reindex(fields: Node) -> set[D]:
    return set() if _is_on(fields.get("params", ()), "concurrently") else {D.LOCK_EXHAUSTION}


def _refresh(fields: Node) -> set[D]:
    return {D.TRUNCATE} if fields.get("skipData") else set()


def _schema(fields: Node) -> set[D]:
    # A schema of its own that somebody else is given.
    return {D.PRIVILEGE_CHANGE} if fields.get("authrole", {}).get("roletype") == "ROLESPEC_CSTRING" else set()


def _is_on(options: Any, name: str) -> bool:
    """Tell whether an option is there and not switched off; the last one of a name counts."""
    found = [o.get("DefElem", {}) for o in options if o.get("DefElem", {}).get("defname") == name]
    if not found:
        return False
    arg = found[-1].get("arg", {})
    value = arg.get("String", {}).get("sval", arg.get("Integer", {}).get("ival", 0) if "Integer" in arg else "on")
    return str(value).lower() not in ("off", "false", "0", "no")


def _function(fields: Node) -> set[D]:
    found: set[D] = set()
    for option in fields.get("options", []) + fields.get("actions", []):
        element = option.get("DefElem", {})
        name, arg = element.get("defname", ""), element.get("arg", {})
        if name == "security" and (arg.get("Boolean", {}).get("boolval") or arg.get("Integer", {}).get("ival")):
            found.add(D.PRIVILEGE_CHANGE)
        if name == "language" and not _is_trusted(arg.get("String", {}).get("sval", "")):
            found.add(D.PROGRAM_EXECUTION)
        if name == "set":
            found |= of_setting(arg.get("VariableSetStmt", {}).get("name") or "*")
    return found


def _is_trusted(language: str) -> bool:
    return language.lower() in ("sql", "plpgsql", "pltcl", "plperl", "plv8")


def _extension(fields: Node) -> set[D]:
    name = fields.get("extname", "").lower()
    found: set[D] = set()
    if name.endswith("_fdw") or name in ("dblink", "http", "pg_net", "aws_s3", "aws_lambda", "plproxy", "postgres_fdw"):
        found.add(D.NETWORK_EGRESS)
    if name in ("file_fdw", "adminpack"):
        found.add(D.FILE_ACCESS)
    if name.startswith(("plpython", "plperlu", "pltclu", "plsh", "pljava", "plr")):
        found.add(D.PROGRAM_EXECUTION)
    return found


def _do(fields: Node) -> set[D]:
    for option in fields.get("args", ()):
        element = option.get("DefElem", {})
        if element.get("defname") == "language" and not _is_trusted(element.get("arg", {}).get("String", {}).get("sval", "")):
            return {D.PROGRAM_EXECUTION}
    return set()


def _comment(fields: Node) -> set[D]:
    return {D.SCHEMA_CHANGE} if fields.get("objtype") in ("OBJECT_ROLE", "OBJECT_DATABASE") else set()


def _define(fields: Node) -> set[D]:
    is_code = fields.get("kind") in ("OBJECT_OPERATOR", "OBJECT_AGGREGATE", "OBJECT_TYPE", "OBJECT_TSPARSER", "OBJECT_TSTEMPLATE")
    return {D.CODE_CREATION} if is_code and fields.get("definition") else {D.SCHEMA_CHANGE}


def _range(fields: Node) -> set[D]:
    options = {o.get("DefElem", {}).get("defname", "") for o in fields.get("params", ())}
    return {D.CODE_CREATION} if options & {"subtype_diff", "canonical"} else set()


_JUDGES: dict[str, Callable[[Node], set[D]]] = {
    "AlterDomainStmt": _alter_domain,
    "AlterFunctionStmt": _function,
    "AlterTableStmt": _alter_table,
    "CommentStmt": _comment,
    "CopyStmt": _copy,
    "CreateExtensionStmt": _extension,
    "CreateFunctionStmt": _function,
    "CreateRangeStmt": _range,
    "CreateSchemaStmt": _schema,
    "DefineStmt": _define,
    "DoStmt": _do,
    "DropStmt": _drop,
    "LockStmt": _lock,
    "RefreshMatViewStmt": _refresh,
    "ReindexStmt": _reindex,
    "RenameStmt": _rename,
    "VacuumStmt": _vacuum,
    "ViewStmt": _view,
}
