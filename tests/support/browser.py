"""Debian's Chromium, and a profile in it that is watched: what it asked for, and what went wrong in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext

CHROMIUM = Path("/usr/bin/chromium")
MISSING = "needs Debian's chromium package at /usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-quic",
]
_EXPECTED = re.compile(r"the server responded with a status of 4|net::ERR_INTERNET_DISCONNECTED")


@contextlib.contextmanager
def watched(browser: Browser, url: str, *others: str, **options: Any) -> Iterator[BrowserContext]:
    """A fresh profile; at its end: only `url` and `others` were asked, nothing went wrong, no script ran that should not."""
    options = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"} | options
    context = browser.new_context(base_url=url, **options)
    context.set_default_timeout(15_000)
    said: list[str] = []
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    context.on("weberror", lambda error: said.append(str(error.error)))
    context.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield context
    context.close()
    assert {urlsplit(address).netloc for address in asked} <= {urlsplit(address).netloc for address in (url, *others)}
    assert [text for text in said if not _EXPECTED.search(text)] == []
