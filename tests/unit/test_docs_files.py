"""Files that documents name, in backticks from the project's root, are there: a file that is renamed takes its mentions along."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:bench|deploy|docs|ingest|processors|query_api|schemas|tests)/[\w./-]+)(?:::\w+)?`")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for f in ("bench", "deploy", "docs") for p in (ROOT / f).rglob("*.md"))])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(document: Path) -> None:
    named = set(NAMED.findall(document.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_files_are_found_in_the_documents() -> None:
    assert len(set(NAMED.findall((ROOT / "docs" / "ARCHITECTURE.md").read_text()))) > 50


def test_every_benchmark_stands_in_its_document() -> None:
    modules = {p.stem for p in (ROOT / "bench").glob("*.py") if "__main__" in p.read_text()}
    listed = re.findall(r"^\| `(\w+)` \| [^|]+\? \|$", (ROOT / "bench" / "README.md").read_text(), re.MULTILINE)
    assert (sorted(listed), len(listed)) == (sorted(modules), len(modules))
