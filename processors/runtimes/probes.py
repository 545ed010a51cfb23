"""What does a worker answer by HTTP? `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from processors.runtimes.metrics import exposition
from processors.runtimes.work import PipelineError

Lag = Callable[[], dict[int, int]]
"""Records behind, by partition; asks the brokers."""


async def serve(listen: tuple[str, int], status: Callable[[], dict[str, Any]], lag: Lag, activity_lag: Lag) -> web.AppRunner:
    """Answer at (host, port) until the runner's `cleanup`. Raises PipelineError where nobody can listen there."""

    async def health(_: web.Request) -> web.Response:
        state = status()["state"]
        return web.Response(status=503 if state == "stopped" else 200, text=f"{state}\n")

    async def ready(_: web.Request) -> web.Response:
        said = {name: value for name, value in status().items() if name != "latencies"}
        body = orjson.dumps(said, option=orjson.OPT_NON_STR_KEYS)
        return web.Response(status=200 if said["ready"] else 503, body=body, content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        behind, activity_behind = await asyncio.to_thread(lag), await asyncio.to_thread(activity_lag)
        return web.Response(body=exposition(status(), behind, activity_behind), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", health), web.get("/readyz", ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, *listen).start()
    except OSError as error:
        await runner.cleanup()
        raise PipelineError(f"process.listen: cannot listen on {listen[0]}:{listen[1]}: {error.strerror}") from None
    return runner
