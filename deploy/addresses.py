"""What listens where on this machine: can it, does it, and is the API behind it ready?"""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket

import orjson

from deploy.config import split_address


def bind(address: str) -> socket.socket:
    """Return a socket bound to `host:port`. Without SO_REUSEPORT: whoever listens there already makes this fail."""
    host, port = split_address(address)
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen(1)  # two sockets may be bound with SO_REUSEADDR, only one may listen
    except OSError:
        bound.close()
        raise
    return bound


def not_listened_on(error: OSError) -> str:
    """Say why an address cannot be listened on, and what to do."""
    if isinstance(error, socket.gaierror):
        return "cannot be listened on: its name has no address; give an address of this machine, or 0.0.0.0 for all of them"
    why = {
        errno.EADDRINUSE: "is taken by another process; stop that one, or give another address",
        errno.EADDRNOTAVAIL: "is no address of this machine; give one that is, or 0.0.0.0 for all of them",
        errno.EACCES: "is not for this user to listen on; give a port from 1024",
    }
    return why.get(error.errno or 0, f"cannot be listened on ({error.strerror}); give another address")


def api_problem(address: str) -> str:
    """Ask an API for /readyz; return what is wrong, or nothing."""
    host, port = _reachable(address)
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(10_000)
        return "" if response.status == 200 else f"not ready: {', '.join(orjson.loads(body).get('problems', ()))}"
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
        return f"does not answer: {error}"
    finally:
        connection.close()


def accepts(address: str) -> bool:
    """Whether something accepts connections at an address."""
    with contextlib.suppress(OSError):
        socket.create_connection(_reachable(address), timeout=0.5).close()
        return True
    return False


def _reachable(address: str) -> tuple[str, int]:
    host, port = split_address(address)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104
