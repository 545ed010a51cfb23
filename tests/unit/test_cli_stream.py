"""Does the command line tell audit events from what the stream says about itself?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.api_client import ApiClient, ApiError


@contextmanager
def speaking(body: bytes) -> Iterator[str]:
    class Speaker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Speaker)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("name", ["problem", "end"])
def test_the_reason_a_stream_ends_is_an_error_and_no_event(name: str) -> None:
    body = b': alive\n\nid: 1\ndata: {"n":1}\n\nevent: gap\ndata: {"from":1,"to":2}\n\n'
    body += b'event: %b\ndata: {"detail":"The server is stopping."}\n\n' % name.encode()
    with speaking(body) as url:
        client = ApiClient(url, "token")
        events = client.stream("/api/v1/events/stream")
        assert next(events) == {"n": 1}
        with pytest.raises(ApiError, match="The server is stopping"):
            next(events)
        client.close()
