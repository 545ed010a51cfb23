"""What is C by hand returns what the Python beside it returns, whatever it is given."""

from __future__ import annotations

from hashlib import blake2b
from struct import pack
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.net.clock import read_clock
from ingest.protocols.postgres.executions import dynamic_text, outcome_text
from ingest.protocols.postgres.expected import Prepared
from ingest.protocols.postgres.framing import length_of
from ingest.protocols.postgres.parameters import NULL_TOKEN
from ingest.protocols.postgres.repeats import Repeats
from ingest.protocols.postgres.values import unspecified_text
from ingest.spool.frames import frame_bytes
from ingest.spool.records import intent_record, outcome_record
from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.shapes import MAX_DIGITS, Shape, without_digits
from tests.support.native import built

KEY = bytes(range(32))
NUMBER = st.integers() | st.sampled_from([0, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**19])


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return built(tmp_path_factory.mktemp("native"))


@given(st.lists(NUMBER, min_size=7, max_size=7), st.binary(), st.binary(), st.binary())
@example([1, 2, 3, 4, 5, 6, 7], b"ok", b"", b"{" + b"x" * 3000 + b"}")
def test_fragments_are_worded_alike(hot: ModuleType, numbers: list[int], status: bytes, state: bytes, exposure: bytes) -> None:
    given_ = (numbers[0], status, state, *numbers, exposure)
    assert hot.outcome(*given_) == outcome_text(*given_)


@given(st.binary(), st.binary(), st.lists(st.text(st.characters(codec="utf-8"))) | st.just(("a", "b")), st.binary())
@example(b"prepared", b"I", ["int:0123456789abcdef"] * 300, b"{}")
def test_what_is_known_before_is_worded_alike(
    hot: ModuleType, kind: bytes, transaction: bytes, params: list[str], claims: bytes
) -> None:
    assert hot.dynamic(kind, transaction, params, claims, b"{}") == dynamic_text(kind, transaction, params, claims, b"{}")


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=100))
@example(4_000_000_000, 0, b"")
@example(1, 2, bytes(range(256)) * 400)
def test_frames_are_made_alike(hot: ModuleType, epoch: int, number: int, payload: bytes) -> None:
    assert hot.frame(epoch, number, payload) == frame_bytes(epoch, number, payload)
    for numbers in ((2**32, 0), (0, 2**32), (-1, 0), (0, -1)):
        with pytest.raises(OverflowError):
            hot.frame(*numbers, payload)


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1), st.binary())
def test_records_are_made_alike(hot: ModuleType, number: int, at: int, definition: int, fragment: bytes) -> None:
    assert hot.intent(number, at, definition, 7, fragment) == intent_record(number, at, definition, 7, fragment)
    assert hot.intent(number, at, 7, definition, fragment) == intent_record(number, at, 7, definition, fragment)
    assert hot.ended(number, number // 2, fragment) == outcome_record(number, number // 2, fragment)
    for numbers in ((-1, 0, 0, 0), (2**64, 0, 0, 0), (0, 2**63, 0, 0), (0, 0, 2**32, 0), (0, 0, 0, -1)):
        with pytest.raises(OverflowError):
            hot.intent(*numbers, b"")


@given(st.binary(min_size=16, max_size=64), st.text(st.characters(codec="utf-8"), max_size=100), st.binary(max_size=400))
@example(KEY, "int", b"")
@example(KEY, "int", bytes(127))
@example(KEY, "int", bytes(128))
@example(KEY, "int", bytes(129))
@example(KEY, "int", bytes(256))
@example(KEY, "int", bytes(257))
def test_tokens_are_made_alike(hot: ModuleType, key: bytes, type: str, value: bytes) -> None:
    assert hot.Keyed(key).token(type, value) == f"{type}:{blake2b(value, digest_size=8, key=key).hexdigest()}"


VALUE = st.none() | st.binary(max_size=30) | st.sampled_from([b"7", b"0", b"-0", b"00", b"-7", b"+7", b"-", b"9" * 19, b"9" * 20])


def a_bind(values: list[bytes | None], codes: bytes = b"\0\0", results: bytes = b"\0\0") -> bytes:
    body = b"\0name\0" + codes + pack("!H", len(values))
    body += b"".join(pack("!i", -1) if v is None else pack("!i", len(v)) + v for v in values) + results
    return b"B" + pack("!I", len(body) + 4) + body


def both(hot: ModuleType, learnt: bytes, data: bytes, oids: tuple[int, ...]) -> tuple[object, object]:
    """What the Python and the C make of a Bind, after one that was parsed."""
    repeats, tokenizer = Repeats(), Tokenizer(KEY)
    tokenizer.native = None
    statement = Analyser(tokenizer).analyse(b"SELECT $1", Lexing()).statements[0]
    repeats.learn(learnt, 5, learnt.index(b"name\0") + 5, len(learnt), Prepared(statement, (), {}, oids))
    found = []
    for native in (None, hot.Keyed(KEY)):
        tokenizer.native = native
        tokens = repeats.match(data, tokenizer)
        found.append((tokens, repeats.end if tokens is not None else 0))
    return found[0], found[1]


TAIL = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\4"
OIDS = st.sampled_from([(), (23,), (0, 25), (16, 17, 1700, 1184)])


@given(st.lists(VALUE, max_size=5), st.lists(VALUE, max_size=5), OIDS, st.sampled_from([b"\0\0", b"\0\1\0\1", b"\0\2\0\0\0\1"]))
def test_repetitions_are_known_alike(
    hot: ModuleType, first: list[bytes | None], then: list[bytes | None], oids: tuple[int, ...], results: bytes
) -> None:
    python, c = both(hot, a_bind(first), a_bind(then, results=results) + TAIL, oids)
    assert python == c
    if len(first) == len(then):
        assert python != (None, 0)


@given(st.lists(VALUE, min_size=1, max_size=3), OIDS, st.data())
def test_damaged_repetitions_are_refused_alike(
    hot: ModuleType, values: list[bytes | None], oids: tuple[int, ...], data: st.DataObject
) -> None:
    whole = bytearray(a_bind(values) + TAIL)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from([0, 1, 5, 127, 128, 255]))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    python, c = both(hot, a_bind(values), cut, oids)
    assert python == c
    python, c = both(hot, a_bind(values), bytes(whole), oids)
    assert python == c


PART = st.sampled_from([b"", b" ", b",", b" AND b = ", b")", b"1", b"a1"])


@given(
    st.sampled_from([b"", b"SELECT ", b"SELECT t1 WHERE a = "]),
    st.lists(PART, max_size=4),
    st.lists(st.sampled_from([b"", b"1", b"12", b"9" * 18, b"9" * 19, b"x", b"1x"]), max_size=5),
    st.binary(max_size=3),
)
def test_numbers_of_texts_are_found_alike(
    hot: ModuleType, first: bytes, behind: list[bytes], numbers: list[bytes], rest: bytes
) -> None:
    text = first + b"".join(n + p for n, p in zip(numbers, behind, strict=False)) + rest
    tokenizer, shape = Tokenizer(KEY), Shape(first, tuple(behind), ())
    tokenizer.native = None
    expected = shape.tokens(text, tokenizer)
    tokenizer.native = hot.Keyed(KEY)
    assert shape.tokens(text, tokenizer) == expected
    assert hot.without_digits(text) == without_digits(text)
    assert hot.Keyed(KEY).numbers(text, first, tuple(behind), MAX_DIGITS) == expected


@given(st.binary(min_size=4, max_size=12), st.integers(0, 8))
def test_lengths_are_read_alike(hot: ModuleType, data: bytes, pos: int) -> None:
    if pos + 4 <= len(data):
        assert hot.length_at(data, pos) == length_of(data, pos)
    for outside in (-1, len(data) - 3, len(data), 2**62):
        with pytest.raises(IndexError):
            hot.length_at(data, outside)


def test_the_clock_is_the_same(hot: ModuleType) -> None:
    readings = [read_clock(), hot.now_us(), read_clock(), hot.now_us()]
    assert readings == sorted(readings)
    assert readings[-1] - readings[0] < 60_000_000


def test_wrong_arguments_are_errors_and_not_crashes(hot: ModuleType) -> None:
    keyed = hot.Keyed(KEY)
    for call in (
        lambda: hot.outcome(1),
        lambda: hot.outcome("1", b"", b"", 1, 1, 1, 1, 1, 1, 1, b""),
        lambda: hot.outcome(1, "", b"", 1, 1, 1, 1, 1, 1, 1, b""),
        lambda: hot.dynamic(b"", b"", None, b"", b""),
        lambda: hot.dynamic(b"", b"", [1], b"", b""),
        lambda: hot.frame(1, 1, "text"),
        lambda: hot.intent(1, 1, 1, 1, "text"),
        lambda: hot.ended(1, "1", b""),
        lambda: hot.without_digits("1"),
        lambda: hot.length_at("1234", 0),
        lambda: hot.length_at(b"1234", None),
        lambda: keyed.token(1, b""),
        lambda: keyed.token("", "1"),
        lambda: keyed.bound(b"B", b"", 0, [], None, NULL_TOKEN),
        lambda: keyed.numbers(b"1", b"", [b""], 18),
        lambda: keyed.numbers(b"1", b"", ("",), 18),
        lambda: hot.Keyed("text"),
    ):
        with pytest.raises(TypeError):
            call()
    data = a_bind([b"1"]) + TAIL
    with pytest.raises(TypeError):
        keyed.bound(data, data[5:13], 15, (lambda value: None,), unspecified_text, NULL_TOKEN)
    with pytest.raises(ZeroDivisionError):
        keyed.bound(data, data[5:13], 15, (lambda value: 1 / 0,), unspecified_text, NULL_TOKEN)
    for size in (0, 65):
        with pytest.raises(ValueError, match="1 to 64 bytes"):
            hot.Keyed(bytes(size))
