"""chDB behind ClickHouse's HTTP interface, as a process of its own: what a server does on that wire, over a real engine.

    python -m tests.support.clickhouse_http <options as JSON>        prints `ready`, serves until SIGTERM or its death

Serves what clickhouse-connect and curl ask for: `query` and settings as URL parameters, bodies as data (plain, chunked, gzip,
lz4, zstd), `database`, `param_*`, sessions, Basic and X-ClickHouse logins, certificates, exception codes and summaries. One
engine connection a request, as on a server; formats and errors are the engine's. Answers are made whole before they are sent.

`POST /-/faults` with JSON sets what goes wrong next (see `Faults`); `GET /-/faults` shows it.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import os
import re
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame
import zstandard

TRANSPORT = frozenset(
    {"query", "database", "user", "password", "session_id", "session_timeout", "session_check", "query_id", "quota_key", "role"}
    | {"compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version", "default_format"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression"}
)
"""URL parameters of the interface itself; every other one is a setting of the engine, which refuses what it does not know."""

_INSERT = re.compile(r"\A\s*INSERT\s+INTO\s+(?P<into>.+?)\s+FORMAT\s+(?P<format>\w+)[ \t]*\n?", re.IGNORECASE | re.DOTALL)
_ANSWERS = re.compile(r"\A\s*\(?\s*(SELECT|WITH|SHOW|DESCRIBE|DESC|EXPLAIN|EXISTS|CHECK)\b", re.IGNORECASE)
_STATUS = {**dict.fromkeys((516, 192, 193, 497), 403), 194: 401, **dict.fromkeys((36, 62, 47, 115, 27, 117), 400)}
_STATUS |= {**dict.fromkeys((60, 81, 46), 404), 48: 501, 159: 408, 202: 500, 373: 500}


@dataclass
class Faults:
    """What goes wrong: counts say how many of the next requests (of inserts, where said) are struck."""

    insert_seconds: float = 0.0  # each insert takes at least so long, one after another
    unavailable: int = 0  # answered 503 without a word, as by a proxy whose server is away
    too_many: int = 0  # inserts answered 202, TOO_MANY_SIMULTANEOUS_QUERIES, and not done
    drop: int = 0  # inserts whose connection ends before anything is done
    lose_answer: int = 0  # inserts that are done, and their connection ends without an answer
    die_in_insert: int = 0  # this many inserts from now the process kills itself in the middle of one
    requests: int = 0  # counted: queries taken
    inserts: int = 0  # counted: inserts done
    tokens: list[str] = field(default_factory=list)  # noted: the deduplication token of each insert that was tried
    queued: list[str] = field(default_factory=list)  # noted: whether each may be written after it was answered (async_insert)


class RefusedError(Exception):
    """What the interface itself refuses, with ClickHouse's code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}")


class Engine(ThreadingHTTPServer):
    """The listening socket, the engine, and what may go wrong."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.users: Mapping[str, Mapping[str, Any]] = options.get("users") or {"default": {"password": ""}}
        config = options.get("config_file")
        self.path = options["path"] + (f"?config-file={config}" if config else "")
        self.keeping = chdb.connect(self.path)  # while one connection is open, the others open in a millisecond
        self.timezone, self.version = (
            self.keeping.query("SELECT timezone(), version()", "TabSeparated").bytes().decode().strip().split("\t")
        )
        self.faults, self.lock, self.one_insert = Faults(), threading.Lock(), threading.Lock()
        self.sessions: dict[str, tuple[Any, threading.Lock]] = {}
        self.numbers = itertools.count(1)
        super().__init__(("127.0.0.1", options["port"]), Answering)
        if tls := options.get("tls"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls["cert"], tls["key"])
            if tls.get("client_ca"):
                context.load_verify_locations(tls["client_ca"])
                context.verify_mode = ssl.CERT_OPTIONAL
            # The handshake is the connection's own thread's: a client that never speaks must not stop the others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def struck(self, name: str) -> bool:
        """Take one of a fault's count."""
        with self.lock:
            left = getattr(self.faults, name)
            setattr(self.faults, name, max(0, left - 1))
            return bool(left == 1 if name == "die_in_insert" else left > 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up, or do not trust us, are not worth a traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    @contextlib.contextmanager
    def connection(self, session: str) -> Iterator[Any]:
        """An engine connection: the session's, or a fresh one."""
        if not session:
            with chdb.connect(self.path) as fresh:
                yield fresh
            return
        with self.lock:
            held, lock = self.sessions.setdefault(session, (chdb.connect(self.path), threading.Lock()))
        if not lock.acquire(blocking=False):
            raise RefusedError(373, f"Session {session} is locked by a concurrent client. (SESSION_IS_LOCKED)")
        try:
            yield held
        finally:
            lock.release()


class Answering(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    server: Engine

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests look at what is in the store."""

    def setup(self) -> None:
        """Shake hands first, where it is TLS."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(30)
            self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        self._take(b"", readonly=True)

    def do_POST(self) -> None:
        self._take(self._body(), readonly=False)

    # -- what came -------------------------------------------------------------------------------------------------

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            data = b"".join(parts)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        encoding = self.headers.get("Content-Encoding", "")
        return {"gzip": gzip.decompress, "lz4": lz4.frame.decompress, "zstd": _unzstd}[encoding](data) if encoding else data

    def _take(self, body: bytes, readonly: bool) -> None:
        url = urlsplit(self.path)
        if url.path == "/-/faults":
            with self.server.lock:
                for name, value in json.loads(body or b"{}").items():
                    setattr(self.server.faults, name, value)
                shown = json.dumps(asdict(self.server.faults))
            self._send(200, shown.encode())
            return
        if self.server.struck("unavailable"):
            self._send(503, b"no server is available\n")
            return
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/ping" or (url.path == "/" and not parameters.get("query") and not body):
            self._send(200, b"Ok.\n")
            return
        try:
            user = self._user(parameters)
            answer = self._run(parameters, body, readonly or bool(user.get("readonly")))
        except Exception as error:
            text = str(error)
            code = int(found[1]) if (found := re.search(r"Code: (\d+)", text)) else 1002
            headers = {"X-ClickHouse-Exception-Code": str(code)}
            self._send(_STATUS.get(code, 500), f"{text} (version {self.server.version})\n".encode(), headers)
            return
        if answer is None:
            self.close_connection = True  # without a word
            return
        self._send(200, *answer)

    def _user(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        name, password = parameters.get("user", "default"), parameters.get("password", "")
        authorization = self.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            name, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
        elif self.headers.get("X-ClickHouse-User"):
            name, password = self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", "")
        user = self.server.users.get(name, {})
        certified = self.headers.get("X-ClickHouse-SSL-Certificate-Auth", "") == "on"
        right = _common_name(self.request) == user.get("certificate", "") != "" if certified else password == user.get("password")
        if not right:
            text = f"{name}: Authentication failed: password is incorrect, or there is no user with such name."
            raise RefusedError(516, f"{text} (AUTHENTICATION_FAILED)")
        return user

    # -- what is done ----------------------------------------------------------------------------------------------

    def _run(self, parameters: Mapping[str, str], body: bytes, readonly: bool) -> tuple[bytes, dict[str, str]] | None:
        """Run a query; return body and headers of its answer, or None where there must be none."""
        server = self.server
        text, data = parameters.get("query", ""), body
        if not text or _INSERT.match(text) is None:
            text, data = (
                (text + "\n" + body.decode("utf-8", "surrogateescape") if text else body.decode("utf-8", "surrogateescape")),
                b"",
            )
        with server.lock:
            server.faults.requests += 1
        inserting = _INSERT.match(text)
        if inserting is not None:
            data = text[inserting.end() :].encode("utf-8", "surrogateescape") + data
            text = inserting[0]
        began = time.monotonic()
        with server.connection(parameters.get("session_id", "")) as engine:
            self._prepare(engine, parameters, readonly)
            bound = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
            wanted = parameters.get("default_format", "TabSeparated")
            if inserting is None:
                result = engine.query(text, wanted, params=bound)
            else:
                with server.lock:
                    server.faults.tokens.append(parameters.get("insert_deduplication_token", ""))
                    server.faults.queued.append(parameters.get("async_insert", ""))
                if server.struck("too_many"):
                    raise RefusedError(202, "Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)")
                if server.struck("drop"):
                    return None
                result = self._insert(engine, inserting, data, bound)
                if server.struck("lose_answer"):
                    return None
            output = result.bytes() or b""
            summary = {
                "read_rows": str(result.storage_rows_read()),
                "read_bytes": str(result.storage_bytes_read()),
                "written_rows": str(result.rows_written()),
                "elapsed_ns": str(int((time.monotonic() - began) * 1e9)),
            }
        headers = {"X-ClickHouse-Summary": json.dumps(summary), "X-ClickHouse-Timezone": server.timezone}
        if _ANSWERS.match(text):
            found = re.search(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", text, re.IGNORECASE)
            headers["X-ClickHouse-Format"] = found[1] if found else wanted
        headers["X-ClickHouse-Query-Id"] = parameters.get("query_id") or f"query-{next(server.numbers)}"
        return self._compressed(output, parameters, headers)

    def _prepare(self, engine: Any, parameters: Mapping[str, str], readonly: bool) -> None:
        if database := parameters.get("database"):
            engine.query(f"USE `{database.replace('`', '')}`")
        for name, value in parameters.items():
            if name in TRANSPORT or name.startswith("param_"):
                continue
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise RefusedError(115, f"Unknown setting {name!r}. (UNKNOWN_SETTING)")
            engine.query(f"SET {name} = {_quoted(value)}")
        if readonly:
            engine.query("SET readonly = 2")

    def _insert(self, engine: Any, inserting: re.Match[str], data: bytes, bound: Mapping[str, str]) -> Any:
        """Insert a body, as a file: this engine reads no data behind a query."""
        server = self.server
        into, settings = inserting["into"], ""
        if found := re.search(r"\s+SETTINGS\s+(.+)\Z", into, re.IGNORECASE | re.DOTALL):
            into, settings = into[: found.start()], f" SETTINGS {found[1]}"
        with tempfile.NamedTemporaryFile(suffix=".data") as file:
            file.write(data)
            file.flush()
            text = f"INSERT INTO {into} FROM INFILE {_quoted(file.name)}{settings} FORMAT {inserting['format']}"
            with server.one_insert if server.faults.insert_seconds else contextlib.nullcontext():
                time.sleep(server.faults.insert_seconds)
                if server.struck("die_in_insert"):
                    threading.Thread(target=engine.query, args=(text,), daemon=True).start()
                    time.sleep(0.004)  # an insert takes about 5 ms
                    os.kill(os.getpid(), signal.SIGKILL)
                result = engine.query(text, "TabSeparated", params=dict(bound))
        with server.lock:
            server.faults.inserts += 1
        return result

    # -- what is answered ------------------------------------------------------------------------------------------

    def _compressed(self, output: bytes, parameters: Mapping[str, str], headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        if parameters.get("enable_http_compression") == "1":
            for encoding in re.split(r"\s*,\s*", self.headers.get("Accept-Encoding", "")):
                if encoding in _COMPRESS:
                    return _COMPRESS[encoding](output), {**headers, "Content-Encoding": encoding}
        return output, headers

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


_COMPRESS: dict[str, Any] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "gzip": gzip.compress,
}


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _common_name(connection: Any) -> str:
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if names else ""


def main(options: Mapping[str, Any]) -> None:
    """Serve until told to stop."""
    engine = Engine(options)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=engine.shutdown).start())
    print("ready", flush=True)
    engine.serve_forever(poll_interval=0.05)
    engine.server_close()
    engine.keeping.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
