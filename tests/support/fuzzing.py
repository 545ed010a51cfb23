"""What all fuzz tests share: how many inputs, from which seed, the secrets that must not come out, and how bytes are spoilt.

`AFFIDAVIT_FUZZ_INPUTS` is the number of inputs of all fuzz tests together, shared out among them; ten million in a soak. Without
it each takes the few of an ordinary run. `AFFIDAVIT_FUZZ_SEED` makes them others; both are printed, so that a fault can be had
again.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable

TOTAL = int(os.environ.get("AFFIDAVIT_FUZZ_INPUTS", "0"))
SEED = int(os.environ.get("AFFIDAVIT_FUZZ_SEED", "1"))
SHARES = {"session": 0.69, "startup": 0.1, "analyser": 0.1, "token": 0.1, "policy": 0.01}
"""Of the inputs; cheap ones get more."""

SECRETS = ("4929804463622139", "hunter2-Ttx9!qLw", "dora.quade@vault-83.example")
"""Planted where values are: digits that stay a number unquoted, and two that are no name in any quoting."""


def inputs(name: str, ordinary: int) -> int:
    """Return how many inputs a test takes."""
    return int(TOTAL * SHARES[name]) if TOTAL else ordinary


def dice(name: str) -> random.Random:
    """Return the randomness of a test."""
    return random.Random(f"{SEED}/{name}")


def told(name: str, count: int, **found: object) -> None:
    """Print what was tried: `pytest -s`, or the report of a failure, shows it."""
    details = ", ".join(f"{what} {value}" for what, value in found.items())
    print(f"\nfuzz {name}: {count:,} inputs, seed {SEED}{', ' if details else ''}{details}")


_FORMS = re.compile(
    rb"(?<![0-9A-Za-z_$\x80-\xff])(?:"
    + b"|".join(re.escape(form) for s in SECRETS for form in (s.encode(), s.encode().hex().encode()))
    + b")"
)
"""In clear or hexadecimal. Digits that mutation glued to a word are that name's, for the server as well."""


def leaked(written: bytes) -> bytes:
    """Return where a secret stands in what is written, with its surroundings; empty if nowhere."""
    found = _FORMS.search(written)
    return written[max(0, found.start() - 500) : found.end() + 300] if found else b""


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with one to three faults: flipped, cut out, doubled, or with a length or a number put in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if not out:
            break
        at = rng.randrange(len(out))
        match rng.randrange(6):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del out[at : at + rng.randint(1, 8)]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 40)]
            case 4:
                out[at : at + 4] = rng.choice((0, 1, 3, 4, 5, 255, 65_535, 2**20 + 5, 2**30, 2**31 - 1, 2**32 - 1)).to_bytes(
                    4, "big"
                )
            case _:
                out[at : at + 2] = rng.choice((0, 1, 255, 32_767, 65_535)).to_bytes(2, "big")
    return bytes(out)


def cut(rng: random.Random, data: bytes) -> Iterable[bytes]:
    """Yield the bytes whole, or in a few pieces."""
    while data:
        size = len(data) if rng.random() < 0.7 else rng.randint(1, len(data))
        yield data[:size]
        data = data[size:]
