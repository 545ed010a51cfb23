"""What the node adds to approvals: the key of links, who approvers are, and the thread that tells them.

Messages are sent by one process: whoever runs the API with `notifications` configured. Of several that share a store, give the
section to one.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable

from deploy.layout import DataDir
from ingest.identity.tokens import Role, TokenRecord
from query_api.links import KEY_BYTES, Links
from query_api.notifications import Channel, Notifier, knows
from query_api.store.reader import Reader
from schemas.config import Config
from schemas.events import Principal, PrincipalKind
from schemas.whole_files import write_whole


class NoticesError(Exception):
    """Messages cannot be sent as configured; the text names the setting and never an address."""


def links(config: Config, data: DataDir) -> Links:
    """Return what makes and reads links: under `keys/links.key`, made at first use. Taking it away ends all links."""
    path = data.keys / "links.key"
    if not path.exists():
        write_whole(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise NoticesError(f"{path} is damaged: take it away and start again; links that were sent end with it")
    return Links(key, config.public_url or f"http://{config.api.listen}")


def approvers(tokens: Callable[[], list[TokenRecord]], clock: Callable[[], int]) -> Callable[[str], Principal | None]:
    """Return a function from a name to that person, as the tokens that hold now describe them."""

    def approver(name: str) -> Principal | None:
        now = clock()
        held = [
            t
            for t in tokens()
            if t.principal_id == name
            and t.kind is PrincipalKind.HUMAN
            and not t.on_behalf_of
            and not t.revoked_at
            and (not t.expires_at or now < t.expires_at)
            and {Role.APPROVER, Role.ADMIN} & set(t.roles)
        ]
        if not held:
            return None
        groups = tuple(dict.fromkeys(g for t in held for g in t.groups))
        return Principal(id=name, kind=PrincipalKind.HUMAN, groups=groups, auth_method="link")

    return approver


def channels(config: Config) -> list[Channel]:
    """Return where to tell, each checked. Raises NoticesError naming the first address that is none."""
    settings = config.notifications
    found = [("notifications.urls", Channel(u.get_secret_value())) for u in settings.urls]
    for i, a in enumerate(settings.approvers):
        found += [(f"notifications.approvers[{i}].urls", Channel(u.get_secret_value(), a.principal)) for u in a.urls]
    for number, (setting, channel) in enumerate(found):
        if not knows(channel.address):
            raise NoticesError(f"{setting}: address {number + 1} of all is none that apprise knows; see docs/approvals.md")
    return [channel for _, channel in found]


class Notices:
    """The thread that tells approvers; without channels there is none."""

    def __init__(self, notifier: Notifier | None) -> None:
        self._stop = threading.Event()
        self._notifier = notifier
        self._thread: threading.Thread | None = None
        if notifier is not None:
            self._thread = threading.Thread(target=notifier.run, args=(self._stop,), name="notices", daemon=True)
            self._thread.start()

    @property
    def counts(self) -> dict[str, int]:
        """How many messages were taken, and how often one was not, since this process started."""
        if self._notifier is None:
            return {"sent": 0, "failed": 0}
        return {"sent": self._notifier.sent, "failed": self._notifier.failed}

    def close(self) -> None:
        """Stop after the message that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(15)


def start(
    config: Config,
    data: DataDir,
    reader: Callable[[], Reader],
    made: Links,
    approver: Callable[[str], Principal | None],
    clock: Callable[[], int],
) -> Notices:
    """Begin to tell approvers, if anybody is to be told. Raises NoticesError."""
    where = channels(config)
    if not where:
        return Notices(None)
    memory = data.root / "notifications.db"
    os.close(os.open(memory, os.O_CREAT | os.O_RDWR, 0o600))
    return Notices(Notifier(reader(), where, made, approver, clock, memory))
