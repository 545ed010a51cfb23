"""How a session's settings turn bytes into text, before any token exists.

Postgres converts a query from `client_encoding` to the server's encoding first and reads tokens after that. In SJIS, BIG5,
GBK, GB18030, UHC and JOHAB the second byte of a character may be a quote or a backslash, so the bytes must be decoded by
the matching codec or not be trusted at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from processors.statements.catalogue import Catalogue

CODECS: dict[str, str] = {
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    # No conversion takes place: every byte over 0x7f is a letter to the scanner, and so is every Latin-1 character.
    "SQL_ASCII": "latin-1",
    "LATIN1": "latin-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "WIN866": "cp866",
    "WIN874": "cp874",
    "WIN1250": "cp1250",
    "WIN1251": "cp1251",
    "WIN1252": "cp1252",
    "WIN1253": "cp1253",
    "WIN1254": "cp1254",
    "WIN1255": "cp1255",
    "WIN1256": "cp1256",
    "WIN1257": "cp1257",
    "WIN1258": "cp1258",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "EUC_JP": "euc_jp",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_CN": "gb2312",
    "EUC_KR": "euc_kr",
    "SJIS": "cp932",
    "SHIFT_JIS_2004": "shift_jis_2004",
    "BIG5": "cp950",
    "GBK": "gbk",
    "GB18030": "gb18030",
    "UHC": "cp949",
    "JOHAB": "johab",
}
"""Postgres' encoding name to Python's codec. EUC_TW and MULE_INTERNAL have none here: such text is opaque."""

# These two codecs read 0x5c as a currency sign (and Shift JIS 2004 reads 0x7e as an overline); Postgres reads ASCII.
_NOT_ASCII: dict[str, bytes] = {"johab": b"\\", "shift_jis_2004": b"\\~"}


@dataclass(frozen=True, slots=True)
class Lexing:
    """The settings that decide how bytes become tokens and names become objects.

    `standard_conforming_strings` None means uncertain: both readings are tried, and text on which they differ is opaque.
    `client_encoding` is Postgres' name for it. `catalogue` is the snapshot that names are resolved by, None where there is none;
    `blind` that there should be one, and it could not be read yet: what cannot be seen through then is opaque.
    """

    standard_conforming_strings: bool | None = True
    client_encoding: str = "UTF8"
    search_path: tuple[str, ...] = ("public",)
    catalogue: Catalogue | None = None
    blind: bool = False


def codec_of(client_encoding: str) -> str | None:
    """Return Python's codec for a Postgres encoding name, None where there is none."""
    return CODECS.get(client_encoding.upper().replace("-", "").replace("UTF_8", "UTF8"))


def decode(text: bytes, codec: str | None) -> str | None:
    """Return the text as the server will read it, or None where that is not certain."""
    if codec is None:
        return None
    for byte in _NOT_ASCII.get(codec, b""):
        if byte in text:
            return None
    try:
        return text.decode(codec)
    except (UnicodeDecodeError, LookupError):
        return None
