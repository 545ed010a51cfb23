"""One value, one token: in text, in binary, as a literal; malformed messages are the client's fault, odd values nobody's."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.errors import ClientProtocolError
from ingest.protocols.postgres.parameters import bind_tokens, function_call_tokens
from processors.statements.lexer import INTEGER
from processors.statements.tokens import MAX_PARAMS, Tokenizer

INT2, INT4, INT8, OID, BOOL, BYTEA = 21, 23, 20, 26, 16, 17
FLOAT4, FLOAT8, NUMERIC = 700, 701, 1700
TEXT, VARCHAR, UUID, DATE, TIMESTAMP, TIMESTAMPTZ, JSON, JSONB = 25, 1043, 2950, 1082, 1114, 1184, 114, 3802


class Clear:
    """Tokens in clear, so that a test sees what would be hashed."""

    def token(self, type: str, value: bytes) -> str:
        return f"{type}:{value.decode('latin-1')}"


def bind(
    values: Sequence[bytes | None], formats: Sequence[int] = (), results: Sequence[int] = (), names: bytes = b"p\0s\0"
) -> bytes:
    body = names + struct.pack(f"!H{len(formats)}hH", len(formats), *formats, len(values))
    body += b"".join(struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
    return body + struct.pack(f"!H{len(results)}h", len(results), *results)


def one(oid: int, format_code: int, value: bytes) -> str:
    return bind_tokens(bind([value], [format_code]), (oid,), Clear())[2][0]


MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(2000, 1, 1)


@pytest.mark.parametrize(
    ("oid", "texts", "binary", "token"),
    [
        (INT2, [b"-7", b" -07 "], struct.pack("!h", -7), "int:-7"),
        (INT4, [b"42", b"+42", b"0042"], struct.pack("!i", 42), "int:42"),
        (INT8, [b"-9223372036854775808"], struct.pack("!q", -(2**63)), "int:-9223372036854775808"),
        (INT4, [b"0", b"-0", b"000"], struct.pack("!i", 0), "int:0"),
        (OID, [b"4294967295"], struct.pack("!I", 2**32 - 1), "int:4294967295"),
        (BOOL, [b"t", b"TRUE", b" yes", b"on", b"1", b"tr"], b"\1", "bool:t"),
        (BOOL, [b"f", b"false", b"No", b"off", b"0"], b"\0", "bool:f"),
        (TEXT, [b"h\xc3\xa9"], b"h\xc3\xa9", "text:h\xc3\xa9"),
        (VARCHAR, [b""], b"", "text:"),
        (BYTEA, [b"\\x0061ff", b"\\000a\\377"], b"\0a\xff", "bytes:\0a\xff"),
        (BYTEA, [b"a\\\\b"], b"a\\b", "bytes:a\\b"),
        (FLOAT8, [b"1.5", b"+1.50", b"15e-1", b"0.15E1"], struct.pack("!d", 1.5), "numeric:1.5"),
        (FLOAT8, [b"100", b"1e2", b"100.0"], struct.pack("!d", 100), "numeric:100"),
        (FLOAT8, [b"0", b"-0", b".0"], struct.pack("!d", -0.0), "numeric:0"),
        (FLOAT8, [b"Infinity", b"inf"], struct.pack("!d", float("inf")), "numeric:Infinity"),
        (FLOAT8, [b"NaN", b"nan"], struct.pack("!d", float("nan")), "numeric:NaN"),
        (FLOAT4, [b"0.1"], struct.pack("!f", 0.1), "numeric:0.1"),
        (FLOAT4, [b"3.4028235e38"], b"\x7f\x7f\xff\xff", "numeric:340282350000000000000000000000000000000"),
        (FLOAT4, [b"-inf"], struct.pack("!f", float("-inf")), "numeric:-Infinity"),
        (FLOAT4, [b"nan"], struct.pack("!f", float("nan")), "numeric:NaN"),
        (NUMERIC, [b"12345.678", b"12345.6780"], struct.pack("!HhHHHHH", 3, 1, 0, 3, 1, 2345, 6780), "numeric:12345.678"),
        (NUMERIC, [b"-0.0001"], struct.pack("!HhHHH", 1, -1, 0x4000, 4, 1), "numeric:-0.0001"),
        (NUMERIC, [b"10000", b"1e4"], struct.pack("!HhHHH", 1, 1, 0, 0, 1), "numeric:10000"),
        (NUMERIC, [b"0"], struct.pack("!HhHH", 0, 0, 0, 0), "numeric:0"),
        (NUMERIC, [b"NaN"], struct.pack("!HhHH", 0, 0, 0xC000, 0), "numeric:NaN"),
        (NUMERIC, [b"1e120000"], struct.pack("!HhHHH", 1, 30_000, 0, 0, 1), "numeric:1e120000"),
        (
            UUID,
            [b"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", b"{a0eebc999c0b4ef8bb6d6bb9bd380a11}"],
            uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").bytes,
            "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        (DATE, [b"2024-02-29"], struct.pack("!i", (date(2024, 2, 29) - date(2000, 1, 1)).days), "date:2024-02-29"),
        (DATE, [b"infinity"], struct.pack("!i", 2**31 - 1), "date:infinity"),
        (
            TIMESTAMP,
            [b"2024-02-29 10:11:12.5", b"2024-02-29T10:11:12.500", b"2024-02-29 10:11:12.5+02"],
            struct.pack("!q", (datetime(2024, 2, 29, 10, 11, 12, 500_000) - EPOCH) // MICROSECOND),
            "timestamp:2024-02-29 10:11:12.5",
        ),
        (
            TIMESTAMPTZ,
            [b"2024-02-29 12:11:12+02", b"2024-02-29 10:11:12Z", b"2024-02-29 05:41:12-04:30"],
            struct.pack("!q", (datetime(2024, 2, 29, 10, 11, 12) - EPOCH) // MICROSECOND),
            "timestamp:2024-02-29 10:11:12+00",
        ),
        (TIMESTAMPTZ, [b"-infinity"], struct.pack("!q", -(2**63)), "timestamp:-infinity"),
        (JSON, [b'{"a": 1}'], b'{"a": 1}', 'json:{"a": 1}'),
        (JSONB, [b'{"a": 1}'], b'\1{"a": 1}', 'json:{"a": 1}'),
    ],
)
def test_text_and_binary_give_one_token(oid: int, texts: list[bytes], binary: bytes, token: str) -> None:
    assert [one(oid, 0, text) for text in texts] == [token] * len(texts)
    assert one(oid, 1, binary) == token


@pytest.mark.parametrize(
    ("oid", "format_code", "value", "token"),
    [
        (INT4, 0, b"0x1F", "int:0x1F"),  # text keeps its word and its bytes
        (INT4, 0, b"9" * 50, "int:" + "9" * 50),
        (NUMERIC, 0, b"1_000", "numeric:1_000"),
        (NUMERIC, 0, b".", "numeric:."),
        (BOOL, 0, b"perhaps", "bool:perhaps"),
        (DATE, 0, b"29/02/2024", "date:29/02/2024"),
        (DATE, 0, b"2023-02-29", "date:2023-02-29"),
        (TIMESTAMPTZ, 0, b"2024-02-29 10:11:12", "timestamp:2024-02-29 10:11:12"),  # TimeZone decides
        (TIMESTAMPTZ, 0, b"0001-01-01 00:00:00+14", "timestamp:0001-01-01 00:00:00+14"),
        (UUID, 0, b"not-one", "uuid:not-one"),
        (BYTEA, 0, b"\\xzz", "bytes:\\xzz"),
        (INT4, 1, b"\0\1", "oid23:\0\1"),  # binary of the wrong size says so
        (BOOL, 1, b"", "oid16:"),
        (FLOAT8, 1, b"abc", "oid701:abc"),
        (FLOAT4, 1, b"", "oid700:"),
        (NUMERIC, 1, struct.pack("!HhHHH", 2, 0, 0, 0, 1), "oid1700:\0\2\0\0\0\0\0\0\0\1"),
        (NUMERIC, 1, struct.pack("!HhHHH", 1, 0, 0, 0, 10_000), "oid1700:\0\1\0\0\0\0\0\0\x27\x10"),
        (UUID, 1, b"short", "oid2950:short"),
        (DATE, 1, struct.pack("!i", 2**30), "oid1082:\x40\0\0\0"),  # beyond the calendar
        (TIMESTAMP, 1, struct.pack("!q", 2**62), "oid1114:\x40\0\0\0\0\0\0\0"),
        (JSONB, 1, b"\2{}", "oid3802:\2{}"),
        (869, 0, b"10.0.0.1", "oid869:10.0.0.1"),  # a type without rules
        (1007, 1, b"\0", "oid1007:\0"),
        (INT4, 7, b"\0", "oid23:\0"),  # the server refuses this format
    ],
)
def test_what_does_not_convert_exactly_is_taken_as_it_is(oid: int, format_code: int, value: bytes, token: str) -> None:
    assert one(oid, format_code, value) == token


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"42", "int:42"),
        (b"-1", "int:-1"),
        (b"0", "int:0"),
        (b"007", "text:007"),
        (b"+7", "text:+7"),
        (b"-0", "text:-0"),
        (b"4.2", "text:4.2"),
        (b"", "text:"),
        (b"42\n", "text:42\n"),
        (b"9" * 19, "int:" + "9" * 19),
        (b"9" * 20, "text:" + "9" * 20),
    ],
)
def test_unspecified_type_in_text_is_int_only_if_canonical(value: bytes, token: str) -> None:
    assert one(0, 0, value) == token
    assert bind_tokens(bind([value]), (), Clear())[2] == [token]
    assert one(0, 1, value) == "oid0:" + value.decode()


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40, places=20))
def test_decimals_keep_their_value_and_lose_their_spelling(number: Decimal) -> None:
    token = one(NUMERIC, 0, str(number).encode())
    assert Decimal(token.removeprefix("numeric:")) == number
    assert token == one(NUMERIC, 0, f"{number:+.30f}".encode())


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float4_is_written_with_the_digits_it_needs(number: float) -> None:
    written = one(FLOAT4, 1, struct.pack("!f", number)).removeprefix("numeric:")
    assert struct.pack("!f", float(written)) == struct.pack("!f", number + 0.0)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float8_keeps_its_value(number: float) -> None:
    assert float(one(FLOAT8, 1, struct.pack("!d", number)).removeprefix("numeric:")) == number


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-8))])))
def test_moments_are_compared_in_utc(moment: datetime) -> None:
    try:
        naive = moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        return
    binary = struct.pack("!q", (naive - EPOCH) // MICROSECOND)
    assert one(TIMESTAMPTZ, 1, binary) == one(TIMESTAMPTZ, 0, str(moment).encode())


def test_names_nulls_and_formats() -> None:
    four = struct.pack("!i", 4)
    assert bind_tokens(bind([b"a", None, b"4"], (), [1]), (TEXT, INT4, INT4), Clear()) == (
        b"p",
        b"s",
        ["text:a", "null", "int:4"],
    )
    assert bind_tokens(memoryview(bind([four, four], [1])), (INT4, INT4), Clear())[2] == ["int:4", "int:4"]
    assert bind_tokens(bind([b"4", four], [0, 1], [0, 1]), [INT4, INT4], Clear())[2] == ["int:4", "int:4"]
    assert bind_tokens(bind([], (), (), b"\0\0"), (), Clear()) == (b"", b"", [])


def test_too_few_types_or_formats_are_left_to_the_server() -> None:
    assert bind_tokens(bind([b"1", b"2"], [0, 0]), (TEXT,), Clear())[2] == ["text:1", "int:2"]
    assert bind_tokens(bind([b"1", b"2", b"3"], [0, 0]), (INT4, INT4, INT4), Clear())[2] == ["int:1", "int:2", "oid23:3"]


def test_as_many_parameters_as_the_protocol_has() -> None:
    tokens = bind_tokens(bind([b"1"] * 65_535), (INT4,) * 65_535, Clear())[2]
    assert len(tokens) == MAX_PARAMS + 1 and set(tokens[:-1]) == {"int:1"}
    assert tokens[-1] == f"more.{65_535 - MAX_PARAMS}:" + "int:1:1" * (65_535 - MAX_PARAMS)


def test_the_rest_of_many_is_one_token_as_for_literals() -> None:
    values = [b"%d" % n for n in range(MAX_PARAMS + 3)]
    tokenizer = Tokenizer(b"k" * 32)
    tokens = bind_tokens(bind(values), (INT4,) * len(values), tokenizer)[2]
    assert tuple(tokens) == tokenizer.tokens([(INTEGER, v.decode()) for v in values])
    assert bind_tokens(bind([*values[:-1], None]), (INT4,) * len(values), tokenizer)[2][-1] != tokens[-1]
    with pytest.raises(ClientProtocolError):
        bind_tokens(bind(values)[:-8], (), tokenizer)


@pytest.mark.parametrize("oid", [0, INT4, NUMERIC, BOOL, UUID, DATE, TIMESTAMPTZ, TEXT, 999])
def test_long_values_are_tokenised_whole(oid: int) -> None:
    value = b"9" * 2_000_000
    assert one(oid, 0, value).split(":", 1)[1] == value.decode()


GOOD = bind([b"one", None, b"\0\0\0\4"], [0, 0, 1], [1, 0])


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_every_cut_is_the_clients_fault(cut: int) -> None:
    with pytest.raises(ClientProtocolError):
        bind_tokens(GOOD[:cut], (), Clear())


@pytest.mark.parametrize("body", [GOOD + b"\0", bind([b"x"]).replace(b"\0\0\0\1x", b"\xff\xff\xff\xfex"), b"no end", b""])
def test_malformed_bodies_are_the_clients_fault(body: bytes) -> None:
    with pytest.raises(ClientProtocolError) as e:
        bind_tokens(body, (), Clear())
    assert "one" not in str(e.value)


@given(
    st.binary(max_size=80),
    st.lists(st.sampled_from([0, 16, 20, 23, 25, 700, 701, 1082, 1114, 1184, 1700, 2950, 3802]), max_size=6),
)
def test_any_bytes_read_or_are_the_clients_fault(body: bytes, oids: list[int]) -> None:
    for read in (lambda: bind_tokens(body, oids, Clear()), lambda: function_call_tokens(body, Clear())):
        try:
            read()
        except ClientProtocolError:
            continue


@given(
    st.sampled_from([16, 17, 20, 21, 23, 25, 26, 700, 701, 1082, 1114, 1184, 1700, 2950, 3802]),
    st.integers(0, 1),
    st.binary(max_size=24),
)
def test_any_value_gets_a_token(oid: int, format_code: int, value: bytes) -> None:
    assert ":" in one(oid, format_code, value)


def test_function_calls() -> None:
    body = struct.pack("!I", 1598) + bind([b"7", None, b"x"], (), (), b"")[:-2] + struct.pack("!h", 1)
    assert function_call_tokens(body, Clear()) == (1598, ["int:7", "null", "text:x"])
    for cut in range(len(body)):
        with pytest.raises(ClientProtocolError):
            function_call_tokens(body[:cut], Clear())
    with pytest.raises(ClientProtocolError):
        function_call_tokens(body + b"\0", Clear())
