"""What does the API say of itself? `/api/v1/openapi.json`, made of the routes and completed by what FastAPI cannot see in them.

Answers are bytes to FastAPI, which therefore knows no shape of theirs: each is described by an example (`query_api.examples`) and
the schema that fits it. Errors have one shape, and who asks sends a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from query_api.examples import EXAMPLES
from query_api.problems import PROBLEMS

_MAPS = frozenset(("claims", "exposure", "masked", "exposed", "verbs", "classes"))
"""Members whose own members are named by what they count or hold."""
_OR_NULL = frozenset(("next_cursor", "closed", "justification", "groups"))
_OPEN = frozenset(("/healthz", "/readyz"))
_TEXTS = {"/metrics": "text/plain", "/api/v1/events/stream": "text/event-stream", "/api/v1/approvals/stream": "text/event-stream"}
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. Some problems have further members, such as `parameter` or `position`; docs/api.md names them.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "enum": [f"urn:affidavit:problem:{name}" for name in PROBLEMS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
    "example": {
        "type": "urn:affidavit:problem:bad-time",
        "title": "The time is not valid",
        "status": 400,
        "detail": "'yesterday' is not a time. Write 2026-01-31T12:00:00Z, 2026-01-31, now, -15m, -24h or -7d.",
        "instance": "/api/v1/events",
    },
}


def describing(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return what makes the description of an app: once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = _completed(made)
        return app.openapi_schema

    return openapi


def schema_of(example: object, name: str = "") -> dict[str, Any]:
    """Return the JSON Schema that an example fits: objects with all their members, arrays by their first item."""
    if isinstance(example, Mapping) and name in _MAPS and example:
        made: dict[str, Any] = {"type": "object", "additionalProperties": schema_of(next(iter(example.values())))}
    elif isinstance(example, Mapping):
        made = {
            "type": "object",
            "properties": {n: schema_of(value, n) for n, value in example.items()},
            "required": list(example),
        }
        made = made if example else {"type": "object"}
    elif isinstance(example, list):
        made = {"type": "array", "items": schema_of(example[0]) if example else {}}
    else:
        made = {"type": _KINDS[type(example)]}
    if name not in _OR_NULL:
        return made
    return {} if example is None else {"anyOf": [made, {"type": "null"}]}


def _completed(made: dict[str, Any]) -> dict[str, Any]:
    schemas = made["components"]["schemas"]
    for ours in ("HTTPValidationError", "ValidationError"):  # what FastAPI would answer: our problems stand in their place
        schemas.pop(ours, None)
    schemas["Problem"] = _PROBLEM
    made["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Of `affidavit token create --roles …`, or an identity token.",
        }
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, methods in made["paths"].items():
        for operation in methods.values():
            answers = operation["responses"]
            answers.pop("422", None)
            answers["200"]["content"] = _content(path)
            if path not in _OPEN:
                operation["security"] = [{"token": []}]
                answers["4XX"] = {"description": "The request is at fault", "content": problem}
                answers["5XX"] = {"description": "The server is at fault, or busy", "content": problem}
    made["paths"]["/readyz"]["get"]["responses"]["503"] = {"description": "Not ready", "content": _content("/readyz")}
    return made


def _content(path: str) -> dict[str, Any]:
    if path in _TEXTS:
        return {_TEXTS[path]: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": schema_of(EXAMPLES[path]), "example": EXAMPLES[path]}}
