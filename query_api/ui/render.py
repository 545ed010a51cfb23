"""What pages share: how a template becomes an answer, with the theme that the reader chose; and the way to the login and back."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import HTMLResponse, RedirectResponse

RANGES = {
    "-15m": "15 minutes",
    "-1h": "1 hour",
    "-6h": "6 hours",
    "-24h": "24 hours",
    "-7d": "7 days",
    "-30d": "30 days",
    "-90d": "90 days",
}
LONG_RANGES = {since: name for since, name in RANGES.items() if since not in ("-15m", "-1h", "-6h")}
"""For what is counted by hours."""


def render(
    request: Request, template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """The template as HTML."""
    theme = request.cookies.get("affidavit_theme", "")
    html = request.app.state.pages.get_template(template).render(theme=theme if theme in ("dark", "light") else "", **values)
    return HTMLResponse(html, status, headers)


def to_login(request: Request) -> RedirectResponse:
    """Where nobody is logged in: to the login, and from there to this page."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/login" if here == "/" else f"/login?{urlencode({'next': here})}", 303)
