"""Columns to classes: by their names in several languages, by their values, and by both."""

from __future__ import annotations

import pytest

from processors.sensitivity import Column, Scanner, classify
from processors.sensitivity.columns import by_name, words
from schemas.classes import DataClass as C

SCANNER = Scanner()


def test_words() -> None:
    assert words("dateOfBirth") == words("date_of_birth") == words("DATE OF BIRTH") == ("date", "of", "birth")
    assert words("userIPAddr2") == ("user", "ip", "addr", "2")
    assert words("prénom") == ("prenom",)
    assert words("Straße") == ("strasse",)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("email", C.EMAIL),
        ("customerEmail", C.EMAIL),
        ("mail_address", C.EMAIL),
        ("mobile_no", C.PHONE),
        ("nachname", C.PERSON_NAME),
        ("firstName", C.PERSON_NAME),
        ("street", C.ADDRESS),
        ("billing_address_line1", C.ADDRESS),
        ("codigo_postal", C.ADDRESS),
        ("ssn", C.NATIONAL_ID),
        ("codiceFiscale", C.NATIONAL_ID),
        ("passport_number", C.PASSPORT),
        ("card_number", C.PAYMENT_CARD),
        ("IBAN", C.BANK_ACCOUNT),
        ("dob", C.DATE_OF_BIRTH),
        ("geburtsdatum", C.DATE_OF_BIRTH),
        ("diagnosis", C.HEALTH),
        ("password_hash", C.CREDENTIAL),
        ("api_key", C.SECRET_KEY),
        ("clientIp", C.IP_ADDRESS),
        ("mac_address", C.DEVICE_ID),
        ("notes", C.FREE_TEXT),
    ],
)
def test_names(name: str, wanted: C) -> None:
    assert by_name(name) == {wanted}


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "created_at",
        "email_verified",
        "phone_type",
        "email_count",
        "amount",
        "status",
        "product_name",
        "pants",
        "excellent",
        "name",
    ],
)
def test_names_that_hold_nothing(name: str) -> None:
    assert by_name(name) == frozenset()


def test_a_name_of_people() -> None:
    assert by_name("name", "users") == {C.PERSON_NAME}
    assert by_name("name", "products") == frozenset()


def test_values_speak_where_the_name_does_not() -> None:
    cells = [b"ada@example.org", b"grace@example.org", b"n/a"]
    assert classify(Column(table="t", name="c1", type="text", values=cells), SCANNER) == {C.EMAIL}
    numbers = [b"096802662", b"111222333", b"123456782"]
    assert classify(Column(table="t", name="c1", type="text", values=numbers), SCANNER) == frozenset()
    assert classify(Column(table="t", name="bsn", type="integer", values=numbers), SCANNER) == {C.NATIONAL_ID}
    prose = [b"call ada@example.org back", b"nothing", b"all fine"]
    assert classify(Column(table="t", name="c1", type="text", values=prose), SCANNER) == {C.FREE_TEXT}


def test_types_and_comments() -> None:
    assert classify(Column(table="t", name="x", type="inet"), SCANNER) == {C.IP_ADDRESS}
    assert classify(Column(table="t", name="email", type="boolean"), SCANNER) == frozenset()
    assert classify(Column(table="t", name="born", type="date"), SCANNER) == {C.DATE_OF_BIRTH}
    assert classify(Column(table="t", name="created", type="date"), SCANNER) == frozenset()
    assert classify(Column(table="t", name="c7", type="text", comment="customer e-mail"), SCANNER) == {C.EMAIL}
    assert classify(Column(table="t", name="emails", type="text[]", comment="email"), SCANNER) == {C.EMAIL}


@pytest.mark.parametrize("type", ["bigint", "integer", "int4"])
def test_a_number_that_rows_refer_to_patients_by_is_no_health_data(type: str) -> None:
    assert classify(Column(table="visits", name="patient_id", type=type), SCANNER) == frozenset()
    assert classify(Column(table="visits", name="diagnosis_patient_id", type=type), SCANNER) == {C.HEALTH}
    assert classify(Column(table="visits", name="patient_id", type="text"), SCANNER) == {C.HEALTH}
