"""The real Apache Kafka for tests: KRaft nodes, each broker and controller, on free loopback ports in a temporary folder.

Every node listens five ways, so that one cluster serves every test of security: in the clear, by TLS, by TLS with client
certificates, by TLS with SCRAM, and with OAUTHBEARER (tokens signed by the cluster's `issuer`). Nodes are stopped, killed and
started again by pid.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from schemas.config import KafkaSettings, with_secrets
from tests.support import kafka_jars
from tests.support.certificates import Issued, issue
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.ports import accepts, free_port, wait_for
from tests.support.relay import Relay

SCRAM_USER, SCRAM_PASSWORD = "shipper", "kafka-pw-3Tz8"
LISTENERS = {"CLEAR": "PLAINTEXT", "TLS": "SSL", "MUTUAL": "SSL", "SCRAM": "SASL_SSL", "OAUTH": "SASL_PLAINTEXT"}
START_SECONDS = 90
"""A JVM on a busy machine of two cores takes its time; a cluster that never comes up is still told apart."""

_OAUTH = "org.apache.kafka.common.security.oauthbearer"
_SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(slots=True)
class Node:
    """One node: its id, folder, ports by listener (CLEAR, TLS, SCRAM, OAUTH, CONTROLLER) and process."""

    number: int
    folder: Path
    ports: Mapping[str, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None


class Kafka:
    """A cluster of `nodes`; `settings` are broker properties added to ours. Topics are not made by themselves.

    With `relayed`, a sixth listener, RELAYED, in the clear, is reached through `relays`, one a node, which tests cut.
    """

    def __init__(
        self, nodes: int = 1, settings: Mapping[str, str] | None = None, heap_mb: int = 256, relayed: bool = False
    ) -> None:
        if reason := kafka_jars.missing():
            raise RuntimeError(reason)
        self.folder = Path(tempfile.mkdtemp(prefix="affidavit-kafka-"))
        self.certificate: Issued = issue(self.folder)
        clients = self.folder / "clients"
        clients.mkdir()
        self.client: Issued = issue(clients, "client", client=True, authority="affidavit clients' authority")
        self.issuer = Issuer()
        self._keys = self.folder / "keys.json"
        self._keys.write_bytes(self.issuer.jwks())
        self._listeners = {**LISTENERS, "RELAYED": "PLAINTEXT"} if relayed else LISTENERS
        self.relays: list[Relay] = []
        self.nodes = [self._node(number) for number in range(1, nodes + 1)]
        self._settings, self._heap_mb = dict(settings or {}), heap_mb
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

    def bootstrap(self, listener: str = "CLEAR") -> list[str]:
        """Return the addresses of a listener on all nodes."""
        return [f"127.0.0.1:{self._reached_at(node, listener)}" for node in self.nodes]

    def _reached_at(self, node: Node, listener: str) -> int:
        return node.ports["RELAY" if listener == "RELAYED" else listener]

    def settings(self, listener: str = "CLEAR", **others: Any) -> KafkaSettings:
        """Return our settings for a listener; `others` override, `security` as a dictionary."""
        plain = {"tls": listener in ("TLS", "MUTUAL", "SCRAM")}
        security = {**plain, **({"ca_file": self.certificate.ca} if plain["tls"] else {}), **others.pop("security", {})}
        copies = min(3, len(self.nodes))
        return KafkaSettings.model_validate(
            {"bootstrap_servers": self.bootstrap(listener), "replication": copies, "security": security, **others}
        )

    @staticmethod
    def written(settings: KafkaSettings) -> dict[str, Any]:
        """Return section `log` of affidavit.yaml for these settings."""
        kafka = {name: value for name, value in with_secrets(settings).items() if value is not None}
        kafka["security"] = {name: value for name, value in kafka["security"].items() if value is not None}
        return {"kind": "kafka", "kafka": kafka}

    def make_topics(self, names: Iterable[str], partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Make topics and wait until they are there."""
        admin = AdminClient({"bootstrap.servers": ",".join(self.bootstrap())})
        wanted = [NewTopic(name, partitions, min(3, len(self.nodes)), config=dict(config or {})) for name in names]
        for made in admin.create_topics(wanted, operation_timeout=30).values():
            made.result(30)

        def known() -> bool:  # a broker answers before it has taken over the metadata itself
            topics = admin.list_topics(timeout=30).topics
            return all(t.topic in topics and all(p.leader >= 0 for p in topics[t.topic].partitions.values()) for t in wanted)

        wait_for(known, "the topics' leaders", 30)

    def start(self) -> Kafka:
        """Format and start all nodes; return when every one answers."""
        for node in self.nodes:
            self._configure(node)
            self._format(node)
            if "RELAYED" in self._listeners:
                self.relays.append(Relay(node.ports["RELAY"], node.ports["RELAYED"]))
        for node in self.nodes:
            self.launch(node)
        for node in self.nodes:
            self.await_node(node)
        return self

    def launch(self, node: Node) -> None:
        """Start the process of a node that does not run; do not wait for it."""
        assert not node.running, f"node {node.number} runs already"
        with (node.folder / "kafka.out").open("ab") as out:
            node.process = subprocess.Popen(
                kafka_jars.command(
                    "kafka.Kafka",
                    str(node.folder / "server.properties"),
                    heap_mb=self._heap_mb,
                    properties={"org.apache.kafka.sasl.oauthbearer.allowed.urls": self._keys.as_uri()},
                ),
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=node.folder,
                start_new_session=True,
            )

    def await_node(self, node: Node) -> None:
        """Wait until a launched node takes connections on every listener for clients."""

        def ready() -> bool:
            if not node.running:
                raise AssertionError(f"Kafka node {node.number} ended:\n{self.output(node)[-3000:]}")
            return all(accepts(node.ports[name]) for name in self._listeners)

        wait_for(ready, f"Kafka node {node.number} (see {node.folder}/kafka.out)", START_SECONDS, poll=0.1)

    def output(self, node: Node) -> str:
        """Return what a node wrote."""
        return (node.folder / "kafka.out").read_text(errors="replace")

    def kill(self, node: Node, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End one node's process, by default without warning, and wait for its end."""
        if node.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.process.pid, with_signal)
            node.process.wait(30)

    def signal(self, node: Node, what: signal.Signals) -> None:
        """Send a node a signal, such as SIGSTOP and SIGCONT."""
        assert node.process is not None
        os.kill(node.process.pid, what)

    def stop(self) -> None:
        """End all nodes and remove their folder. Nothing here is worth a clean shutdown's seconds."""
        for node in self.nodes:
            self.kill(node)
        for relay in self.relays:
            relay.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- setting up ------------------------------------------------------------------------------------------------

    def _node(self, number: int) -> Node:
        folder = self.folder / f"node{number}"
        folder.mkdir()
        return Node(number, folder, {name: free_port() for name in (*self._listeners, "RELAY", "CONTROLLER")})

    def _configure(self, node: Node) -> None:
        keystore = node.folder / "broker.pem"
        keystore.write_bytes(self.certificate.key.read_bytes() + self.certificate.cert.read_bytes())
        keystore.chmod(0o600)
        copies = str(min(3, len(self.nodes)))
        protocols = {**self._listeners, "CONTROLLER": "PLAINTEXT"}
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.ports['CONTROLLER']}" for n in self.nodes),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLEAR",
            "listeners": ",".join(f"{name}://127.0.0.1:{node.ports[name]}" for name in protocols),
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{self._reached_at(node, name)}" for name in self._listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "log.dirs": str(node.folder / "data"),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,OAUTHBEARER",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": _SCRAM_LOGIN,
            "listener.name.scram.scram-sha-256.sasl.jaas.config": _SCRAM_LOGIN,
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(self.client.ca),
            "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
            "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
            # For all listeners, and by name: else Kafka 4.1 looks at the form of a token only, not at its signature.
            "sasl.oauthbearer.jwt.validator.class": f"{_OAUTH}.BrokerJwtValidator",
            "sasl.oauthbearer.jwks.endpoint.url": self._keys.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            "connection.failed.authentication.delay.ms": "100",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "3",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "2097152",
            **self._settings,
        }
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (node.folder / "server.properties").write_text(text)

    def _format(self, node: Node) -> None:
        users = [
            argument
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")
            for argument in ("--add-scram", f"{mechanism}=[name={SCRAM_USER},password={SCRAM_PASSWORD}]")
        ]
        command = kafka_jars.command(
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={self._cluster_id}",  # one word: an id may begin with a hyphen
            "--config",
            str(node.folder / "server.properties"),
            *users,
            heap_mb=64,
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka's folder could not be formatted: {(done.stdout + done.stderr)[-1000:]}")


@contextlib.contextmanager
def running(nodes: int = 1, settings: Mapping[str, str] | None = None, relayed: bool = False) -> Iterator[Kafka]:
    """A started cluster, stopped at the end whatever happened."""
    cluster = Kafka(nodes, settings, relayed=relayed)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
