"""Spans are made of events: whose they are, what they hold, and what makes none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.pipeline import run
from processors.steps.work import Batch, State
from processors.traces import SpanKind, span_id, spans
from schemas.log import Record
from schemas.topics import EVENTS
from tests.support.event_blocks import START, Source, record

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


def batch(*claims: dict[str, str], **members: Any) -> Batch:
    source = Source()
    lines = []
    for claim in claims:
        event = orjson.loads(source.query())
        event.update({"claims": claim, **members})
        lines.append(orjson.dumps(event))
    new = record(source.seal(lines))
    return run(State(), Batch((Record(EVENTS.name, 0, new.key, new.value, new.headers),)), START)[1]


def test_a_traced_statement_makes_three_spans_that_hang_together() -> None:
    made = batch({"traceparent": GOOD, "tracestate": "vendor=1"}, {})
    sealed = made.fresh[0].block.header.sealed_at
    statement, seal, project = spans(made, sealed + 5_000)
    event = made.queries.events[0]
    assert {s.trace_id.hex() for s in (statement, seal, project)} == {TRACE}
    assert statement.parent_id.hex() == PARENT
    assert (seal.parent_id, project.parent_id) == (statement.span_id, seal.span_id)
    assert [s.kind for s in (statement, seal, project)] == [SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CONSUMER]
    assert (statement.start, statement.end) == (event.at, event.ended_at)
    assert (seal.start, seal.end, project.start, project.end) == (event.ended_at, sealed, sealed, sealed + 5_000)
    assert statement.state == "vendor=1"
    assert statement.span_id == span_id(event.event_id, "statement")
    assert all(s.attributes["affidavit.event_id"] == event.event_id for s in (statement, seal, project))
    assert project.attributes["affidavit.block.id"] == made.fresh[0].block.header.block_id
    assert statement.attributes["db.system.name"] == "postgresql"
    assert statement.attributes["affidavit.principal.id"] == made.queries.contexts[0]["principal"]["id"]


def test_the_same_events_make_the_same_spans_whenever() -> None:
    one, two = (list(spans(batch({"traceparent": GOOD}), START + 10**9)) for _ in range(2))
    assert one == two
    assert len({s.span_id for s in one}) == 3


@pytest.mark.parametrize(
    "claim",
    ["", "00", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01",
     f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-02", f"00-{TRACE}-{PARENT}-01\n"],
)  # fmt: skip
def test_what_is_not_sampled_or_malformed_makes_none(claim: str) -> None:
    assert list(spans(batch({"traceparent": claim}), START)) == []


def test_neither_parameters_nor_text_are_in_spans_unless_text_is_wanted() -> None:
    made = batch({"traceparent": GOOD}, params=["text:feedfacefeedface"])
    text = made.queries.statements[0]["text"]
    shown = repr(list(spans(made, START)))
    assert "feedface" not in shown and text not in shown
    assert next(spans(made, START, with_text=True)).attributes["db.query.text"] == text


def test_an_outcome_that_never_came_and_a_clock_set_back_give_no_span_that_ends_before_it_begins() -> None:
    made = batch({"traceparent": GOOD}, ended_at=0)
    for span in spans(made, 5):
        assert span.end >= span.start > 0
