"""The API on a real socket, inside the test's process: uvicorn in a thread, for as long as a `with` block."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from query_api.serving import config
from tests.support.ports import wait_for


@contextlib.contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an app, by default on a free port; yields its URL. Stops as `affidavit up` does: tails first, then the server."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(config(app, 10))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, "the API to start", 30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        app.state.streams.close()
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive(), "the API did not stop"
