"""Cells with known contents, the same for the same seed: values of every class alone and in sentences, and hard negatives.

Values are made by the rules of their issuers (check digits included), never by the detectors' own patterns. Hard negatives are
what databases are full of and what looks alike: order numbers, timestamps, UUIDs, versions, hashes, amounts, measures, numbers
with a wrong check digit.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass

from schemas.classes import DataClass as C


@dataclass(frozen=True, slots=True)
class Cell:
    """`kind` names the maker; `holds` is the one class in it, None for a hard negative."""

    value: bytes
    holds: C | None
    kind: str


def corpus(seed: int = 1, each: int = 100) -> list[Cell]:
    """Return `each` cells of every maker, positive and negative, shuffled."""
    r = random.Random(seed)
    cells: list[Cell] = []
    for (holds, kind), make in POSITIVE.items():
        for n in range(each):
            value = make(r)
            lead, tail = ("", "") if n % 3 == 0 else (r.choice(LEADS), r.choice(TAILS))
            cells.append(Cell((lead + value + tail).encode(), holds, kind))
    for kind, make in NEGATIVE.items():
        for n in range(each):
            value = make(r)
            lead, tail = ("", "") if n % 3 == 0 else (r.choice(LEADS), r.choice(TAILS))
            cells.append(Cell((lead + value + tail).encode(), None, kind))
    r.shuffle(cells)
    return cells


LEADS = ("see ", "on file: ", "(", "updated to ", "wert=", "asked about ", '"', "moved; ", "\t", "Rückfrage: ")
TAILS = (" as agreed", ", thanks", ")", ".", " / ok", '"', "; next", " – erledigt", "\n")
FIRST = ("Ada", "Grace", "Jürgen", "María", "Chloé", "Liam", "Noor", "Yuki", "Olu", "Søren")
LAST = ("Lovelace", "Hopper", "Müller", "García", "O'Neil", "Tanaka", "Okafor", "Jensen", "Rossi", "Novak")
WORDS = ("order", "late", "blue", "crate", "pallet", "return", "north", "team", "weekly", "draft", "review", "gross", "label")


def digits(r: random.Random, n: int) -> str:
    return "".join(r.choice("0123456789") for _ in range(n))


def luhn(body: str) -> str:
    total = 0
    for n, c in enumerate(reversed(body)):
        d = int(c) * (2 if n % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return body + str(-total % 10)


def card(r: random.Random) -> str:
    head = r.choice(("4", "51", "55", "6011", "2221"))
    number = luhn(head + digits(r, 15 - len(head)))
    return r.choice(
        (number, " ".join(number[i : i + 4] for i in range(0, 16, 4)), "-".join(number[i : i + 4] for i in range(0, 16, 4)))
    )


def amex(r: random.Random) -> str:
    number = luhn(r.choice(("34", "37")) + digits(r, 12))
    return r.choice((number, f"{number[:4]} {number[4:10]} {number[10:]}"))


def iban(r: random.Random) -> str:
    country, body = r.choice(
        (("DE", digits(r, 18)), ("NL", "ABNA" + digits(r, 10)), ("AT", digits(r, 16)), ("DK", digits(r, 14)))
    )
    turned = "".join(str(int(c, 36)) for c in body + country + "00")
    number = f"{country}{98 - int(turned) % 97:02}{body}"
    if country in ("NL", "DK", "AT"):
        return number
    return r.choice((number, " ".join(number[i : i + 4] for i in range(0, len(number), 4))))


def ssn(r: random.Random) -> str:
    return f"{r.choice((r.randrange(100, 666), r.randrange(667, 900)))}-{r.randrange(11, 99)}-{r.randrange(1000, 9999)}"


def dni(r: random.Random) -> str:
    number = r.randrange(10_000_000, 99_999_999)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def cpf(r: random.Random) -> str:
    body = digits(r, 9)
    for _ in range(2):
        total = sum(int(c) * w for c, w in zip(body, range(len(body) + 1, 1, -1), strict=True))
        body += str(0 if total % 11 < 2 else 11 - total % 11)
    return f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"


def bsn(r: random.Random) -> str:
    while True:
        body = str(r.randrange(10_000_000, 99_999_999))
        last = sum(int(c) * w for c, w in zip(body, range(9, 1, -1), strict=True)) % 11
        if last < 10:
            return f"BSN: {body}{last}"


def nir(r: random.Random) -> str:
    body = f"{r.choice('12')}{digits(r, 2)}{r.randrange(1, 13):02}{r.randrange(1, 90):02}{digits(r, 6)}"
    key = 97 - int(body) % 97
    return f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:]} {key:02}"


def pesel(r: random.Random) -> str:
    body = f"{digits(r, 2)}{r.randrange(1, 13):02}{r.randrange(1, 29):02}{digits(r, 4)}"
    return f"PESEL {body}{-sum(int(c) * w for c, w in zip(body, (1, 3, 7, 9) * 3, strict=False)) % 10}"


def sin(r: random.Random) -> str:
    number = luhn(r.choice("12345679") + digits(r, 7))
    return f"SIN {number[:3]}-{number[3:6]}-{number[6:]}"


def email(r: random.Random) -> str:
    user = r.choice(("ada", "g.hopper", "o'neil", "x_y-z", "jörg", "first.last+tag", "A1"))
    return f"{user}{r.randrange(99)}@{r.choice(('example.org', 'mail.example.co.uk', 'müller.example', 'EXAMPLE.COM', 'a-b.example.io'))}"


def phone(r: random.Random) -> str:
    return r.choice(
        (
            f"+1{r.randrange(2, 9)}{digits(r, 2)}{r.randrange(2, 9)}{digits(r, 6)}",
            f"+44 20 {digits(r, 4)} {digits(r, 4)}",
            f"+49 (0)30 {r.randrange(100000, 999999)}",
            f"({r.randrange(200, 999)}) {r.randrange(200, 999)}-{digits(r, 4)}",
            f"{r.randrange(200, 999)}-{r.randrange(200, 999)}-{digits(r, 4)}",
            f"+33 6 {digits(r, 2)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}",
            f"tel: 0{r.randrange(20, 99)} {r.randrange(100000, 999999)}",
        )
    )


def address(r: random.Random) -> str:
    return r.choice(
        (
            f"{r.randrange(1, 999)} {r.choice(('Baker', 'Old Mill', 'Elm', 'King'))} {r.choice(('Street', 'Rd', 'Avenue', 'Lane'))}",
            f"{r.choice(('Hauptstraße', 'Lindenweg', 'Willy-Brandt-Allee', 'Bergstrasse'))} {r.randrange(1, 200)}",
            f"{r.randrange(1, 99)} {r.choice(('rue de la Paix', 'avenue Foch', 'boulevard de Sébastopol'))}",
            f"{r.choice(('Calle de Alcalá', 'Via Roma,', 'Rua Augusta'))} {r.randrange(1, 200)}",
        )
    )


def token(r: random.Random, n: int) -> str:
    return "".join(r.choice("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789") for _ in range(n))


def jwt(r: random.Random) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(f'{{"sub":"{r.randrange(10**9)}"}}'.encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{token(r, 43)}"


def birth(r: random.Random) -> str:
    year, month, day = r.randrange(1930, 2015), r.randrange(1, 13), r.randrange(1, 29)
    return r.choice(
        (
            f"DOB: {year}-{month:02}-{day:02}",
            f"born on {day} March {year}",
            f"geboren am {day:02}.{month:02}.{year}",
            f"date of birth {month}/{day}/{year}",
        )
    )


def name(r: random.Random) -> str:
    return f"{r.choice(('Dr. ', 'Mrs ', 'Herr ', 'Name: ', 'patient: '))}{r.choice(FIRST)} {r.choice(LAST)}"


def health(r: random.Random) -> str:
    return r.choice(
        (
            f"ICD-10: {r.choice('EFIJ')}{digits(r, 2)}.{digits(r, 1)}",
            "was diagnosed with asthma",
            f"MRN: {digits(r, 8)}",
            "prescribed metformin 500 mg",
        )
    )


def ip(r: random.Random) -> str:
    return r.choice(
        (
            f"{r.randrange(1, 223)}.{digits(r, 1)}.{r.randrange(256)}.{r.randrange(1, 255)}",
            f"2001:db8::{r.randrange(1, 65535):x}:{r.randrange(1, 65535):x}",
        )
    )


POSITIVE: dict[tuple[C, str], Callable[[random.Random], str]] = {
    (C.PAYMENT_CARD, "card"): card,
    (C.PAYMENT_CARD, "amex"): amex,
    (C.BANK_ACCOUNT, "iban"): iban,
    (C.NATIONAL_ID, "us_ssn"): ssn,
    (C.NATIONAL_ID, "es_dni"): dni,
    (C.NATIONAL_ID, "br_cpf"): cpf,
    (C.NATIONAL_ID, "nl_bsn"): bsn,
    (C.NATIONAL_ID, "fr_nir"): nir,
    (C.NATIONAL_ID, "pl_pesel"): pesel,
    (C.NATIONAL_ID, "ca_sin"): sin,
    (C.EMAIL, "email"): email,
    (C.PHONE, "phone"): phone,
    (C.ADDRESS, "street"): address,
    (C.SECRET_KEY, "aws"): lambda r: "AKIA" + "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16)),
    (C.SECRET_KEY, "github"): lambda r: "ghp_" + token(r, 36),
    (C.SECRET_KEY, "pem"): lambda r: (
        f"-----BEGIN {r.choice(('RSA ', 'EC ', ''))}PRIVATE KEY-----\n{token(r, 64)}\n{token(r, 40)}"
    ),
    (C.CREDENTIAL, "jwt"): jwt,
    (C.CREDENTIAL, "bcrypt"): lambda r: f"$2b$12${token(r, 53)}",
    (C.CREDENTIAL, "url"): lambda r: f"postgres://app:{token(r, 12)}@db.example.org/x",
    (C.CREDENTIAL, "assignment"): lambda r: f"password={token(r, 10)}",
    (C.DATE_OF_BIRTH, "birth"): birth,
    (C.PERSON_NAME, "name"): name,
    (C.HEALTH, "health"): health,
    (C.IP_ADDRESS, "ip"): ip,
    (C.DEVICE_ID, "imei"): lambda r: "IMEI " + luhn("49" + digits(r, 12)),
    (C.DEVICE_ID, "mac"): lambda r: ":".join(f"{r.randrange(256):02x}" for _ in range(6)),
    (C.PASSPORT, "passport"): lambda r: f"passport no. {r.choice('CFGHJK')}{digits(r, 8)}",
}


def _broken(make: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    """The same shape with another last digit: the check digit is wrong."""

    def other(r: random.Random) -> str:
        value = make(r)
        return value[:-1] + str((int(value[-1]) + r.randrange(1, 10)) % 10)

    return other


def uuid(r: random.Random) -> str:
    h = f"{r.getrandbits(128):032x}"
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def iso(r: random.Random) -> str:
    return f"20{r.randrange(10, 30)}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02} {r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}+00"


NEGATIVE: dict[str, Callable[[random.Random], str]] = {
    "broken_card": _broken(card),
    "broken_iban": _broken(iban),
    "broken_cpf": _broken(cpf),
    "broken_nir": _broken(nir),
    "broken_bsn": _broken(bsn),
    "broken_pesel": _broken(pesel),
    "broken_sin": _broken(sin),
    "uuid": uuid,
    "timestamp": iso,
    "date": lambda r: iso(r)[:10],
    "order_number": lambda r: f"ORD-{r.randrange(2010, 2030)}-{digits(r, 6)}",
    "integer": lambda r: str(r.randrange(10 ** r.randrange(1, 13))),
    "epoch": lambda r: str(r.randrange(1_600_000_000_000, 1_900_000_000_000)),
    "amount": lambda r: f"{r.randrange(1, 999)},{digits(r, 3)}.{digits(r, 2)}",
    "sha256": lambda r: f"{r.getrandbits(256):064x}",
    "version": lambda r: f"v{r.randrange(9)}.{r.randrange(30)}.{r.randrange(99)}",
    "sku": lambda r: f"SKU-{token(r, 4).upper()}-{digits(r, 4)}",
    "time": lambda r: iso(r)[11:19],
    "prose": lambda r: " ".join(r.choice(WORDS) for _ in range(12)),
    "handle": lambda r: f"@{r.choice(WORDS)}{digits(r, 2)}",
    "url": lambda r: f"https://example.org:8443/{r.choice(WORDS)}/{digits(r, 6)}?page={digits(r, 2)}",
    "path": lambda r: f"/srv/{r.choice(WORDS)}/{digits(r, 8)}/{r.choice(WORDS)}.parquet",
    "dimension": lambda r: f"{digits(r, 3)}x{digits(r, 3)}x{digits(r, 2)} mm",
    "coordinates": lambda r: f"{r.randrange(-90, 90)}.{digits(r, 6)}, {r.randrange(-180, 180)}.{digits(r, 6)}",
    "isbn_like": lambda r: f"978-{digits(r, 1)}-{digits(r, 4)}-{digits(r, 4)}-{digits(r, 1)}",
    "placeholder": lambda r: r.choice(
        ("password: ********", "token required", "key: none", "secret santa", "phone call at noon", "mail merge")
    ),
    "json": lambda r: f'{{"id": {digits(r, 7)}, "qty": {digits(r, 2)}, "state": "{r.choice(WORDS)}"}}',
    "tracking": lambda r: f"1Z{token(r, 6).upper()}{digits(r, 10)}",
}
