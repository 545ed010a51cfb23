"""Rules decide as written: effects by strength, errors deny, shadow only records, unknown members and types are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from processors.policy import Policy, PolicyError, read_bundle
from processors.policy.context import (
    COUNTERS,
    DEFAULTS,
    GRANTED,
    MOMENT,
    STATEMENT,
    SUBJECT,
    granted_values,
    moment_values,
    statement_values,
    subject_values,
)
from processors.statements import Analyser, Lexing, Tokenizer
from schemas.events import Database, Principal, PrincipalKind, Verdict


def rule(id: str, effect: str, when: str = "true", **members: Any) -> dict[str, Any]:
    approvers = {"approvers": {"groups": ["dba"]}} if effect == "hold" else {}
    return {"id": id, "effect": effect, "when": when, "reason": f"Because of {id}.", **approvers, **members}


def policy(*rules: dict[str, Any], **members: Any) -> Policy:
    return Policy(read_bundle({"p.yaml": yaml.safe_dump({"bundle": "p", "rules": list(rules), **members}).encode()}))


ALL = [rule("a", "allow"), rule("b", "alert"), rule("c", "mask"), rule("d", "hold"), rule("e", "deny")]


@pytest.mark.parametrize("count", range(1, 6))
def test_the_strongest_effect_wins_whatever_the_order(count: int) -> None:
    for rules in (ALL[:count], ALL[:count][::-1]):
        ruling = policy(*rules).decide(DEFAULTS)
        assert ruling.verdict == ALL[count - 1]["effect"]
        assert ruling.rule == ALL[count - 1]["id"]
        assert set(ruling.policies) == {r["id"] for r in rules}


def test_nothing_matches_then_the_default_holds() -> None:
    never = rule("a", "allow", "principal.id == 'nobody'")
    assert policy(never).decide(DEFAULTS).verdict is Verdict.ALLOW
    assert policy(never, default="deny").decide(DEFAULTS).verdict is Verdict.DENY
    assert policy(default="deny").decide(DEFAULTS).verdict is Verdict.DENY
    assert policy(rule("b", "alert"), default="deny").decide(DEFAULTS).verdict is Verdict.DENY, "an alert permits nothing"
    assert policy(rule("c", "mask"), default="deny").decide(DEFAULTS).verdict is Verdict.MASK
    assert policy(rule("a", "allow"), default="deny").decide(DEFAULTS).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "when",
    [
        "1 / session.denied == 1",
        "principal.groups[0] == 'dba'",
        "claims.ticket == 'x'",
        "claims['ticket'].startsWith('x')",
        "statement.verbs.exists(v, 1 / session.denied == 1)",
        "int(principal.id) > 3",
        "principal.id.matches('(')",
    ],
)
def test_a_rule_that_errs_denies_and_is_named_whatever_its_effect(when: str) -> None:
    values = {**DEFAULTS, "statement.verbs": ["select"], "principal.id": "ana"}
    for effect in ("allow", "alert", "mask", "deny"):
        ruling = policy(rule("fine", "allow"), rule("bad", effect, when)).decide(values)
        assert ruling.verdict is Verdict.DENY
        assert "error:bad" in ruling.policies and "fine" in ruling.policies
        assert ruling.error.startswith("bad:") and ruling.risk == 100


def test_an_error_beside_a_false_condition_is_no_match() -> None:
    assert policy(rule("a", "deny", "false && claims.ticket == 'x'")).decide(DEFAULTS).verdict is Verdict.ALLOW
    assert policy(rule("a", "deny", "claims.ticket == 'x' && false")).decide(DEFAULTS).verdict is Verdict.ALLOW
    assert policy(rule("a", "deny", "claims.ticket == 'x' && true")).decide(DEFAULTS).verdict is Verdict.DENY


def test_values_that_are_missing_or_of_another_type_deny() -> None:
    guarded = policy(rule("a", "alert", "time.hour == 3 || principal.id == 'x'"))
    for wrong in ({}, {**DEFAULTS, "time.hour": "3"}, {**DEFAULTS, "principal.id": None}):
        assert guarded.decide(wrong).verdict is Verdict.DENY


def test_shadow_is_recorded_and_stops_nothing_even_if_it_errs() -> None:
    ruling = policy(rule("s", "deny", mode="shadow", risk=90), rule("f", "deny", "claims.x == '1'", mode="shadow")).decide(
        DEFAULTS
    )
    assert (ruling.verdict, ruling.policies, ruling.risk) == (Verdict.ALLOW, ("shadow:s", "error:f"), 0)
    assert policy(rule("s", "deny"), mode="shadow").decide(DEFAULTS).verdict is Verdict.ALLOW


def test_environments_narrow_a_rule() -> None:
    narrowed = policy(rule("a", "deny", "false || true", environments=['pro"d', "live"]))
    for environment, verdict in (('pro"d', "deny"), ("live", "deny"), ("test", "allow")):
        assert narrowed.decide({**DEFAULTS, "database.environment": environment}).verdict == verdict


def test_limits_are_deny_rules_over_counters() -> None:
    limited = policy(
        limits=[{"id": "rate", "when": "principal.kind == 'agent' || false", "statements_per_minute": 3, "reason": "Slow."}]
    )
    for kind, count, verdict in (("agent", 2, "allow"), ("agent", 3, "deny"), ("human", 9, "allow")):
        values = {**DEFAULTS, "principal.kind": kind, "session.statements_last_minute": count}
        assert limited.decide(values).verdict == verdict
    assert not limited.reads_counters, "nothing is evaluated anew for whom the limit is not meant"
    assert limited.reads_subject == ("principal.kind",)
    still = [limited.match({**DEFAULTS, "principal.kind": kind}) for kind in ("agent", "human")]
    assert [limited.thresholds(found) for found in still] == [(("session.statements_last_minute", 3),), ()]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        # 02:30 comes twice in Berlin on the 25th of October 2026, at 00:30 and 01:30 UTC: the freeze has both.
        ("2026-10-25T02:30:00", "2026-10-25T12:00:00", "2026-10-25T00:30:00", "2026-10-25T10:59:59"),
        ("2026-10-24T12:00:00", "2026-10-25T02:30:00", "2026-10-24T10:00:00", "2026-10-25T01:29:59"),
        # and never on the 29th of March, where clocks go from 02:00 to 03:00, 01:00 UTC: it may mean 00:30 or 01:30.
        ("2026-03-29T02:30:00", "2026-03-30T00:00:00", "2026-03-29T00:30:00", "2026-03-29T21:59:59"),
        ("2026-03-28T00:00:00", "2026-03-29T02:30:00", "2026-03-27T23:00:00", "2026-03-29T01:29:59"),
    ],
)
def test_a_freeze_at_a_change_of_clocks_is_rather_too_long(start: str, end: str, first: str, last: str) -> None:
    bundle = policy(freezes=[{"name": "x", "from": start, "to": end}], timezone="Europe/Berlin").bundle
    begins, ends = (int(datetime.fromisoformat(t).replace(tzinfo=UTC).timestamp() * 1e6) for t in (first, last))
    assert [bundle.frozen(t, "") for t in (begins - 1, begins, ends, ends + 1_000_000)] == [False, True, True, False]


def test_a_freeze_covers_its_span_and_environments_in_the_zone_of_the_bundle() -> None:
    freeze = {"name": "x", "from": "2026-12-28T00:00:00", "to": "2026-12-29T00:00:00", "environments": ["production"]}
    bundle = policy(freezes=[freeze], timezone="Europe/Berlin").bundle
    start = 1_798_412_400_000_000  # 2026-12-27T23:00:00Z, midnight in Berlin
    day = 86_400_000_000
    spans = [(start - 1, False), (start, True), (start + day - 1, True), (start + day, False)]
    for now, frozen in spans:
        assert bundle.frozen(now, "production") is frozen
        assert not bundle.frozen(now, "test")
    assert moment_values(start, bundle.zone, True) == {
        "time.hour": 0, "time.minute": 0, "time.weekday": 1, "time.date": "2026-12-28", "time.frozen": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"rules: []", "bundle"),
        (b"bundle: p\nrules: [{id: a, efect: deny}]", "efect"),
        (b"bundle: p\nrules: [{id: a, effect: refuse, when: 'true', reason: x}]", "effect"),
        (b"bundle: p\nrules: [{id: a, effect: deny, when: 'true'}]", "reason"),
        (b"bundle: p\nrules: [{id: a, effect: hold, when: 'true', reason: x}]", "approvers"),
        (b"bundle: p\nrules: [{id: a, effect: deny, when: 'true', reason: x, when: 'false'}]", "twice"),
        (
            b"bundle: p\nrules: [{id: a, effect: mask, when: x, reason: y}]\nlimits: [{id: a, session_bytes: 1, reason: x}]",
            "twice",
        ),
        (b"bundle: p\ndefault: hold", "default"),
        (b"bundle: p\ntimezone: Mars/Olympus", "time zone"),
        (b"bundle: p\nrules: &r []\nlimits: *r", "aliases"),
        (b"bundle: [", "line"),
        (b"- x", "must be a bundle"),
        (b"\xff\xfe\x00", "YAML"),
        (b"bundle: p\nfreezes: [{name: x, from: 2026-02-01T00:00:00, to: 2026-01-01T00:00:00}]", "earlier"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_bundle_is_said(text: bytes, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_bundle({"p.yaml": text})
    assert said in str(caught.value)
    assert all(line.startswith(("p.yaml: ", "rule a ")) for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("principal.kinds == 'x'", "line 1, character 10 of `when`: undeclared reference to 'principal.kinds'; did you mean "),
        ("weather == 'x'", "undeclared reference to 'weather'; docs/policy.md lists the variables"),
        ("principal.kind = 'agent'", "values are compared with =="),
        ("data.clases.exists(c, c == 'x')", "undeclared reference to 'data.clases'; did you mean data.classes?"),
    ],
)  # fmt: skip
def test_what_was_likely_meant_is_said(when: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(rule("a", "deny", when))
    assert str(caught.value).startswith("rule a: ") and said in str(caught.value)


@pytest.mark.parametrize(
    "when",
    ["principal.name == 'x'", "time.hour", "'drop' in statement.dangers || 1", "time.hour > '3'", "true) || (false", "dyn(true)",
     "x ==", "principal.kind = 'agent'"],
)  # fmt: skip
def test_a_condition_that_is_no_boolean_of_known_variables_is_refused(when: str) -> None:
    with pytest.raises(PolicyError, match="rule a: "):
        policy(rule("a", "deny", when))


def test_what_the_rules_read_is_found_exactly() -> None:
    read = policy(rule("a", "deny", "principal . kind == 'time.hour' && columns.all.exists(claims, claims == 'x')"))
    assert read.reads == {"principal.kind", "columns.all"}
    assert policy(rule("a", "deny", "has(claims.ticket)")).reads == {"claims"}
    assert policy().reads == frozenset()


def test_the_version_is_of_the_bytes() -> None:
    first, same, other = (policy(rule("a", effect)).version for effect in ("deny", "deny", "allow"))
    assert first == same != other
    assert first.startswith("p@")


def test_the_functions_give_every_variable_and_no_other() -> None:
    principal = Principal(id="bot", kind=PrincipalKind.AGENT, groups=("g",), on_behalf_of="ana", delegation=("ana",))
    database = Database(alias="shop", engine="postgres", environment="production", name="shop1")
    subject = subject_values(principal, database, "app", "[::1]:5", True)
    assert subject.keys() == SUBJECT.keys()
    assert subject["client.host"] == "::1" and subject["principal.delegation"] == ["ana"]
    analysis = Analyser(Tokenizer(b"k" * 32)).analyse(b"SELECT name FROM public.customers WHERE email = 'x'", Lexing())
    values = statement_values(analysis.statements[0].facts, "f", {"ticket": "T1"}, ("email",), True)
    assert values.keys() == STATEMENT.keys()
    assert values["columns.filter"] == ["public.customers.email"] and values["statement.reads"] == ["public.customers"]
    opaque = Analyser(Tokenizer(b"k" * 32)).analyse(b"SELEC (", Lexing()).statements[0].facts
    assert "opaque" in statement_values(opaque, "f", {})["statement.dangers"]
    assert granted_values().keys() == GRANTED.keys()
    assert MOMENT.keys() == moment_values(0, policy().bundle.zone, False).keys()
    assert not COUNTERS.keys() & (GRANTED.keys() | SUBJECT.keys() | STATEMENT.keys() | MOMENT.keys())


def test_the_document_names_every_variable_as_it_is() -> None:
    from pathlib import Path

    from processors.policy import VARIABLES

    text = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    rows = [
        line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 4 and "." in line.split("`")[1] + "."
    ]
    for name, variable in VARIABLES.items():
        assert f"| `{name}` | {variable.type_name} | {variable.meaning} |" in rows
    import yaml as reader

    example = text.split("\n\n    bundle: production\n")[1].split("\n\n## ")[0]
    assert read_bundle({"doc": ("bundle: production\n" + reader.safe_dump(reader.safe_load(example))).encode()}).rules
