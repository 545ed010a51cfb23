"""How does a statement that is held ask for an approval? What approvers are shown, what the client is told, what it is bound to.

A simple query of several statements asks once, for all of them: they would run together. Between the asking and the release what
the statement does may have become another thing (a view was changed, a search_path was set): then it is not what was approved.
In an emergency somebody of the groups a rule names says why in a comment (`/* break_glass='…' */`) and does not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import orjson

from ingest.core.guarding import LIMIT_EXCEEDED, QUERY_CANCELED, Answer, Bound, Emergency, Hold, Judgement, Request
from ingest.guard.allowance import Allowance
from processors.policy import Approval, Ruling, Values
from processors.policy.bundle import Rule
from processors.statements import Statement
from schemas.approvals import binding_of
from schemas.events import ApprovalStatus, ApproversNeeded, Database, Facts, Principal, PrincipalKind, Verdict
from schemas.events.statement import MAX_INLINE_TEXT

EMERGENCY_RISK = 100
MIN_JUSTIFICATION = 8
"""Characters of a reason for breaking the glass: "x" is none."""
JUSTIFICATION = "break_glass"
"""The claim that says so."""
_MINUTE = 60_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of what a request touches. `code`: digests of functions, views and tables, see `Catalogue.code_of`."""

    facts: Facts
    classes: tuple[str, ...]
    classes_known: bool
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as decisions on it are judged (`schemas.approvals.Asked`), and what was shown."""

    approval_id: str
    at: int
    expires_at: int
    principal: Principal
    database: Database
    db_user: str
    text_hash: str
    fingerprint: str
    params: tuple[str, ...]
    needs: tuple[ApproversNeeded, ...]
    texts: tuple[str, ...]
    shown: Shown
    binding: str = ""

    def differs(self, statements: Sequence[Statement], now: Shown) -> str:
        """Return in which way what is about to run is not, or does more than, what was shown; empty if it is that."""
        if tuple(s.text_hash for s in statements) != self.texts:
            return "the statement reads another way than when it was approved"
        before = self.shown
        for name in ("verbs", "reads", "writes", "functions", "dangers"):
            if more := _more(getattr(before.facts, name), getattr(now.facts, name)):
                return f"what the statement does changed while it waited ({name}: {', '.join(more)[:200]})"
        if others := sorted(n for n, c in now.code.items() if before.code.get(n, c if c.startswith("table ") else "") != c):
            return f"what the statement runs or names was changed while it waited ({', '.join(others)[:200]})"
        if before.classes_known and not now.classes_known:
            return "the data classes of what it touches are not known any more"
        if more := sorted(set(now.classes) - set(before.classes)):
            return f"it now touches data that was not shown ({', '.join(more)[:200]})"
        return ""


def _more(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """What is in `after` and not in `before`, where a name that was not certain may have become so."""
    known = set(before)
    return sorted({str(name) for name in after} - known - {n for n in map(str, after) if f"?.{n.rpartition('.')[2]}" in known})


@dataclass(frozen=True, slots=True)
class Asking:
    """How requests are made: ids from `new_id`, waiting for `wait_us` where no rule says how long, decided at `url`.

    `url` may hold `{id}`; empty: only the command line is told. `allowance` says how much may be asked; None: there is no limit.
    """

    new_id: Callable[[], str]
    wait_us: int
    url: str = ""
    allowance: Allowance | None = None

    def ask(
        self,
        subject: Values,
        groups: tuple[str, ...],
        request: Request,
        judgements: Sequence[Judgement],
        shown: Shown,
        now: int,
    ) -> Hold | Emergency:
        """Make the request of what is held, or let it through where it is an emergency for somebody who may say so."""
        rulings: list[Ruling] = [j.holds for j in judgements if j.holds]
        rules = list({rule.id: rule for ruling in rulings for rule in ruling.holds}.values())
        waits = [r.approvers.wait_minutes for r in rules if r.approvers and r.approvers.wait_minutes]
        wait = min(waits) * _MINUTE if waits else self.wait_us
        statements: Sequence[Statement] = request.statements
        text = "; ".join(s.text for s in statements)
        text_hash = statements[0].text_hash if len(statements) == 1 else sha256(text.encode()).hexdigest()
        fingerprints = "".join(s.fingerprint for s in statements)
        single = len(statements) == 1
        asked = Asked(
            approval_id=self.new_id(),
            at=now,
            expires_at=now + wait,
            principal=_principal(subject),
            database=_database(subject),
            db_user=str(subject["database.user"]),
            text_hash=text_hash,
            fingerprint=fingerprints if single else sha256(fingerprints.encode()).hexdigest()[:16],
            params=request.params,
            needs=tuple(
                ApproversNeeded(rule=r.id, groups=r.approvers.groups, count=r.approvers.count) for r in rules if r.approvers
            ),
            texts=tuple(s.text_hash for s in statements),
            shown=shown,
        )
        asked = replace(asked, binding=binding_of(asked))
        long = len(text.encode()) > MAX_INLINE_TEXT
        decisions = [orjson.loads(j.fragment) for j in judgements]
        body = {
            "approval_id": asked.approval_id,
            "kind": request.kind.decode(),
            "statements": len(statements),
            "text": "" if long else text,
            "text_hash": text_hash,
            "fingerprint": asked.fingerprint,
            "params": request.params,
            "claims": dict(request.claims),
            "facts": shown.facts,
            "data_classes": shown.classes,
            "classes_known": shown.classes_known,
            "rule": rules[0].id,
            "reason": rules[0].reason,
            "policies": list(dict.fromkeys(p for d in decisions for p in d["policies"])),
            "bundle": decisions[0]["bundle"],
            "risk": max(d["risk"] for d in decisions),
            "needs": asked.needs,
            "binding": asked.binding,
        }
        justification = request.claims.get(JUSTIFICATION, "").strip()
        refusal = _no_emergency(justification, subject, groups, rules)
        if justification and not refusal:
            used = sorted({g for r in rules if r.approvers for g in r.approvers.break_glass} & set(groups))
            body |= {"risk": EMERGENCY_RISK, "justification": justification, "groups": used}
            approval = Approval(asked.approval_id, reason=justification, break_glass=True, groups=groups)
            return Emergency(approval, _fragment(body), text_hash, text if long else "")
        body |= {
            "transaction": request.transaction.decode(),
            "expires_at": asked.expires_at,
            "break_glass": sorted({g for r in rules if r.approvers for g in r.approvers.break_glass}),
        }
        hold = Hold(asked.approval_id, now, asked.expires_at, asked, _fragment(body), *self._told(asked, rules, refusal))
        hold.text_hash, hold.long_text = text_hash, text if long else ""
        return hold

    def _told(self, asked: Asked, rules: Sequence[Rule], refusal: str) -> tuple[str, str, str]:
        """What the client reads: message, detail, hint."""
        needs = "; ".join(f"{n.count} of {', '.join(n.groups)}" for n in asked.needs)
        until = (_EPOCH + timedelta(microseconds=asked.expires_at)).strftime("%Y-%m-%d %H:%M:%S UTC")
        detail = f"Rule {rules[0].id}: {rules[0].reason} Needed: {needs}. It waits until {until}."
        command = f"affidavit approvals approve {asked.approval_id}"
        where = f"{self.url.replace('{id}', asked.approval_id)} or: {command}" if self.url else command
        return (
            f"statement waits for an approval: request {asked.approval_id}",
            f"{detail} {refusal}".rstrip(),
            f"Somebody else decides at {where}" if self.url else f"Somebody else decides by: {where}",
        )


def _no_emergency(justification: str, subject: Values, groups: tuple[str, ...], rules: Sequence[Rule]) -> str:
    """Return why breaking the glass is not possible, where it was tried; empty if it is, or was not."""
    if not justification:
        return ""
    if subject["principal.kind"] != PrincipalKind.HUMAN or subject["principal.on_behalf_of"] or subject["principal.delegation"]:
        return "Only people break the glass, in their own name."
    closed = [r.id for r in rules if not r.approvers or set(r.approvers.break_glass).isdisjoint(groups)]
    if closed:
        return f"Breaking the glass is not open to you for rule {closed[0]}."
    if len(justification) < MIN_JUSTIFICATION:
        return f"Breaking the glass needs a reason of at least {MIN_JUSTIFICATION} characters."
    return ""


def unreleased(hold: Hold, answer: Answer, judgement: Judgement) -> Judgement:
    """Return the judgement of a held statement that is not let through: the error of its answer, in its place."""
    decision = orjson.loads(judgement.fragment)
    decision["approval_id"] = hold.approval_id
    hint = f"It was not executed. Approval {hold.approval_id}."
    if answer.status == ApprovalStatus.CANCELLED:
        message, sqlstate = "canceling statement due to user request: it waited for an approval", QUERY_CANCELED
        return Judgement(orjson.dumps(decision), True, message, hint, sqlstate=sqlstate)
    if answer.status == ApprovalStatus.EXPIRED:
        message = "statement not approved: nobody decided in time"
    elif answer.status == ApprovalStatus.DENIED and answer.deciders:
        message = f"statement not approved: {answer.deciders[0]} denied it"
    else:
        message = "statement not approved"
    if answer.reason:
        message = f"{message}: {answer.reason}"
    return Judgement(orjson.dumps(decision), True, message, hint)


def too_many(exceeded: Bound, judgement: Judgement) -> Judgement:
    """Return the judgement of a held statement that may not even ask, because of how much was asked already."""
    decision = orjson.loads(judgement.fragment)
    decision["verdict"] = Verdict.DENY
    decision["policies"] = [*decision["policies"], f"limit:{exceeded.limit}"]
    asked = (
        f"{exceeded.at} requests are open"
        if exceeded.kind == "requests"
        else f"{exceeded.at} requests were raised within an hour"
    )
    message = f"{judgement.message}, and no more can be asked for: {asked}"
    found = Judgement(orjson.dumps(decision), True, message, f"{judgement.hint} {exceeded.reason}", sqlstate=LIMIT_EXCEEDED)
    found.bounds = (exceeded,)
    return found


def groups_of(rules: Iterable[Rule]) -> list[str]:
    """Return all groups whose people may approve what these rules hold."""
    return list(dict.fromkeys(g for r in rules if r.approvers for g in r.approvers.groups))


def merged(parts: Sequence[Facts]) -> Facts:
    """Return what any of several statements does."""
    if len(parts) == 1:
        return parts[0]
    return Facts(**{f.name: tuple(dict.fromkeys(v for part in parts for v in getattr(part, f.name))) for f in fields(Facts)})


def _principal(subject: Values) -> Principal:
    return Principal(
        id=subject["principal.id"],
        kind=PrincipalKind(subject["principal.kind"]),
        groups=tuple(subject["principal.groups"]),
        on_behalf_of=subject["principal.on_behalf_of"],
        delegation=tuple(subject["principal.delegation"]),
    )


def _database(subject: Values) -> Database:
    return Database(
        alias=subject["database.alias"],
        engine=subject["database.engine"],
        environment=subject["database.environment"],
        name=subject["database.name"],
    )


def _fragment(body: dict[str, object]) -> bytes:
    return b"," + orjson.dumps(body)[1:-1]


__all__ = ["Asked", "Asking", "Shown", "groups_of", "merged", "too_many", "unreleased"]
