"""Writes `schemas/json/<Event>.json`: the JSON Schema of each event, for consumers in other languages. Generated, never edited.

    python -m schemas.json_schema            writes the files
    python -m schemas.json_schema --check    exits 1 and names what is out of date

Readers must ignore members they do not know, so unknown members are allowed throughout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import TypeAdapter

from schemas.events import EVENT_TYPES
from schemas.events.base import Event

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def generate() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {f"{name}.json": _document(name, cls) for name, cls in EVENT_TYPES.items()}


def stale() -> list[str]:
    """Return the names of files that are missing, differ, or should not be there."""
    wanted = generate()
    found = {p.name: p.read_text(encoding="utf-8") for p in FOLDER.glob("*.json")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def write() -> None:
    """Bring the folder up to date."""
    FOLDER.mkdir(exist_ok=True)
    wanted = generate()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _document(name: str, cls: type[Event]) -> str:
    schema = TypeAdapter(cls).json_schema(mode="validation")
    # A line says its own type; what tells events apart belongs in the schema.
    schema["properties"]["type"] = {"const": name, "title": "Type", "type": "string"}
    document = {"$schema": DIALECT, "$id": f"{name}.json", **schema}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write, or check."""
    if arguments == ["--check"]:
        names = stale()
        for name in names:
            print(f"schemas/json/{name} is out of date: run python -m schemas.json_schema")
        return 1 if names else 0
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
