"""The chart by helm and kubeconform against Kubernetes' own description of its objects; its configuration by our own reader."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.config import load
from deploy.docker.prepare import prepare
from tests.support import go_tools

HELM = Path(__file__).parents[2] / "deploy" / "helm"
CHART = HELM / "affidavit"
VALUES = sorted((HELM / "examples" / "values").glob("*.yaml"))
pytestmark = pytest.mark.skipif(
    bool(go_tools.missing()), reason=f"not here: {', '.join(go_tools.missing())}; make provision builds them where Go is"
)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([go_tools.tool("helm"), *map(str, arguments)], capture_output=True, text=True, check=False)


def template(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return helm("template", "audit", CHART, "--namespace", "audit", "--kube-version", go_tools.KUBERNETES, *arguments)


def rendered(values: Path, *arguments: str) -> list[dict[str, Any]]:
    done = template("-f", values, *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def conform(folder: Path, documents: list[dict[str, Any]]) -> str:
    """Return what kubeconform finds wrong; kinds of others than Kubernetes (ServiceMonitor) it is not asked about."""
    own = [d for d in documents if d["apiVersion"] != "monitoring.coreos.com/v1"]
    for document in own:
        go_tools.write_schema(folder, document["apiVersion"], document["kind"])
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump_all(own))
    location = f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    command = [go_tools.tool("kubeconform"), "-summary", "-schema-location", location, str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        assert f"Valid: {len(own)}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout
    return done.stdout + done.stderr if done.returncode else ""


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod specifications by the name of what makes them."""
    return {
        f"{d['kind']}/{d['metadata']['name']}": d["spec"]["template"]["spec"]
        for d in documents
        if d["kind"] in ("Deployment", "StatefulSet", "Job")
    }


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_helm_and_kubernetes_find_nothing_wrong(values: Path, tmp_path: Path) -> None:
    done = helm("lint", "--strict", "--kube-version", go_tools.KUBERNETES, CHART, "-f", values)
    assert done.returncode == 0, done.stdout
    assert conform(tmp_path, rendered(values)) == ""


def test_the_sidecar_example_is_as_kubernetes_wants_it(tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all((HELM / "examples" / "sidecar.yaml").read_text()))
    assert conform(tmp_path, documents) == ""


def test_a_wrong_field_is_found(tmp_path: Path) -> None:
    documents = rendered(VALUES[0])
    next(iter(pods(documents).values()))["containers"][0]["readonlyRootFilesystem"] = True
    assert "readonlyRootFilesystem" in conform(tmp_path, documents)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_pod_is_confined(values: Path) -> None:
    found = pods(rendered(values))
    assert found
    for name, pod in found.items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
        for container in pod["containers"] + pod["initContainers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name
            for path in mounts:  # below a volume that is mounted read-only no other can be mounted
                assert not any(path.startswith(f"{other}/") for other in mounts), f"{name}: {path}"


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_roles_read_the_configuration_that_is_made(values: Path, tmp_path: Path) -> None:
    documents = rendered(values)
    maps = {d["metadata"]["name"]: d["data"]["affidavit.yaml"] for d in documents if d["kind"] == "ConfigMap"}
    volumes = [volume for pod in pods(documents).values() for volume in pod["volumes"]]
    named = {volume["configMap"]["name"] for volume in volumes if volume["name"] == "template"}
    assert named == set(maps)
    for name, text in maps.items():
        template, config = tmp_path / f"{name}.template", tmp_path / f"{name}.yaml"
        template.write_text(text)
        prepare(template, config, tmp_path / "none", tmp_path, {"POD_NAME": f"{name}-0"})
        loaded = load(config, complete=False)
        assert loaded.log.kind == "kafka"
        assert [f"{name}-0"] == [loaded.proxy.name] if loaded.databases else loaded.clickhouse.interface != "chdb"


def test_no_password_is_ever_in_what_is_rendered() -> None:
    for document in rendered(VALUES[1]):
        assert document["kind"] != "Secret"
    text = template("-f", VALUES[1]).stdout
    assert "password_file: /run/secrets/affidavit/" in text
    assert "password:" not in text.replace("password_file:", "")


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_each_role_logs_in_to_clickhouse_as_its_own_user_with_its_own_password_alone(values: Path, tmp_path: Path) -> None:
    chosen = yaml.safe_load((CHART / "values.yaml").read_text())["clickhouse"]["users"]
    chosen |= yaml.safe_load(values.read_text())["clickhouse"].get("users", {})
    assert len({user["name"] for user in chosen.values()}) == 3
    documents = rendered(values)
    maps = {d["metadata"]["name"]: d["data"]["affidavit.yaml"] for d in documents if d["kind"] == "ConfigMap"}
    roles = {"audit-affidavit-process": "writer", "audit-affidavit-api": "reader", "audit-affidavit-migrate-1": "migrator"}
    seen = set()
    for name, pod in pods(documents).items():
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        named = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "template")
        role = roles.get(name.partition("/")[2])
        if role is None:
            assert "clickhouse-password" not in secrets, name
            assert "clickhouse" not in yaml.safe_load(maps[named]), name
            continue
        seen.add(role)
        config = tmp_path / f"{role}.yaml"
        config.write_text(maps[named])
        loaded = load(config, complete=False).clickhouse
        assert loaded.user == chosen[role]["name"]
        assert secrets.get("clickhouse-password") == (chosen[role].get("passwordSecret") or {}).get("name")
        assert (
            (loaded.password_file is not None) == ("clickhouse-password" in secrets) == bool(chosen[role].get("passwordSecret"))
        )
    assert seen == set(roles.values())


def test_what_a_database_may_lose_decides_its_kind() -> None:
    kinds = set(pods(rendered(VALUES[1])))
    assert {"StatefulSet/audit-affidavit-proxy-shop", "Deployment/audit-affidavit-proxy-hr-eu"} <= kinds


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("kafka.bootstrapServers=null", "kafka.bootstrapServers is needed"),
        ("clickhouse.host=", "clickhouse.host is needed"),
        ("kafka.mechanism=SCRAM-SHA-512", "kafka.mechanism needs kafka.passwordSecret"),
        ("kafka.mechanism=GSSAPI", "mechanism"),
        ("databases[0].upstream.password=x", "additional properties 'password' not allowed"),
        ("clickhouse.user=affidavit", "additional properties 'user' not allowed"),
        ("clickhouse.users.writer.name=", "minLength"),
        ("proces.replicas=3", "additional properties 'proces' not allowed"),
        ("api.ingress.enabled=true", "api.ingress"),
        ("keys.controlSecret=", "keys.controlSecret is missing"),
    ],
)
def test_wrong_values_are_refused_in_words(wrong: str, said: str) -> None:
    done = template("-f", HELM / "examples" / "values" / "small.yaml", "--set", wrong)
    assert done.returncode != 0
    assert said in done.stderr


def test_every_value_is_described() -> None:
    """What values.yaml has, values.schema.json knows: helm itself checks the defaults against it."""
    done = template("-f", VALUES[0])
    assert done.returncode == 0
    unknown = template("-f", VALUES[0], "--set", "networkPolicy.unknown=1")
    assert "unknown" in unknown.stderr


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_probes_and_scrapes_ask_where_something_listens(values: Path, tmp_path: Path) -> None:
    documents = rendered(values, "--set", "serviceMonitor.enabled=true")
    for name, pod in pods(documents).items():
        for container in pod["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            for probe in (container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")):
                assert {action["port"] for action in probe.values() if isinstance(action, dict)} <= set(ports), name
    ((monitor,),) = ([d for d in documents if d["kind"] == "ServiceMonitor"],)
    wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    roles = set(monitor["spec"]["selector"]["matchExpressions"][0]["values"])
    services = [d for d in documents if d["kind"] == "Service"]
    scraped = {d["metadata"]["labels"].get("app.kubernetes.io/component") for d in services}
    assert scraped == roles == {"proxy", "process", "api"}
    assert all(wanted & {port["name"] for port in service["spec"]["ports"]} for service in services)
    for document in documents:
        if document["kind"] == "ConfigMap" and "databases:" in document["data"]["affidavit.yaml"]:
            config = yaml.safe_load(document["data"]["affidavit.yaml"])
            assert config["proxy"]["metrics_listen"].endswith(":9464")
