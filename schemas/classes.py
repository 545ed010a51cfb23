"""Classes of sensitive data: the words that tags, masks, decisions, exposure counts and searches share.

A class says what a value is, whatever format or country it is written in; the detector that found it is told apart by its name.
"""

from __future__ import annotations

from enum import StrEnum


class DataClass(StrEnum):
    """What a cell or a column holds. `free_text`: prose that may hold any of the others, so only its values can tell."""

    EMAIL = "email"
    PHONE = "phone"
    PERSON_NAME = "person_name"
    ADDRESS = "address"
    NATIONAL_ID = "national_id"
    PASSPORT = "passport"
    PAYMENT_CARD = "payment_card"
    BANK_ACCOUNT = "bank_account"
    DATE_OF_BIRTH = "date_of_birth"
    HEALTH = "health"
    CREDENTIAL = "credential"
    SECRET_KEY = "secret_key"
    IP_ADDRESS = "ip_address"
    DEVICE_ID = "device_id"
    FREE_TEXT = "free_text"


class Style(StrEnum):
    """What stands for a masked value. `token`: equal values have equal tokens, under the key of the data directory.

    `bucket`: the year of a date, the first digits of a postcode, a number with one digit that counts.
    """

    PARTIAL = "partial"
    TOKEN = "token"
    REDACT = "redact"
    NULL = "null"
    BUCKET = "bucket"


CHECKSUMMED = frozenset({DataClass.NATIONAL_ID, DataClass.PAYMENT_CARD, DataClass.BANK_ACCOUNT, DataClass.DEVICE_ID})
"""Classes whose detectors verify check digits (or, for US and UK numbers that have none, the ranges never issued)."""
