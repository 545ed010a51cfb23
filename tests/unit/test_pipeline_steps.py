"""The pipeline's steps on blocks: what is admitted, how lines become rows, and that nothing is lost on the way."""

from __future__ import annotations

import random
from dataclasses import asdict, fields, replace
from typing import Any
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs
from pydantic import TypeAdapter

from processors.pipeline import run
from processors.steps import read as read_step
from processors.steps.execution import Ending, Execution
from processors.steps.verify import verify
from processors.steps.work import Batch, State
from schemas.events import Outcome, QueryExecuted
from schemas.integrity import Block, leaf_hash, merkle_root
from schemas.log import Record
from tests.support.event_blocks import START, Source, record

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


def records(blocks: list[Block]) -> tuple[Record, ...]:
    new = [record(b) for b in blocks]
    return tuple(Record("affidavit.events", i, n.key, n.value, n.headers) for i, n in enumerate(new))


def rows(batch: Batch, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch.tables[table].to_pylist() if table in batch.tables else []
    absent = {"line": b"", "exposure": [], "masked": [], "exposed": []} if table == "query_events" else {}
    return [{**absent, **row} for row in found]


def project_lines(source: Source, lines: list[bytes]) -> tuple[State, Batch]:
    state, batch = run(State(), Batch(records([source.seal(lines)])), START)
    assert not batch.rejected
    return state, batch


class TestVerify:
    """Which records are blocks that fit."""

    def test_blocks_in_order_are_admitted_and_counted(self) -> None:
        source = Source()
        state, batch = verify(State(), Batch(records(list(source.blocks(3, 4)))), START)
        assert [a.block.header.number for a in batch.blocks] == [1, 2, 3]
        assert (state.blocks, state.events, state.repeats, state.rejected) == (3, 12, 0, 0)
        assert {a.signature for a in batch.blocks} == {"unsigned"}

    def test_the_same_blocks_again_are_dropped_and_counted(self) -> None:
        blocks = list(Source().blocks(2, 4))
        state, _ = verify(State(), Batch(records(blocks)), START)
        present = {(b.header.source, b.header.number): b.header.block_id for b in blocks}
        state, batch = verify(state, Batch(records([*blocks, blocks[1]]), present=present), START)
        assert (batch.blocks, batch.rejected, state.repeats, state.blocks) == ((), (), 3, 2)

    def test_blocks_shipped_again_within_one_batch_are_dropped_and_counted(self) -> None:
        blocks = list(Source().blocks(3, 4))
        state, batch = verify(State(), Batch(records(blocks + blocks)), 0)
        assert ([a.block for a in batch.blocks], batch.rejected, state.repeats) == (blocks, (), 3)

    def test_with_fresh_state_blocks_the_store_has_move_the_chain_but_make_no_rows(self) -> None:
        blocks = list(Source().blocks(3, 4))
        present = {(b.header.source, b.header.number): b.header.block_id for b in blocks[:2]}
        state, batch = run(State(), Batch(records(blocks), present=present), START)
        assert [a.stored for a in batch.blocks] == [True, True, False]
        assert batch.tables["query_events"].num_rows == 4
        assert state.sources["proxy/0"].chain.last == blocks[2].header

    @pytest.mark.parametrize("seed", range(20))
    def test_one_changed_byte_anywhere_in_a_body_is_noticed(self, seed: int) -> None:
        block = next(Source(key=KEY).blocks(1, 3))
        at = random.Random(seed).randrange(len(block.body))
        body = bytearray(block.body)
        body[at] ^= 1
        _, batch = verify(State(), Batch(records([replace(block, body=bytes(body))]), keys={"proxy/0": PUBLIC}), START)
        assert len(batch.rejected) == 1

    def test_a_registered_source_must_sign_with_its_key(self) -> None:
        other = Ed25519PrivateKey.generate()
        for key, reason in ((None, "is not signed"), (other, "does not hold under the registered key")):
            state, batch = verify(State(), Batch(records(list(Source(key=key).blocks(1, 2))), {"proxy/0": PUBLIC}), START)
            assert reason in batch.rejected[0].reason
            assert state.sources == {}
        _, batch = verify(State(), Batch(records(list(Source(key=KEY).blocks(1, 2))), {"proxy/0": PUBLIC}), START)
        assert [a.signature for a in batch.blocks] == ["verified"]

    def test_a_source_stays_bound_to_its_key_when_the_key_file_disappears(self) -> None:
        source = Source(key=KEY)
        state, _ = verify(State(), Batch(records(list(source.blocks(1, 2))), {"proxy/0": PUBLIC}), START)
        source.key = None
        _, batch = verify(state, Batch(records(list(source.blocks(1, 2)))), START)
        assert "is not signed" in batch.rejected[0].reason

    def test_a_signature_without_a_registered_key_is_not_trusted(self) -> None:
        state, batch = verify(State(), Batch(records(list(Source(key=KEY).blocks(1, 2)))), START)
        assert [a.signature for a in batch.blocks] == ["unsigned"]
        assert state.sources["proxy/0"].key == b""

    def test_a_rejected_block_leaves_a_gap_and_the_next_one_is_admitted(self) -> None:
        blocks = list(Source().blocks(3, 2))
        blocks[1] = replace(blocks[1], body=blocks[1].body.replace(b"int", b"inx", 1))
        state, batch = verify(State(), Batch(records(blocks)), START)
        assert [a.block.header.number for a in batch.blocks] == [1, 3]
        assert "do not hash" in batch.rejected[0].reason
        assert state.gaps == 1
        assert batch.notes == ("gap: blocks 2 to 2 of proxy/0 are missing before block 3",)

    def test_a_record_that_is_no_block_is_rejected_not_raised(self) -> None:
        junk = (
            Record("affidavit.events", 0, b"", b"junk"),
            Record("affidavit.events", 1, b"", b"x\n", {"block": b"affidavit/block/v1\nx"}),
        )
        _, batch = verify(State(), Batch(junk), START)
        assert [r.record.offset for r in batch.rejected] == [0, 1]

    def test_another_block_of_a_number_the_store_has_is_refused(self) -> None:
        block = next(Source().blocks(1, 2))
        _, batch = verify(State(), Batch(records([block]), present={("proxy/0", 1): "0" * 64}), START)
        assert "another block of this number" in batch.rejected[0].reason

    @pytest.mark.parametrize("change", [(b'"seq":2,', b'"seq":9,'), (b'"proxy/0"', b'"proxy/1"'), (b'"epoch":1', b'"epoch":2')])
    def test_a_line_in_another_place_than_its_header_says_is_refused(self, change: tuple[bytes, bytes]) -> None:
        source = Source()
        lines = [source.query(), source.query()]
        lines[1] = lines[1].replace(*change)
        _, batch = verify(State(), Batch(records([source.seal(lines)])), START)
        assert "the line at sequence 2 says it is" in batch.rejected[0].reason


class TestRows:
    """How events become rows."""

    def test_every_field_of_a_query_has_its_column(self) -> None:
        source = Source()
        lines = [source.query() for _ in range(40)]
        _, batch = project_lines(source, lines)
        assert rows(batch, "query_events") == [expected_row(line) for line in lines]
        assert "other_events" not in batch.tables

    @pytest.mark.parametrize(
        "exposure", [b'"exposure":{}', b'"exposure":{"email":2},"masked":{"email":1},"exposed":{"public.users.email":1}']
    )
    def test_lines_as_the_proxy_writes_them_are_read_by_pieces(self, exposure: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """The long way costs eight times as much, and nothing but the cost would tell."""

        def not_the_long_way(*_: object) -> None:
            raise AssertionError("a common line took the long way")

        monkeypatch.setattr(read_step._Reader, "_whole", not_the_long_way)
        source = Source()
        lines = [source.query().replace(b'"exposure":{}', exposure) for _ in range(20)]
        _, batch = project_lines(source, lines)
        assert len(rows(batch, "query_events")) == 20

    def test_what_changes_with_every_execution_is_what_the_other_pieces_leave(self) -> None:
        """A member that somebody adds to the event is read, or this fails."""
        members = {f.name for f in fields(QueryExecuted)}
        shown = {"masked", "exposed"}  # left out by lines without sensitive cells
        pieces = read_step._DECISION | read_step._CONTEXT | read_step._STATEMENT | {"type", "v", "source", "epoch", "seq"}
        assert set(Execution.__struct_fields__) == members - pieces
        assert {f.name for f in structs.fields(Execution) if not f.required} == shown
        assert Ending.__struct_fields__ == tuple(f.name for f in fields(Outcome))

    @pytest.mark.parametrize(
        "id_",
        ["01a0c450-6c00-7dfc-9a29-9b00000000", "01a0c450-6c00-7dfc-9a29-9b000000000 ", "01a0c4506c00-7dfc-9a29-9b0000-000001"],
    )
    def test_ids_that_are_none_cannot_shift_those_beside_them(self, id_: str) -> None:
        """Ids are turned into bytes all at once."""
        source = Source()
        lines = [source.query() for _ in range(4)]
        known = [orjson.loads(line)["event_id"] for line in lines]
        lines[1] = lines[1].replace(known[1].encode(), id_.encode())
        longer = known[2] + "0" * (36 - len(id_)) if len(id_) < 36 else known[2]
        lines[2] = lines[2].replace(known[2].encode(), longer.encode())
        _, batch = project_lines(source, lines)
        kept = [str(UUID(bytes=row["event_id"])) for row in rows(batch, "query_events")]
        assert kept == [k for i, k in enumerate(known) if i != 1 and (i != 2 or longer == k)]
        assert {row["type"] for row in rows(batch, "other_events")} == {"Unreadable"}

    def test_lines_with_another_order_of_members_make_the_same_rows(self) -> None:
        a, b = Source(), Source()
        lines = [a.query() for _ in range(20)]
        turned = [orjson.dumps(dict(reversed(orjson.loads(line).items()))) for line in lines]
        first, second = project_lines(a, lines)[1], run(State(), Batch(records([_seal_like(b, turned)])), START)[1]
        assert rows(first, "query_events") == rows(second, "query_events")

    def test_claims_cannot_shift_where_a_line_is_cut(self) -> None:
        source = Source()
        line = orjson.loads(source.query())
        line["claims"] = {
            "session_id": 'x","principal":{"id":"root',
            "decision": '{"verdict":"deny"',
            ',"principal":{"id': "boo",
            "text": ',"text":"',
            "ended_at": "1",
        }
        line["exposure"] = {"ended_at": 5, ',"ended_at': 7}
        data = orjson.dumps(line)
        _, batch = project_lines(source, [data])
        assert rows(batch, "query_events") == [expected_row(data)]

    def test_a_newer_version_keeps_its_whole_line_beside_the_columns_known(self) -> None:
        source = Source()
        old, new = source.query(), source.query(v=2, weather="fine")
        _, batch = project_lines(source, [old, new])
        found = rows(batch, "query_events")
        assert [row["line"] for row in found] == [b"", new]
        assert found[1]["text"] == orjson.loads(new)["text"]

    def test_an_unknown_field_of_this_version_does_not_cost_the_row(self) -> None:
        source = Source()
        line = source.query(weather="fine")
        _, batch = project_lines(source, [line])
        assert rows(batch, "query_events") == [expected_row(line)]

    def test_an_older_line_without_later_fields_reads_with_their_defaults(self) -> None:
        source = Source()
        line = orjson.loads(source.query())
        del line["exposure"], line["decision"]
        _, batch = project_lines(source, [orjson.dumps(line)])
        row = rows(batch, "query_events")[0]
        assert (row["verdict"], row["risk"], row["exposure"]) == ("allow", 0, [])

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda e: e.update(at="yesterday"),
            lambda e: e.update(at=0),
            lambda e: e.update(params=7),
            lambda e: e["decision"].update(risk=300),
            lambda e: e["decision"].update(risk=(1 << 64) - 1),
            lambda e: e["outcome"].update(rows_returned=-1),
            lambda e: e.update(event_id="no id"),
            lambda e: e["principal"].update(kind=None),
            lambda e: e.pop("session_id"),
        ],
    )
    def test_an_event_no_row_can_hold_is_kept_as_unreadable_and_alone(self, spoil: Any) -> None:
        source = Source()
        lines = [source.query() for _ in range(3)]
        event = orjson.loads(lines[1])
        spoil(event)
        lines[1] = orjson.dumps(event)
        state, batch = project_lines(source, lines)
        assert [r["seq"] for r in rows(batch, "query_events")] == [1, 3]
        other = rows(batch, "other_events")
        assert [(r["type"], r["seq"], r["line"]) for r in other] == [("Unreadable", 2, lines[1])]
        assert state.unreadable == 1

    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("risk", [1 << 64, -1 << 70, 10**400])
    def test_a_number_larger_than_any_makes_its_line_unreadable_and_stops_nothing(self, risk: int, version: int) -> None:
        source = Source()
        lines = [source.query() for _ in range(3)]
        lines[1] = lines[1].replace(b'"risk":0', b'"risk":%d' % risk).replace(b'"v":1', b'"v":%d' % version)
        state, batch = project_lines(source, lines)
        assert [r["seq"] for r in rows(batch, "query_events")] == [1, 3]
        assert [(r["type"], r["line"]) for r in rows(batch, "other_events")] == [("Unreadable", lines[1])]
        assert state.unreadable == 1

    @pytest.mark.parametrize("turned", [False, True])
    def test_an_event_no_row_can_hold_says_whose_it_is(self, turned: bool) -> None:
        """However it was read: by pieces, or whole."""
        source = Source()
        event = orjson.loads(source.query())
        event["outcome"]["rows_returned"] = -1
        line = orjson.dumps(dict(reversed(event.items())) if turned else event)
        _, batch = project_lines(source, [line])
        (other,) = rows(batch, "other_events")
        assert other["type"] == "Unreadable"
        assert (other["session_id"], other["principal_id"], other["database_alias"]) == (
            event["session_id"],
            event["principal"]["id"],
            event["database"]["alias"],
        )

    @pytest.mark.parametrize("data", [b"not json", b"[1]", b'"x"', b"{}", b'{"type":5}', b"\xff\xfe", b""])
    def test_a_line_that_is_no_event_is_kept_at_the_place_its_block_gives_it(self, data: bytes) -> None:
        source = Source()
        first = source.query()
        source.seq += 1
        block = source.seal([first, data])
        state, batch = run(State(), Batch(records([block])), START)
        if data in (b"{}", b'{"type":5}'):  # an object that says it stands nowhere
            assert "says it is None" in batch.rejected[0].reason
            return
        other = rows(batch, "other_events")
        assert [(r["type"], r["epoch"], r["seq"], r["line"]) for r in other] == [("Unreadable", 1, 2, data)]
        assert state.unreadable == 1

    def test_other_events_keep_their_line_and_an_unknown_type_its_name(self) -> None:
        source = Source()
        lines = [
            source.event("Heartbeat", {"open_sessions": 1, "open_statements": 0}),
            source.event("AdminActionPerformed", {"actor": "ana", "action": "token.create", "target": "t1", "details": {}}),
            source.event("WeatherChanged", {"sky": "blue"}, v=4),
        ]
        _, batch = project_lines(source, lines)
        found = rows(batch, "other_events")
        assert [(r["type"], r["seq"], r["line"]) for r in found] == [
            ("Heartbeat", 1, lines[0]),
            ("AdminActionPerformed", 2, lines[1]),
            ("WeatherChanged", 3, lines[2]),
        ]
        assert found[1]["principal_id"] == "ana"
        assert UUID(bytes=found[2]["event_id"]) == UUID(orjson.loads(lines[2])["event_id"])

    def test_sessions_open_and_close_with_one_opening_time(self) -> None:
        source = Source()
        opened = source.session_opened()
        opened_at = source.now
        between = source.query()
        closed = source.session_closed(duration_us=source.now - opened_at)
        closed = closed.replace(b'"at":%d' % source.now, b'"at":%d' % (opened_at + orjson.loads(closed)["duration_us"]))
        _, batch = project_lines(source, [opened, between, closed])
        first, second = rows(batch, "sessions")
        assert first["session_id"] == second["session_id"]
        assert first["opened_at"] == second["opened_at"]
        assert (first["version"], first["reason"], second["version"], second["reason"]) == (1, "", 2, "terminated")
        assert len(rows(batch, "other_events")) == 2

    def test_classes_are_of_what_a_statement_names_and_of_what_its_results_held(self) -> None:
        source = Source()
        lines = [
            source.query().replace(b'"exposure":{}', b'"exposure":{"phone":3}' if n % 2 else b'"exposure":{}') for n in range(60)
        ]
        _, batch = project_lines(source, lines)
        found = {("customers" in r["text"], bool(r["exposure"]), *r["data_classes"]) for r in rows(batch, "query_events")}
        named = ("email", "person_name")
        assert found == {(True, False, *named), (True, True, *named, "phone"), (False, True, "phone"), (False, False)}

    def test_long_texts_have_their_table(self) -> None:
        source = Source()
        line = source.event("TextObserved", {"text_hash": "ab" * 32, "text": "SELECT " + "x, " * 9000})
        _, batch = project_lines(source, [line])
        assert [(t["text_hash"], t["text"][:9]) for t in rows(batch, "texts")] == [("ab" * 32, "SELECT x,")]

    def test_blocks_say_how_many_of_their_events_are_queries(self) -> None:
        source = Source()
        blocks = [source.seal([source.query(), source.session_opened(), source.query()]), next(source.blocks(1, 2))]
        _, batch = run(State(), Batch(records(blocks)), START)
        found = rows(batch, "blocks")
        assert [(b["number"], b["count"], b["query_events"], b["log_offset"]) for b in found] == [(1, 3, 2, 0), (2, 2, 2, 1)]
        assert [b["block_id"].decode() for b in found] == [b.header.block_id for b in blocks]

    def test_the_same_batch_gives_the_same_rows(self) -> None:
        blocks = list(Source().blocks(3, 20))
        one, two = (run(State(), Batch(records(blocks)), START) for _ in range(2))
        assert one[0] == two[0]
        assert {n: t.to_pylist() for n, t in one[1].tables.items()} == {n: t.to_pylist() for n, t in two[1].tables.items()}


def expected_row(line: bytes) -> dict[str, Any]:
    """A row written out by hand from the event's own type, with another parser than the step's."""
    e = asdict(TypeAdapter(QueryExecuted).validate_json(line))
    o, d, f, p, c = e["outcome"], e["decision"], e["facts"], e["principal"], e["client"]
    row: dict[str, Any] = {n: e[n] for n in ("source", "epoch", "seq", "kind", "transaction", "session_id", "db_user")}
    row |= {n: e[n] for n in ("text", "text_hash", "fingerprint")} | {
        n: d[n] for n in ("verdict", "bundle", "risk", "approval_id")
    }
    row |= {n: o[n] for n in ("status", "sqlstate", "rows_returned", "rows_affected", "bytes_in", "bytes_out")}
    row |= {n: o[n] for n in ("db_us", "held_us", "total_us")} | {
        n: list(f[n]) for n in ("verbs", "reads", "writes", "functions", "flags", "dangers")
    }
    row |= {n: p[n] for n in ("auth_method", "credential_id", "on_behalf_of")}
    row |= {"principal_id": p["id"], "principal_kind": p["kind"], "principal_groups": list(p["groups"])}
    row |= {"client_address": c["address"], "application": c["application"], "driver": c["driver"], "tls": c["tls"]}
    row |= {"database_alias": e["database"]["alias"], "database_name": e["database"]["name"]}
    row |= {"engine": e["database"]["engine"], "environment": e["database"]["environment"]}
    row |= {"event_id": UUID(e["event_id"]).bytes, "params": list(e["params"]), "claims": list(e["claims"].items())}
    row |= {n: list(e.get(n, {}).items()) for n in ("exposure", "masked", "exposed")}
    row |= {"policies": list(d["policies"]), "delegation": list(p["delegation"])}
    row |= {"columns": [u["name"] for u in f["columns"]], "column_roles": [",".join(u["roles"]) for u in f["columns"]]}
    touched = {"email", "person_name"} if "FROM customers" in e["text"] else set()
    row |= {
        "data_classes": sorted({*touched, *e["exposure"]}),
        "block_number": 1,
        "line": b"",
        "at": _time(e["at"]),
        "ended_at": _time(e["ended_at"]),
    }
    return row


def _time(us: int) -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def _seal_like(source: Source, lines: list[bytes]) -> Block:
    source.seq += len(lines)
    block = source.seal(lines)
    assert block.header.root == merkle_root([leaf_hash(line) for line in lines]).hex()
    return block


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [("facts", "columns", ...), ("outcome", "rows_returned", None), ("", "at", None), ("", "kind", None)],
)
def test_an_event_that_lacks_what_a_step_reads_is_kept_and_stops_nothing(where: str, name: str, value: object) -> None:
    source = Source()
    lines = [source.query() for _ in range(3)]
    event = orjson.loads(lines[1])
    holder = event[where] if where else event
    if value is ...:
        del holder[name]
    else:
        holder[name] = value
    lines[1] = orjson.dumps(event)
    state, batch = project_lines(source, lines)
    assert state.unreadable == 1
    assert (len(rows(batch, "query_events")), len(rows(batch, "other_events"))) == (2, 1)
    assert sum(b.events for a in batch.activity for b in a.buckets) == 2
