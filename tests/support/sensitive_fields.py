"""Cells as logs, exports and documents have them: other places, spellings and surroundings than `sensitive_corpus`.

The detectors were made before it, and it without them: formats are those of issuers and of programs that write logs, check
digits are computed here. Hard negatives are what machines write beside such values: identifiers, digests, versions, codes of goods,
times, measures, and values whose check digit is wrong.
"""

# ruff: noqa: E501 - a spelling a line

from __future__ import annotations

import base64
import hashlib
import random
import urllib.parse
import uuid
from collections.abc import Callable

from schemas.classes import DataClass as C
from tests.support.sensitive_corpus import Cell, digits, luhn

Make = Callable[[random.Random], str]


def fields(seed: int = 7, each: int = 50) -> list[Cell]:
    """Return `each` cells of every maker, each in surroundings of some kind, shuffled."""
    r = random.Random(seed)
    cells: list[Cell] = []
    for (holds, kind), make in {**HELD, **{(None, kind): make for kind, make in FREE.items()}}.items():
        for n in range(each):
            value = make(r)
            around = AROUND[n % len(AROUND)] if n % 4 else str
            cells.append(Cell(around(value).encode(), holds, kind))
    r.shuffle(cells)
    return cells


AROUND: tuple[Callable[[str], str], ...] = (
    lambda v: f"2024-03-02T10:11:12.345Z INFO  [exec-4] c.a.shop.Service - got {v} in 34 ms",
    lambda v: '{"seq":1712,"what":"' + v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '","ok":true}',
    lambda v: f"17;{v};A;2023;x",
    lambda v: f"<entry kind='a'>{v.replace('<', '&lt;')}</entry>",
    lambda v: f"INSERT INTO t VALUES (3, '{v}', NULL);",
    lambda v: f"| 12 | {v} | open |",
    lambda v: f"> {v}\n> --\n> sent from a phone",
    lambda v: f"\t{v}\t0.5\tEUR",
    lambda v: f"备注: {v}。已处理",
    lambda v: f"см. {v} (проверено)",
    lambda v: f"[{v}]",
    lambda v: f"Ticket 8812: {v}, please check!",
)


def spaced(text: str, groups: tuple[int, ...], by: str) -> str:
    out, at = [], 0
    for size in groups:
        out.append(text[at : at + size])
        at += size
    return by.join([*out, text[at:]] if at < len(text) else out)


def email(r: random.Random) -> str:
    name = r.choice(
        ("j.ortega", "O'Hara", "kim+shop", "ana_maria", "x", "first.last-two", "BOB", "sales%emea", "m.i.k.e", "00anna")
    )
    host = r.choice(
        ("example.co.uk", "mail.example.travel", "EXAMPLE.ORG", "x-y.example.com", "sub.dep.example.museum", "example.io")
    )
    return r.choice(("{}", "<{}>", "mailto:{}", "From: {}")).format(f"{name}{r.randrange(100)}@{host}")


def phone(r: random.Random) -> str:
    d = lambda n: digits(r, n)  # noqa: E731
    return r.choice(
        (
            f"+33 {r.choice('67')} {d(2)} {d(2)} {d(2)} {d(2)}", f"+49 (0)30 {r.randrange(2, 9)}{d(6)}", f"0049 171 {r.randrange(2, 9)}{d(6)}",
            f"+1-415-{r.randrange(200, 999)}-{d(4)}", f"(212) {r.randrange(200, 999)}-{d(4)}", f"+44 20 7{d(3)} {d(4)}",
            f"+81-3-{r.randrange(3, 7)}{d(3)}-{d(4)}", f"+55 11 9{d(4)}-{d(4)}", f"+91 9{d(4)} {d(5)}", f"tel:+4179{r.randrange(2, 9)}{d(6)}",
            f"+7 (495) {r.randrange(200, 999)}-{d(2)}-{d(2)}", f"+61 4{d(2)} {d(3)} {d(3)}", f"+86 138 {d(4)} {d(4)}",
        )
    )  # fmt: skip


def local_phone(r: random.Random) -> str:
    d = lambda n: digits(r, n)  # noqa: E731
    return r.choice(
        (
            f"Tel.: 030 / {r.randrange(2, 9)}{d(6)}", f"phone=020 7{d(3)} {d(4)}", f"Téléphone : 01 {d(2)} {d(2)} {d(2)} {d(2)}",
            f"mobile: 07700 {d(6)}", f"Telefono: 06 {r.randrange(2, 9)}{d(7)}", f"Mobil 0171-{r.randrange(2, 9)}{d(6)}",
        )
    )  # fmt: skip


def card(r: random.Random) -> str:
    head, size = r.choice(
        (("4", 16), ("5412", 16), ("6011", 16), ("3530", 16), ("6221", 16), ("2720", 16), ("36", 14), ("371", 15))
    )
    number = luhn(head + digits(r, size - 1 - len(head)))
    groups = (4, 4, 4, 4) if size == 16 else (4, 6, size - 10)
    return r.choice((number, spaced(number, groups, " "), spaced(number, groups, "-")))


def mod97(country: str, body: str) -> str:
    text = "".join(str(int(c, 36)) for c in body + country + "00")
    return f"{country}{98 - int(text) % 97:02}{body}"


def iban(r: random.Random) -> str:
    country, size, letters = r.choice(
        (("PL", 24, 0), ("SE", 20, 0), ("PT", 21, 0), ("FI", 14, 0), ("GB", 14, 4), ("IE", 14, 4),
         ("CZ", 20, 0), ("HU", 24, 0), ("LU", 16, 0), ("TR", 22, 0), ("RO", 16, 4))
    )  # fmt: skip
    body = "".join(r.choice("ABCDEFGHKLMNPRST") for _ in range(letters)) + digits(r, size)
    number = mod97(country, body)
    return r.choice((number, spaced(number, (4,) * (len(number) // 4), " "), number.lower()))


def cpf(r: random.Random) -> str:
    body = [r.randrange(10) for _ in range(9)]
    for _ in range(2):
        total = sum(n * (len(body) + 1 - i) for i, n in enumerate(body))
        body.append(total * 10 % 11 % 10)
    text = "".join(map(str, body))
    return f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def dni(r: random.Random) -> str:
    number = r.randrange(10_000_000, 99_999_999)
    return f"{number}{r.choice(('', '-'))}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def ahv(r: random.Random) -> str:
    body = "756" + digits(r, 9)
    check = -sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body)) % 10
    text = body + str(check)
    return f"{text[:3]}.{text[3:7]}.{text[7:11]}.{text[11:]}"


def hetu(r: random.Random) -> str:
    born = f"{r.randrange(1, 29):02}{r.randrange(1, 13):02}{r.randrange(100):02}"
    part = f"{r.randrange(2, 899):03}"
    return f"{born}{r.choice('-A')}{part}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(born + part) % 31]}"


def personnummer(r: random.Random) -> str:
    body = f"{r.randrange(40, 99):02}{r.randrange(1, 13):02}{r.randrange(1, 29):02}{digits(r, 3)}"
    number = luhn(body)
    return f"{r.choice(('personnummer ', 'Personnummer: ', 'pnr='))}{number[:6]}-{number[6:]}"


def nir(r: random.Random) -> str:
    body = f"{r.choice('12')}{r.randrange(40, 99):02}{r.randrange(1, 13):02}{r.randrange(1, 20):02}{r.randrange(1, 400):03}{r.randrange(1, 999):03}"
    text = f"{body}{97 - int(body) % 97:02}"
    return r.choice((text, spaced(text, (1, 2, 2, 2, 3, 3, 2), " ")))


def ssn(r: random.Random) -> str:
    return f"{r.choice((*range(1, 666), *range(667, 900))):03}-{r.randrange(1, 100):02}-{r.randrange(1, 10000):04}"


def nino(r: random.Random) -> str:
    text = f"{r.choice(('AB', 'CE', 'JK', 'LM', 'PW', 'SX'))}{digits(r, 6)}{r.choice('ABCD')}"
    return r.choice((text, spaced(text, (2, 2, 2, 2, 1), " ")))


def resident(r: random.Random) -> str:
    body = (
        f"{r.choice(('110101', '310104'))}{r.randrange(1950, 2005)}{r.randrange(1, 13):02}{r.randrange(1, 29):02}{digits(r, 3)}"
    )
    total = sum(int(c) * w for c, w in zip(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    return body + "10X98765432"[total % 11]


def labelled_id(r: random.Random) -> str:
    def pesel() -> str:
        body = f"{r.randrange(50, 99):02}{r.randrange(1, 13):02}{r.randrange(1, 29):02}{digits(r, 4)}"
        return body + str(-sum(int(c) * w for c, w in zip(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3), strict=True)) % 10)

    def bsn() -> str:
        while True:
            body = digits(r, 8)
            check = sum(int(c) * w for c, w in zip(body, range(9, 1, -1), strict=True)) % 11
            if check < 10 and body[0] != "0":
                return body + str(check)

    return r.choice((f"PESEL: {pesel()}", f"BSN {bsn()}", f"burgerservicenummer={bsn()}", f"pesel={pesel()}", f"SSN: {ssn(r)}"))


def passport(r: random.Random) -> str:
    return r.choice(
        (
            f"Passport no. {r.choice('CFGHJK')}{digits(r, 8)}", f"passport_number={digits(r, 9)}", f"Reisepass: C{digits(r, 8)}",
            f"Passeport n° {digits(r, 2)}{r.choice('AFV')}{r.choice('AFV')}{digits(r, 5)}", f"pasaporte: XD{digits(r, 6)}",
        )
    )  # fmt: skip


def born(r: random.Random) -> str:
    y, m, d = r.randrange(1935, 2008), r.randrange(1, 13), r.randrange(1, 29)
    month = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "October", "Nov", "Dec")[m - 1]
    return r.choice(
        (
            f"DOB {d:02}/{m:02}/{y}", f"geb. {d:02}.{m:02}.{y}", f"né le {d:02}/{m:02}/{y}", f"born on {d} {month} {y}", f"birth_date={y}-{m:02}-{d:02}",
            f"nacido el {d:02}-{m:02}-{y}", f"Geburtsdatum: {d}.{m}.{y}", f"date of birth: {y}/{m:02}/{d:02}", f'"birthDate": "{y}-{m:02}-{d:02}"',
            f"data di nascita {d:02}/{m:02}/{y}", f"urodzony {d:02}.{m:02}.{y}", f"geboortedatum: {d:02}-{m:02}-{y}",
        )
    )  # fmt: skip


def health(r: random.Random) -> str:
    code = f"{r.choice('EFGIJKMN')}{r.randrange(10, 99)}.{r.randrange(10)}"
    return r.choice(
        (
            f"Diagnosis: {code}",
            f"ICD-10 {code}",
            f"Diagnose {code}",
            f"dx={code}",
            f"MRN: {digits(r, 8)}",
            f"diagnóstico: {code}",
            f"icd10: {code}",
        )
    )


def password(r: random.Random) -> str:
    word = "".join(r.choice("abcdefghkmnpqrstuvwxyzABCDEFGH23456789!#$%") for _ in range(12))
    return r.choice(
        (
            f"password={word}", f"PASSWORD: {word}", f'"passwd": "{word}"', f"pwd={word}", f"Passwort: {word}", f"mot de passe : {word}",
            f"DB_PASSWORD={word}", f"contraseña: {word}",
        )
    )  # fmt: skip


def hashed(r: random.Random) -> str:
    body = "".join(r.choice("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") for _ in range(53))
    return r.choice(
        (
            f"$2b$12${body}", f"$2y$10${body}", f"$argon2id$v=19$m=65536,t=3,p=4${base64.b64encode(r.randbytes(15)).decode()}${base64.b64encode(r.randbytes(30)).decode()}", f"$6$rounds=5000${body[:16]}${(body * 2)[:86]}",
            f"pbkdf2_sha256$260000${body[:12].replace('.', 'a').replace('/', 'b')}${base64.b64encode(r.randbytes(32)).decode()}",
        )
    )  # fmt: skip


def address_with_password(r: random.Random) -> str:
    scheme = r.choice(("postgres", "mysql", "amqp", "redis", "https", "mongodb+srv"))
    return f"{scheme}://svc{r.randrange(99)}:{base64.urlsafe_b64encode(r.randbytes(9)).decode()}@db.example.net/app"


def secret(r: random.Random) -> str:
    word = lambda n, a="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "".join(r.choice(a) for _ in range(n))  # noqa: E731
    upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return r.choice(
        (
            f"AKIA{word(16, upper)}", f"ASIA{word(16, upper)}", f"ghp_{word(36)}", f"github_pat_{word(22)}_{word(59)}", f"xoxb-{digits(r, 12)}-{digits(r, 12)}-{word(24)}",
            f"sk_live_{word(24)}", f"rk_live_{word(24)}", f"AIza{word(35)}", f"glpat-{word(20)}",
        )
    )  # fmt: skip


def jwt(r: random.Random) -> str:
    part = lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")  # noqa: E731
    return ".".join(
        (part('{"alg":"HS256","typ":"JWT"}'), part(f'{{"sub":"{digits(r, 6)}","iat":1712}}'), part(r.randbytes(24).hex()))
    )


def pem(r: random.Random) -> str:
    kind = r.choice(("RSA ", "EC ", "", "OPENSSH "))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{base64.b64encode(r.randbytes(96)).decode()}\n-----END {kind}PRIVATE KEY-----"


def ipv4(r: random.Random) -> str:
    address = f"{r.choice((10, 52, 81, 91, 172, 192, 203))}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}"
    return r.choice(("{}", "client={}", "{}:44312", "remote_addr={}", "{}/24", "from {}")).format(address)


def ipv6(r: random.Random) -> str:
    h = lambda: f"{r.randrange(1, 65536):x}"  # noqa: E731
    return r.choice(
        (
            f"2001:db8:{h()}::{h()}",
            f"fe80::{h()}:{h()}:{h()}:{h()}",
            ":".join(("2a02", *(h() for _ in range(7)))),
            f"2001:db8::{h()}:{h()}",
        )
    )


def mac(r: random.Random) -> str:
    octets = [f"{b:02x}" for b in bytes((r.randrange(0, 256, 4), *r.randbytes(5)))]
    text = r.choice((":", "-")).join(octets)
    return r.choice((text, text.upper(), "".join(octets)[:4] + "." + "".join(octets)[4:8] + "." + "".join(octets)[8:]))


def imei(r: random.Random) -> str:
    number = luhn("35" + digits(r, 12))
    return r.choice((f"IMEI {number}", f"imei={number}", f"IMEI: {number[:2]}-{number[2:8]}-{number[8:14]}-{number[14:]}"))


def street(r: random.Random) -> str:
    n = r.randrange(1, 180)
    return r.choice(
        (
            f"{n} Maple Avenue", f"{n}B Kings Road", f"Lindenstraße {n}a", f"Am Markt {n}, {digits(r, 4)}7 Köln", f"{n}, rue de la Paix", f"Calle Mayor {n}",
            f"Via Garibaldi, {n}", f"{n} Sunset Blvd", f"Hauptstr. {n}", f"{n} avenue Victor Hugo", f"Schillerplatz {n}", f"{n} Elm St., Apt 4",
        )
    )  # fmt: skip


def titled(r: random.Random) -> str:
    first = r.choice(("Elena", "Tomáš", "Aoife", "Rahul", "Ingrid", "Émile", "Wanda", "Paulo"))
    last = r.choice(("Novotná", "Byrne", "Kapoor", "Lindqvist", "Dubois", "Kowalska", "Moreira", "Hartmann"))
    return r.choice(
        (f"Dr. {first} {last}", f"Mrs {first} {last}", f"Herr {first} {last}", f"Mme {first} {last}", f"customer name: {first} {last}",
         f"full_name={first} {last}", f"Sra. {first} {last}", f"Frau Dr. {first} {last}", f"Name: {first} {last}")
    )  # fmt: skip


HELD: dict[tuple[C | None, str], Make] = {
    (C.EMAIL, "email"): email,
    (C.PHONE, "phone"): phone,
    (C.PHONE, "local_phone"): local_phone,
    (C.PAYMENT_CARD, "card"): card,
    (C.BANK_ACCOUNT, "iban"): iban,
    (C.NATIONAL_ID, "cpf"): cpf,
    (C.NATIONAL_ID, "dni"): dni,
    (C.NATIONAL_ID, "ahv"): ahv,
    (C.NATIONAL_ID, "hetu"): hetu,
    (C.NATIONAL_ID, "personnummer"): personnummer,
    (C.NATIONAL_ID, "nir"): nir,
    (C.NATIONAL_ID, "ssn"): ssn,
    (C.NATIONAL_ID, "nino"): nino,
    (C.NATIONAL_ID, "resident"): resident,
    (C.NATIONAL_ID, "labelled_id"): labelled_id,
    (C.PASSPORT, "passport"): passport,
    (C.DATE_OF_BIRTH, "born"): born,
    (C.HEALTH, "health"): health,
    (C.CREDENTIAL, "password"): password,
    (C.CREDENTIAL, "hashed"): hashed,
    (C.CREDENTIAL, "address_with_password"): address_with_password,
    (C.SECRET_KEY, "secret"): secret,
    (C.CREDENTIAL, "jwt"): jwt,
    (C.SECRET_KEY, "pem"): pem,
    (C.IP_ADDRESS, "ipv4"): ipv4,
    (C.IP_ADDRESS, "ipv6"): ipv6,
    (C.DEVICE_ID, "mac"): mac,
    (C.DEVICE_ID, "imei"): imei,
    (C.ADDRESS, "street"): street,
    (C.PERSON_NAME, "titled"): titled,
}


def wrong(make: Make) -> Make:
    """Return a maker of such values with one digit more than it should be."""

    def made(r: random.Random) -> str:
        value = make(r)
        at = max(n for n, c in enumerate(value) if c.isdigit())
        return f"{value[:at]}{(int(value[at]) + 1) % 10}{value[at + 1 :]}"

    return made


def ean(r: random.Random, head: str = "") -> str:
    body = (head or r.choice(("40", "50", "87", "73"))) + digits(r, 12 - len(head or "40"))
    return body + str(-sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body)) % 10)


def isbn(r: random.Random) -> str:
    text = ean(r, r.choice(("9780", "9783")))
    return r.choice((f"ISBN {text}", f"{text[:3]}-{text[3]}-{text[4:8]}-{text[8:12]}-{text[12]}", text))


FREE: dict[str, Make] = {
    "uuid": lambda r: str(uuid.UUID(bytes=r.randbytes(16), version=4)),
    "digest": lambda r: r.choice((hashlib.md5, hashlib.sha1, hashlib.sha256))(r.randbytes(8)).hexdigest(),
    "fingerprint": lambda r: "SHA256:" + base64.b64encode(r.randbytes(32)).decode().rstrip("="),
    "certificate": lambda r: ":".join(f"{b:02X}" for b in r.randbytes(20)),
    "order": lambda r: r.choice((f"ORD-{r.randrange(2019, 2026)}-{digits(r, 6)}", f"#{digits(r, 7)}", f"SO{digits(r, 8)}/{r.randrange(9)}", f"4500{digits(r, 6)}")),
    "tracking": lambda r: r.choice((f"1Z{digits(r, 2)}A{digits(r, 12)}", f"JD0146{digits(r, 12)}", f"RR{digits(r, 9)}DE")),
    "snowflake": lambda r: f"{r.randrange(10**17, 9 * 10**17)}",
    "ulid": lambda r: "01" + "".join(r.choice("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for _ in range(24)),
    "version": lambda r: r.choice((f"v{r.randrange(9)}.{r.randrange(30)}.{r.randrange(9)}", f"{r.randrange(1, 9)}.{r.randrange(20)}.{r.randrange(9)}-rc.{r.randrange(9)}+build.{digits(r, 4)}", f"postgresql-{r.randrange(12, 18)}.{r.randrange(9)}")),
    "coordinates": lambda r: f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f}",
    "isbn": isbn,
    "ean": lambda r: r.choice((ean(r), f"EAN: {ean(r)}", f"GTIN {ean(r)}")),
    "timestamp": lambda r: r.choice((f"2024-{r.randrange(1, 13):02}-{r.randrange(1, 29):02} {r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}+01", f"17{digits(r, 8)}", f"17{digits(r, 11)}", f"{r.randrange(1, 29):02}/Mar/2024:10:11:{r.randrange(60):02} +0000")),
    "created": lambda r: r.choice((f"created: 20{r.randrange(10, 25)}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}", f"geliefert am {r.randrange(1, 29):02}.{r.randrange(1, 13):02}.2023", f"valid until {r.randrange(1, 29):02}/{r.randrange(1, 13):02}/2026")),
    "phone_like": lambda r: r.choice((f"PN-{digits(r, 3)}-{digits(r, 4)}", f"INV {digits(r, 3)}-{digits(r, 3)}", f"{digits(r, 5)}-{digits(r, 3)}-{digits(r, 2)}", f"room {digits(r, 3)}-{digits(r, 2)}", f"batch {digits(r, 4)}/{digits(r, 4)}")),
    "money": lambda r: r.choice((f"{r.randrange(1, 999)},{digits(r, 3)}.{digits(r, 2)} USD", f"€ {r.randrange(1, 99)}.{digits(r, 3)},{digits(r, 2)}", f"CHF {digits(r, 3)}'{digits(r, 3)}.00")),
    "measure": lambda r: r.choice((f"{r.randrange(9)}.{digits(r, 2)} kg", f"{r.randrange(10, 99)}x{r.randrange(10, 99)}x{r.randrange(10, 99)} cm", f"{r.uniform(0, 1):.9f}", f"{r.randrange(99)} °C", f"{digits(r, 4)} rpm")),
    "path": lambda r: r.choice((f"/var/log/app-{digits(r, 4)}.log.gz", f"C:\\data\\{digits(r, 6)}\\out.csv", f"s3://bucket/2024/{digits(r, 2)}/part-{digits(r, 5)}.parquet")),
    "url": lambda r: f"https://shop.example.com/p/{digits(r, 6)}?ref=" + urllib.parse.quote(f"home page/{digits(r, 2)}"),
    "cve": lambda r: f"CVE-20{r.randrange(15, 25)}-{digits(r, 5)}",
    "code": lambda r: r.choice((f"HTTP/1.1 {r.randrange(200, 504)}", f"ORA-{digits(r, 5)}", f"0x{r.randrange(2**32):08x}", f"E{digits(r, 4)}", f"SQLSTATE {digits(r, 5)}", f"#{r.randrange(2**24):06x}")),
    "shelf": lambda r: r.choice((f"aisle {r.choice('ABEFG')}{r.randrange(10, 99)}.{r.randrange(9)}", f"part {r.choice('ABC')}{r.randrange(10, 99)}", f"slot {r.choice('JKL')}{r.randrange(10, 99)}-{r.randrange(9)}")),
    "sku": lambda r: f"{r.choice(('SKU', 'ART', 'MDL'))}-{''.join(r.choice('ABCDEFGH') for _ in range(3))}-{digits(r, 6)}",
    "vat": lambda r: r.choice((f"BIC COBADEFF{digits(r, 3)}", f"HS code {digits(r, 4)}.{digits(r, 2)}.{digits(r, 2)}", f"LEI 5299{''.join(r.choice('ABCDEFGH0123456789') for _ in range(14))}{digits(r, 2)}")),
    "encoded": lambda r: base64.b64encode(r.randbytes(r.randrange(12, 40))).decode(),
    "words": lambda r: " ".join(r.choice(("late", "delivery", "to", "north", "dock", "again", "three", "pallets", "blue", "Monday", "Berlin", "Team", "Report")) for _ in range(8)),
    "wrong_card": wrong(card),
    "wrong_iban": wrong(iban),
    "wrong_cpf": wrong(cpf),
    "wrong_ahv": wrong(ahv),
}  # fmt: skip
