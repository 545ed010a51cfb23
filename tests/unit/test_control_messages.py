"""Control messages: what is written reads back, what cannot be read denies, what is unknown concerns nobody."""

from __future__ import annotations

import dataclasses

import orjson
import pytest

from schemas.control import (
    CONTROL_TYPES,
    MAX_MESSAGE_BYTES,
    ApprovalDecided,
    CatalogueTagged,
    ControlError,
    GrantChanged,
    Message,
    PipelineResumed,
    PrincipalResumed,
    PrincipalSuspended,
    SessionKilled,
    Unreadable,
    catalogue_key,
    decode,
    encode,
    expired,
    later,
    outdated,
    publish,
    standing,
)
from schemas.log import NewRecord
from schemas.topics import CONTROL
from tests.support.control_key import SIGNER, TRUST
from tests.support.memory_log import MemoryLog

SAID = {"at": 1_700_000_000_000_000, "actor": "sam"}
MESSAGES: list[Message] = [
    ApprovalDecided(
        **SAID,
        approval_id="a1",
        approved=True,
        binding="b",
        expires_at=5,
        reason="ok",
        principal="bob@x",
        kind="human",
        groups=("dba",),
        acts_for=("c",),
        channel="ui",
    ),
    PrincipalSuspended(**SAID, principal="ana", reason="left"),
    PrincipalResumed(**SAID, principal="ana"),
    SessionKilled(**SAID, session_id="0190", expires_at=7),
    GrantChanged(**SAID, grant_id="g", principal="ana", groups=("dba", "on-call"), databases=("shop",), revoked=True),
    PipelineResumed(**SAID, reason="the key is back"),
    CatalogueTagged(**SAID, database="shop", schema='we"ird', table="t/x", column="é", classes=("email",)),
]


def test_there_is_an_example_of_every_type() -> None:
    assert {type(message) for message in MESSAGES} == set(CONTROL_TYPES.values())
    assert {message.type for message in MESSAGES} == set(CONTROL_TYPES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.type)
def test_a_message_reads_back_under_its_key_only(message: Message) -> None:
    data = encode(message)
    assert decode(message.key, data) == message
    assert isinstance(decode(message.key + "x", data), Unreadable)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.type)
def test_fields_a_reader_does_not_know_are_no_harm_but_a_newer_version_is(message: Message) -> None:
    value = orjson.loads(encode(message))
    assert decode(message.key, orjson.dumps({**value, "later": [1]})) == message
    newer = decode(message.key, orjson.dumps({**value, "v": 2}))
    assert isinstance(newer, Unreadable)
    assert "not as this version knows it: v" in newer.problem


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.type)
def test_every_field_is_needed_or_has_a_default_and_none_takes_another_type(message: Message) -> None:
    value = orjson.loads(encode(message))
    for field in dataclasses.fields(message):
        without = {name: v for name, v in value.items() if name != field.name}
        read = decode(message.key, orjson.dumps(without))
        needed = field.default is dataclasses.MISSING or field.name in ("type", "column", "principal")  # which the key tells too
        assert isinstance(read, Unreadable) == needed, field.name
        if field.name != "type":
            assert isinstance(decode(message.key, orjson.dumps({**value, field.name: {"x": 1}})), Unreadable), field.name


def test_an_unknown_type_concerns_nobody_and_what_is_no_message_is_unreadable() -> None:
    assert decode("x/1", b'{"type":"MoonPhaseChanged","v":1}') is None
    for data in (b"", b"nothing", b"[]", b'"PrincipalSuspended"', b"{}", b'{"type":7}', b"\xff", b"1" * (MAX_MESSAGE_BYTES + 1)):
        assert isinstance(decode("x/1", data), Unreadable), data[:20]


def test_the_problem_never_repeats_the_content() -> None:
    read = decode("principal/ana", b'{"type":"PrincipalSuspended","v":1,"at":"s3cret-71","actor":1,"principal":"ana"}')
    assert isinstance(read, Unreadable)
    assert "s3cret-71" not in read.problem
    assert "actor, at" in read.problem


def test_what_no_reader_would_take_is_never_written() -> None:
    log = MemoryLog()
    large = PrincipalSuspended(**SAID, principal="ana", reason="x" * MAX_MESSAGE_BYTES)
    odd = PrincipalSuspended(**SAID, principal=7)  # type: ignore[arg-type]
    for message in (large, odd):
        with pytest.raises(ControlError, match="PrincipalSuspended"):
            publish(log, [message], SIGNER)
    assert log.topics == {}


def test_columns_whose_names_could_run_together_have_keys_of_their_own() -> None:
    names = [("a", "b", "c", "d"), ("a", "b.c", "d", ""), ("a", "b", "c.d", ""), ('a","b', "c", "d", "")]
    assert len({catalogue_key(*name) for name in names}) == len(names)


def test_a_suspension_and_its_end_are_about_the_same_subject() -> None:
    assert MESSAGES[1].key == MESSAGES[2].key


def test_what_expires_holds_until_then() -> None:
    kill = SessionKilled(**SAID, session_id="s", expires_at=100)
    assert kill.holds(99)
    assert not kill.holds(100)
    assert MESSAGES[1].holds(2**62)


def test_expired_names_the_offsets_that_hold_no_more() -> None:
    log = MemoryLog()
    publish(log, MESSAGES, SIGNER)
    log.append(CONTROL.name, [NewRecord(MESSAGES[0].key.encode(), b"", tombstone=True)])
    assert expired(log, 6) == [0]
    assert expired(log, 7) == [0, 3]


def test_what_is_published_again_is_older_by_a_microsecond_already_and_a_slow_clock_is_later_all_the_same() -> None:
    first, back = PrincipalSuspended(**SAID, principal="ana"), PrincipalResumed(**SAID, principal="ana")
    assert outdated(dataclasses.replace(back, at=back.at + 1), first)
    assert not outdated(first, first)
    assert outdated(first, back) != outdated(back, first), "of two at once one is the older, whichever is read first"
    slow = dataclasses.replace(back, at=back.at - 3_600_000_000)
    assert later(slow, first).at == first.at + 1
    assert not outdated(first, later(slow, first))
    assert later(back, None) is back
    assert later(back, Unreadable(back.key, "?")) is back
    assert later(slow, slow).at > slow.at


def test_a_grant_revoked_at_once_does_not_come_back_when_it_is_published_again() -> None:
    log = MemoryLog()
    given = GrantChanged(**SAID, grant_id="g", principal="ana", groups=("dba",))
    revoked = dataclasses.replace(given, at=given.at + 5_000_000, revoked=True)
    publish(log, [given, revoked, given], SIGNER)
    assert standing(log, TRUST, "grant/") == {"grant/g": revoked}
