"""How do our processes log? One line an event on stderr: JSON for machines, text on a terminal, or as AFFIDAVIT_LOGS says.

Only events and fields chosen by us are logged, never a library's idea of a request: those could hold a token or a statement.
Children and sealers inherit the variable, so that all processes of a machine log alike, and libraries with them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from deploy.log_style import Style, style

_SECRET_NAMES = ("password", "token", "secret", "authorization", "key")


def configure(process: str, stream: TextIO | None = None) -> structlog.stdlib.BoundLogger:
    """Set up logging of this process and return its logger; `process` stands in every line."""
    given, stream = stream, stream or sys.stderr
    as_text = style() is Style.TEXT or (style() is Style.AUTO and stream.isatty())
    rendering: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Named(process),
    ]
    structlog.configure(
        processors=[*common, without_secrets, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Whatever stderr is when a line is written: it is not the same for ever in a process that runs commands.
        logger_factory=lambda *_: structlog.PrintLogger(given or sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries: warnings only; uvicorn's access log stays off (query strings hold searches).
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, without_secrets, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logger: structlog.stdlib.BoundLogger = structlog.get_logger()
    return logger


class _Named:
    """Puts the process's name into every line that has none."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", self._process)
        return event


def without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Blank fields whose name says they hold a secret: a second line of defence, not the first."""
    return {k: "[removed]" if k != "event" and any(s in k.lower() for s in _SECRET_NAMES) else v for k, v in event.items()}
