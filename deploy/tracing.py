"""Who tells a collector of traced statements? What the configuration says, between the pipeline and the sender of spans."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from typing import TYPE_CHECKING

from schemas.config import Config

if TYPE_CHECKING:
    from processors.runtimes.work import Stored
    from processors.steps.work import Batch


def tracing(config: Config, stack: contextlib.ExitStack) -> Stored | None:
    """Return what the pipeline is to tell of its batches, None where no endpoint is configured. Raises FatalError."""
    settings = config.tracing
    if settings.otlp_endpoint is None:
        return None
    from deploy.supervisor import FatalError
    from processors.sinks.otlp import SpanSender, TracingError
    from processors.traces import spans

    try:
        sender = SpanSender(settings.otlp_endpoint, settings.ca_file, version("affidavit"))
    except TracingError as error:
        raise FatalError(str(error)) from error
    stack.callback(sender.close)

    def stored(batch: Batch, at: int) -> None:
        sender.offer(spans(batch, at, settings.statement_text))

    return stored
