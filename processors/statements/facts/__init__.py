"""Facts from the server's own grammar: libpg_query's tree of one statement, walked into schemas.events.Facts."""

from __future__ import annotations

from processors.statements.catalogue import Catalogue
from processors.statements.dangers import of_read, of_write
from processors.statements.dangers.builtins import BUILTINS
from processors.statements.facts.collector import Collector, Node
from processors.statements.facts.names import Namer, is_syntax
from processors.statements.facts.resolve import resolve
from processors.statements.facts.utility import StatementWalk
from schemas.events import Danger, StatementFlag


def collect(statement: Node, namer: Namer, *, elided: bool, catalogue: Catalogue | None = None) -> Collector:
    """Walk one statement's node; `elided` says that lists were shortened before parsing."""
    facts = Collector(namer, elided, catalogue)
    StatementWalk(facts).statement(statement)
    if catalogue is not None:
        resolve(facts, catalogue)
    elif any(name.startswith("function_oid_") for name in facts.functions) or (namer.blind and _calls_unknown(facts)):
        facts.danger(Danger.OPAQUE)
        if "function_oid_2078" in facts.functions:  # set_config (pg_proc.dat)
            facts.settings["*"] = None
    for name in facts.reads:
        facts.dangers |= of_read(name, facts.columns)
    for name in facts.writes:
        facts.dangers |= of_write(name)
    if StatementFlag.OPAQUE in facts.flags:
        facts.danger(Danger.OPAQUE)
    if "pg_catalog.pg_settings" in facts.writes:
        facts.flag(StatementFlag.CHANGES_SETTINGS)
        facts.settings["*"] = None
    return facts


def _calls_unknown(facts: Collector) -> bool:
    """Tell whether a function is called that not every server has, or whose name may lead to another one."""
    return any(name not in BUILTINS and not is_syntax(name) for name in facts.functions)
