"""How to reach somebody: mail, telephone, postal and network addresses."""

from __future__ import annotations

from ipaddress import ip_address

from processors.sensitivity.detector import Detector
from schemas.classes import DataClass


def is_phone(value: bytes) -> bool:
    """Whether a number has the 8 to 15 digits of E.164 behind its plus, or 10 at least behind a double zero."""
    return (10 if value.startswith(b"00") else 8) <= sum(48 <= c <= 57 for c in value) <= (17 if value.startswith(b"00") else 15)


def is_ip(value: bytes) -> bool:
    """Whether it is an address of a machine: not a netmask, not unspecified, not a loopback or broadcast address."""
    try:
        address = ip_address(value.decode("ascii"))
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_loopback or value.startswith((b"255.", b"0.")))


def is_mac(value: bytes) -> bool:
    """Whether it is no filler; in groups of four, as Cisco writes them, only with a letter, for dates and versions look alike."""
    return len(set(value)) > 3 and (b"." not in value or not value.replace(b".", b"").isdigit())


DETECTORS = (
    Detector(
        name="email",
        data_class=DataClass.EMAIL,
        pattern=r"[A-Za-z0-9._%+'\x80-\xff-]{1,64}@(?:[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]{0,62})\.){1,8}[A-Za-z\x80-\xff]{2,24}",
        must=("ada@example.org", "mail to <o'neil+x@mail.example.co.uk>", "jörg@müller.example", "AdA@EXAMPLE.ORG"),
        must_not=("ada@localhost", "@example.org", "ada at example.org", "package@1.2.3"),
        isolated=False,
    ),
    Detector(
        name="phone_international",
        data_class=DataClass.PHONE,
        pattern=r"(?:\+|\b00)[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,5}(?:[ .-]?[0-9]{2,5}){1,5}\b",
        must=("+14155552671", "+44 20 7946 0958", "+49 (0)30 901820", "0049 30 901820"),
        must_not=("+1", "+12345", "1+2=3", "+1234567890123456789"),
        validate=is_phone,
    ),
    Detector(
        name="phone_north_america",
        data_class=DataClass.PHONE,
        pattern=r"(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-.][0-9]{4}\b",
        must=("(415) 555-2671", "call 415-555-2671 now", "415.555.2671"),
        must_not=("115-555-2671", "415-155-2671", "12-415-555-2671", "415-555-26711"),
    ),
    Detector(
        name="phone_labelled",
        data_class=DataClass.PHONE,
        pattern=r"\b0?[0-9]{2,5}(?:(?: ?[/.-] ?| )?[0-9]{2,5}){1,4}\b",
        labels=("phone", "tel", "telephone", "mobile", "cell", "telefon", "handy", "telefono", "telefone", "mobil"),
        must=("tel: 030 901820", "Tel.: 030 / 901820", "Phone: 020 7946 0958", "mobile 07700 900123"),
        must_not=("hotel: 030 901820", "tel: 12", "030 901820"),
        validate=is_phone,
    ),
    Detector(
        name="ipv4",
        data_class=DataClass.IP_ADDRESS,
        pattern=r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
        must=("192.0.2.17", "from 203.0.113.9:443"),
        must_not=("1.2.3", "300.1.1.1", "255.255.255.0", "127.0.0.1", "1.2.3.4.5"),
        validate=is_ip,
    ),
    Detector(
        name="ipv6",
        data_class=DataClass.IP_ADDRESS,
        pattern=r"\b(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,6}(?::[0-9a-fA-F]{1,4}){1,6})\b",
        must=("2001:db8::8a2e:370:7334", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        must_not=("12:30:45", "::1", "a:b", "3F:1A:2b:3c:4D:5e:6f:70:81:92"),
        validate=is_ip,
        octets=True,
    ),
    Detector(
        name="mac_address",
        data_class=DataClass.DEVICE_ID,
        pattern=r"\b(?:[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2})\b",
        must=("00:1A:2b:3c:4D:5e", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e", "MAC:00:1A:2b:3c:4D:5e"),
        must_not=("00:1A:2b:3c:4D", "00:00:00:00:00:00", "12-13-14-15-16-17-18", "2024.1201.3344", "00:1A:2b:3c:4D:5e:6f:70"),
        validate=is_mac,
        octets=True,
    ),
    Detector(
        name="street_english",
        data_class=DataClass.ADDRESS,
        pattern=r"\b[1-9][0-9]{0,4}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][a-z'A-Z]{1,20} ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Square|Terrace|Way|Place|Close|Crescent)\b",
        must=("12 Baker Street", "1600 Pennsylvania Avenue NW", "deliver to 7B Old Mill Rd."),
        must_not=("Baker Street", "12 angry men", "in 3 Simple Steps"),
    ),
    Detector(
        name="street_german",
        data_class=DataClass.ADDRESS,
        pattern=r"(?:[A-Z\x80-\xff][a-z\x80-\xff-]{1,30}(?:stra(?:\xc3\x9f|ss)e|str\.|weg|gasse|allee|platz|damm|ufer)|[A-Z\x80-\xff][a-z\x80-\xff]{1,30}(?:-[A-Z][a-z\x80-\xff]{1,20})?[ -](?:Stra(?:\xc3\x9f|ss)e|Weg|Allee|Platz)) [1-9][0-9]{0,3} ?[a-z]?\b"
        r"|\b(?:Am|An|Auf|Im|In|Zum|Zur|Unter|Hinter)(?: de[mnr])? [A-Z\x80-\xff][a-z\x80-\xff-]{1,30}(?: [A-Z\x80-\xff][a-z\x80-\xff-]{1,30})? [1-9][0-9]{0,3} ?[a-z]?, ?[0-9]{4,5} [A-Z\x80-\xff]",
        must=("Hauptstraße 12", "Am Markt 4, 50667 Köln", "Lindenweg 3a", "Willy-Brandt-Allee 20", "Bergstrasse 7"),
        must_not=("Hauptstraße", "unterwegs 12", "Weg 12", "Am Montag 12, 2024"),
    ),
    Detector(
        name="street_romance",
        data_class=DataClass.ADDRESS,
        pattern=r"(?:\b[1-9][0-9]{0,3}(?: (?:bis|ter))?,? (?:rue|avenue|boulevard|place|chemin|impasse) (?:(?:de|du|des|la|le|les) |de l'){0,2}[A-Z\x80-\xff][A-Za-z\x80-\xff-]{1,30}"
        r"|\b(?:[Cc]alle|[Aa]venida|[Vv]ia|[Vv]iale|[Pp]iazza|[Rr]ua|[Pp]laza) (?:(?:de|del|della|di|da|do|la|los|las) ){0,2}[A-Z\x80-\xff][A-Za-z\x80-\xff ]{1,40},? [1-9][0-9]{0,3}\b)",
        must=("12 rue de la Paix", "Calle de Alcalá 48", "Via Roma, 10", "Rua Augusta 1500"),
        must_not=("rue", "via email 12", "la calle 13"),
    ),
    Detector(
        name="postcode_uk",
        data_class=DataClass.ADDRESS,
        pattern=r"\b(?:[A-PR-UWYZ][A-HK-Y]?[0-9][0-9A-HJKMNPR-Y]?) [0-9][ABD-HJLNP-UW-Z]{2}\b",
        must=("SW1A 1AA", "London W1J 7NT."),
        must_not=("QW1A 1AA", "SW1A 1CC", "SW1A1"),
    ),
)
