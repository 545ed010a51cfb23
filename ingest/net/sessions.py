"""What makes a session of two logins: the protocol's state with its guard and its masking, by the settings asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ingest.core.guarding import Judgement
from ingest.net.described import Described
from ingest.protocols.postgres.asked import settings_asked
from ingest.protocols.postgres.session import PostgresSession
from schemas.config import DatabaseSettings

if TYPE_CHECKING:
    from ingest.net.worker import Worker

_MOVING = frozenset(("options", "search_path", "role", "session_authorization"))
"""Parameters of a startup packet after which names without a schema may mean others than by default."""


def make_session(
    worker: Worker,
    described: Described,
    database: DatabaseSettings,
    asked: Mapping[str, str],
    status: Mapping[str, str],
    now: int,
) -> PostgresSession:
    """Make the session of a client that `asked` for these parameters, with a server that reported `status`."""
    session = PostgresSession(
        session_id=described.session_id,
        context=described.context,
        client=described.client_fragment(),
        parameters=status,
        analyser=worker.analyser,
        tokenizer=worker.tokenizer,
        limits=worker.limits,
        allow_replication=database.allow_replication,
        search_path_known=_MOVING.isdisjoint(p.lower() for p in asked),
        snapshots=worker.catalogue(database),
    )
    session.pass_unaudited = worker.passes_unaudited
    if worker.policy is not None:
        session.guard = guard = worker.policy.guard.session(
            described.subject(), session.session_id, session, now, described.behalf()
        )
        if (watch := worker.catalogue(database)) is not None:
            guard.sizes = watch.measured
            guard.code = watch.code_of
    worker.mask(session, database, asked)
    return session


def setting_stopped(session: PostgresSession, asked: Mapping[str, str], now: int) -> Judgement | None:
    """Judge the settings asked for at login that could do harm, as the SET statements that they stand for."""
    guard = session.guard
    if guard is None:
        return None
    for text in settings_asked(asked):
        for statement in session.analyser.analyse(text, session.lexing).statements:
            if statement.facts.dangers and (judgement := guard.judge(statement, {}, now)).stops:
                return judgement
    return None
