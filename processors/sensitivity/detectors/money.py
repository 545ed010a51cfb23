"""Payment cards, bank accounts and devices: numbers with a check digit and an issuer's shape."""

from __future__ import annotations

from processors.sensitivity.detector import Detector, standard, varied
from schemas.classes import DataClass

_luhn = standard("luhn")
_iban = standard("iban")
_imei = standard("imei")


def is_card(value: bytes) -> bool:
    """Whether the Luhn digit is right (ISO/IEC 7812-1) and the digits are not a filler."""
    digits = value.translate(None, b" -")
    return varied(digits) and _luhn(digits)


def is_routing_number(value: bytes) -> bool:
    """Whether the ABA check digit is right: weights 3, 7, 1."""
    return sum(int(chr(d)) * w for d, w in zip(value, (3, 7, 1) * 3, strict=True)) % 10 == 0 and varied(value)


DETECTORS = (
    Detector(
        name="payment_card",
        data_class=DataClass.PAYMENT_CARD,
        pattern=r"\b(?:(?:4[0-9]{3}|5[1-5][0-9]{2}|2(?:2[2-9]|[3-6][0-9]|7[01])[0-9]|2720|6(?:011|5[0-9]{2}|4[4-9][0-9])|35(?:2[89]|[3-8][0-9])|62[0-9]{2}|9792|220[0-4])"
        r"(?:[0-9]{12}|(?: [0-9]{4}){3}|(?:-[0-9]{4}){3})|3[47][0-9]{2}(?:[0-9]{11}|[ -][0-9]{6}[ -][0-9]{5})|3(?:0[0-5]|[68][0-9])[0-9](?:[0-9]{10}|[ -][0-9]{6}[ -][0-9]{4}))\b",
        must=("4539578763621486", "5500 0055 5555 5559", "378282246310005", "paid by 6011-0009-9013-9424."),
        must_not=("4539578763621487", "1234567812345670", "0000 0000 0000 0000", "453957876362148"),
        validate=is_card,
    ),
    Detector(
        name="iban",
        data_class=DataClass.BANK_ACCOUNT,
        pattern=r"\b(?:[A-Z]{2}[0-9]{2}(?:(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?|[A-Z0-9]{11,30})|[a-z]{2}[0-9]{2}(?:(?: [a-z0-9]{4}){2,7}(?: [a-z0-9]{1,3})?|[a-z0-9]{11,30}))\b",
        must=("de89370400440532013000", "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "to NL91ABNA0417164300 today"),
        must_not=("DE88370400440532013000", "XX89370400440532013000", "AB12CDEFGHIJKLMNOP"),
        validate=_iban,
    ),
    Detector(
        name="aba_routing",
        data_class=DataClass.BANK_ACCOUNT,
        pattern=r"\b[0-3][0-9]{8}\b",
        labels=("routing", "routing number", "aba", "rtn"),
        must=("routing number: 021000021", "ABA 011401533"),
        must_not=("routing number: 021000022", "021000021"),
        validate=is_routing_number,
    ),
    Detector(
        name="imei",
        data_class=DataClass.DEVICE_ID,
        pattern=r"\b(?:[0-9]{15}|[0-9]{2}-[0-9]{6}-[0-9]{6}-[0-9])\b",
        labels=("imei", "device id", "handset"),
        must=("IMEI: 490154203237518", "IMEI 49-015420-323751-8"),
        must_not=("IMEI: 490154203237519", "490154203237518"),
        validate=_imei,
    ),
)
