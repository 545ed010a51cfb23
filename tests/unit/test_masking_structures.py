"""Masks inside of documents, arrays and rows: what holds a value is hidden, everything else stays byte for byte."""

from __future__ import annotations

import json
import time
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.masking.structures import Members, has_keys, key_classes, member, members
from processors.sensitivity import Scanner
from schemas.classes import DataClass as C

SCANNER = Scanner()
MAIL = "zq7hidden@example.org"
NOTHING: frozenset[C] = frozenset()


def document(text: bytes, clear: frozenset[C] = NOTHING, above: bytes = b"") -> bytes | None:
    found: list[C] = []
    spans = [s for s in SCANNER.scan((text,)) if s.data_class not in clear]
    return Members(SCANNER, clear, found.append).document(text, spans, above)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"full_name":  "Zq Seven" , "n": 1.10}', '{"full_name":  "[masked]" , "n": 1.10}'),
        ('{"a": ["x", "write to zq7hidden@example.org now"]}', '{"a": ["x", "write to [masked] now"]}'),
        ('{"a": "zq7hidden\\u0040example.org", "b": 1e-7}', '{"a": "[masked]", "b": 1e-7}'),
        ('{"zq7hidden@example.org": {"x": 1}}', '{"[masked]": {"x": 1}}'),
        ('{"customer": {"name": "zq"}, "name": "lamp"}', '{"customer": {"name": "[masked]"}, "name": "lamp"}'),
        ('{"customers": [{"name": "zq", "age": 3}]}', '{"customers": [{"name": "[masked]", "age": 3}]}'),
        ('{"address": {"a": ["zq", 12, null, true]}, "z": 1}', '{"address": {"a": ["[masked]", null, null, null]}, "z": 1}'),
        ('{"ssn": 219099999, "n": 219099999}', '{"ssn": null, "n": 219099999}'),
        ('{"card": 4012888888881881, "n": 2.50}', '{"card": null, "n": 2.50}'),
        ('{"payload": "{\\"full_name\\": \\"Zq Seven\\"}"}', '{"payload": "[masked]"}'),
        ('{"full\\u005fname": "Zq Seven"}', '{"full\\u005fname": "[masked]"}'),
        ('"zq7hidden@example.org"', '"[masked]"'),
        ('[[], {}, "", 0, "zq7hidden@example.org"]', '[[], {}, "", 0, "[masked]"]'),
    ],
)  # fmt: skip
def test_a_document_keeps_its_structure(before: str, after: str) -> None:
    found = document(before.encode())
    assert found == after.encode()
    json.loads(found)


def test_what_is_clear_stays_and_tables_say_what_a_name_is() -> None:
    text = b'{"email": "zq7hidden@example.org", "phone": "+49 30 1234567"}'
    assert document(text, frozenset((C.EMAIL,))) == b'{"email": "zq7hidden@example.org", "phone": "[masked]"}'
    assert document(text, frozenset(C)) == text
    assert document(b'{"name": "zq"}', above=b"customers") == b'{"name": "[masked]"}'
    assert document(b'{"name": "zq"}', above=b"products") == b'{"name": "zq"}'
    assert key_classes(b"notes") == NOTHING, "of free text only values tell"
    assert has_keys(b'{"a": {"dob": 1}}', b"", NOTHING) and not has_keys(b'{"a": {"dob": 1}}', b"", frozenset((C.DATE_OF_BIRTH,)))


@pytest.mark.parametrize("bad", [b'{"a": zq', b'{"a": "zq', b"{,}]", b"[" * 65 + b"]" * 65, b'{"a": "\x01"}', b"}"])
def test_what_cannot_be_read_is_not_shown(bad: bytes) -> None:
    assert document(bad) is None


SECRET = st.just(MAIL) | st.just("call +49 30 12345678 or 4012 8888 8888 1881")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | SECRET,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | SECRET, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_no_document_keeps_a_value(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = document(text)
    assert found is not None
    after = json.loads(found)
    for secret in (MAIL, "12345678", "4012 8888"):
        assert secret not in json.dumps(after)
    assert type(after) is type(value) or after is None
    if isinstance(value, list):
        assert len(after) == len(value)


def array(*elements: bytes | None) -> bytes:
    cells = b"".join(b"\xff" * 4 if e is None else pack(">i", len(e)) + e for e in elements)
    return pack(">iiIii", 1, int(None in elements), 25, len(elements), 1) + cells


def test_elements_of_arrays() -> None:
    whole = Members(SCANNER, NOTHING, lambda _: None)
    secret = MAIL.encode()
    assert whole.array(array(b"a", secret, None), True) == array(b"a", b"[masked]", None)
    assert whole.array(b'{a,"b c",NULL,"%b"}' % secret, False) == b'{a,"b c",NULL,"[masked]"}'
    assert whole.array(b'[0:1]={{%b,"q\\"x"},{NULL,""}}' % secret, False) == b'[0:1]={{"[masked]","q\\"x"},{NULL,""}}'
    assert whole.array(b"{}", False) == b"{}"
    assert whole.array(pack(">iiI", 0, 0, 25), True) == pack(">iiI", 0, 0, 25)
    assert whole.array(b"{a,b}", False, lambda _: b'x"\\') == b'{"x\\"\\\\","x\\"\\\\"}'
    assert whole.array(array(b"a"), True, lambda _: None) == array(None)
    for bad, binary in ((b"{a", False), (b"a}", False), (b"{a}b}", False), (array(b"abc")[:-1], True), (b"\x00\x00", True)):
        assert whole.array(bad, binary) is None


def test_members_are_searched_apart() -> None:
    """A length of 52 bytes is the digit 4 before a number, and an escape hides what it escapes."""
    number = b"4012888888881881" + b" " * 36
    assert len(number) == ord("4")
    value = array(number)
    assert SCANNER.scan((value,)) == [] and SCANNER.scan((members(value, 1009, True),)) != []
    assert whole_row(b"(1,%b)" % MAIL.encode()) == b"(1,)"
    assert whole_row(b'(1,"say ""%b"" \\\\ x",,z)' % MAIL.encode()) == b"(1,,,z)"
    assert whole_row(b"(1,,z)") == b"(1,,z)"
    fields = [(23, pack(">i", 7)), (25, MAIL.encode()), (3802, b'\x01"' + MAIL.encode() + b'"'), (25, None)]
    row = pack(">i", 4) + b"".join(pack(">Ii", o, -1 if v is None else len(v)) + (v or b"") for o, v in fields)
    after = Members(SCANNER, NOTHING, lambda _: None).row(row, True)
    assert after == pack(">i", 4) + pack(">Iii", 23, 4, 7) + pack(">Ii", 25, 8) + b"[masked]" + pack(
        ">Ii", 3802, 11
    ) + b'\x01"[masked]"' + pack(">Ii", 25, -1)
    assert Members(SCANNER, NOTHING, lambda _: None).row(row[:-1], True) is None


def whole_row(value: bytes) -> bytes | None:
    return Members(SCANNER, NOTHING, lambda _: None).row(value, False)


def test_what_comes_of_a_document_by_a_key() -> None:
    text = frozenset((C.FREE_TEXT,))
    assert member(text, (), ()) == member(text, ("theme",), ("public.people",)) == text
    assert member(text, ("full_name",), ()) == text | {C.PERSON_NAME}
    assert member(text, ("customer", "name"), ()) == member(text, ("name",), ("public.customers",)) == text | {C.PERSON_NAME}
    assert member(text, None, ()) is None and member(NOTHING, None, ()) == NOTHING


def test_no_document_takes_long() -> None:
    """Quotes that hide quotes, keys without end, a document too long to be taken apart: looked at once, or not shown."""
    quotes = b'{"' + b'\\"' * 100_000
    hostile = (quotes, quotes + b'"}', b"{" + b'"' * 200_000, b'{"a":' * 40_000, b'["\\u0040",' + b"1," * 120_000 + b"1]")
    began = time.process_time()
    for text in hostile:
        has_keys(text, b"", NOTHING)
        document(text)
    keys = b"{" + b",".join(b'"k%d": 1' % n for n in range(250)) + b"}"
    assert not has_keys(keys, b"", NOTHING) and document(keys) == keys
    assert has_keys(keys[:-1] + b',"name": {}, "customer": 1}', b"", NOTHING)
    assert time.process_time() - began < 20, "seconds of processor time; where quotes were looked at twice, this took minutes"
    long = b'{"a": "' + b"x" * 300_000 + b'"}'
    assert has_keys(long, b"", NOTHING) and document(long) is None
    assert Members(SCANNER, NOTHING, lambda _: None).array(b"{" + b"a," * 200_000 + b"a}", False) is None


PARTS = st.sampled_from(
    [b"a", b"", b"x" * 300, MAIL.encode(), b'"a": 1', b'{"full_name": "b"}', b'{"a": "%b"}' % MAIL.encode(), b"[1, 2",
     b'["{\\"email\\": 1}"]', b"\x01{}", b'\x01{"a": [1]}', b'{"a": 1} ' + MAIL.encode(), b'"full_name": "b"', b"536-90-4399"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=8))
def test_many_texts_at_once_are_masked_as_each_alone(values: list[bytes]) -> None:
    counted: list[C] = []
    one_by_one: list[C] = []
    together = Members(SCANNER, NOTHING, counted.append).texts(values)
    assert together == [Members(SCANNER, NOTHING, one_by_one.append).text(value) for value in values]
    assert sorted(counted) == sorted(one_by_one)
