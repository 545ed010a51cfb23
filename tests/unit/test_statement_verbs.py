"""Is every verb that statements get one that grants may name?"""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.statements import Analyser, Lexing
from processors.statements.tokens import Tokenizer
from processors.statements.verbs import known_verbs

GOLDEN = Path(__file__).parents[1] / "golden" / "evasion"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.txt")), ids=lambda file: file.stem)
def test_statements_have_verbs_that_are_known(file: Path) -> None:
    analyser, found = Analyser(Tokenizer(b"\x00" * 32)), set[str]()
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            text = line.partition(": ")[2] if line.partition(": ")[0].replace("_", "").isalpha() else line
            for statement in analyser.analyse(text.replace("\\n", "\n").encode(), Lexing()).statements:
                found.update(statement.facts.verbs)
    assert found - {"unknown"} <= known_verbs()
    assert {"select", "update", "delete"} & found


def test_what_no_statement_does_is_no_verb() -> None:
    assert {"select", "drop_table", "alter_table", "create_index", "commit", "fetch", "reindex"} <= known_verbs()
    assert not {"selct", "table", "unknown", ""} & known_verbs()
