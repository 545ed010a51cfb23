"""What a detector is: an RE2 pattern over bytes, a validator, and the cases that it must and must not match.

A number that is only a run of digits with one check digit would match one random number in ten. Its detector has `labels`: words
in several languages of which one has to stand before the number, or the caller has to know from elsewhere (a column's name, the
share of valid cells) that it may be one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from schemas.classes import DataClass

Validator = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """`pattern` is RE2 syntax on bytes without capturing groups, and never matches a zero byte, which separates cells.

    `isolated`: a match that is part of a longer dashed or dotted code (a UUID, a version) does not count; `octets`: nor one that
    is a part of more groups of two hexadecimal digits with colons between them, as fingerprints of keys have.
    """

    name: str
    data_class: DataClass
    pattern: str
    must: tuple[str, ...]
    must_not: tuple[str, ...]
    validate: Validator | None = None
    labels: tuple[str, ...] = ()
    isolated: bool = True
    octets: bool = False

    @property
    def searched(self) -> str:
        """The pattern with its value in group 1, behind one of the labels where it has any."""
        if not self.labels:
            return f"({self.pattern})"
        labels = "|".join(label.replace(" ", r"[ _.-]?") for label in self.labels)
        number = r"(?:(?:no|nr|n|num|number|nummer|numero|is|was)\b[^0-9A-Za-z\x00]{1,4}){0,2}"
        return rf"(?i:\b(?:{labels})[^0-9A-Za-z\x00]{{1,6}}{number})({self.pattern})"


def standard(module: str) -> Validator:
    """Return the validator of python-stdnum's `module`, such as `nl.bsn`."""
    is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid

    def validate(value: bytes) -> bool:
        return is_valid(value.decode("latin-1"))

    return validate


def varied(value: bytes) -> bool:
    """Whether a number holds more than two different digits: 111111111 and 121212121 pass many checksums and are nobody's."""
    return len(set(value) - set(b" -./")) > 2
