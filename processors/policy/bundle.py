"""What is a policy bundle? YAML files of rules, limits and freezes, read and checked; their bytes' hash is the version.

    bundle: production            # a name
    default: allow                # or deny: then a statement needs a rule of effect allow, mask or hold
    mode: enforce                 # or shadow: decisions are recorded, nothing is enforced
    timezone: Europe/Berlin       # of time.* and freezes; UTC where nothing is said
    freezes: [{name, from, to, environments, reason}]
    rules:   [{id, effect, when, reason, risk, mode, environments, tests,
               approvers: {groups, count, wait_minutes, break_glass}}]
    limits:  [{id, when, reason, one of: statement_rows, statement_bytes, statement_seconds, statements_per_minute,
               session_statements, session_rows, session_bytes}]
    clear:   [{id, classes, when, reason}]      # who sees which data classes as they are; all others see masks
    tests:   [{name, given, sql, expect, rules}]

docs/policy.md explains each. Nothing unknown is accepted: a misspelt `efect` must not become a rule that does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.classes import DataClass
from schemas.events import Verdict

MAX_BYTES = 1024**2
"""Bytes of one bundle file: people write these."""
MAX_RULES = 1000
"""Rules of all files together: evaluation is linear in them."""

_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
Name = Annotated[str, Field(pattern=_NAME)]


class PolicyError(Exception):
    """A bundle cannot be used; each line of the text names file, rule and remedy."""


class Mode(StrEnum):
    """Whether what a rule says is done or only recorded."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RuleCase(_Part):
    """A test of one rule: with these values, or this statement's facts, it matches or it does not."""

    given: dict[str, Any] = {}
    sql: str = ""
    matches: bool


class Case(_Part):
    """A test of the bundle: the verdict that is expected, and rules that must be among those that led to it."""

    name: str
    given: dict[str, Any] = {}
    sql: str = ""
    expect: Verdict
    rules: tuple[str, ...] = ()


class Approvers(_Part):
    """Who may approve what a rule holds, how many must, how long it waits, and which groups need not wait in an emergency."""

    groups: tuple[str, ...] = Field((), min_length=1)
    count: int = Field(1, ge=1, le=10)
    wait_minutes: int | None = Field(None, ge=1, le=1440)
    break_glass: tuple[str, ...] = ()


class Rule(_Part):
    """One rule. `reason` is shown to the client whose statement it stops."""

    id: Name
    effect: Verdict
    when: str = Field(max_length=10_000)
    reason: str = Field(min_length=1, max_length=500)
    risk: int = Field(0, ge=0, le=100)
    mode: Mode = Mode.ENFORCE
    environments: tuple[str, ...] = ()
    approvers: Approvers | None = None
    tests: tuple[RuleCase, ...] = ()

    @field_validator("when", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _held_by_somebody(self) -> Rule:
        if (self.effect is Verdict.HOLD) != (self.approvers is not None):
            raise ValueError("approvers and effect hold go together")
        return self


class Clear(_Part):
    """Who sees values of these data classes as they are: `when` may look at the principal, the database and the client."""

    id: Name
    when: str = Field("true", max_length=10_000)
    classes: tuple[DataClass | Literal["*"], ...] = Field(min_length=1)
    reason: str = Field(min_length=1, max_length=500)

    @property
    def all(self) -> frozenset[DataClass]:
        """The classes, `*` being every one."""
        return frozenset(DataClass) if "*" in self.classes else frozenset(DataClass(c) for c in self.classes)


class Bound(_Part):
    """What a statement may reach while it runs, `at` most: rows or bytes sent to the client, seconds; of it or its session."""

    kind: Literal["rows", "bytes", "seconds", "session_rows", "session_bytes"]
    at: int


class BoundRule(Rule):
    """What a limit is in the list of rules where it is about running statements: it matches, and so the statement is bound."""

    bound: Bound


class CounterRule(Rule):
    """A limit that is looked at before a statement: `when` says for which, and it matches once `counter` is `at_least` so much.

    Apart from other rules over counters, so that for whom no limit is meant nothing is evaluated anew with every statement.
    """

    counter: str
    at_least: int


class Limit(_Part):
    """A bound of statements or sessions. Past one of a session statements are denied; what runs then is cancelled."""

    id: Name
    when: str = "true"
    reason: str = Field(min_length=1, max_length=500)
    risk: int = Field(30, ge=0, le=100)
    mode: Mode = Mode.ENFORCE
    statements_per_minute: int | None = Field(None, ge=1)
    session_statements: int | None = Field(None, ge=1)
    session_rows: int | None = Field(None, ge=1)
    session_bytes: int | None = Field(None, ge=1)
    statement_rows: int | None = Field(None, ge=1)
    statement_bytes: int | None = Field(None, ge=1)
    statement_seconds: int | None = Field(None, ge=1, le=604_800)

    @field_validator("when", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one(self) -> Limit:
        names = dict.fromkeys((*_BEFORE, *_WHILE))
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise ValueError(f"give one of {', '.join(names)}")
        return self

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that this limit is a short form of: one before statements, one while they run, or both."""
        base: dict[str, Any] = {"id": self.id, "reason": self.reason, "mode": self.mode}
        found: list[Rule] = []
        for name, variable in _BEFORE.items():
            if (most := getattr(self, name)) is not None:
                what: dict[str, Any] = {"effect": Verdict.DENY, "when": self.when, "risk": self.risk}
                found.append(CounterRule(**base, **what, counter=variable, at_least=most))
        for name, kind in _WHILE.items():
            if (most := getattr(self, name)) is not None:
                found.append(BoundRule(**base, effect=Verdict.ALLOW, when=self.when, bound=Bound(kind=kind, at=most)))
        return tuple(found)


_BEFORE = {
    "statements_per_minute": "session.statements_last_minute",
    "session_statements": "session.statements",
    "session_rows": "session.rows",
    "session_bytes": "session.bytes_out",
}
"""Which counter is looked at before a statement."""
_WHILE: dict[str, Literal["rows", "bytes", "seconds", "session_rows", "session_bytes"]] = {
    "statement_rows": "rows",
    "statement_bytes": "bytes",
    "statement_seconds": "seconds",
    "session_rows": "session_rows",
    "session_bytes": "session_bytes",
}
"""What is watched while one runs."""


class Freeze(_Part):
    """A span in which `time.frozen` is true, for databases of these environments (all where none is given)."""

    name: str
    from_: datetime = Field(alias="from")
    to: datetime
    environments: tuple[str, ...] = ()
    reason: str = ""

    @model_validator(mode="after")
    def _forward(self) -> Freeze:
        if (self.from_.tzinfo is None) != (self.to.tzinfo is None) or self.from_ >= self.to:
            raise ValueError("a freeze runs from an earlier to a later time; give both a zone or neither")
        return self

    def covers(self, now: int, environment: str, zone: ZoneInfo) -> bool:
        """Whether `now` (µs) and the environment are within.

        A time of the clock that comes twice, or never, when clocks are changed means the earlier of two moments at the beginning
        and the later at the end.
        """
        if self.environments and environment not in self.environments:
            return False
        starts, ends = (
            {t.replace(tzinfo=t.tzinfo or zone, fold=fold).timestamp() for fold in (0, 1)} for t in (self.from_, self.to)
        )
        return min(starts) * 1e6 <= now < max(ends) * 1e6


class _File(_Part):
    bundle: Name
    default: Verdict = Verdict.ALLOW
    mode: Mode = Mode.ENFORCE
    timezone: str = "UTC"
    freezes: tuple[Freeze, ...] = ()
    rules: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()
    clear: tuple[Clear, ...] = ()
    tests: tuple[Case, ...] = ()

    @field_validator("default")
    @classmethod
    def _default(cls, value: Verdict) -> Verdict:
        if value not in (Verdict.ALLOW, Verdict.DENY):
            raise ValueError("default is allow or deny")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {value!r}; write one such as Europe/Berlin") from None
        return value


class Bundle:
    """All files together: `version` is `name@hash`, rules in the order of the files, limits behind them as rules."""

    def __init__(self, version: str, files: tuple[_File, ...]) -> None:
        self.version = version
        self.name = files[0].bundle
        self.default = Verdict.DENY if any(f.default is Verdict.DENY for f in files) else Verdict.ALLOW
        self.zone = ZoneInfo(files[0].timezone)
        self.clear = tuple(clear for f in files for clear in f.clear)
        self.freezes = tuple(freeze for f in files for freeze in f.freezes)
        self.cases = tuple(case for f in files for case in f.tests)
        self.rules: tuple[Rule, ...] = tuple(
            rule.model_copy(update={"mode": Mode.SHADOW}) if f.mode is Mode.SHADOW else rule
            for f in files
            for rule in (*f.rules, *(rule for limit in f.limits for rule in limit.rules()))
        )

    def frozen(self, now: int, environment: str) -> bool:
        """Whether a freeze covers this moment."""
        return any(freeze.covers(now, environment, self.zone) for freeze in self.freezes)


def read_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Read a bundle from the bytes of its files, by name. Raises PolicyError with every problem, one a line."""
    problems: list[str] = []
    read: list[_File] = []
    digest = sha256()
    for name, data in files.items():
        digest.update(sha256(data).digest())
        try:
            read.append(_file(data))
        except ValidationError as error:
            problems += [f"{name}: {line}" for line in _worded(error)]
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if not files:
        problems.append("a bundle needs at least one file")
    problems += _across(read)
    if problems:
        raise PolicyError("\n".join(problems))
    return Bundle(f"{read[0].bundle}@{digest.hexdigest()[:16]}", tuple(read))


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: of two `when`, one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice; keep one")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _file(data: bytes) -> _File:
    if len(data) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    try:
        if b"&" in data and any(t for t in yaml.scan(data) if isinstance(t, yaml.AliasToken)):
            raise ValueError("uses YAML aliases; write it without them")
        raw = yaml.load(data, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ValueError(f"line {line} is not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError):
        raise ValueError("is not YAML text") from None
    except (RecursionError, TypeError, OverflowError):
        raise ValueError("holds YAML that no bundle has: keys that are no words, numbers or nesting without end") from None
    if not isinstance(raw, dict):
        raise ValueError("must be a bundle: `bundle: NAME` and `rules:`")
    return _File.model_validate(raw)


def _worded(error: ValidationError) -> Iterable[str]:
    for detail in error.errors(include_url=False):
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in detail["loc"]).lstrip(".")
        given, context = detail["input"], detail.get("ctx", {})
        shown = f", not {given!r:.80}" if isinstance(given, str | int | float | bool) else ""
        match detail["type"]:
            case "string_type" if isinstance(given, bool):
                said = f"must be text, and YAML reads this as {str(given).lower()}: put it in quotes"
            case "string_type":
                said = f"must be text{shown}: put it in quotes"
            case "enum" | "literal_error":
                said = f"must be {context.get('expected')}{shown}"
            case "missing":
                said = "is required; add it"
            case "extra_forbidden":
                said = "is no member here; docs/policy.md lists them"
            case "model_type" | "dataclass_type" | "dict_type" | "model_attributes_type":
                said = f"must be members as `name: value`{shown}"
            case "list_type" | "tuple_type":
                said = f"must be a list, each item behind `- `{shown}"
            case "int_type" | "int_parsing":
                said = f"must be a whole number{shown}"
            case "string_pattern_mismatch" if context.get("pattern") == _NAME:
                said = f"must be lower case letters, digits, `-`, `_` and `.`, at most 64{shown}"
            case _:
                said = detail["msg"].removeprefix("Value error, ")
        yield f"{where}: {said}"


def _across(files: list[_File]) -> Iterable[str]:
    seen: dict[str, str] = {}
    count = 0
    for file in files:
        parts: list[Rule | Limit | Clear] = [*file.rules, *file.limits, *file.clear]
        for part in parts:
            count += 1
            if part.id in seen:
                yield f"rule {part.id} is given twice, in {seen[part.id]} and {file.bundle}: rename one, events name rules by id"
            seen[part.id] = file.bundle
    if count > MAX_RULES:
        yield f"{count} rules are more than {MAX_RULES}"
    zones = {f.timezone for f in files}
    if len(zones) > 1:
        yield f"the files name different time zones ({', '.join(sorted(zones))}); give them one"
