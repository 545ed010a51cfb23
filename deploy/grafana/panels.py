"""What one panel of a dashboard is, and how a list of them becomes the JSON that Grafana reads.

Panels stand left to right and wrap at Grafana's 24 columns. Data sources are named by the uids that `provisioning/` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROMETHEUS = {"type": "prometheus", "uid": "affidavit-prometheus"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "affidavit-clickhouse"}
COLUMNS = 24
_TIME_SERIES, _TABLE = 0, 1  # the ClickHouse plugin's `format`


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries` are PromQL by legend, or one SQL text; `unit` is Grafana's name of it; red from `bad` on."""

    title: str
    kind: str
    queries: Mapping[str, str] | str
    unit: str = "short"
    width: int = 8
    height: int = 8
    text: str = ""
    bad: float | None = None

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return the panel as Grafana has it."""
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if self.bad is not None:
            steps.append({"color": "red", "value": self.bad})
        defaults: dict[str, Any] = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}}
        if self.kind == "stat":
            options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
        elif self.kind == "timeseries":
            options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
            defaults["custom"] = {"fillOpacity": 10}
        else:
            options = {}
        return {
            "id": number,
            "title": self.title,
            "description": self.text,
            "type": self.kind,
            "datasource": CLICKHOUSE if isinstance(self.queries, str) else PROMETHEUS,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": self._targets(),
        }

    def _targets(self) -> list[dict[str, Any]]:
        if isinstance(self.queries, str):
            plain = self.kind != "timeseries"
            return [
                {
                    "refId": "A",
                    "datasource": CLICKHOUSE,
                    "editorType": "sql",
                    "queryType": "table" if plain else "timeseries",
                    "format": _TABLE if plain else _TIME_SERIES,
                    "rawSql": self.queries,
                }
            ]
        return [
            {"refId": chr(65 + n), "datasource": PROMETHEUS, "expr": expression, "legendFormat": legend}
            for n, (legend, expression) in enumerate(self.queries.items())
        ]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard. `variables` are (name, label, data source, query), each with several choices, by default all."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[tuple[str, str, Mapping[str, str], str]]
    since: str = "now-6h"

    def json(self) -> dict[str, Any]:
        """Return the dashboard as Grafana has it."""
        panels, x, y, row = [], 0, 0, 0
        for number, panel in enumerate(self.panels, 1):
            if x + panel.width > COLUMNS:
                x, y, row = 0, y + row, 0
            panels.append(panel.json(number, x, y))
            x, row = x + panel.width, max(row, panel.height)
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["affidavit"],
            "schemaVersion": 41,
            "editable": False,
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "timezone": "utc",
            "templating": {"list": [_variable(*v) for v in self.variables]},
            "panels": panels,
        }


def _variable(name: str, label: str, source: Mapping[str, str], query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": source,
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }
