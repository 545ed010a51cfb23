"""What do the names stand for by which a client speaks of its prepared statements and portals?

A Parse may yet fail and a portal be bound anew, so a name can mean one of two things: then both are judged together, and what
cannot be told is opaque. A statement is read again where it is bound under other settings than it was parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.protocols.postgres.byname import MAX_JOINED, acts_by_name, joined, name_prepared, names_in
from ingest.protocols.postgres.cursors import Named
from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.expected import Parsed, Portal, Prepared, Simple
from ingest.protocols.postgres.parameters import parameter_values
from ingest.protocols.postgres.repeats import Repeats
from processors.statements import Analysis, Lexing, Statement
from processors.statements.statement import with_dangers
from processors.statements.valued import CHANGING, EXTREMES, TOO_MUCH, WORST, Value, is_unreadable
from schemas.events import StatementFlag

if TYPE_CHECKING:
    from ingest.protocols.postgres.session import PostgresSession

MAX_KEPT_TEXT: Final = 16 * 1024
"""Bytes of a prepared statement's text kept to read it anew; a longer one is opaque once settings change."""
MAX_VALUED_TEXT: Final = 4096
MAX_READ_AGAIN: Final = 256 * 1024
"""Bytes of a text that is read again with its values, and of all such texts while one read from the client is handled: a Bind of
some bytes can ask for 25 ms of work, and thousands of them come at once. What is past either is taken for the worst; of what
changes no rows, and makes as much as its values say, all of the kept text is read."""
MAX_BEFORE: Final = 16
"""Statements looked at that a name may stand for while Parses of it are unanswered; where there are more, it is not executed."""
_MAX_JOINED_TEXT: Final = 64 * 1024
MAX_NAME: Final = 63
"""The server knows statements and portals by this many bytes of their names (NAMEDATALEN)."""


class _InSql(NamedTuple):
    """A PREPARE: the text it stood in, its place there, and how it was read under which settings."""

    text: bytes
    place: int
    statement: Statement
    lexing: Lexing


class Names:
    """The names of one session."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self.prepared: dict[bytes, Prepared] = {}
        self.portals: dict[bytes, Portal] = {}
        self.repeats = Repeats()
        self.cursors = Named()
        self.in_sql: dict[bytes, list[_InSql]] = {}
        """What PREPARE in SQL may have given a name to: all of it, for one that failed changed nothing."""
        self.lost = False
        """Whether a name may stand for a statement that is not remembered: then EXECUTE of a name that is not known is opaque."""
        self.syncs = 0
        self.read_again = 0
        """Bytes of text read again for the sake of values since the client was last read from."""
        self.own: dict[bytes, Prepared] = {}
        """Prepared statements that the server knows by a name of ours."""

    def remember(self, name: bytes, prepared: Prepared) -> None:
        session = self._session
        if session.skipping:
            return
        name = name[:MAX_NAME]
        prepared.waiting, prepared.instead, prepared.parsed_at = [], self.prepared.get(name), self.syncs
        session.expected.append(Parsed(name, prepared, self.prepared.get(name)))
        if name not in self.prepared and len(self.prepared) >= session.limits.prepared:
            del self.prepared[next(iter(self.prepared))]
            self.lost = True
        self.prepared[name] = prepared
        self.repeats.forget()
        self.cursors.sent(name)

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
        self.cursors.sent(name)
        return portal

    def _either(self, prepared: Prepared, before: Prepared) -> Prepared:
        """What stands for two statements of which one is executed."""
        if prepared.statement.text_hash == before.statement.text_hash:
            return prepared
        both = joined(prepared.statement, [before.statement])
        if len(both.text) > _MAX_JOINED_TEXT:
            return self.unknown(b"a portal bound again and again")
        return Prepared(both, prepared.literals, prepared.claims, prepared.oids)

    def bound(self, portal: Portal, prepared: Prepared, earlier: Portal | None, data: bytes, at: int) -> None:
        """Take down what the values of a Bind, at `at` of `data`, make of all that it may have bound."""
        statement = portal.prepared.statement
        if prepared.statement.asks_values:
            statement = self.valued(statement, prepared.text, 0, parameter_values(data, at, prepared.oids))
        if earlier is not None:
            portal.doubtful = earlier.doubtful or earlier.params != portal.params
            statement = with_dangers(statement, (d for _, s in earlier.valued for d in s.facts.dangers))
        found = [(portal.prepared, statement)] if statement is not portal.prepared.statement else []
        if prepared.waiting is not None and prepared.parsed_at != self.syncs:
            for before in self.before(prepared):
                statement = self.anew(before)
                if statement.asks_values:
                    statement = self.valued(statement, before.text, 0, parameter_values(data, at, before.oids))
                found.append((before, statement))
        portal.valued = tuple(found)

    def parse_failed(self, entry: Parsed) -> Sequence[Execution]:
        """The name means what it meant before its Parse failed, also for what is under way: return the executions of that.

        A client that sent Bind and Execute ahead, behind a Sync, runs the statement of before.
        """
        self.repeats.forget()
        failed, before = entry.prepared, entry.before
        if before is not None and before.failed:
            before = before.instead
        failed.failed, failed.instead = True, before
        waiting, failed.waiting = failed.waiting, None
        if self.prepared.get(entry.name) is failed:
            if before is None:
                del self.prepared[entry.name]
            else:
                self.prepared[entry.name] = before
        if (before is None and not entry.name) or (before is not None and before.own_name):
            return ()  # the server has no statement of that name: it fails what relies on it
        return waiting or ()

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

    def before(self, prepared: Prepared) -> list[Prepared]:
        """What a name may stand for in the place of `prepared`, whose Parse is unanswered and behind a Sync.

        Should the server refuse that Parse (the name is in use) or skip it, it runs what the name stood for before.
        """
        found: list[Prepared] = []
        while prepared.waiting is not None and prepared.parsed_at != self.syncs and prepared.instead is not None:
            prepared = prepared.instead
            while prepared.failed and prepared.instead is not None:
                prepared = prepared.instead
            if len(found) > MAX_BEFORE:
                break
            if not (prepared.failed or prepared.own_name or prepared.denial):
                found.append(prepared)
        return found

    def anew(self, prepared: Prepared) -> Statement:
        """Return what a statement is under the settings of now."""
        if prepared.lexing is None or prepared.lexing is self._session.lexing:
            return prepared.statement
        return self._read_again(prepared.text, 0)

    def resolved(self, analysis: Analysis, text: bytes) -> Analysis:
        """Put what statements run or fetch by name into them: EXECUTE of anything, FETCH of what came by Bind."""
        if self.in_sql:
            self._deallocated(analysis, text)
        if not any(map(acts_by_name, analysis.statements)):
            return analysis
        names = names_in(text)
        found = tuple(self.by_name(s, names, text, place) for place, s in enumerate(analysis.statements))
        return Analysis(found, analysis.params, analysis.claims)

    def _deallocated(self, analysis: Analysis, text: bytes) -> None:
        """Forget what is deallocated for certain: alone, with nothing under way that could have failed before."""
        verb = analysis.statements[0].facts.verbs[:1]
        if len(analysis.statements) > 1 or self._session.expected or self._session.transaction != b"I":
            return
        if verb == ("discard",) and "*" in analysis.statements[0].settings:
            self.in_sql.clear()
        elif verb == ("deallocate",):
            for name in names_in(text):
                self.in_sql.pop(name, None)

    def by_name(self, statement: Statement, names: frozenset[bytes], text: bytes, place: int = 0) -> Statement:
        """The statement together with what it refers to; what it gives a new meaning to is forgotten.

        `text` is what it stands in, as the one of `place`.
        """
        if not acts_by_name(statement):
            return statement
        verb = statement.facts.verbs[0] if statement.facts.verbs else ""
        prepared, portals = self.prepared, self.portals
        if verb in ("prepare", "declare"):
            for name in names:
                (prepared if verb == "prepare" else portals).pop(name, None)
            if verb == "prepare":
                self.repeats.forget()
                self._prepared_in_sql(statement, text, place)
            return statement
        executes = StatementFlag.EXECUTE in statement.facts.flags
        if executes and (self.in_sql or self.lost):
            names |= {self._name(text, place, "ExecuteStmt")}
        found: list[Statement] = []
        if verb not in ("fetch", "move"):
            found += [self._current(name, prepared[name], text, place) for name in names if name in prepared]
            earlier = [before for name in names if name in prepared for before in self.before(prepared[name])]
            found += [self._given(self.anew(before), before.text, 0, text, place) for before in earlier]
            found += [s for name in names if name in self.in_sql for s in self._made_in_sql(name, text, place)]
            found += [self.own[name].statement for name in names if name in self.own]
        if executes and not found and self.lost:
            found.append(self.unknown(b"a prepared statement this session does not remember").statement)
        if not executes:
            found += [portals[name].prepared.statement for name in names if name in portals]
        return joined(statement, found)

    def _prepared_in_sql(self, statement: Statement, text: bytes, place: int) -> None:
        name = self._name(text, place, "PrepareStmt") or name_prepared(statement)
        if not name:
            self.lost = True
            return
        if name not in self.in_sql and len(self.in_sql) >= self._session.limits.prepared:
            del self.in_sql[next(iter(self.in_sql))]
            self.lost = True
        made = self.in_sql.setdefault(name, [])
        if len(made) <= MAX_JOINED:  # past that `joined` says that there is more
            made.append(_InSql(text[: MAX_KEPT_TEXT + 1], place, statement, self._session.lexing))

    def _name(self, text: bytes, place: int, kind: str) -> bytes:
        if len(text) > MAX_KEPT_TEXT:
            return b""
        name = self._session.analyser.name_in(text, place, kind, self._session.lexing)
        return name.encode("utf-8", "surrogateescape")[:MAX_NAME]

    def _made_in_sql(self, name: bytes, text: bytes, place: int) -> Iterator[Statement]:
        """Yield what EXECUTE of a name may run, read anew where the session's settings or the catalogue are others now.

        Where it depends on the values, it is what those of the EXECUTE, the one at `place` of `text`, make of it.
        """
        for at, made in enumerate(self.in_sql[name]):
            if made.lexing is not self._session.lexing:
                fresh = self._read_again(made.text, made.place)
                made = self.in_sql[name][at] = made._replace(statement=fresh, lexing=self._session.lexing)
            yield self._given(made.statement, made.text, made.place, text, place)

    def _current(self, name: bytes, prepared: Prepared, text: bytes, place: int) -> Statement:
        if prepared.lexing is not None and prepared.lexing is not self._session.lexing:
            prepared = self.afresh(name, prepared)
        return self._given(prepared.statement, prepared.text, 0, text, place)

    def _given(self, made: Statement, made_in: bytes, made_at: int, text: bytes, place: int) -> Statement:
        if not made.asks_values:
            return made
        return self.valued(made, made_in, made_at, self._session.analyser.arguments(text, place, self._session.lexing))

    def valued(self, statement: Statement, text: bytes, place: int, values: Sequence[Value]) -> Statement:
        """What a statement is, the one at `place` of `text`, with its parameters' values."""
        session = self._session
        self.read_again += len(text) * (len(EXTREMES) if is_unreadable(values) else 1)
        changes = not CHANGING.isdisjoint(statement.facts.verbs)
        limit, worst = (MAX_VALUED_TEXT, WORST) if changes else (MAX_KEPT_TEXT, TOO_MUCH)
        if len(text) > limit or self.read_again > MAX_READ_AGAIN:
            return with_dangers(statement, worst)
        return with_dangers(statement, session.analyser.with_values(text, place, values, session.lexing))

    def _read_again(self, text: bytes, place: int) -> Statement:
        if len(text) <= MAX_KEPT_TEXT:
            found = self._session.analyser.analyse(text, self._session.lexing).statements
            if place < len(found):
                return found[place]
        return self.unknown(b"a statement prepared under other settings").statement
