"""A real receiver of messages on this machine: what Slack, Teams or a mail server would be."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

PASSWORD = "hunter2-in-the-address"


class Inbox:
    """A webhook on this machine: keeps what it is sent, by path; refuses while `busy`."""

    def __init__(self) -> None:
        inbox = self
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.busy = False

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                if not inbox.busy:
                    inbox.got.append((self.path, orjson.loads(data)))
                self.send_response(503 if inbox.busy else 200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def address(self, path: str) -> str:
        """The address of a path, as apprise has it."""
        return f"json://carol:{PASSWORD}@127.0.0.1:{self.server.server_port}/{path}"

    def of(self, path: str) -> list[dict[str, Any]]:
        """What a path was sent."""
        return [content for where, content in self.got if where == f"/{path}"]

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()
