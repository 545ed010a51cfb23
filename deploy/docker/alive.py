"""Is the role in this container alive? `python -m deploy.docker.alive http|tcp HOST:PORT`: exit code 0 if so, 1 with the reason.

`http` asks `/healthz`; `tcp` connects, which is all that a database's client protocol lets a stranger see. For images, which have
no curl.
"""

from __future__ import annotations

import http.client
import socket
import sys

TIMEOUT_SECONDS = 3.0


def problem(kind: str, address: str) -> str:
    """Return what is wrong, or nothing."""
    host, _, port = address.rpartition(":")
    try:
        if kind == "tcp":
            socket.create_connection((host, int(port)), TIMEOUT_SECONDS).close()
            return ""
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return f"{address}: {error or type(error).__name__}"
    return "" if status == 200 else f"{address}: /healthz answered {status}"


def main(arguments: list[str]) -> int:
    """Look once; say what is wrong."""
    if len(arguments) != 2 or arguments[0] not in ("http", "tcp") or not arguments[1].rpartition(":")[2].isdigit():
        print("usage: python -m deploy.docker.alive http|tcp HOST:PORT", file=sys.stderr)
        return 2
    if wrong := problem(*arguments):
        print(wrong, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
