"""How does `affidavit.yaml` become a `schemas.config.Config`, and what is said when it cannot?

Every problem is one line: file, line where the file has one, path of the setting, what is wrong, what to do. All problems are
reported at once, and no value of a password setting is ever repeated. There is no variable expansion inside values: a
password may come from the environment (`password_env`) or a file (`password_file`), nothing else does.

YAML is read by the core rules of YAML 1.2: only `true` and `false` are booleans (so `mode: off` is the word it looks like),
and no number is octal, sexagesimal or a date. A key given twice is an error.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import orjson
import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from schemas.config import (
    Addresses,
    ClickHouseSettings,
    Config,
    EstimateSettings,
    KafkaSecurity,
    NotificationSettings,
    Upstream,
    with_secrets,
)

MAX_FILE_BYTES = 1024**2  # a configuration is written by people; this bounds what a mistaken path can make us read
MAX_NODES = 50_000  # bounds what YAML aliases can unfold to

Location = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)
H = TypeVar("H", Upstream, EstimateSettings, KafkaSecurity, ClickHouseSettings)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: `line` counts from 1 (0: the file as a whole), `setting` is its path (empty: no single setting)."""

    setting: str
    line: int
    message: str


class ConfigError(Exception):
    """The configuration cannot be used; `problems` says why, `str()` gives them one a line."""

    def __init__(self, path: Path | str, problems: list[Problem]) -> None:
        self.path = str(path)
        self.problems = tuple(problems)
        super().__init__(self.path, self.problems)

    def __str__(self) -> str:
        lines = []
        for p in self.problems:
            where = f"{self.path}:{p.line}" if p.line else self.path
            lines.append(f"{where}: {p.setting}: {p.message}" if p.setting else f"{where}: {p.message}")
        return "\n".join(lines)


SECTIONS = ("databases", "policy", "identity", "log", "clickhouse", "notifications")
"""The sections that name files and passwords."""


def load(
    path: Path, environ: Mapping[str, str] | None = None, *, complete: bool = True, sections: Sequence[str] = SECTIONS
) -> Config:
    """Read `path` and return its settings, relative paths made absolute against the file's folder.

    With `complete` the passwords that `sections` name by `password_env` and `password_file` are read into `password`, and files
    that their settings name must exist; without it (commands that only need the data directory or the API) neither is looked at.
    A role that runs apart gives the sections it uses: it need not hold the others' secrets. Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        hint = "there is no such file; name one with -c, or start from deploy/examples/affidavit.yaml"
        raise ConfigError(path, [Problem("", 0, hint)]) from None
    except OSError as error:
        raise ConfigError(path, [Problem("", 0, f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(path, [Problem("", 0, f"is larger than {MAX_FILE_BYTES} bytes: this is not a configuration")])
    return parse(data, path, os.environ if environ is None else environ, sections=sections if complete else ())


def parse(data: bytes, path: Path, environ: Mapping[str, str], *, sections: Sequence[str] = SECTIONS) -> Config:
    """Read the bytes of a configuration file; `path` names it in errors and is what relative paths start from."""
    raw, lines = _read_yaml(data, path)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_word(detail, lines) for detail in error.errors(include_url=False, include_context=True)]
        raise ConfigError(path, problems) from None
    config = _absolute(config, path.absolute().parent)
    problems = list(_check_addresses(config, lines))
    problems += _check_files(config, sections, lines)
    if not problems:
        config = _with_passwords(config, sections, lines, environ, problems)
    if problems:
        raise ConfigError(path, problems)
    return config


def to_wire(config: Config, sections: Sequence[str] = SECTIONS) -> bytes:
    """Return a configuration as JSON for a child process's pipe, with the passwords of `sections` and no others.

    Never write this anywhere else.
    """
    wire = with_secrets(_without_passwords(config, sections))
    return orjson.dumps(wire, option=orjson.OPT_NON_STR_KEYS)  # a StrEnum is no str to orjson, as a key


def from_wire(data: bytes) -> Config:
    """Return the configuration that `to_wire` wrote."""
    return Config.model_validate(orjson.loads(data))


def secret_variables(config: Config) -> frozenset[str]:
    """Return the names of the environment variables that a configuration, loaded without `complete`, takes passwords from."""
    holders = [*(d.upstream for d in config.databases), *(d.estimates for d in config.databases)]
    named = [h.password_env for h in (*holders, config.log.kafka.security, config.clickhouse)]
    named += [a.urls_env for a in (config.notifications, *config.notifications.approvers)]
    return frozenset(name for name in named if name is not None)


def split_address(listen: str) -> tuple[str, int]:
    """Split `host:port` or `[ipv6]:port`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def setting_path(location: Location) -> str:
    """Write a location as people do: `databases[0].upstream.port`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# --- YAML ------------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"(?:true|false|True|False|TRUE|FALSE)\Z", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)\Z", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z", "-+0123456789."),
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _read_yaml(data: bytes, path: Path) -> tuple[Any, dict[Location, int]]:
    lines: dict[Location, int] = {}
    try:
        loader = _Loader(data)
        try:
            node = loader.get_single_node()
            problems = list(_walk(node, (), lines, [0])) if node is not None else []
            if problems:
                raise ConfigError(path, problems)
            raw = loader.construct_document(node) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        text = f"is not YAML: {error.problem or error.context}; check indentation, colons and quotes"
        raise ConfigError(path, [Problem("", mark.line + 1 if mark else 0, text)]) from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        raise ConfigError(path, [Problem("", 0, "is not YAML text in UTF-8")]) from None
    if not isinstance(raw, dict):
        raise ConfigError(path, [Problem("", 1, "must be settings as `name: value`, one section a name")])
    return raw, lines


def _walk(node: yaml.Node, at: Location, lines: dict[Location, int], seen: list[int]) -> Iterator[Problem]:
    """Note the line of every setting; yield what pydantic could not see any more: double keys, keys that are no text."""
    seen[0] += 1
    if seen[0] > MAX_NODES or len(at) > 20:
        yield Problem("", node.start_mark.line + 1, "unfolds to too much; write it without anchors and aliases")
        return
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _walk(child, (*at, index), lines, seen)
            if seen[0] > MAX_NODES:
                return
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield Problem(setting_path(at), line, "a setting's name must be a word")
                continue
            here = (*at, key.value)
            if here in lines and key.value != "<<":
                yield Problem(setting_path(here), line, f"is given twice, first in line {lines[here]}; keep one")
                continue
            lines[here] = line
            yield from _walk(child, here, lines, seen)
            if seen[0] > MAX_NODES:
                return


# --- wording ---------------------------------------------------------------------------------------------------------

_PATTERNS = {
    "alias": "1 to 63 letters, digits, `_`, `.` or `-`",
    "name": "1 to 63 letters, digits, `_`, `.` or `-`",
    "listen": "an address and port such as 127.0.0.1:6432 or [::1]:6432",
    "engine": "postgres (the only engine so far)",
    "interface": "chdb, http or https",
    "compression": "zstd, lz4 or none",
    "database": "a name of letters, digits and `_`, not starting with a digit",
}


def _word(detail: ErrorDetails, lines: dict[Location, int]) -> Problem:
    location = detail["loc"]
    kind = detail["type"]
    name = str(location[-1]) if location else ""
    context: dict[str, Any] = detail.get("ctx", {})
    shown = _shown(location, detail["input"])
    if kind == "missing":
        message = "is required; add it"
    elif kind == "extra_forbidden":
        message = _unknown(location)
    elif kind == "string_pattern_mismatch":
        message = f"must be {_PATTERNS.get(name, 'of the form ' + str(context.get('pattern')))}{shown}"
    elif kind == "enum":
        message = f"must be one of {context.get('expected')}{shown}"
    elif kind in ("string_type", "path_type"):
        message = "must be text; put it in quotes"
    elif kind in ("int_type", "int_parsing", "int_from_float"):
        message = f"must be a whole number{shown}"
    elif kind in ("float_type", "float_parsing"):
        message = f"must be a number{shown}"
    elif kind in ("bool_type", "bool_parsing"):
        message = f"must be true or false{shown}"
    elif kind in ("greater_than_equal", "less_than_equal"):
        bound = "at least" if kind == "greater_than_equal" else "at most"
        message = f"must be {bound} {context.get('ge', context.get('le'))}{shown}"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        message = "must be a section of settings (`name: value` lines, indented)"
    elif kind in ("tuple_type", "list_type"):
        message = "must be a list; start each item with `- `"
    elif kind == "value_error":
        error = context.get("error", "is not valid")
        location = (*location, *getattr(error, "at", ()))
        message = str(error)
    else:
        message = f"is not valid: {detail['msg'].lower()}"
    return Problem(setting_path(location), _line(location, lines), message)


def _shown(location: Location, value: object) -> str:
    if any(secret in str(part) for part in location for secret in ("password", "urls")) or not isinstance(
        value, (str, int, float)
    ):
        return ""
    return f", not {str(value)[:80]!r}"


def _line(location: Location, lines: dict[Location, int]) -> int:
    for end in range(len(location), 0, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return 0


def _unknown(location: Location) -> str:
    name = str(location[-1])
    fields = list(_model_at(location[:-1]).model_fields)
    near = difflib.get_close_matches(name.replace("-", "_"), fields, n=1, cutoff=0.6)
    if near:
        return f"unknown setting; did you mean {near[0]!r}?"
    elsewhere = [path for path, _ in settings() if path.split(".")[-1] == name]
    if elsewhere:
        return f"unknown setting here; there is {elsewhere[0]!r}"
    return f"unknown setting; known here: {', '.join(fields)}"


def _model_at(location: Location) -> type[BaseModel]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, str):
            model = _section(model.model_fields[part].annotation) or model
    return model


def settings() -> list[tuple[str, type[BaseModel]]]:
    """Return every setting's path (`databases[].upstream.port`) with the section it is in, in the order of the schema."""

    def below(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
        for name, field in model.model_fields.items():
            section = _section(field.annotation)
            if section is None:
                yield prefix + name, model
            else:
                many = get_origin(field.annotation) is tuple
                yield from below(section, f"{prefix}{name}{'[]' if many else ''}.")

    return list(below(Config, ""))


def _section(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType):
        for argument in get_args(annotation):
            if (found := _section(argument)) is not None:
                return found
    return None


# --- what the schema alone cannot see --------------------------------------------------------------------------------


def _absolute(model: M, base: Path) -> M:
    changed: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            changed[name] = base / value.expanduser()
        elif isinstance(value, BaseModel):
            changed[name] = _absolute(value, base)
        elif isinstance(value, tuple):
            changed[name] = tuple(
                _absolute(v, base) if isinstance(v, BaseModel) else base / v.expanduser() if isinstance(v, Path) else v
                for v in value
            )
    return model.model_copy(update=changed)


def _check_addresses(config: Config, lines: dict[Location, int]) -> Iterator[Problem]:
    taken = {config.api.listen: "the API's address too (api.listen)"}
    metrics = config.proxy.metrics_listen
    places: list[tuple[Location, str]] = [(("databases", i, "listen"), d.listen) for i, d in enumerate(config.databases)]
    if metrics is not None:
        places.insert(0, (("proxy", "metrics_listen"), metrics))
    for location, listen in places:
        if listen in taken:
            text = f"{listen} is {taken[listen]}; give one of them another port"
            yield Problem(setting_path(location), _line(location, lines), text)
        elif listen == metrics:
            taken[listen] = "the address of the proxies' metrics too (proxy.metrics_listen)"


def _check_files(config: Config, sections: Sequence[str], lines: dict[Location, int]) -> Iterator[Problem]:
    for index, database in enumerate(config.databases if "databases" in sections else ()):
        for section, names in (
            ("client_tls", ("cert_file", "key_file", "client_ca_file")),
            ("upstream", ("ca_file", "cert_file", "key_file")),
        ):
            for name in names:
                file = getattr(getattr(database, section), name)
                location: Location = ("databases", index, section, name)
                if file is not None and not file.is_file():
                    yield Problem(setting_path(location), _line(location, lines), f"there is no file {file}")
                elif file is not None and not os.access(file, os.R_OK):
                    yield Problem(setting_path(location), _line(location, lines), f"{file} is not readable for this user")
    for index, file in enumerate(config.policy.files if "policy" in sections else ()):
        if not file.is_file():
            where: Location = ("policy", "files", index)
            yield Problem(setting_path(where), _line(where, lines), f"there is no file {file}")
    for index, issuer in enumerate(config.identity.issuers if "identity" in sections else ()):
        for name in ("jwks_file", "ca_file", "client_secret_file"):
            yield from _readable(getattr(issuer, name), ("identity", "issuers", index, name), lines)
    for name in ("ca_file", "cert_file", "key_file"):
        if "log" in sections:
            yield from _readable(getattr(config.log.kafka.security, name), ("log", "kafka", "security", name), lines)
        if "clickhouse" in sections:
            yield from _readable(getattr(config.clickhouse, name), ("clickhouse", name), lines)


def _readable(file: Path | None, location: Location, lines: dict[Location, int]) -> Iterator[Problem]:
    if file is not None and not os.access(file, os.R_OK):
        yield Problem(setting_path(location), _line(location, lines), f"{file} is not there or not readable for this user")


def _with_passwords(
    config: Config, sections: Sequence[str], lines: dict[Location, int], environ: Mapping[str, str], problems: list[Problem]
) -> Config:
    def resolved(holder: H, *at: str | int) -> H:
        location: Location = (*at, "password_env" if holder.password_env else "password_file")
        try:
            secret = _password(holder, environ)
        except ValueError as error:
            problems.append(Problem(setting_path(location), _line(location, lines), str(error)))
            return holder
        return holder.model_copy(update={"password": secret, "password_env": None, "password_file": None})

    changed: dict[str, object] = {}
    if "databases" in sections:
        changed["databases"] = tuple(
            d.model_copy(
                update={
                    "upstream": resolved(d.upstream, "databases", index, "upstream"),
                    "estimates": resolved(d.estimates, "databases", index, "estimates"),
                }
            )
            for index, d in enumerate(config.databases)
        )
    if "log" in sections:
        kafka = config.log.kafka
        kafka = kafka.model_copy(update={"security": resolved(kafka.security, "log", "kafka", "security")})
        changed["log"] = config.log.model_copy(update={"kafka": kafka})
    if "clickhouse" in sections:
        changed["clickhouse"] = resolved(config.clickhouse, "clickhouse")
    if "notifications" in sections:
        changed["notifications"] = _with_addresses(config.notifications, lines, environ, problems)
    return config.model_copy(update=changed)


def _without_passwords(config: Config, kept: Sequence[str]) -> Config:
    def bare(holder: H) -> H:  # of all but `log`, which every role uses
        return holder.model_copy(update={"password": None, "password_env": None, "password_file": None})

    changed: dict[str, object] = {}
    if "databases" not in kept:
        changed["databases"] = tuple(
            d.model_copy(update={"upstream": bare(d.upstream), "estimates": bare(d.estimates)}) for d in config.databases
        )
    if "clickhouse" not in kept:
        changed["clickhouse"] = bare(config.clickhouse)
    if "notifications" not in kept:
        changed["notifications"] = NotificationSettings()
    return config.model_copy(update=changed)


A = TypeVar("A", bound=Addresses)


def _with_addresses(
    settings: NotificationSettings, lines: dict[Location, int], environ: Mapping[str, str], problems: list[Problem]
) -> NotificationSettings:
    def resolved(holder: A, *at: str | int) -> A:
        location: Location = (*at, "urls_env" if holder.urls_env else "urls_file" if holder.urls_file else "urls")
        try:
            urls = _addresses(holder, environ)
        except ValueError as error:
            problems.append(Problem(setting_path(location), _line(location, lines), str(error)))
            return holder
        return holder.model_copy(update={"urls": urls, "urls_env": None, "urls_file": None})

    approvers = tuple(resolved(a, "notifications", "approvers", i) for i, a in enumerate(settings.approvers))
    return resolved(settings, "notifications").model_copy(update={"approvers": approvers})


def _addresses(holder: Addresses, environ: Mapping[str, str]) -> tuple[SecretStr, ...]:
    if holder.urls_env is not None:
        if not environ.get(holder.urls_env, "").strip():
            raise ValueError(f"the environment has no variable {holder.urls_env!r}; set it before starting affidavit")
        return tuple(SecretStr(url) for url in environ[holder.urls_env].split())
    if holder.urls_file is not None:
        try:
            text = holder.urls_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ValueError(f"cannot read {holder.urls_file}: {why}") from None
        found = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise ValueError(f"{holder.urls_file} names nobody; write one address a line")
        return tuple(SecretStr(url) for url in found)
    return holder.urls


PasswordHolder = Upstream | EstimateSettings | KafkaSecurity | ClickHouseSettings


def _password(holder: PasswordHolder, environ: Mapping[str, str]) -> SecretStr | None:
    if holder.password_env is not None:
        if not environ.get(holder.password_env):
            raise ValueError(f"the environment has no variable {holder.password_env!r}; set it before starting affidavit")
        return SecretStr(environ[holder.password_env])
    if holder.password_file is not None:
        try:
            text = holder.password_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ValueError(f"cannot read {holder.password_file}: {why}") from None
        if not text.strip("\r\n"):
            raise ValueError(f"{holder.password_file} is empty; write the password into its first line")
        return SecretStr(text.split("\n", 1)[0].rstrip("\r"))
    return holder.password
