"""What answers look like: one for each path of the API, for its description (`query_api.description`); tests hold them to it.

Members that an answer can have but that an example leaves empty (`{}`, `[]`) are described no further.
"""

from __future__ import annotations

from typing import Any

_AT = 1_769_850_000_000_000
_PRINCIPAL = {
    "id": "copilot",
    "kind": "agent",
    "groups": ["support"],
    "auth_method": "token",
    "credential_id": "gneashexmgcpx27c",
    "on_behalf_of": "dana",
    "delegation": ["dana"],
}
_DATABASE = {"alias": "shop", "engine": "postgres", "environment": "production", "name": "shop"}
_CLIENT = {"address": "10.1.4.7:51206", "application": "psql", "driver": "", "tls": "TLSv1.3"}
_TEXT = "SELECT full_name, email FROM customers WHERE id = ?"
_FACTS = {
    "verbs": ["select"],
    "reads": ["public.customers"],
    "writes": [],
    "columns": [{"name": "public.customers.email", "roles": ["output"]}],
    "functions": [],
    "flags": [],
    "dangers": [],
}
_EVENT = {
    "type": "QueryExecuted",
    "v": 1,
    "source": "proxy/0",
    "epoch": 2,
    "seq": 166,
    "event_id": "01928c5e-7a4b-7c3d-8e9f-0a1b2c3d4e5f",
    "at": _AT,
    "ended_at": _AT + 7244,
    "kind": "simple",
    "transaction": "I",
    "params": ["int:d0f79927d7bdecc3"],
    "claims": {"ticket": "OPS-311"},
    "session_id": "01928c5e-79aa-7122-84a0-2924e25a4f37",
    "principal": _PRINCIPAL,
    "database": _DATABASE,
    "db_user": "affidavit",
    "client": _CLIENT,
    "text": _TEXT,
    "text_hash": "6e234fc3f736f64871d7eb8e6651946f5028794a853fb5b54975e02c1c26e2f3",
    "fingerprint": "24b1bfce39e71648",
    "facts": _FACTS,
    "outcome": {
        "status": "ok",
        "sqlstate": "",
        "rows_returned": 1,
        "rows_affected": 0,
        "bytes_in": 51,
        "bytes_out": 104,
        "db_us": 7244,
        "held_us": 0,
        "total_us": 7244,
    },
    "decision": {"verdict": "allow", "policies": [], "bundle": "production@94bd9e6690768092", "risk": 0, "approval_id": ""},
    "exposure": {"email": 1, "person_name": 1},
    "masked": {"email": 1, "person_name": 1},
    "exposed": {},
}
_SESSION = {
    "session_id": "01928c5e-79aa-7122-84a0-2924e25a4f37",
    "opened_at": _AT,
    "closed_at": _AT + 60_000_000,
    "open": False,
    "principal": {"id": "copilot", "kind": "agent", "on_behalf_of": "dana"},
    "database": {"alias": "shop", "name": "shop"},
    "db_user": "affidavit",
    "client": _CLIENT,
    "reason": "terminated",
    "statements": 12,
    "bytes_in": 1904,
    "bytes_out": 66_120,
    "source": "proxy/0",
}
_APPROVAL = {
    "session_id": "01928c5e-79aa-7122-84a0-2924e25a4f37",
    "principal": _PRINCIPAL,
    "database": _DATABASE,
    "db_user": "affidavit",
    "client": _CLIENT,
    "kind": "simple",
    "transaction": "I",
    "statements": 1,
    "text_hash": "5a7f50b56b340a4c5619f3ecb859533a6225cec69f801f2b78f8d08627ccfb75",
    "fingerprint": "33ecd4ca4e8703b9",
    "params": [],
    "claims": {"ticket": "OPS-311"},
    "facts": _FACTS
    | {"verbs": ["delete"], "reads": [], "writes": ["public.stuck_jobs"], "columns": [], "dangers": ["mass_delete"]},
    "data_classes": ["free_text"],
    "classes_known": True,
    "rule": "changes-of-whole-tables-are-seen",
    "reason": "It would change every row.",
    "policies": ["changes-of-whole-tables-are-seen"],
    "bundle": "production@94bd9e6690768092",
    "risk": 85,
    "needs": [{"rule": "changes-of-whole-tables-are-seen", "groups": ["dba"], "count": 1}],
    "expires_at": _AT + 1_800_000_000,
    "estimate": {
        "known": True,
        "rows": 50,
        "cost": 2,
        "absent": "",
        "dry_run": {"known": True, "rows": 50, "more": False, "absent": ""},
    },
    "break_glass": ["oncall"],
    "justification": None,
    "groups": None,
    "approval_id": "01928c5e-8d01-7f7e-8a7a-9c021a1b16e0",
    "at": _AT,
    "type": "request",
    "state": "used",
    "text": "DELETE FROM stuck_jobs",
    "text_truncated": False,
    "binding": "03fca39a7d53b8260aab957352c2ed3f331abbae09bf653df6725607e77a63a6",
    "readable": True,
    "decisions": [],
    "closed": {"at": _AT + 2_726_961, "status": "approved", "reason": "", "deciders": ["carol"], "held_us": 2_726_961},
    "executions": [
        {
            "event_id": "01928c5e-8d01-7c7c-9b0b-bad300000046",
            "at": _AT + 2_726_961,
            "status": "ok",
            "sqlstate": "",
            "rows_returned": 0,
            "rows_affected": 50,
            "db_us": 810,
            "held_us": 2_726_961,
        }
    ],
    "objection": "",
    "may_decide": False,
}
_HISTORY = {"hours": 24, "statements": 18, "denied": 1, "errors": 1, "held": 3, "same": 2, "recent": []}
_SPAN = {"from": _AT - 86_400_000_000, "to": _AT}
_ACTIVITY = {
    "principal": "copilot",
    "kind": "agent",
    "databases": ["shop"],
    "databases_total": 1,
    "hours": 2,
    "first_seen": _AT - 7_200_000_000,
    "last_seen": _AT,
    "statements": 32,
    "denied": 8,
    "errors": 2,
    "rows_returned": 20,
    "verbs": {"select": 26},
    "classes": {"email": 2},
}
_HOUR = {name: _ACTIVITY[name] for name in ("first_seen", "last_seen", "statements", "denied", "errors", "rows_returned")}
_SEEN = {"seen": 5, "masked": 4, "clear": 1, "statements": 3}
_CURSOR = "WzE3Njk4NTAwMDAwMDAwMDAsIjAxOTI4YzVlIl0"

EXAMPLES: dict[str, dict[str, Any]] = {
    "/api/v1/events": {"items": [_EVENT], "next_cursor": _CURSOR},
    "/api/v1/events/{event_id}": _EVENT | {"block_number": 95, "text_truncated": False},
    "/api/v1/sessions": {"items": [_SESSION], "next_cursor": _CURSOR},
    "/api/v1/sessions/{session_id}": _SESSION,
    "/api/v1/stats": {
        **_SPAN,
        "step_us": 1_200_000_000,
        "buckets": [{"at": _AT - 86_400_000_000, "events": 34, "errors": 2, "denied": 9}],
        "totals": {"events": 34, "errors": 2, "denied": 9},
        "top": {"principal": [{"value": "dana", "events": 32, "kind": "human"}], "db": [{"value": "shop", "events": 34}]},
    },
    "/api/v1/approvals": {"items": [_APPROVAL], "next_cursor": _CURSOR},
    "/api/v1/approvals/{approval_id}": _APPROVAL | {"history": _HISTORY},
    "/api/v1/approvals/{approval_id}/decision": {
        "approval_id": "01928c5e-8d01-7f7e-8a7a-9c021a1b16e0",
        "approved": True,
        "nth": 1,
        "needed": 1,
        "review": False,
        "settled": True,
    },
    "/api/v1/exposure": {
        **_SPAN,
        "classes": [{"class": "email", **_SEEN, "principals": 1, "last_at": _AT}],
        "principals": [{"principal": "dana", "kind": "human", "on_behalf_of": "", "class": "email", **_SEEN, "last_at": _AT}],
        "columns": [
            {"db": "shop", "column": "public.customers.email", "clear": 1, "statements": 1, "principals": 1, "last_at": _AT}
        ],
        "more": True,
    },
    "/api/v1/principals": {**_SPAN, "items": [_ACTIVITY], "more": False},
    "/api/v1/principals/{principal}": {
        **_SPAN,
        **_ACTIVITY,
        "by_hour": [{"at": _AT, "database": "shop", **_HOUR, "verbs": {"select": 26}, "classes": {"email": 2}}],
        "more": False,
    },
    "/healthz": {"status": "alive"},
    "/readyz": {"status": "ready", "problems": []},
}
