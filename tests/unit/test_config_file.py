"""affidavit.yaml: what a good file becomes, and that every mistake is named with its line, setting and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.config import ConfigError, from_wire, load, secret_variables, settings, split_address, to_wire
from schemas.config import ClientTlsMode, Config

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-Passw0rd"

GOOD = """\
data_dir: data
databases:
  - alias: shop
    listen: 127.0.0.1:6432
    client_tls: {mode: off}
    upstream:
      host: db.internal
      database: shop
      user: affidavit
      password: s3cr3t-Passw0rd
"""


def read(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None, *, complete: bool = True) -> Config:
    path = tmp_path / "affidavit.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, environ or {}, complete=complete)


def problems(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, environ)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    return [(p.line, p.setting, p.message) for p in caught.value.problems]


def test_a_good_file_loads_with_paths_relative_to_it(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.data_dir == tmp_path / "data"
    database = config.databases[0]
    assert database.client_tls.mode is ClientTlsMode.OFF
    assert database.upstream.password is not None
    assert database.upstream.password.get_secret_value() == SECRET
    assert SECRET not in repr(config)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "").model_copy(update={"data_dir": Config().data_dir}) == Config()
    assert read(tmp_path, "# only a comment\n").databases == ()


@pytest.mark.parametrize(("old", "new", "line", "setting", "says"), [
    ("host: db", "hsot: db", 7, "databases[0].upstream.hsot", "did you mean 'host'"),
    ("data_dir", "datadir", 1, "datadir", "did you mean 'data_dir'"),
    ("alias: shop", "alias: shop\n    workers: 3", 4, "databases[0].workers", "there is 'proxy.workers'"),
    ("alias: shop", "alias: shop\n    zzzz: 3", 4, "databases[0].zzzz", "known here: alias, engine"),
    ("      database: shop\n", "", 6, "databases[0].upstream.database", "required"),
    ("mode: off", "mode: maybe", 5, "databases[0].client_tls.mode", "'off', 'allow' or 'require', not 'maybe'"),
    ("127.0.0.1:6432", "6432", 4, "databases[0].listen", "put it in quotes"),
    ("127.0.0.1:6432", "localhost", 4, "databases[0].listen", "such as 127.0.0.1:6432"),
    ("127.0.0.1:6432", "127.0.0.1:70000", 4, "databases[0].listen", "1 to 65535"),
    ("127.0.0.1:6432", "127.0.0.1:8080", 4, "databases[0].listen", "API's address"),
    ("databases:", "proxy: {metrics_listen: '127.0.0.1:6432'}\ndatabases:", 5, "databases[0].listen", "proxies' metrics"),
    ("databases:", "proxy: {metrics_listen: '127.0.0.1:8080'}\ndatabases:", 2, "proxy.metrics_listen", "API's address"),
    ("databases:", "proxy: {metrics_listen: '127.0.0.1:0'}\ndatabases:", 2, "proxy.metrics_listen", "1 to 65535"),
    ("alias: shop", "alias: my shop", 3, "databases[0].alias", "letters, digits"),
    ("host: db", "port: 0\n      host: db", 7, "databases[0].upstream.port", "at least 1, not '0'"),
    ("host: db", "port: abc\n      host: db", 7, "databases[0].upstream.port", "whole number, not 'abc'"),
    ("host: db", "host: a\n      host: db", 8, "databases[0].upstream.host", "twice, first in line 7"),
    ("alias: shop", "alias: shop\n    engine: oracle", 4, "databases[0].engine", "only engine so far"),
    ("{mode: off}", "off", 5, "databases[0].client_tls", "section of settings"),
    ("{mode: off}", "{mode: off, cert_file: a}", 5, "databases[0].client_tls", "go together"),
    ("{mode: off}", "{mode: off}\n    upstream_: 1", 6, "databases[0].upstream_", "did you mean 'upstream'"),
    ("s3cr3t-Passw0rd", "1234", 10, "databases[0].upstream.password", "put it in quotes"),
    ("user: affidavit", "user: affidavit\n      password_env: PG", 6, "databases[0].upstream", "give one of"),
    ("password: s3cr3t-Passw0rd", "password_env: NOT_SET", 10, "databases[0].upstream.password_env", "no variable 'NOT_SET'"),
    ("password: s3cr3t-Passw0rd", "password_file: gone", 10, "databases[0].upstream.password_file", "No such file"),
    ("databases:", "audit:\n  durability: maybe\ndatabases:", 3, "audit.durability", "'write' or 'fsync'"),
    ("databases:", "audit:\n  seal_interval_ms: 1.5\ndatabases:", 3, "audit.seal_interval_ms", "whole number"),
    ("databases:", "api:\n  metrics_public: 3\ndatabases:", 3, "api.metrics_public", "true or false"),
])  # fmt: skip
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, line: int, setting: str, says: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert [(p[0], p[1]) for p in found] == [(line, setting)], found
    assert says in found[0][2]


def test_all_mistakes_are_reported_at_once_each_on_a_line_of_its_own(tmp_path: Path) -> None:
    text = GOOD.replace("host:", "hots:").replace("user: affidavit", "usr: x").replace("data_dir", "dir")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    lines = str(caught.value).split("\n")
    assert len(lines) == 4
    assert all(re.match(rf"{re.escape(str(tmp_path))}/affidavit\.yaml:\d+: [a-z_\[\]0-9.]+: ", line) for line in lines)


def test_a_shared_alias_and_a_shared_listener_that_differs_are_refused(tmp_path: Path) -> None:
    item = GOOD.split("databases:\n")[1]
    line, setting, says = problems(tmp_path, GOOD + item)[0]
    assert (line, setting) == (11, "databases[1].alias") and "'shop' is given twice, first by databases[0]" in says
    line, setting, says = problems(tmp_path, GOOD + item.replace("shop", "hr").replace("off", "allow"))[0]
    assert (line, setting) == (13, "databases[1].client_tls") and "differ in client_tls" in says


@pytest.mark.parametrize(("text", "line", "says"), [
    ("data_dir: [", 1, "not YAML"),
    ("a: b: c", 1, "not YAML"),
    ("\tdata_dir: x", 1, "not YAML"),
    ("- a\n- b\n", 1, "name: value"),
    ("just words", 1, "name: value"),
    (b"data_dir: \xff\xfe", 0, "UTF-8"),
    (b"data_dir: \x00", 0, "UTF-8"),
    ("? [a, b]\n: c\n", 1, "must be a word"),
    ("data_dir: !!python/object/apply:os.system ['true']", 1, "not YAML"),
    ("a: &a [x, x]\n" + "".join(f"{k}: &{k} [*{p}, *{p}, *{p}, *{p}]\n" for p, k in zip("abcdefghi", "bcdefghij", strict=True)),
     0, "unfolds to too much"),
    ("a: &a\n  b: *a\n", 0, "unfolds to too much"),
    ("a: " + "[" * 30 + "]" * 30, 1, "unfolds to too much"),
])  # fmt: skip
def test_what_is_no_configuration_is_refused_in_bounded_time(tmp_path: Path, text: str | bytes, line: int, says: str) -> None:
    found = problems(tmp_path, text)
    assert says in found[0][2]
    assert found[0][0] == line or line == 0 < found[0][0]


def test_files_that_settings_name_must_be_there(tmp_path: Path) -> None:
    text = GOOD.replace("{mode: off}", "{cert_file: a.pem, key_file: b.pem}").replace("user:", "ca_file: ca.pem\n      user:")
    found = problems(tmp_path, text)
    names = ["client_tls.cert_file", "client_tls.key_file", "upstream.ca_file"]
    assert [setting for _, setting, _ in found] == [f"databases[0].{name}" for name in names]
    assert all("there is no file" in message for _, _, message in found)
    for name in ("a.pem", "b.pem", "ca.pem"):
        (tmp_path / name).touch()
    assert read(tmp_path, text).databases[0].client_tls.cert_file == tmp_path / "a.pem"


def test_a_missing_unreadable_or_giant_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: there is no such file"):
        load(tmp_path / "nothing.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})
    with pytest.raises(ConfigError, match="larger than"):
        read(tmp_path, "#" * (1024 * 1024 + 1))


def test_only_env_settings_look_at_the_environment(tmp_path: Path) -> None:
    config = read(
        tmp_path, GOOD.replace("password: s3cr3t-Passw0rd", "password_env: PG").replace("db.internal", "${PG}"), {"PG": "x y"}
    )
    upstream = config.databases[0].upstream
    assert upstream.host == "${PG}"
    assert upstream.password is not None
    assert upstream.password.get_secret_value() == "x y"
    assert upstream.password_env is None


def test_a_password_file_gives_its_first_line_and_may_not_be_empty(tmp_path: Path) -> None:
    text = GOOD.replace("password: s3cr3t-Passw0rd", "password_file: pw")
    (tmp_path / "pw").write_text(f"{SECRET}\r\nsecond line\n")
    upstream = read(tmp_path, text).databases[0].upstream
    assert upstream.password is not None
    assert upstream.password.get_secret_value() == SECRET
    (tmp_path / "pw").write_text("\n")
    assert "is empty" in problems(tmp_path, text)[0][2]
    (tmp_path / "pw").write_bytes(b"\xff")
    assert "not UTF-8" in problems(tmp_path, text)[0][2]


def test_commands_that_need_no_database_do_not_need_its_password(tmp_path: Path) -> None:
    text = GOOD.replace("password: s3cr3t-Passw0rd", "password_env: NOT_SET")
    assert read(tmp_path, text, complete=False).databases[0].upstream.password_env == "NOT_SET"


def test_a_role_reads_the_secrets_of_its_sections_only(tmp_path: Path) -> None:
    path = tmp_path / "affidavit.yaml"
    path.write_text(
        GOOD.replace("password: s3cr3t-Passw0rd", "password_env: NOT_SET")
        + "clickhouse: {interface: https, password_env: STORE, ca_file: ca.crt}\n"
    )
    with pytest.raises(ConfigError, match=r"clickhouse.ca_file: .*ca.crt is not there"):
        load(path, {"STORE": SECRET}, sections=("clickhouse",))
    (tmp_path / "ca.crt").touch()
    config = load(path, {"STORE": SECRET}, sections=("clickhouse",))
    assert config.clickhouse.password is not None
    assert config.clickhouse.password.get_secret_value() == SECRET
    assert config.databases[0].upstream.password_env == "NOT_SET"
    assert load(path, {}, sections=("log",)).clickhouse.password_env == "STORE"
    with pytest.raises(ConfigError, match=r":\d+: clickhouse.password_env: the environment has no variable 'STORE'"):
        load(path, {}, sections=("clickhouse",))


def test_scalars_are_read_as_yaml_1_2(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD.replace("host: db.internal", "host: yes\n      connect_timeout_seconds: 010"))
    assert config.databases[0].upstream.host == "yes"
    assert config.databases[0].upstream.connect_timeout_seconds == 10


def test_a_configuration_survives_the_pipe_with_its_password(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD + "masking: {enabled: true, styles: {email: partial}}\n")
    assert from_wire(to_wire(config)) == config


PASSWORDS = """\
data_dir: data
databases:
  - alias: shop
    upstream: {database: shop, user: affidavit, password_env: DB_PW}
    estimates: {user: reader, password_env: READER_PW}
clickhouse: {interface: https, password_env: CH_PW}
notifications: {urls_env: CHANNEL}
approvals: {url: "https://audit.example.com/approvals/{id}"}
"""
GIVEN = {"DB_PW": "of-database", "READER_PW": "of-reader", "CH_PW": "of-clickhouse", "CHANNEL": "json://channel"}


@pytest.mark.parametrize(("sections", "held"), [
    (("databases", "log"), {"DB_PW", "READER_PW"}),
    (("log", "clickhouse", "notifications"), {"CH_PW", "CHANNEL"}),
    (("log",), set()),
])  # fmt: skip
def test_the_pipe_has_the_passwords_of_a_role_and_no_others(tmp_path: Path, sections: tuple[str, ...], held: set[str]) -> None:
    config = read(tmp_path, PASSWORDS, GIVEN)
    wire = to_wire(config, sections)
    assert {name for name, secret in GIVEN.items() if secret.encode() in wire} == held
    assert from_wire(wire).databases[0].upstream.user == "affidavit"


def test_the_variables_that_hold_passwords_are_known_by_name(tmp_path: Path) -> None:
    assert secret_variables(read(tmp_path, PASSWORDS, complete=False)) == GIVEN.keys()


def test_a_login_for_estimates_without_its_password_is_told_at_the_start(tmp_path: Path) -> None:
    without = {name: secret for name, secret in GIVEN.items() if name != "READER_PW"}
    [(line, setting, message)] = problems(tmp_path, PASSWORDS, without)
    assert (line, setting) == (5, "databases[0].estimates.password_env")
    assert "no variable 'READER_PW'" in message


def test_addresses_split() -> None:
    assert split_address("127.0.0.1:6432") == ("127.0.0.1", 6432)
    assert split_address("[::1]:6432") == ("::1", 6432)


def test_settings_lists_every_leaf_once() -> None:
    paths = [path for path, _ in settings()]
    assert len(paths) == len(set(paths))
    assert {"data_dir", "audit.durability", "databases[].upstream.password_env", "databases[].client_tls.mode"} <= set(paths)
    assert not {"audit", "databases", "databases[].upstream"} & set(paths)
