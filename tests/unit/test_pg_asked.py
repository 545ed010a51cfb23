"""Settings of a startup packet are SQL to the guard: by name, or as switches in `options`, however they are spelt."""

from __future__ import annotations

import pytest

from ingest.protocols.postgres.asked import settings_asked
from processors.statements import Analyser, Lexing, Tokenizer
from schemas.events import Danger

ASKED = [
    ({"application_name": "x", "client_encoding": "UTF8", "replication": "off"}, set()),
    ({"DateStyle": "ISO", "TimeZone": "Europe/Berlin", "extra_float_digits": "2", "search_path": '"$user", public'}, set()),
    ({"options": "-c statement_timeout=5000 -c search_path=shop,public --lock-timeout=3s"}, set()),
    ({"options": r"-c application_name=it\'s\ mine"}, set()),
    ({"role": "postgres"}, {Danger.ROLE_CHANGE}),
    ({"options": "-c role=postgres"}, {Danger.ROLE_CHANGE}),
    ({"options": "-crole=postgres"}, {Danger.ROLE_CHANGE}),
    ({"options": "--session-authorization=postgres"}, {Danger.ROLE_CHANGE}),
    ({"Options": " \t -c\nsession_replication_role=replica"}, {Danger.AUDIT_TAMPERING}),
    ({"options": r"-c log\_statement=none"}, {Danger.AUDIT_TAMPERING}),
    ({"options": "-c pgaudit.log=none"}, {Danger.AUDIT_TAMPERING}),
    ({"LOG_STATEMENT": "none"}, {Danger.AUDIT_TAMPERING}),
    ({"options": "-c work_mem=900GB"}, {Danger.RESOURCE_EXHAUSTION}),
    ({"options": "-O"}, {Danger.OPAQUE}),
    ({"options": "-c"}, {Danger.OPAQUE}),
    ({"options": "-c x"}, {Danger.OPAQUE}),
    ({'a"; DROP TABLE t; --': "x", "b": "'; DROP TABLE t; --"}, set()),
]


@pytest.mark.parametrize(("parameters", "dangers"), ASKED, ids=[str(p) for p, _ in ASKED])
def test_what_a_startup_packet_asks_for(parameters: dict[str, str], dangers: set[Danger]) -> None:
    analyser = Analyser(Tokenizer(b"k" * 32))
    found = [s for text in settings_asked(parameters) for s in analyser.analyse(text, Lexing()).statements]
    assert {d for s in found for d in s.facts.dangers} == dangers
    assert all(s.facts.verbs in (("set",), ("unknown",)) for s in found)


@pytest.mark.parametrize("space", ["\x1c", "\x1f", "\x85", "\xa0", "\u2003"])
def test_a_value_ends_where_the_server_ends_it(space: str) -> None:
    """What only Python takes for a space is part of the value, and does not hide the rest of it."""
    asked = list(settings_asked({"options": f"-c search_path=public{space}--a=b,evil"}))
    assert asked == [f"SET \"search_path\" TO 'public{space}--a=b,evil'".encode()]
