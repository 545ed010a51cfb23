"""How do our processes log? One line an event on stderr: JSON for machines, coloured text on a terminal.

Only events and fields chosen by us are logged, never a library's idea of a request: those could hold a token or a statement.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

_SECRET_NAMES = ("password", "token", "secret", "authorization", "key")


def configure(process: str, stream: TextIO | None = None) -> structlog.stdlib.BoundLogger:
    """Set up logging of this process and return its logger; `process` stands in every line."""
    stream = stream or sys.stderr
    rendering: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if stream.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_secrets,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # Libraries: warnings only, and as they are; uvicorn's access log stays off (query strings hold searches).
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)
    logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(process=process)
    return logger


def without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Blank fields whose name says they hold a secret: a second line of defence, not the first."""
    return {k: "[removed]" if k != "event" and any(s in k.lower() for s in _SECRET_NAMES) else v for k, v in event.items()}
