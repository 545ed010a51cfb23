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
    if value == ():
        return "`[]`"
    if value == "":
        return '`""`'
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


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/ARCHITECTURE.md", "docs/operations.md", "docs/configuration.md", "docs/security.md", "CHANGELOG.md"],
)
def test_files_that_documents_point_to_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", text)]
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
    paths = re.findall(r"`((?:tests|deploy|docs|bench)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_tests_that_documents_name_exist() -> None:
    named = set()
    for document in ("docs/ARCHITECTURE.md", "docs/operations.md"):
        named |= set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / document).read_text()))
    assert len(named) > 10
    missing = [(file, test) for file, test in named if f"def {test}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_commands_in_documents_exist() -> None:
    from deploy.cli import run

    text = "".join(
        (ROOT / name).read_text() for name in ("README.md", "docs/operations.md", "CHANGELOG.md", "docs/ARCHITECTURE.md")
    )
    named = {tuple(m.split()) for m in re.findall(r"`affidavit ((?:[a-z]+ )?[a-z]+)[ `]", text)}
    assert {("up",), ("archive", "rebuild"), ("token", "revoke")} <= named
    for words in named:
        assert run([*words, "--help"]) == 0, words
