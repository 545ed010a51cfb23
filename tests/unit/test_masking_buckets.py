"""Buckets say roughly where a value lies, in a value that is valid for its type; nothing of other classes, nor of what is odd."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.datetime import DateBinaryDumper, DatetimeBinaryDumper
from psycopg.types.numeric import DecimalBinaryDumper, NumericBinaryLoader

from ingest.masking.cells import REDACTED, masked
from ingest.masking.plan import MaskPlan, planned
from processors.statements import Tokenizer
from schemas.classes import DataClass as C
from schemas.classes import Style

TOKENS = Tokenizer(b"k" * 32)
TEXT, DATE, TIMESTAMP, TIMESTAMPTZ, INT8, INT2, INT4, FLOAT8, NUMERIC = 25, 1082, 1114, 1184, 20, 21, 23, 701, 1700


def bucket(value: bytes, data_class: C, type_oid: int = TEXT, binary: bool = False) -> bytes | None:
    return masked(value, data_class, Style.BUCKET, type_oid, binary, TOKENS)


@pytest.mark.parametrize(
    ("value", "data_class", "type_oid", "expected"),
    [
        (b"1984-02-03", C.DATE_OF_BIRTH, TEXT, b"1984"),
        (b"3 Feb 1984", C.DATE_OF_BIRTH, TEXT, b"1984"),
        (b"1984 1985", C.DATE_OF_BIRTH, TEXT, REDACTED),
        (b"119840203", C.DATE_OF_BIRTH, TEXT, REDACTED),
        (b"1984-02-03", C.DATE_OF_BIRTH, DATE, b"1984-01-01"),
        (b"03.02.1984", C.DATE_OF_BIRTH, DATE, None),
        (b"0044-03-15 BC", C.DATE_OF_BIRTH, DATE, None),
        (b"1984-02-03 10:11:12.5", C.DATE_OF_BIRTH, TIMESTAMP, b"1984-01-01 00:00:00"),
        (b"1984-02-03 10:11:12+02", C.DATE_OF_BIRTH, TIMESTAMPTZ, b"1984-01-01 00:00:00+00"),
        (b"infinity", C.DATE_OF_BIRTH, TIMESTAMP, None),
        (b"10115", C.ADDRESS, TEXT, b"10***"),
        (b"94107-1234", C.ADDRESS, TEXT, b"94***"),
        (b"SW1A 1AA", C.ADDRESS, TEXT, b"SW***"),
        (b"12 Rose Street", C.ADDRESS, TEXT, REDACTED),
        (b"94107", C.ADDRESS, INT4, b"90000"),
        (b"E11.9", C.HEALTH, TEXT, b"E***"),
        (b"diabetes", C.HEALTH, TEXT, REDACTED),
        (b"73", C.HEALTH, INT4, b"70"),
        (b"-8", C.HEALTH, INT2, b"0"),
        (b"72.5", C.HEALTH, FLOAT8, b"70"),
        (b"NaN", C.HEALTH, FLOAT8, None),
        (b"1234.5", C.HEALTH, NUMERIC, b"1000"),
        (b"NaN", C.HEALTH, NUMERIC, None),
        (b"10.20.30.40", C.IP_ADDRESS, TEXT, b"10.20.*.*"),
        (b"2001:db8::1", C.IP_ADDRESS, TEXT, REDACTED),
        (b"10.20.30.40", C.IP_ADDRESS, 869, None),
        (b"536904399", C.NATIONAL_ID, INT8, None),
        (b"536-90-4399", C.NATIONAL_ID, TEXT, REDACTED),
        (b"ada@example.org", C.EMAIL, TEXT, REDACTED),
        (b"4012888888881881", C.PAYMENT_CARD, NUMERIC, None),
    ],
)  # fmt: skip
def test_what_a_bucket_keeps(value: bytes, data_class: C, type_oid: int, expected: bytes | None) -> None:
    assert bucket(value, data_class, type_oid) == expected


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_dates_in_binary_format(day: date) -> None:
    sent, wanted = (bytes(DateBinaryDumper(date).dump(d)) for d in (day, day.replace(month=1, day=1)))
    assert bucket(sent, C.DATE_OF_BIRTH, DATE, True) == wanted
    moment = datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC)
    sent, wanted = (
        bytes(DatetimeBinaryDumper(datetime).dump(m)) for m in (moment, datetime(day.year, 1, 1, tzinfo=UTC))
    )  # fmt: skip
    assert bucket(sent, C.DATE_OF_BIRTH, TIMESTAMPTZ, True) == wanted


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_numbers_keep_one_digit_in_both_formats(number: int, scale: int) -> None:
    text = bucket(b"%d" % number, C.HEALTH, INT8)
    assert text is not None
    rounded = int(text)
    assert abs(rounded) <= abs(number) and abs(number) - abs(rounded) < max(10, 10 ** (len(str(abs(number))) - 1))
    assert len(str(abs(rounded)).rstrip("0")) <= 1
    assert bucket(pack(">q", number), C.HEALTH, INT8, True) == pack(">q", rounded)
    sent = bytes(DecimalBinaryDumper(Decimal).dump(Decimal(number).scaleb(-scale)))
    found = bucket(sent, C.HEALTH, NUMERIC, True)
    assert found is not None
    kept = int(NumericBinaryLoader(NUMERIC).load(found))
    wanted = bucket(str(Decimal(number).scaleb(-scale)).encode(), C.HEALTH, NUMERIC)
    assert "E" in str(Decimal(number).scaleb(-scale)) or wanted == b"%d" % kept


def test_odd_bytes_are_not_shown() -> None:
    for type_oid in (DATE, TIMESTAMP, INT2, INT4, INT8, FLOAT8, NUMERIC):
        for value in (b"", b"\x7f", b"\x7f\xff\xff\xff", b"\x7f" + b"\xff" * 7, b"\xff" * 9):
            found = bucket(value, C.DATE_OF_BIRTH, type_oid, True)
            assert found is None or len(found) in (2, 4, 8, 10)


def test_what_is_computed_or_of_several_classes_has_no_bucket() -> None:
    seen = MaskPlan(styles={C.DATE_OF_BIRTH: Style.BUCKET})
    born = frozenset((C.DATE_OF_BIRTH,))
    assert planned(born, seen, DATE, False, 1, 1).style is Style.BUCKET
    assert planned(born, seen, DATE, False).style is Style.REDACT
    assert planned(born | {C.EMAIL}, seen, DATE, False, 1, 1).style is Style.REDACT
