"""Events once written must stay readable: golden lines of every type and version, and JSON Schema files that are current.

`tests/golden/events/vN.ndjson` holds one line of each type at version N. Lines are added, never changed: a failing line means
that a change to `schemas.events` would make archives of the past unreadable.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from processors.pipeline import run
from processors.steps.read import KNOWN_VERSION
from processors.steps.work import Batch, State
from schemas import json_schema
from schemas.events import EVENT_TYPES
from schemas.integrity import GENESIS, Block, BlockHeader, leaf_hash, merkle_root
from schemas.log import Record

GOLDEN = [
    pytest.param(line, id=f"{path.stem}-{orjson.loads(line)['type']}")
    for path in sorted((Path(__file__).parents[1] / "golden" / "events").glob("v*.ndjson"))
    for line in path.read_bytes().splitlines()
]


@pytest.mark.parametrize("line", GOLDEN)
def test_a_line_of_any_version_reads_with_every_value_it_holds(line: bytes) -> None:
    said = orjson.loads(line)
    event = TypeAdapter(EVENT_TYPES[said["type"]]).validate_json(line)
    read = json.loads(json.dumps(asdict(event)))
    assert _without_newer(read, said) == said


def _without_newer(read: Any, said: Any) -> Any:
    """Leave out the members that a line did not have yet, which read as their defaults."""
    if isinstance(said, dict) and isinstance(read, dict):
        return {name: _without_newer(read[name], value) for name, value in said.items()}
    return read


@pytest.mark.parametrize("line", GOLDEN)
def test_a_line_of_any_version_fits_the_published_schema(line: bytes) -> None:
    said = orjson.loads(line)
    schema = json.loads((json_schema.FOLDER / f"{said['type']}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(said, schema)
    jsonschema.validate({**said, "a_field_of_the_future": 1}, schema)


@pytest.mark.parametrize("line", GOLDEN)
def test_members_with_a_default_may_be_missing_and_no_others(line: bytes) -> None:
    said = orjson.loads(line)
    cls = EVENT_TYPES[said["type"]]
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    for field in fields(cls):
        rest = orjson.dumps({name: value for name, value in said.items() if name != field.name})
        if field.default is MISSING and field.default_factory is MISSING:
            with pytest.raises(ValidationError):
                adapter.validate_json(rest)
        else:
            adapter.validate_json(rest)


def test_every_type_has_its_line_of_version_1_and_the_newest_is_the_one_the_pipeline_knows() -> None:
    said = [orjson.loads(p.values[0]) for p in GOLDEN]  # type: ignore[arg-type]
    assert {e["type"] for e in said if e["v"] == 1} == set(EVENT_TYPES)
    assert max(e["v"] for e in said if e["type"] == "QueryExecuted") == KNOWN_VERSION


def test_every_golden_line_becomes_its_rows() -> None:
    lines: list[bytes] = [p.values[0] for p in GOLDEN if orjson.loads(p.values[0])["v"] == 1]  # type: ignore[misc,arg-type]
    first = orjson.loads(lines[0])
    root = merkle_root([leaf_hash(line) for line in lines]).hex()
    header = BlockHeader(first["source"], first["epoch"], 9, 1, len(lines), first["at"], GENESIS[:-1] + "1", root)
    block = Block(header, b"", b"".join(line + b"\n" for line in lines))
    state, batch = run(State(), Batch((Record("affidavit.events", 0, b"", block.body, block.log_headers()),)), 0)
    assert (batch.rejected, state.unreadable) == ((), 0)
    assert batch.tables["query_events"].num_rows == 1
    assert batch.tables["other_events"].num_rows == len(lines) - 1
    assert (batch.tables["sessions"].num_rows, batch.tables["texts"].num_rows) == (2, 1)


def test_the_json_schema_files_are_current() -> None:
    assert json_schema.stale() == [], "run python -m schemas.json_schema"


def test_a_stale_missing_or_surplus_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "FOLDER", tmp_path)
    json_schema.write()
    assert json_schema.stale() == []
    (tmp_path / "Heartbeat.json").write_text("{}", encoding="utf-8")
    (tmp_path / "Nonsense.json").write_text("{}", encoding="utf-8")
    (tmp_path / "TextObserved.json").unlink()
    assert json_schema.stale() == ["Heartbeat.json", "Nonsense.json", "TextObserved.json"]
    assert json_schema.main(["--check"]) == 1
    json_schema.write()
    assert json_schema.main(["--check"]) == 0
