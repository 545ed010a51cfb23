"""Tools from Go modules: helm, kubeconform, compose's own reader of its files, and Kubernetes' description of its objects.

They are built once into .cache by `make provision`; where Go is missing the tests that need them skip, saying so. The Kubernetes
schemas are made here from the OpenAPI document in the module k8s.io/kubernetes, strict: unknown fields are errors.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

_CACHE = Path(__file__).parents[2] / ".cache" / "go-tools"
TOOLS = {
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
    "compose-go": "github.com/compose-spec/compose-go/v2/cmd@v2.16.2",
}
KUBERNETES = "1.36.3"
_OPENAPI = _CACHE / f"kubernetes-{KUBERNETES}.json"


def tool(name: str) -> str:
    """Return the path of a tool that is there."""
    return str(_CACHE / name)


def missing() -> list[str]:
    """Return what is not built yet."""
    found = [name for name in TOOLS if not (_CACHE / name).exists()]
    return found if _OPENAPI.exists() else [*found, "kubernetes' OpenAPI document"]


def fetch() -> str:
    """Build what is missing; return what went wrong, or nothing. Takes about two minutes, helm most of it."""
    if shutil.which("go") is None:
        return "helm, kubeconform and compose-go are built with Go 1.24 or newer, which is not here"
    _CACHE.mkdir(parents=True, exist_ok=True)
    for name, module in TOOLS.items():
        if not (_CACHE / name).exists() and (problem := _install(name, module)):
            return problem
    if not _OPENAPI.exists():
        done = _go("mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}")
        if done.returncode:
            return f"go mod download k8s.io/kubernetes failed: {done.stderr.strip()[-200:]}"
        shutil.copy(Path(json.loads(done.stdout)["Dir"]) / "api" / "openapi-spec" / "swagger.json", _OPENAPI)
    return ""


def _install(name: str, module: str) -> str:
    folder = _CACHE / f"{name}.bin"
    done = _go("install", module, GOBIN=str(folder))
    if done.returncode:
        return f"go install {module} failed: {done.stderr.strip()[-200:]}"
    next(folder.iterdir()).replace(_CACHE / name)
    folder.rmdir()
    return ""


def _go(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["go", *arguments], env={**os.environ, **environment}, cwd=_CACHE, capture_output=True, text=True, check=False
    )


@cache
def _definitions() -> dict[str, Any]:
    return json.loads(_OPENAPI.read_text())["definitions"]  # type: ignore[no-any-return]


def write_schema(folder: Path, api_version: str, kind: str) -> Path:
    """Write a kind's schema under the name by which kubeconform asks for it. Raises LookupError if there is no such kind."""
    group, _, version = api_version.rpartition("/")
    for name, definition in _definitions().items():
        for known in definition.get("x-kubernetes-group-version-kind", ()):
            if (known["group"], known["version"], known["kind"]) == (group, version, kind):
                middle = f"-{group.split('.')[0]}" if group else ""
                path = folder / f"{kind.lower()}{middle}-{version}.json"
                wanted: dict[str, Any] = {}
                _gather(name, wanted)
                path.write_text(json.dumps({"$ref": f"#/definitions/{name}", "definitions": wanted}))
                return path
    raise LookupError(f"Kubernetes {KUBERNETES} has no {api_version} {kind}")


def _gather(name: str, into: dict[str, Any]) -> None:
    """Add a definition, made strict, and all that it refers to."""
    if name in into:
        return
    if name.endswith(".Quantity") or name.endswith(".IntOrString"):
        into[name] = {"type": ["string", "number"]}
        return
    definition = dict(_definitions()[name])
    if "properties" in definition:
        definition["additionalProperties"] = False
    into[name] = definition
    for reference in _references(definition):
        _gather(reference.removeprefix("#/definitions/"), into)


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []
