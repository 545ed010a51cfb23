"""What a column holds, judged from its name, its comment, its type, its table's name and a sample of its values.

Names are split into words (snake_case, camelCase, digits) and matched against phrases in several languages. Values agree or speak
for themselves; a name alone is believed where the values are of a kind that no detector knows (names, addresses) or there are none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from processors.sensitivity.detectors import DETECTORS
from processors.sensitivity.scanner import Scanner
from schemas.classes import DataClass

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

PHRASES: dict[DataClass, str] = {
    DataClass.EMAIL: "email|e mail|mail address|mailaddr|emailaddress|correo|courriel|mail",
    DataClass.PHONE: "phone|telephone|mobile|cell|cellphone|msisdn|fax|tel|telefon|telefono|telefone|handy|telefoonnummer|phonenumber|mobil",
    DataClass.PERSON_NAME: "first name|last name|full name|firstname|lastname|fullname|surname|given name|family name|middle name|maiden name|person name"
    "|customer name|patient name|employee name|contact name|cardholder|card holder|account holder|vorname|nachname|prenom|nom|apellido|apellidos"
    "|nombre|cognome|nome|sobrenome|achternaam|voornaam|imie|nazwisko|fornavn|efternavn",
    DataClass.ADDRESS: "address|addr|street|postcode|post code|zip|zip code|zipcode|postal code|house number|adresse|strasse|anschrift|plz|rue|code postal|direccion|calle"
    "|codigo postal|indirizzo|via|cap|endereco|cep|adres|straat|postcode|latitude|longitude",
    DataClass.NATIONAL_ID: "ssn|social security|national id|nationalid|nino|national insurance|nhs number|nhs|aadhaar|aadhar|cpf|cnpj|sin number|social insurance|bsn"
    "|burgerservicenummer|personnummer|personal number|pesel|codice fiscale|dni|nie|nir|insee|hetu|cpr|fodselsnummer|oib|amka|curp|rut|tfn|tax id|taxid|tax number|tin|ein"
    "|itin|steuer id|steuernummer|sozialversicherungsnummer|svnr|ahv|identity number|id card|rrn|nric|cnic|inn|egn|cnp|isikukood|kimlik|pps|ppsn",
    DataClass.PASSPORT: "passport|passport number|passeport|reisepass|pasaporte|passaporto|passnummer",
    DataClass.PAYMENT_CARD: "card number|cardnumber|credit card|creditcard|pan|cc number|ccnum|cc num|debit card|card no|kreditkarte|kartennummer|carte bancaire|tarjeta|cvv|cvc|cvv2",
    DataClass.BANK_ACCOUNT: "iban|bank account|account number|accountnumber|routing number|sort code|bic|swift|kontonummer|kto|cuenta|conto corrente|rib|clabe|bankaccount",
    DataClass.DATE_OF_BIRTH: "date of birth|dob|birth date|birthdate|birthday|birth day|dateofbirth|born|born on|geburtsdatum|geburtstag|date naissance|date de naissance"
    "|fecha nacimiento|fecha de nacimiento|data nascita|data di nascita|data nascimento|geboortedatum|fodselsdato|birth year",
    DataClass.HEALTH: "diagnosis|diagnoses|icd|icd10|medical|medication|allergy|allergies|blood type|blood group|disease|prescription|patient id|mrn|symptoms|treatment"
    "|diagnose|krankheit|blutgruppe|maladie|enfermedad|disability|health",
    DataClass.CREDENTIAL: "password|passwd|pwd|passphrase|password hash|passwordhash|pin hash|pinhash|pin code|otp|otp secret|totp|session token|refresh token|access token|auth token|bearer"
    "|token|kennwort|passwort|mot de passe|contrasena|senha|wachtwoord|recovery code|security answer",
    DataClass.SECRET_KEY: "secret|secret key|api key|apikey|private key|privatekey|access key|client secret|encryption key|signing key|webhook secret|ssh key",
    DataClass.IP_ADDRESS: "ip|ip address|ipaddress|ip addr|ipaddr|remote addr|client ip|last ip|remote ip|ipv4|ipv6",
    DataClass.DEVICE_ID: "imei|imsi|mac address|macaddr|device id|deviceid|udid|idfa|android id|advertising id",
    DataClass.FREE_TEXT: "note|notes|comment|comments|remark|remarks|description|message|body|bemerkung|commentaire|observaciones|feedback|transcript|free text",
}

_PEOPLE = frozenset(
    [
        "user",
        "users",
        "customer",
        "customers",
        "client",
        "clients",
        "person",
        "persons",
        "people",
        "patient",
        "patients",
        "employee",
        "employees",
        "staff",
        "member",
        "members",
        "contact",
        "contacts",
        "account",
        "accounts",
        "kunde",
        "kunden",
        "personen",
        "mitarbeiter",
        "cliente",
        "clientes",
        "utilisateur",
        "utilisateurs",
    ]
)
_NOT = frozenset(
    [
        "id",
        "ids",
        "count",
        "cnt",
        "verified",
        "verification",
        "sent",
        "at",
        "flag",
        "is",
        "has",
        "type",
        "kind",
        "status",
        "enabled",
        "opt",
        "in",
        "format",
        "template",
        "valid",
        "length",
        "score",
        "num",
        "updated",
        "changed",
        "expires",
        "expiry",
        "required",
        "attempts",
        "failed",
        "policy",
        "subject",
        "preference",
        "preferences",
        "consent",
    ]
)
"""A last word that makes a column say something about the data rather than hold it: `email_verified`, `phone_type`."""

_TEXT_TYPES = frozenset(
    (
        "text",
        "varchar",
        "character varying",
        "char",
        "character",
        "bpchar",
        "name",
        "citext",
        "json",
        "jsonb",
        "xml",
        "bytea",
        "hstore",
        "",
    )
)
_NEVER: dict[str, frozenset[DataClass]] = {
    "boolean": frozenset(DataClass),
    "bool": frozenset(DataClass),
    "uuid": frozenset(DataClass) - {DataClass.CREDENTIAL, DataClass.SECRET_KEY, DataClass.DEVICE_ID},
}
_WHOLE_NUMBERS = frozenset(("bigint", "integer", "smallint", "int8", "int4", "int2"))
_DATES = frozenset(("date", "timestamp", "timestamptz", "timestamp without time zone", "timestamp with time zone"))
_NETWORK = {
    "inet": DataClass.IP_ADDRESS,
    "cidr": DataClass.IP_ADDRESS,
    "macaddr": DataClass.DEVICE_ID,
    "macaddr8": DataClass.DEVICE_ID,
}
_BY_PHRASE = {tuple(phrase.split()): data_class for data_class, phrases in PHRASES.items() for phrase in phrases.split("|")}
_LONGEST = max(map(len, _BY_PHRASE))
_CLASS_OF = {d.name: d.data_class for d in DETECTORS}
_WEAK = frozenset(d.name for d in DETECTORS if d.labels)

SHARE = 0.6
"""Of the sampled values that are not NULL, the part that has to be whole values of one detector to tag a column without its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the catalogue and a sample show it. `type` is the server's name of it without modifiers; arrays end in `[]`."""

    table: str
    name: str
    type: str = ""
    comment: str = ""
    values: Sequence[bytes] = ()


def words(name: str) -> tuple[str, ...]:
    """Split a name into lower-case words without accents: `dateOfBirth`, `date_of_birth` and `DATE OF BIRTH` are the same."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return tuple(word.lower() for word in _WORDS.findall(plain))


def by_name(name: str, table: str = "") -> frozenset[DataClass]:
    """Return the classes that a name stands for: longest phrases first, so that `mail address` is no postal address."""
    parts = words(name)
    if not parts or (len(parts) > 1 and parts[-1] in _NOT and parts not in _BY_PHRASE and parts[-2:] not in _BY_PHRASE):
        return frozenset()
    if parts == ("name",) and _PEOPLE & set(words(table)):
        return frozenset((DataClass.PERSON_NAME,))
    found: set[DataClass] = set()
    at = 0
    while at < len(parts):
        for size in range(min(_LONGEST, len(parts) - at), 0, -1):
            data_class = _phrase(parts[at : at + size])
            if data_class is not None:
                found.add(data_class)
                at += size
                break
        else:
            at += 1
    if DataClass.ADDRESS in found and found & {DataClass.EMAIL, DataClass.IP_ADDRESS, DataClass.DEVICE_ID}:
        found.discard(DataClass.ADDRESS)
    return frozenset(found)


def _phrase(parts: tuple[str, ...]) -> DataClass | None:
    """Return what words stand for, the last one in the singular or the plural: `emails`, `api_keys`, `addresses`."""
    last = parts[-1]
    for word in (last, last.removesuffix("s"), last.removesuffix("es")):
        found = _BY_PHRASE.get((*parts[:-1], word))
        if found is not None:
            return found
    return None


def classify(column: Column, scanner: Scanner) -> frozenset[DataClass]:
    """Return the classes of a column; empty when nothing speaks for one. In doubt a column is tagged."""
    base = column.type.removesuffix("[]").lower()
    if base in _NETWORK:
        return frozenset((_NETWORK[base],))
    named = (
        by_name(column.name, column.table) | by_name(column.comment)
        if len(words(column.comment)) <= 8
        else by_name(column.name, column.table)
    )
    if base in _WHOLE_NUMBERS and words(column.name)[-2:] == ("patient", "id"):
        # A number that rows refer to each other by says nothing of anybody; a text may be what a hospital writes on its papers.
        named = by_name("_".join(words(column.name)[:-2]), column.table)
    named -= _NEVER.get(base, frozenset())
    if base in _DATES:
        return named & {DataClass.DATE_OF_BIRTH}
    values = [v for v in column.values if v]
    seen: set[DataClass] = set()
    if values:
        whole = scanner.whole(values)
        for detector, count in whole.items():
            data_class = _CLASS_OF[detector]
            if count >= SHARE * len(values) and (detector not in _WEAK or data_class in named):
                seen.add(data_class)
        if base in _TEXT_TYPES:
            inside = {c for classes in scanner.classes(values).values() for c in classes}
            if inside and not (seen & inside):
                seen.add(DataClass.FREE_TEXT)
    if base not in _TEXT_TYPES and base not in ("numeric", "bigint", "integer", "int4", "int8"):
        named = frozenset()
    return named | frozenset(seen)
