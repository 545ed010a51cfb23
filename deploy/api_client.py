"""How do the commands talk to a running Affidavit? Over its HTTP API, as any other client does.

Address and token come from the options, else from the configuration: `api.listen`, and the token the node leaves for
local use in `run/local.token`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson

from deploy.config import load, split_address
from deploy.layout import DataDir

PAGE = 500  # rows asked for at a time; the API has its own, higher limit


class ApiError(Exception):
    """The API could not be reached or refused; the message says which and what to do."""


class ApiClient:
    """A running API at `url`, as the bearer of `token`."""

    def __init__(self, url: str, token: str, timeout: float = 30.0) -> None:
        self._url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}", "user-agent": "affidavit-cli"}
        # trust_env off: a proxy variable must not carry the trail, and its token, somewhere else.
        self._http = httpx.Client(base_url=self._url, headers=headers, timeout=timeout, trust_env=False)

    def get(self, path: str, **parameters: str | int | None) -> Any:
        """Return the JSON of one GET; None parameters are left out. Raises ApiError."""
        given = {name.rstrip("_"): value for name, value in parameters.items() if value not in (None, "")}
        return self._ask("GET", path, params=given)

    def post(self, path: str, body: Any) -> Any:
        """Return the JSON that answers one POST of a JSON body. Raises ApiError."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        try:
            response = self._http.request(method, path, **how)
        except httpx.InvalidURL as error:
            raise ApiError(f"{self._url} is no URL: {error}") from None
        except httpx.TimeoutException:
            raise ApiError(f"the API at {self._url} did not answer in time; is it overloaded? See {self._url}/readyz") from None
        except httpx.HTTPError as error:
            text = f"cannot reach the API at {self._url} ({error}); is `affidavit up` running? Name another with --api"
            raise ApiError(text) from None
        if response.status_code != 200:
            raise ApiError(self._word(response.status_code, response.content))
        return orjson.loads(response.content)

    def pages(self, path: str, limit: int, **parameters: str | int | None) -> Iterator[dict[str, Any]]:
        """Yield up to `limit` items of a paged endpoint."""
        cursor: str | None = None
        while limit > 0:
            page = self.get(path, cursor=cursor, limit=min(limit, PAGE), **parameters)
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page.get("next_cursor")
            if not cursor or not page["items"]:
                return

    def stream(self, path: str, **parameters: str | int | None) -> Iterator[dict[str, Any]]:
        """Yield each audit event of the stream. Raises ApiError, also with the reason the server gives for ending it."""
        given = {name.rstrip("_"): value for name, value in parameters.items() if value not in (None, "")}
        try:
            with self._http.stream("GET", path, params=given, timeout=httpx.Timeout(10.0, read=None)) as response:
                if response.status_code != 200:
                    raise ApiError(self._word(response.status_code, response.read()))
                name, data = "", []
                for line in response.iter_lines():
                    if line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        data.append(line[5:].removeprefix(" "))
                    elif not line:
                        message = orjson.loads("\n".join(data)) if data else {}
                        if name in ("problem", "end"):
                            raise ApiError(f"the stream from {self._url} ended: {message.get('detail', name)}")
                        if data and not name:
                            yield message
                        name, data = "", []
        except httpx.HTTPError as error:
            raise ApiError(f"the stream from {self._url} ended: {error or type(error).__name__}") from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _word(self, status: int, body: bytes) -> str:
        try:
            problem = orjson.loads(body)
            detail = str(problem.get("detail") or problem.get("title") or "")
        except (orjson.JSONDecodeError, AttributeError):
            detail = ""
        if status == 401:
            detail = detail.rstrip(".") or "unauthorised"
            return f"the API at {self._url} does not know this token: {detail}; give a valid one with --token"
        if status == 403:
            return f"this token may not do that: {detail or 'forbidden'} Roles and groups are given by token create."
        if status in (404, 409):
            return detail
        return f"the API at {self._url} answered {status}: {detail or 'no detail given'}"


def connect(config_path: Path, url: str | None, token: str | None) -> ApiClient:
    """Return a client for the options given; what is missing comes from the configuration. Raises ApiError, ConfigError."""
    if url and token:
        return ApiClient(url, token)
    config = load(config_path, complete=False)
    if not url:
        host, port = split_address(config.api.listen)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if not token:
        file = DataDir(config.data_dir).local_token
        try:
            token = file.read_text("ascii").strip()
        except FileNotFoundError:
            raise ApiError(f"{file} is not there: affidavit is not running on this data directory; or give --token") from None
        except OSError as error:
            raise ApiError(f"cannot read {file}: {error.strerror}; give --token") from None
    return ApiClient(url, token)
