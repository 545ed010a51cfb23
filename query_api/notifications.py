"""Tells approvers that a statement waits: once for each request and channel, by whatever service apprise knows.

A channel is one address (Slack, Teams, mail, a webhook). One that everybody reads gets a link to the page, where one logs in; an
approver's own gets a link that is signed for them, if they may decide on that request at all. Nothing of a statement's text goes
out: verbs, objects, names and the rule are enough to know whether to look.

What was sent is kept in an SQLite file, claimed before and settled after: a process that dies between the two sends that one
message again at its next start, and no other. What cannot be sent is tried again while the request is open, less and less often.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from query_api.identity import Approver
from query_api.links import Link, Links
from query_api.problems import ProblemError
from query_api.store import approvals
from query_api.store.approvals import Asked, State
from query_api.store.reader import Reader
from schemas.approvals import Decider, objection
from schemas.events import ApprovalRequested

POLL_SECONDS = 1.0
"""How often it looks: people take longer to look at their telephones."""
LOOK_AT = 500
"""Requests looked at in one look, of each state: more than anybody reads."""
REVIEW_LINK_US = 7 * 86_400 * 10**6
"""How long a link to review a use of break-glass is good for; a request's ends with the request."""
REVIEW_NEWS_US = 86_400 * 10**6
"""How old a use of break-glass is still told as news: after a longer outage the page shows it."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 5, 300
KEPT_US = 14 * 86_400 * 10**6
"""How long it is remembered what was sent: longer than anything is open."""
_NAMES = 6
_log = logging.getLogger(__name__)

Send = Callable[[str, str, str], bool]
"""Sends (address, title, body); whether it was taken. May raise."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where to tell. `principal` is whose own it is, empty for one that several read. `address` is a secret."""

    address: str
    principal: str = ""

    @property
    def name(self) -> str:
        """What the channel is called where its address must not stand."""
        return sha256(self.address.encode()).hexdigest()[:12]


class Notifier:
    """Looks for requests and tells them. One thread runs it."""

    def __init__(
        self,
        reader: Reader,
        channels: Sequence[Channel],
        links: Links,
        approver: Approver,
        clock: Callable[[], int],
        memory: Path,
        send: Send | None = None,
    ) -> None:
        """`approver` gives somebody as their tokens describe them now, or None. `memory`: the SQLite file of what was sent."""
        self._reader, self._channels, self._links = reader, tuple(channels), links
        self._approver, self._clock, self._send = approver, clock, send or through_apprise
        self._memory = memory
        self._retry: dict[tuple[str, str], tuple[int, int]] = {}
        self.sent = self.failed = 0
        with closing(self._open()) as db:
            db.executescript(_SCHEMA)

    def run(self, stop: threading.Event) -> None:
        """Look and tell until stopped; trouble is logged once and waited out."""
        trouble = ""
        while not stop.wait(POLL_SECONDS):
            try:
                self.look()
                trouble = ""
            except Exception as error:  # the store may be away: the next look is as good
                said = error.detail if isinstance(error, ProblemError) else type(error).__name__
                if said != trouble:
                    trouble = said
                    _log.warning("approvers cannot be told of what waits: %s", said)

    def look(self) -> int:
        """Tell what was not told yet; return how many messages were taken. Raises ProblemError, sqlite3.Error."""
        now = self._clock()
        asked: list[Asked] = []
        for state in (State.OPEN, State.REVIEW):
            asked += approvals.page(self._reader, state, now, None, LOOK_AT)[0]
        news = [a for a in asked if a.binding and (a.state is State.OPEN or a.at > now - REVIEW_NEWS_US)]
        taken = 0
        with closing(self._open()) as db:
            for one in reversed(news):
                for channel in self._channels:
                    taken += self._tell(db, one, channel, now)
            db.execute("DELETE FROM sent WHERE at < ?", (now - KEPT_US,))
        open_now = {a.approval_id for a in news}
        self._retry = {key: value for key, value in self._retry.items() if key[0] in open_now}
        return taken

    def _tell(self, db: sqlite3.Connection, asked: Asked, channel: Channel, now: int) -> bool:
        key = (asked.approval_id, channel.name)
        if db.execute("SELECT 1 FROM sent WHERE approval_id = ? AND channel = ? AND settled", key).fetchone():
            return False
        wait, due = self._retry.get(key, (FIRST_RETRY_SECONDS, 0))
        if now < due:
            return False
        address = self._address_for(asked, channel)
        if address is None:
            return False
        db.execute("INSERT OR IGNORE INTO sent VALUES (?, ?, ?, 0)", (*key, now))
        title, body = message(asked, address)
        try:
            taken = self._send(channel.address, title, body)
        except Exception as error:  # a service's own trouble; its text may repeat the address
            _log.warning("a message to channel %s failed: %s", channel.name, type(error).__name__)
            taken = False
        if taken:
            db.execute("UPDATE sent SET settled = 1 WHERE approval_id = ? AND channel = ?", key)
            self._retry.pop(key, None)
            self.sent += 1
        else:
            self.failed += 1
            self._retry[key] = (min(2 * wait, LAST_RETRY_SECONDS), now + wait * 1_000_000)
            _log.warning("channel %s did not take the message on %s; again in %s s", channel.name, asked.approval_id, wait)
        return taken

    def _address_for(self, asked: Asked, channel: Channel) -> str | None:
        """The link that goes out; None where the channel's owner may not decide on this."""
        if not channel.principal:
            return self._links.page(asked.approval_id)
        who = self._approver(channel.principal)
        if who is None or objection(asked.rules, Decider.of(who)):
            return None
        event = asked.event
        until = event.expires_at if isinstance(event, ApprovalRequested) else asked.at + REVIEW_LINK_US
        return self._links.made(Link(asked.approval_id, who.id, until))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._memory, timeout=5, isolation_level=None)


_SCHEMA = """
PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS sent (
    approval_id TEXT NOT NULL, channel TEXT NOT NULL, at INTEGER NOT NULL, settled INTEGER NOT NULL,
    PRIMARY KEY (approval_id, channel)
) WITHOUT ROWID;
"""


def message(asked: Asked, address: str) -> tuple[str, str]:
    """The title and the body, plain text, of what is told about a request."""
    event = asked.event
    assert event is not None
    verbs = " ".join(event.facts.verbs).upper() or "STATEMENT"
    objects = [name.removeprefix("public.") for name in dict.fromkeys([*event.facts.writes, *event.facts.reads])]
    named = ", ".join(objects[:_NAMES]) + (f" and {len(objects) - _NAMES} more" if len(objects) > _NAMES else "")
    principal, database = event.principal, event.database
    behalf = f" for {principal.on_behalf_of}" if principal.on_behalf_of else ""
    wanted = isinstance(event, ApprovalRequested)
    title = f"{'Approval wanted' if wanted else 'Break-glass was used'}: {verbs} {named} on {database.alias}"
    lines = [
        f"{principal.id} ({principal.kind}){behalf} {'wants to run' if wanted else 'ran'} {verbs} {named}",
        f"on {database.alias} ({database.environment}), risk {event.risk}.",
        f"Rule {event.rule}: {event.reason}",
    ]
    if isinstance(event, ApprovalRequested):
        if event.estimate.known:
            lines.append(f"Rows, estimated: {event.estimate.rows:,}")
        if (dry := event.estimate.dry_run).known:
            lines.append(f"Rows, counted: {'more than ' if dry.more else ''}{dry.rows:,}")
        seconds = max(0, (event.expires_at - event.at) // 1_000_000)
        lines.append(f"It waits for {seconds // 60} min {seconds % 60} s at most.")
    if event.data_classes:
        lines.append(f"Classes of data: {', '.join(event.data_classes)}")
    return harmless(title)[:200], "\n".join([*(harmless(line)[:600] for line in lines), "", address])


def harmless(text: str) -> str:
    """Names are whatever their makers chose: nothing of them shall mention people, be markup or become a link in a chat.

    Chats make a link of a bare host too (`approve.example`), so behind the dot within a word comes a character of no width.
    """
    text = "".join(c if c.isprintable() else " " for c in text)
    text = re.sub(r"[<>\[\]`*|~]", "_", text)
    text = text.replace("://", ":\u2215\u2215")
    text = re.sub(r"(?<=\w)\.(?=\w)", ".\u2060", text)
    return re.sub(r"(?i)@(?=(?:everyone|here|channel|all)\b)", "@\u2060", text)


def through_apprise(address: str, title: str, body: str) -> bool:
    """Send by apprise, in this thread. Its own log is kept silent: it can hold addresses and what was sent."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return bool(_apprise(address).notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT))


def knows(address: str) -> bool:
    """Tell whether apprise can send to an address."""
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return len(_apprise(address)) == 1


def _apprise(address: str) -> Any:
    import warnings

    import apprise

    # No pictures from elsewhere in messages, no cache of what was sent on disk, no threads of its own.
    asset = apprise.AppriseAsset(
        app_id="Affidavit",
        app_desc="Affidavit",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        async_mode=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # plugins are loaded here, and some import what is going away
        made = apprise.Apprise(asset=asset)
        made.add(address)
    return made
