"""Conversations at random, well-formed and spoilt: a session never raises, never hangs, never writes a value in clear.

Client messages come from a grammar with secrets planted wherever values are; the server answers what it owes, mostly. Some
conversations are spoilt in their bytes, all are cut anywhere. Some statements are held: nothing the client sends then reaches the
server before an answer, and each wait ends once. `AFFIDAVIT_FUZZ_INPUTS` sets how many pieces of bytes are fed.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable
from struct import pack

import orjson
import yaml

from ingest.core.actions import Close, Conclude, Forward, Intend, ObserveText, Record, Side, Wait, Waited
from ingest.core.guarding import Answer
from ingest.core.limits import Limits
from ingest.guard.asking import Asking
from ingest.guard.guard import Guard
from ingest.masking import DatabaseMasking, MaskingGuard, SessionMasking
from ingest.masking.rows import MAX_ROW
from ingest.protocols.postgres.executions import Execution
from ingest.protocols.postgres.expected import Batch, Described, Parsed, Simple
from ingest.protocols.postgres.results import _MAX_DESCRIPTION
from ingest.protocols.postgres.session import PostgresSession
from ingest.protocols.postgres.startup import ClientStartup, StartTls
from processors.policy import Approval, Policy, read_bundle
from processors.policy.context import DEFAULTS, SUBJECT
from processors.sensitivity import Scanner
from processors.statements import Analyser, Tokenizer
from schemas.approvals import Decider
from schemas.classes import DataClass, Style
from tests.fuzz.test_dangers_mutations import catalogue, mutant, planted, seeds
from tests.support import pg_conversation as pg
from tests.support.fuzzing import SECRETS, cut, dice, inputs, leaked, spoil, told

SECONDS = 2.0
"""For one piece; it takes some ten microseconds."""
TEXTS = 4_000
"""Different statements: most are met again, as in life, so that not only the analyser is tried."""
BUNDLE = {
    "bundle": "fuzz",
    "rules": [
        {
            "id": "no-drop",
            "effect": "deny",
            "when": "'drop' in statement.dangers || 'opaque' in statement.dangers",
            "reason": "No.",
        },
        {"id": "watch", "effect": "alert", "when": "'select' in statement.verbs && claims.size() == 0", "reason": "Seen."},
        {
            "id": "held",
            "effect": "hold",
            "when": "'delete' in statement.verbs || 'insert' in statement.verbs",
            "reason": "Look.",
            "approvers": {"groups": ["dba"], "break_glass": ["oncall"]},
        },
        {"id": "errs", "effect": "alert", "when": "statement.objects.size() > 3 && claims.none == 'x'", "reason": "Errs."},
    ],
    "limits": [
        {"id": "many", "session_statements": 400, "reason": "Enough."},
        {"id": "rows", "statement_rows": 4, "reason": "Enough.", "when": "'public.customers' in statement.objects"},
        {"id": "bytes", "statement_bytes": 150, "reason": "Enough.", "when": "'copy_out' in statement.flags"},
        {"id": "long", "statement_seconds": 1, "reason": "Enough.", "when": "'update' in statement.verbs"},
        {"id": "seen", "session_rows": 90, "reason": "Enough.", "mode": "shadow"},
    ],
}
LIMITS = Limits(statement=4096, bind=4096, control=1024, error=4096, prepared=20, portals=20, pending=2000)
"""Small, so that what is longer is tried, too."""
MAX_ANSWER = max(_MAX_DESCRIPTION, MAX_ROW)


class Snapshots:
    """A snapshot of a catalogue with objects that refer to each other, which stays as it is."""

    current = catalogue()
    begun = done = 1

    def changed(self) -> None:
        """It is read again at once, and is as it was."""
        self.begun = self.done = self.begun + 1


SNAPSHOTS = Snapshots()
MASKS = DatabaseMasking(SNAPSHOTS, pg.TOKENIZER, Scanner(), {DataClass.EMAIL: Style.PARTIAL}, Style.REDACT)


class Fuzzed:
    """One conversation: what goes in, and what must hold of what comes out."""

    def __init__(self, rng: random.Random, texts: list[bytes], analyser: Analyser, guard: Guard, *, spoilt: bool) -> None:
        self.rng, self.texts, self.spoilt = rng, texts, spoilt
        self.now = 1_000_000
        self.pieces = 0
        self.events = 0
        self.open: dict[int, Intend] = {}
        self.numbers = 0
        self.closed = self.ended_early = False
        self.waits: list[str] = []
        self.held = 0
        self.session = PostgresSession(
            session_id="s1",
            context=pg.context,
            client=b"{}",
            parameters={"standard_conforming_strings": "on", "client_encoding": "UTF8"},
            analyser=analyser,
            tokenizer=pg.TOKENIZER,
            limits=LIMITS,
            snapshots=SNAPSHOTS,
        )
        if rng.random() < 0.7:
            subject = {name: DEFAULTS[name] for name in SUBJECT}
            subject["principal.groups"] = rng.choice(([], ["oncall"]))
            self.session.guard = guard.session(subject, "s1", self.session, 0)
        if rng.random() < 0.4:
            masking = SessionMasking(MASKS, lambda: frozenset())
            self.session.mask(masking)
            self.session.guard = MaskingGuard(self.session.guard, masking, "s1")

    def run(self, turns: int) -> None:
        rng = self.rng
        for _ in range(turns):
            if self.closed:
                break
            asked = b"".join(self.asked() for _ in range(rng.randint(1, 6)))
            self.feed(Side.CLIENT, asked)
            for _ in range(rng.randint(0, 8)):
                self.feed(Side.SERVER, self.answered())
            if self.session.waiting is not None and rng.random() < 0.6:
                self.answer(self.session.waiting.approval_id)
            if rng.random() < 0.2 and not self.closed:
                self.now += rng.choice((10, 1_500_000, 20_000_000))
                self.carry_out(self.session.bounds.overdue(self.now))
        self.ended_early = self.closed
        if not self.closed:
            side = rng.choice((Side.CLIENT, Side.SERVER))
            self.carry_out(self.session.closed(side, self.now))
            if not self.closed:
                self.carry_out(self.session.closed(Side.SERVER, self.now))
        assert self.session.ended and not self.open, "an execution was left without its outcome"
        assert not self.waits, "a wait was left without its end"

    def answer(self, approval_id: str) -> None:
        """Somebody decides, or nobody does."""
        self.now += 10
        status = self.rng.choice(("approved", "approved", "denied", "expired", "cancelled"))
        approval = Approval(approval_id, (Decider("bob", "human", ("dba",)),)) if status == "approved" else None
        self.carry_out(self.session.answer(approval_id, Answer(status, "why", ("bob",), approval), self.now))

    def feed(self, side: Side, data: bytes) -> None:
        rng = self.rng
        if self.spoilt and rng.random() < 0.15:
            data = spoil(rng, data)
        for piece in cut(rng, data):
            self.now += 10
            self.pieces += 1
            began = time.process_time()
            waiting = self.session.waiting
            actions = self.session.receive(side, piece, self.now)
            if waiting is not None and side is Side.CLIENT:
                assert not any(isinstance(a, Forward) and a.to is Side.SERVER for a in actions), "something went past a wait"
            self.carry_out(actions)
            assert time.process_time() - began < SECONDS
            session = self.session
            held = len(session._requests._held), len(session.bounds._held)
            assert max(held) <= LIMITS.statement + 5 + len(piece), held
            # What is held of the server's answers is held until it can be masked; its limits are constants.
            assert len(session._responses._held) <= MAX_ANSWER + 5 + len(piece), len(session._responses._held)

    def carry_out(self, actions: Iterable[object]) -> None:
        for action in actions:
            match action:
                case Intend():
                    self.numbers += 1
                    action.ticket.intent = self.numbers
                    self.open[self.numbers] = action
                case Conclude(ticket, outcome):
                    intent = self.open.pop(ticket.intent)  # type: ignore[attr-defined]
                    self.written(b'{"at":1%b%b%b%b}' % (intent.dynamic, intent.context, intent.statement, outcome))
                case Record(kind, _, body):
                    self.written(b'{"type":"%b"%b}' % (kind.encode(), body))
                case ObserveText(_, text):
                    assert not leaked(text.encode())
                case Close():
                    self.closed = True
                case Wait(hold):
                    self.held += 1
                    self.waits.append(hold.approval_id)
                    self.written(b'{"type":"ApprovalRequested"%b%b}' % (hold.context, hold.body))
                case Waited(hold, _):
                    self.waits.remove(hold.approval_id)
                case Forward():
                    pass

    def written(self, line: bytes) -> None:
        self.events += 1
        assert not leaked(line)
        if self.events % 16 == 0:
            assert isinstance(orjson.loads(line), dict)

    # What either side says

    def asked(self) -> bytes:
        rng = self.rng
        name, portal = rng.choice(("", "", "s", "t")), rng.choice(("", "", "p"))
        match rng.randrange(15):
            case 0 | 1 | 2:
                return pg.message(b"Q", rng.choice(self.texts) + b"\0")
            case 3:
                oids = [rng.choice((0, 23, 25, 1700, 2**32 - 1)) for _ in range(rng.randint(0, 3))]
                head = name.encode() + b"\0" + rng.choice(self.texts) + b"\0"
                return pg.message(b"P", head + pack(">H", len(oids)) + b"".join(pack(">I", o) for o in oids))
            case 4 | 5:
                return pg.bind(portal, name, *self.values()) + pg.execute(portal) + pg.SYNC
            case 6:
                return pg.bind(portal, name, *self.values())
            case 7:
                return pg.execute(portal, rng.choice((0, 1, 100)))
            case 8:
                return pg.describe(rng.choice("SP"), name)
            case 9:
                return pg.close(rng.choice("SP"), name)
            case 10:
                return pg.copy_data(self.secret()) + rng.choice((b"", pg.COPY_DONE, pg.message(b"f", self.secret() + b"\0")))
            case 11:
                values = self.values()
                body = pack(">IHH", rng.choice((1, 7, 2**32 - 1)), 0, len(values))
                body += b"".join(pack(">i", -1) if v is None else pack(">I", len(v)) + v for v in values)
                return pg.message(b"F", body + pack(">H", 0))
            case 12:
                long = pg.message(rng.choice((b"Q", b"P", b"B")), b"\0\0" + self.secret() * rng.choice((1, 400)) + b"\0")
                return rng.choice((pg.FLUSH, pg.SYNC, long, pg.message(b"p", self.secret() + b"\0")))
            case _:
                return pg.SYNC

    def secret(self) -> bytes:
        return self.rng.choice(SECRETS).encode()

    def values(self) -> list[bytes | None]:
        return [self.rng.choice((None, b"", b"1", self.secret(), self.secret())) for _ in range(self.rng.randint(0, 4))]

    def answered(self) -> bytes:
        rng, expected = self.rng, self.session.expected
        if rng.random() < 0.1:
            return self.unasked()
        if rng.random() < 0.01:
            return self.out_of_turn()
        if rng.random() < 0.12:
            fields = b"SERROR\0VERROR\0C23505\0MKey (a)=(%b) exists\0DKey (a)=(%b)\0\0" % (self.secret(), self.secret())
            return pg.message(b"E", fields) + (pg.ready("E") if rng.random() < 0.6 else b"")
        head = expected[0] if expected else None
        rows = b"".join(pg.row(self.secret(), b"1") for _ in range(rng.randint(0, 3)))
        match head:
            case Batch():
                left = len(head.executions) - head.at
                shape = rng.choice((b"", pg.row_description("a", "b"), self.columns()))
                return b"".join(shape + rows + pg.complete(rng.choice(_TAGS)) for _ in range(left)) + pg.ready(rng.choice("IITE"))
            case Execution():
                return rows + rng.choice((pg.complete(rng.choice(_TAGS)), pg.PORTAL_SUSPENDED, pg.EMPTY_QUERY, pg.COPY_IN))
            case Parsed():
                return pg.PARSE_COMPLETE
            case Described():
                shape = rng.choice((pg.NO_DATA, pg.row_description("a", "b"), self.columns()))
                return pg.message(b"t", pack(">HII", 2, 25, 23)) + shape
            case Simple.BIND:
                return pg.BIND_COMPLETE
            case Simple.DESCRIBE:
                return rng.choice((pg.NO_DATA, pg.row_description("a", "b"), self.columns()))
            case Simple.CLOSE:
                return pg.CLOSE_COMPLETE
            case Simple.SYNC:
                return pg.ready(rng.choice("IIT"))
            case _:
                return b""

    def columns(self) -> bytes:
        """The description of a result whose columns are those of a table."""
        names = self.rng.choice(((b"name", 2, 25), (b"email", 3, 25))), (b"id", 1, 23)
        fields = [n + b"\0" + pack(">IhIhih", 1, at, oid, -1, -1, self.rng.choice((0, 1))) for n, at, oid in names]
        return pg.message(b"T", pack(">H", len(fields)) + b"".join(fields))

    def unasked(self) -> bytes:
        """What a server may say at any time."""
        rng = self.rng
        notice = b"SNOTICE\0C00000\0M%b\0\0" % self.secret()
        return rng.choice(
            (
                pg.message(b"N", notice), pg.message(b"A", pack(">I", 7) + b"chan\0" + self.secret() + b"\0"),
                pg.status("application_name", "x" * rng.randint(0, 200)), pg.status("search_path", '"$user", public'),
                pg.status("standard_conforming_strings", rng.choice(("on", "off"))),
            )
        )  # fmt: skip

    def out_of_turn(self) -> bytes:
        """What it may not say, or not now."""
        rng = self.rng
        return rng.choice(
            (
                pg.COPY_OUT, pg.COPY_IN, pg.copy_data(self.secret()),
                pg.COPY_DONE, pg.message(b"W", b"\0\0\0"), pg.message(b"V", pack(">I", 2) + b"ab"), pg.row(self.secret()),
                pg.message(b"K", pack(">II", 1, 2)), pg.message(b"v", pack(">II", 0, 0)), pg.message(b"?", b"x"),
            )
        )  # fmt: skip


_TAGS = ("SELECT 3", "INSERT 0 1", "UPDATE 2", "COPY 5", "FETCH 2", "BEGIN", "ROLLBACK", "", "X 99999999999999999999999")


def texts(rng: random.Random) -> list[bytes]:
    """Statements with secrets for their strings and numbers, some spliced at random."""
    pool = seeds()
    found: list[bytes] = []
    while len(found) < TEXTS:
        tokens = planted(rng, rng.choice(pool))
        text = "".join(tokens) if rng.random() < 0.6 else mutant(rng, [tokens, *rng.sample(pool, 3)])
        found.append(text.replace("\0", " ").encode("utf-8", "replace"))
    found += [b"", b";", b"(", b"BEGIN", b"COMMIT", b"SELECT 1; SELECT 2; DROP TABLE x", b"EXECUTE s", b"FETCH 1 FROM p"]
    found += [f"SELECT 1 /* {secret} */ WHERE a = '{secret}'".encode() for secret in SECRETS]
    return found


def test_sessions_keep_their_feet_and_every_secret() -> None:
    rng, total = dice("session"), inputs("session", 20_000)
    statements = texts(rng)
    analyser = Analyser(Tokenizer(b"k" * 32), cache_bytes=32 * 1024**2)
    guard = Guard(Policy(read_bundle({"p": yaml.safe_dump(BUNDLE).encode()})))
    guard.asking = Asking((f"a{n}" for n in itertools.count()).__next__, 900_000_000)
    pieces = conversations = events = gaps = held = 0
    while pieces < total:
        spoilt = rng.random() < 0.4
        fuzzed = Fuzzed(rng, statements, analyser, guard, spoilt=spoilt)
        fuzzed.run(rng.randint(1, 40))
        pieces, conversations, events = pieces + fuzzed.pieces, conversations + 1, events + fuzzed.events
        gaps, held = gaps + fuzzed.ended_early, held + fuzzed.held
    told("session", pieces, conversations=f"{conversations:,}", events=f"{events:,}", ended_early=f"{gaps:,}", held=f"{held:,}")
    assert held > pieces // 2000, "hardly anything was held"
    assert events > pieces // 20, "hardly anything was executed: the conversations are too wild to try anything"


def test_any_first_bytes_of_a_client_end_in_an_answer() -> None:
    rng, total = dice("startup"), inputs("startup", 3_000)
    count = asked = 0
    whole = [
        _packet(196_608, b"user\0ana\0database\0shop\0\0"), _packet(196_610, b"user\0ana\0_pq_.x\0y\0options\0-c a=b\0\0"),
        _packet(80_877_103), _packet(80_877_104), _packet(80_877_102, pack(">II", 7, 9)), _packet(131_072), _packet(196_608,
        b"user\0ana\0replication\0true\0application_name\0\xff\xfe\0\0"), b"\x16\x03\x01", _packet(196_608, b"\0"),
    ]  # fmt: skip
    password = pg.message(b"p", SECRETS[1].encode() + b"\0")
    while count < total:
        startup = ClientStartup(rng.choice(("off", "allow", "require")))
        data = b"".join(rng.choice(whole) for _ in range(rng.randint(1, 3))) + rng.choice((b"", password, pg.SYNC))
        for piece in cut(rng, spoil(rng, data) if rng.random() < 0.7 else data):
            count += 1
            actions = startup.receive(piece)
            asked += bool(actions)
            assert SECRETS[1] not in repr(actions)
            if any(isinstance(a, StartTls) for a in actions):
                startup.tls_started(rng.choice((None, "postgresql", "h2")))
            if startup.finished:
                break
    told("startup", count, answered=f"{asked:,}")
    assert asked > count // 20


def _packet(code: int, body: bytes = b"") -> bytes:
    return pack(">II", len(body) + 8, code) + body
