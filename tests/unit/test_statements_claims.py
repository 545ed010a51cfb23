"""Claims in comments: known keys, harmless values, and nothing else of what a comment says."""

from __future__ import annotations

import pytest

from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.claims import MAX_CLAIM_CHARS, MAX_CLAIMS, claims_of

PARENT = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"


@pytest.mark.parametrize(
    ("comment", "claims"),
    [
        (
            f"/*action='%2Fparam*d',controller='index',traceparent='{PARENT}'*/",
            {"action": "/param*d", "controller": "index", "traceparent": PARENT},
        ),
        (
            "-- agent_run=run-17 tool_call=call_9, ticket=OPS-1234",
            {"agent_run": "run-17", "tool_call": "call_9", "ticket": "OPS-1234"},
        ),
        ("/* ticket: OPS-1 */", {"ticket": "OPS-1"}),
        ("/* route='%2Fusers%2F%3Cid%3E' */", {"route": "/users/<id>"}),
        (
            "/* tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7' */",
            {"tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"},
        ),
        ("/* password='hunter2', token=abc */", {}),
        ("/* application='x' application='y' */", {"application": "x"}),
        ("/* application='two words' */", {}),
        ("/* application='\u00e9' */", {}),
        ("/* application='%00' */", {}),
        (f"/* application='{'x' * (MAX_CLAIM_CHARS + 1)}' */", {}),
        ("/* myapplication='x' */", {}),
        ("/* where ticket = 'x' */", {"ticket": "x"}),
        ("/* hello */", {}),
    ],
)
def test_claims(comment: str, claims: dict[str, str]) -> None:
    assert dict(claims_of([comment])) == claims


def test_no_more_claims_than_the_limit() -> None:
    from processors.statements.claims import KEYS

    assert len(KEYS) > MAX_CLAIMS
    assert len(claims_of(["/*" + ",".join(f"{k}='v'" for k in sorted(KEYS)) + "*/"])) == MAX_CLAIMS


def test_claims_belong_to_the_text_and_not_to_its_template() -> None:
    analyser = Analyser(Tokenizer(b"k" * 32))
    one = analyser.analyse(b"select 1 /* ticket='A-1' */", Lexing())
    two = analyser.analyse(b"select 1 /* ticket='A-2' */", Lexing())
    none = analyser.analyse(b"select 1 /* */", Lexing())
    assert one.statements is two.statements is none.statements
    assert [dict(a.claims) for a in (one, two, none)] == [{"ticket": "A-1"}, {"ticket": "A-2"}, {}]


def test_what_looks_like_a_comment_in_a_string_claims_nothing() -> None:
    analysis = Analyser(Tokenizer(b"k" * 32)).analyse(b"select '/* ticket=A-1 */', $$-- ticket=A-2$$", Lexing())
    assert dict(analysis.claims) == {}
