"""The supervisor's process: what runs on one machine, what listens where, and who is told what of the configuration.

It claims the data directory, checks addresses, starts the proxies and the node (`node`), and says "ready" when proxies accept and
the API says so. Stopping goes down the flow: proxies first, then the node, each for a bounded time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from deploy.addresses import accepts, api_problem, bind, not_listened_on
from deploy.config import load, secret_variables, to_wire
from deploy.layout import DataDir
from deploy.log_style import Style, style
from deploy.logs import configure
from deploy.lost_spools import refuse_second_chains
from deploy.node import node_source_name
from deploy.supervisor import ChildSpec, Supervisor, UpError, owning, pid_file
from schemas.config import Config, LogKind
from schemas.control_keys import create_control_key

if TYPE_CHECKING:
    from deploy.proxy_metrics import MetricsServer

PROXY_STOP_SECONDS = 30.0
NODE_STOP_SECONDS = 60.0
ORPHAN_PATIENCE_SECONDS = 25.0  # children of a killed supervisor stop by themselves within 20 s

SECRETS_OF = {
    "proxy": ("databases", "policy", "identity", "log"),
    "node": ("log", "clickhouse", "notifications", "identity"),
    "api": ("log", "clickhouse", "notifications", "identity"),
}
"""The sections of the configuration whose files and passwords a role uses; it gets no others."""


def run_up(path: Path, roles: tuple[str, ...]) -> int:
    """Run the roles (`proxy`, `node`, `api`) of the configuration at `path` until SIGTERM or SIGINT.

    Raises ConfigError, UpError, AlreadyRunningError, ChildFatalError.
    """
    config = load(path, sections=sorted({section for role in roles for section in SECRETS_OF[role]}))
    if "api" in roles and (config.log.kind is not LogKind.KAFKA or config.clickhouse.interface == "chdb"):
        raise UpError(
            "the API runs apart on Kafka and a ClickHouse server: log.kind kafka, clickhouse.interface https; or use `up`"
        )
    if roles == ("proxy",) and not config.databases:
        raise UpError("databases: none is configured, so there is nothing for a proxy to do; add one")
    configure("supervisor")
    data = DataDir(config.data_dir)
    data.prepare()
    if "node" in roles or "api" in roles:
        create_control_key(data.keys)
    data.control_trust(config.log.kind)  # here it can be said what is missing, rather than by each child
    specs = child_specs(config, roles)
    with owning(data.run / "up.pid", "affidavit"):
        for spec in specs:
            with owning(pid_file(data.run, spec.name), f"{spec.name} of an earlier run", ORPHAN_PATIENCE_SECONDS):
                pass
        refuse_second_chains(data, own_sources(config, roles))
        for stale in data.run.glob("cancel-*.sock"):
            stale.unlink(missing_ok=True)
        check_addresses(config, roles)
        for line in describe(config, roles):
            announce(line)
        supervisor = Supervisor(specs, data.run, announce, secret_variables(load(path, complete=False)))
        metrics = _serve_metrics(config, data) if "proxy" in roles and config.databases else None
        try:
            supervisor.run(Readiness(config, roles, supervisor))
        finally:
            supervisor.close()
            if metrics is not None:
                metrics.close()
            data.local_token.unlink(missing_ok=True)
    announce("stopped")
    return 0


def own_sources(config: Config, roles: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the sources that these roles are, and the setting each is named by."""
    if "node" in roles or "api" in roles:
        yield node_source_name(config, pipeline="node" in roles), "api.name"
    if "proxy" in roles and config.databases:
        for n in range(config.proxy.workers):
            yield f"{config.proxy.name}/{n}", "proxy.name"


def _serve_metrics(config: Config, data: DataDir) -> MetricsServer | None:
    listen = config.proxy.metrics_listen
    if listen is None:
        return None
    from deploy.proxy_metrics import MetricsServer, Workers

    try:
        return MetricsServer(listen, Workers(data.run, config.proxy.workers))
    except OSError as error:
        raise UpError(f"proxy.metrics_listen: cannot listen on {listen}: {error.strerror}") from None


def child_specs(config: Config, roles: tuple[str, ...]) -> list[ChildSpec]:
    """Return the processes of these roles: proxies stop first, then the node."""
    specs = []
    for role in ("node", "api"):
        if role in roles:
            wire = to_wire(config, SECRETS_OF[role])
            specs.append(ChildSpec(f"{role}/0", ("-m", "deploy.child", role), 2, NODE_STOP_SECONDS, wire))
    if "proxy" in roles and config.databases:
        wire = to_wire(config, SECRETS_OF["proxy"])
        specs += [
            ChildSpec(f"proxy/{n}", ("-m", "deploy.child", "proxy", str(n)), 1, PROXY_STOP_SECONDS, wire)
            for n in range(config.proxy.workers)
        ]
    return specs


def check_addresses(config: Config, roles: tuple[str, ...]) -> None:
    """See that every address can be listened on, before any process does. Raises UpError naming address and setting."""
    wanted: dict[str, str] = {}
    for index, database in enumerate(config.databases if "proxy" in roles else ()):
        wanted.setdefault(database.listen, f"databases[{index}].listen")
    if "proxy" in roles and config.databases and config.proxy.metrics_listen is not None:
        wanted.setdefault(config.proxy.metrics_listen, "proxy.metrics_listen")
    if _has_api(roles):
        wanted[config.api.listen] = "api.listen"
    for address, setting in wanted.items():
        try:
            bind(address).close()
        except OSError as error:
            raise UpError(f"{setting}: {address} {not_listened_on(error)}") from None


def _has_api(roles: tuple[str, ...]) -> bool:
    return "node" in roles or "api" in roles


def describe(config: Config, roles: tuple[str, ...]) -> Iterator[str]:
    """Yield one line for each thing that will listen, and where the data is."""
    if "proxy" in roles:
        for d in config.databases:
            to = d.upstream.socket_dir or f"{d.upstream.host}:{d.upstream.port}"
            yield f"{d.listen}  database {d.alias} ({d.engine} {d.upstream.database!r} at {to}), client TLS {d.client_tls.mode}"
        if config.databases and config.proxy.metrics_listen is not None:
            yield f"http://{config.proxy.metrics_listen}/metrics  the proxies' metrics"
        if not config.databases and config.log.kind is not LogKind.KAFKA:  # there, proxies may run on other machines
            yield "no database is configured, so nobody can connect: name one under databases"
    if _has_api(roles):
        yield f"http://{config.api.listen}  API and search page"
    yield f"{config.data_dir}  data directory"


def announce(line: str) -> None:
    """Say one line to whoever started us; where all is to be JSON, that is a line of the log too."""
    if style() is Style.JSON:
        structlog.get_logger().info(line)
        return
    from rich.console import Console

    Console(soft_wrap=True, highlight=True).print(line, markup=False)


class Readiness:
    """The supervisor's tick: says "ready" once, when everything answers."""

    def __init__(self, config: Config, roles: tuple[str, ...], supervisor: Supervisor) -> None:
        self._listens = sorted({d.listen for d in config.databases}) if "proxy" in roles else []
        self._sockets = [DataDir(config.data_dir).run / f"cancel-{n}.sock" for n in range(config.proxy.workers)]
        self._sockets = self._sockets if self._listens and config.proxy.workers > 1 else []
        self._api = config.api.listen if _has_api(roles) else ""
        self._supervisor = supervisor
        self._began = time.monotonic()
        self._done = False

    def __call__(self) -> None:
        """Look once more, unless all is said."""
        if self._done or not self._supervisor.pids():
            return
        # A worker makes its cancel socket after it listens; with one worker there is none, and none is needed.
        if all(accepts(a) for a in self._listens) and all(s.exists() for s in self._sockets) and self._api_ready():
            self._done = True
            announce(f"ready after {time.monotonic() - self._began:.1f} s")

    def _api_ready(self) -> bool:
        return not self._api or not api_problem(self._api)
