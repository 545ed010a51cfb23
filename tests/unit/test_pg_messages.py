"""Messages are built as the manual has them (chapter 55.7), read back as built, and malformed ones say whose fault they are."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.errors import ClientProtocolError, ServerProtocolError
from ingest.protocols.postgres import messages as m


@pytest.mark.parametrize(
    ("built", "hexadecimal"),
    [
        (m.ssl_request(), "00000008 04d2162f"),
        (m.gssenc_request(), "00000008 04d21630"),
        (m.cancel_request(-2, b"\1\2\3\4"), "00000010 04d2162e fffffffe 01020304"),
        (m.startup_message({"user": "al"}), "00000011 00030000 75736572 00 616c00 00"),
        (m.startup_message({}, minor=2), "00000009 00030002 00"),
        (m.query("SELECT 1"), "51 0000000d 53454c454354203100"),
        (m.parse("s", "x", (23,)), "50 0000000e 7300 7800 0001 00000017"),
        (m.sync(), "53 00000004"),
        (m.terminate(), "58 00000004"),
        (m.password_message(b"pw"), "70 00000007 707700"),
        (m.sasl_initial_response("M", b"abc"), "70 0000000d 4d00 00000003 616263"),
        (m.sasl_response(b"abc"), "70 00000007 616263"),
        (m.authentication_ok(), "52 00000008 00000000"),
        (m.authentication_cleartext_password(), "52 00000008 00000003"),
        (m.backend_key_data(7, b"\0\0\0\x09"), "4b 0000000c 00000007 00000009"),
        (m.parameter_status("a", "b"), "53 00000008 6100 6200"),
        (m.ready_for_query(b"T"), "5a 00000005 54"),
        (m.negotiate_protocol_version(2, ["_pq_.x"]), "76 00000013 00030002 00000001 5f70715f2e7800"),
        (m.error_response({"S": "ERROR", "C": "42601"}), "45 00000013 53 4552524f5200 43 343236303100 00"),
        (m.notice_response({"M": b"hi"}), "4e 00000009 4d 686900 00"),
    ],
)
def test_bytes_are_as_the_manual_says(built: bytes, hexadecimal: str) -> None:
    assert built.hex() == hexadecimal.replace(" ", "")


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@given(st.dictionaries(names, values, max_size=8), st.integers(0, 65535))
def test_startup_message_reads_back(parameters: dict[str, str], minor: int) -> None:
    packet = m.parse_startup_packet(m.startup_message(parameters, minor))
    assert packet == m.StartupMessage(minor, {k.encode(): v.encode() for k, v in parameters.items()})


@given(st.binary(max_size=64))
def test_any_packet_reads_or_is_the_clients_fault(body: bytes) -> None:
    packet = struct.pack("!I", len(body) + 4) + body
    with contextlib.suppress(ClientProtocolError):
        m.parse_startup_packet(packet)


@pytest.mark.parametrize(
    "packet",
    [
        "00000007 000300",  # shorter than a packet can be
        "00002711 00030000",  # 10,001 bytes
        "00000008 00030000",  # no terminator
        "0000000a 00030000 7500",  # name without value or terminator
        "0000000d 00030000 7500 6100 61",  # last byte no terminator
        "0000000f 00030000 00 7500 6100 0000",  # empty name before a pair
        "00000009 04d2162f 00",  # SSLRequest with more
        "0000000f 04d2162e 00000001 010203",  # key of 3 bytes
        "00000010 00030000 00",  # says more than there is
    ],
)
def test_malformed_startup_packets(packet: str) -> None:
    with pytest.raises(ClientProtocolError):
        m.parse_startup_packet(bytes.fromhex(packet))


def test_cancel_keys_of_both_protocols() -> None:
    for size in (4, 32, 256):
        assert m.parse_startup_packet(m.cancel_request(5, b"k" * size)) == m.CancelRequest(5, b"k" * size)
        assert m.parse_backend_key_data(m.backend_key_data(5, b"k" * size)[5:]) == (5, b"k" * size)
    with pytest.raises(ClientProtocolError):
        m.parse_startup_packet(m.cancel_request(5, b"k" * 257))
    with pytest.raises(ServerProtocolError):
        m.parse_backend_key_data(struct.pack("!i", 5) + b"k" * 257)
    with pytest.raises(ValueError, match="cancel key"):
        m.backend_key_data(5, b"kkk")


def test_other_major_versions_are_named() -> None:
    assert m.parse_startup_packet(struct.pack("!IHH", 8, 2, 0)) == m.UnsupportedProtocol(2, 0)


def test_startup_parameters_that_do_not_fit_are_refused_here() -> None:
    with pytest.raises(ValueError, match="10000"):
        m.startup_message({"options": "x" * 10_000})
    with pytest.raises(ValueError, match="zero byte"):
        m.startup_message({"user": "a\0b"})


@given(
    st.dictionaries(
        st.sampled_from("SVCMDHPpqWstcdnFLR"), st.binary(max_size=30).map(lambda b: b.replace(b"\0", b"")), max_size=18
    )
)
def test_error_fields_read_back(fields: dict[str, bytes]) -> None:
    assert m.parse_error_fields(m.error_response(fields)[5:]) == fields


@pytest.mark.parametrize("body", [b"", b"S", b"SERROR", b"SERROR\0", b"\0\0", b"SERROR\0\0x"])
def test_malformed_errors_are_the_servers_fault(body: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        m.parse_error_fields(body)


def test_our_errors_carry_severity_code_and_hint_and_cannot_be_cut_by_a_zero_byte() -> None:
    fields = m.parse_error_fields(m.fatal("28000", "a\0b", hint="do c")[5:])
    assert fields == {"S": b"FATAL", "V": b"FATAL", "C": b"28000", "M": b"a b", "H": b"do c"}


def test_negotiation_reads_what_servers_and_what_the_manual_say() -> None:
    assert m.parse_negotiate_protocol_version(m.negotiate_protocol_version(0, ["_pq_.a", "_pq_.b"])[5:]) == (
        0,
        (b"_pq_.a", b"_pq_.b"),
    )
    assert m.parse_negotiate_protocol_version(struct.pack("!II", 2, 0)) == (2, ())
    for body in (b"\0" * 7, struct.pack("!II", 2, 1), struct.pack("!II", 2, 0) + b"x", struct.pack("!II", 2 << 16, 0)):
        with pytest.raises(ServerProtocolError):
            m.parse_negotiate_protocol_version(body)


@pytest.mark.parametrize("body", [b"", b"a", b"a\0b", b"a\0b\0c\0", b"\0b\0"])
def test_malformed_parameter_status(body: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        m.parse_parameter_status(body)


@pytest.mark.parametrize("body", [b"", b"pw", b"p\0w\0", b"\0\0"])
def test_malformed_password_messages(body: bytes) -> None:
    with pytest.raises(ClientProtocolError):
        m.parse_password_message(body)


def test_buffer_refuses_at_the_first_byte_it_cannot_accept() -> None:
    buffer = m.MessageBuffer(100, ServerProtocolError)
    buffer.feed(b"H")  # an HTTP server
    with pytest.raises(ServerProtocolError, match="0x48"):
        buffer.next(b"RE")


@pytest.mark.parametrize("length", [0, 3, 101, 2**32 - 1])
def test_buffer_refuses_lengths_before_it_gathers(length: int) -> None:
    buffer = m.MessageBuffer(100, ClientProtocolError)
    buffer.feed(b"p" + struct.pack("!I", length))
    with pytest.raises(ClientProtocolError):
        buffer.next(b"p")
