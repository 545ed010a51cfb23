"""docs/configuration.md holds every setting with its default and nothing else; every example loads; every variable is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from deploy.config import load, settings

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "configuration.md").read_text()
ROW = re.compile(r"^\| `([a-z_.\[\]]+)` \| (`[^`]*`|none|\*required\*) \| (.+) \|$", re.M)


def documented_default(value: object) -> str:
    if value is PydanticUndefined:
        return "*required*"
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_every_setting_is_documented_with_its_default_and_no_other() -> None:
    rows = ROW.findall(DOC)
    written = {path: default for path, default, _ in rows}
    expected = {path: documented_default(model.model_fields[path.split(".")[-1]].default) for path, model in settings()}
    assert written == expected
    assert len(rows) == len(written), "a setting is documented twice"


def test_bounds_in_the_schema_stand_in_the_document() -> None:
    rows = {path: text for path, _, text in ROW.findall(DOC)}
    for path, model in settings():
        bounds = [
            getattr(m, kind)
            for m in model.model_fields[path.split(".")[-1]].metadata
            for kind in ("ge", "le")
            if hasattr(m, kind)
        ]
        if len(bounds) == 2 and not path.endswith("port"):
            assert f"{bounds[0]:g} to {bounds[1]:g}" in rows[path].replace(",", ""), path


def test_every_choice_stands_in_the_document() -> None:
    rows = {path: text for path, _, text in ROW.findall(DOC)}
    for path, model in settings():
        annotation = model.model_fields[path.split(".")[-1]].annotation
        for choice in getattr(annotation, "__members__", {}).values():
            assert f"`{choice.value}`" in rows[path], path


@pytest.mark.parametrize("example", sorted((ROOT / "deploy" / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_loads(example: Path) -> None:
    variables = dict.fromkeys(re.findall(r"^\s+password_env: (\w+)", example.read_text(), re.M), "x")
    config = load(example, variables)
    assert config.databases
    assert config.data_dir.parent == example.parent


def test_the_settings_an_example_comments_out_load_too(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "examples" / "affidavit.yaml").read_text()
    head, _, tail = text.partition("# audit:\n")
    path = tmp_path / "affidavit.yaml"
    path.write_text(head + re.sub(r"^# ?", "", "# audit:\n" + tail, flags=re.M))
    shown = load(path, {"SHOP_PASSWORD": "x"})
    path.write_text(head)
    assert load(path, {"SHOP_PASSWORD": "x"}) == shown, "what is commented out is not the default"


def test_every_variable_the_code_reads_is_documented() -> None:
    used = set()
    for file in ROOT.glob("deploy/**/*.py"):
        used |= set(re.findall(r"AFFIDAVIT_[A-Z]+", file.read_text()))
    assert used == set(re.findall(r"^\| `(AFFIDAVIT_[A-Z]+)`", DOC, re.M))
