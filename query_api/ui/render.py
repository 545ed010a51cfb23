"""How a template becomes an answer: with the theme that the reader chose."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse


def render(
    request: Request, template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """The template as HTML."""
    theme = request.cookies.get("affidavit_theme", "")
    html = request.app.state.pages.get_template(template).render(theme=theme if theme in ("dark", "light") else "", **values)
    return HTMLResponse(html, status, headers)
