"""What do the names stand for by which a client speaks of its prepared statements and portals?

A Parse may yet fail and a portal be bound anew, so a name can mean one of two things: then both are judged together, and what
cannot be told is opaque. A statement is read again where it is bound under other settings than it was parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.protocols.postgres.byname import acts_by_name, joined, names_in
from ingest.protocols.postgres.cursors import Named
from ingest.protocols.postgres.expected import Parsed, Portal, Prepared, Simple
from ingest.protocols.postgres.repeats import Repeats
from processors.statements import Analysis, Statement
from schemas.events import StatementFlag

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

MAX_KEPT_TEXT: Final = 16 * 1024
"""Bytes of a prepared statement's text kept to read it anew; a longer one is opaque once settings change."""
_MAX_JOINED_TEXT: Final = 64 * 1024
MAX_NAME: Final = 63
"""The server knows statements and portals by this many bytes of their names (NAMEDATALEN)."""


class Names:
    """The names of one session."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self.prepared: dict[bytes, Prepared] = {}
        self.portals: dict[bytes, Portal] = {}
        self.repeats = Repeats()
        self.cursors = Named()
        self.own: dict[bytes, Prepared] = {}
        """Prepared statements that the server knows by a name of ours."""

    def remember(self, name: bytes, prepared: Prepared) -> Prepared:
        session = self._session
        if session.skipping:
            return prepared
        name = name[:MAX_NAME]
        prepared.waiting = []
        session.expected.append(Parsed(name, prepared, self.prepared.get(name)))
        if name not in self.prepared and len(self.prepared) >= session.limits.prepared:
            del self.prepared[next(iter(self.prepared))]
        self.prepared[name] = prepared
        self.repeats.forget()
        return prepared

    def open_portal(self, name: bytes, prepared: Prepared | None, tokens: list[str], size: int) -> Portal | None:
        session = self._session
        if session.skipping:
            return None
        session.expected.append(Simple.BIND)
        if prepared is None:
            prepared = self.unknown(b"a prepared statement this session does not remember")
        params = [*prepared.literals, *tokens] if prepared.literals else tokens
        name = name[:MAX_NAME]
        if name and (before := self.portals.get(name)) is not None:
            # The server refuses a name in use; behind a savepoint the portal of before may still be the one executed.
            prepared = self._either(prepared, before.prepared)
        elif name not in self.portals and len(self.portals) >= session.limits.portals:
            del self.portals[next(iter(self.portals))]
        portal = self.portals[name] = Portal(prepared, params, size)
        return portal

    def _either(self, prepared: Prepared, before: Prepared) -> Prepared:
        """What stands for two statements of which one is executed."""
        if prepared.statement.text_hash == before.statement.text_hash:
            return prepared
        both = joined(prepared.statement, [before.statement])
        if len(both.text) > _MAX_JOINED_TEXT:
            return self.unknown(b"a portal bound again and again")
        return Prepared(both, prepared.literals, prepared.claims, prepared.oids)

    def afresh(self, name: bytes, prepared: Prepared) -> Prepared:
        """Read a statement anew that is bound under another search_path or catalogue than it was parsed: the server does so, too.

        What was bound before keeps the reading it was bound with, as its plan does.
        """
        session = self._session
        if len(prepared.text) > MAX_KEPT_TEXT:
            fresh = self.unknown(b"a long statement prepared under other settings").statement
        else:
            found = session.analyser.analyse(prepared.text, session.lexing).statements
            fresh = found[0]
        if fresh is prepared.statement or prepared.waiting is not None:
            prepared.statement, prepared.lexing = fresh, session.lexing
            return prepared
        again = Prepared(fresh, prepared.literals, prepared.claims, prepared.oids)
        again.mentions, again.denial, again.instead = prepared.mentions, prepared.denial, prepared.instead
        again.text, again.lexing = prepared.text, session.lexing
        self.prepared[name] = again
        return again

    def unknown(self, what: bytes) -> Prepared:
        """Stand in for a statement whose text is not known: analysed as text that does not parse, hence opaque."""
        analysis = self._session.analyser.analyse(b"-- " + what + b"\n(", self._session.lexing)
        return Prepared(analysis.statements[0], (), {}, ())

    def actual(self, portal: Portal) -> Prepared:
        """What a portal was really bound to, where its statement's Parse failed."""
        prepared = portal.prepared
        while prepared.failed:
            tokens = portal.params[len(prepared.literals) :]
            prepared = prepared.instead or self.unknown(b"a prepared statement this session does not remember")
            portal.prepared, portal.params = prepared, [*prepared.literals, *tokens]
        return prepared

    def resolved(self, analysis: Analysis, text: bytes) -> Analysis:
        """Put what statements run or fetch by name into them: EXECUTE, FETCH of what came by Parse and Bind."""
        if not any(map(acts_by_name, analysis.statements)):
            return analysis
        names = names_in(text)
        return Analysis(tuple(self.by_name(s, names) for s in analysis.statements), analysis.params, analysis.claims)

    def by_name(self, statement: Statement, names: frozenset[bytes]) -> Statement:
        """The statement together with what it refers to; what it gives a new meaning to is forgotten."""
        if not acts_by_name(statement):
            return statement
        verb = statement.facts.verbs[0] if statement.facts.verbs else ""
        prepared, portals = self.prepared, self.portals
        if verb in ("prepare", "declare"):
            for name in names:
                (prepared if verb == "prepare" else portals).pop(name, None)
            if verb == "prepare":
                self.repeats.forget()
            return statement
        found: list[Statement] = []
        if verb not in ("fetch", "move"):
            found += [prepared[name].statement for name in names if name in prepared]
            found += [self.own[name].statement for name in names if name in self.own]
        if StatementFlag.EXECUTE not in statement.facts.flags:
            found += [portals[name].prepared.statement for name in names if name in portals]
        return joined(statement, found)
