"""Style `bucket`: what of a value says roughly where it lies, so that people can still be counted by year, region or size.

Only for classes of which a part tells nobody apart: dates of birth, addresses, health, network addresses. A number keeps its
first digit, a date its year, rounded down; the type stays valid in both formats. Everything else, and what cannot be read, is not
shown.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from struct import Struct, error

from schemas.classes import DataClass

CLASSES = frozenset((DataClass.DATE_OF_BIRTH, DataClass.ADDRESS, DataClass.HEALTH, DataClass.IP_ADDRESS))
_INTEGERS = {20: Struct(">q"), 21: Struct(">h"), 23: Struct(">i")}
_FLOATS = {700: Struct(">f"), 701: Struct(">d")}
_NUMERIC, _DATE, _TIMESTAMPS = 1700, 1082, {1114: "", 1184: "+00"}
_EPOCH = date(2000, 1, 1)
_DAY_US = 86_400_000_000
_HEAD = Struct(">hhHH")
_ISO = re.compile(rb"([0-9]{4})-[0-9]{2}-[0-9]{2}")
_YEAR = re.compile(rb"(?<![0-9])((?:19|20)[0-9]{2})(?![0-9])")
_POSTCODE = re.compile(rb"([0-9]{2})[0-9]{2,8}(?:-[0-9]{3,4})?")
_UK_POSTCODE = re.compile(rb"([A-Z]{1,2})[0-9][0-9A-Z]? ?[0-9][A-Z]{2}")
_ICD = re.compile(rb"([A-TV-Z])[0-9][0-9A-Z](?:\.[0-9A-Z]{1,4})?")
_IPV4 = re.compile(rb"([0-9]{1,3}\.[0-9]{1,3})\.[0-9]{1,3}\.[0-9]{1,3}")


def text_bucket(value: bytes, data_class: DataClass) -> bytes | None:
    """Return the bucket of a text, None where it has none."""
    if data_class is DataClass.DATE_OF_BIRTH:
        years = _YEAR.findall(value)
        return years[0] if len(years) == 1 and len(value) <= 32 else None
    patterns = {
        DataClass.ADDRESS: (_POSTCODE, _UK_POSTCODE),
        DataClass.HEALTH: (_ICD,),
        DataClass.IP_ADDRESS: (_IPV4,),
    }
    for pattern in patterns.get(data_class, ()):
        match = pattern.fullmatch(value)
        if match is not None:
            return match[1] + (b".*.*" if pattern is _IPV4 else b"***")
    return None


def typed_bucket(value: bytes, data_class: DataClass, type_oid: int, binary: bool) -> bytes | None:
    """Return the bucket of a number or a date as its type is written, None where it has none or is not understood."""
    if data_class not in CLASSES:
        return None
    try:
        if type_oid in _INTEGERS:
            packing = _INTEGERS[type_oid]
            return packing.pack(_rounded(packing.unpack(value)[0])) if binary else b"%d" % _rounded(int(value))
        if type_oid in _FLOATS:
            number = _FLOATS[type_oid].unpack(value)[0] if binary else float(value)
            whole = _rounded(int(number))
            return _FLOATS[type_oid].pack(whole) if binary else b"%d" % whole
        if type_oid == _NUMERIC:
            return _numeric(value) if binary else b"%d" % _rounded(int(value.partition(b".")[0]))
        if type_oid == _DATE:
            return _date(value, binary)
        if type_oid in _TIMESTAMPS:
            return _timestamp(value, binary, _TIMESTAMPS[type_oid])
    except (ValueError, OverflowError, error):
        pass
    return None


def _rounded(number: int) -> int:
    """Towards zero, to one digit that counts, of tens at least."""
    size: int = 10 ** max(1, len(str(abs(number))) - 1)
    return (abs(number) // size) * size * (1 if number >= 0 else -1)


def _numeric(value: bytes) -> bytes:
    """A numeric in binary format: digits to the base of 10,000, of which the first and of it the first decimal digit stays."""
    count, weight, sign, _ = _HEAD.unpack_from(value)
    if sign not in (0, 0x4000):
        raise ValueError("not a number")
    first = int.from_bytes(value[8:10], "big") if count > 0 and weight >= 0 else 0
    first = _rounded(first) if weight == 0 else 10 ** (len(str(first)) - 1) * int(str(first)[0]) if first else 0
    if not first:
        return _HEAD.pack(0, 0, 0, 0)
    return _HEAD.pack(1, weight, sign, 0) + first.to_bytes(2, "big")


def _date(value: bytes, binary: bool) -> bytes:
    if not binary:
        match = _ISO.fullmatch(value)
        if match is None:
            raise ValueError("not a date of the ISO style")
        return match[1] + b"-01-01"
    day = _EPOCH + timedelta(days=int.from_bytes(value, "big", signed=True))
    return (day.replace(month=1, day=1) - _EPOCH).days.to_bytes(4, "big", signed=True)


def _timestamp(value: bytes, binary: bool, zone: str) -> bytes:
    if not binary:
        match = _ISO.match(value)
        if match is None or value[10:11] != b" ":
            raise ValueError("not a time of the ISO style")
        return match[1] + b"-01-01 00:00:00" + zone.encode()
    day = _EPOCH + timedelta(days=int.from_bytes(value, "big", signed=True) // _DAY_US)
    return ((day.replace(month=1, day=1) - _EPOCH).days * _DAY_US).to_bytes(8, "big", signed=True)
