"""Tokens: who logs in, who does not and why, what is kept on disk, and that no admin action is lost or doubled."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from ingest.identity.tokens import Credential, Refusal, Role, TokenStore, TokenStoreError
from schemas.events import PrincipalKind

START = 1_700_000_000_000_000
SECOND = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def counting_randomness() -> object:
    state = [0]

    def draw(n: int) -> bytes:
        state[0] += 1
        return state[0].to_bytes(n, "big")

    return draw


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock):
    opened = TokenStore(tmp_path / "identity.db", clock, os.urandom)
    yield opened
    opened.close()


def test_who_acted_for_somebody_once_may_be_acted_for(store: TokenStore, clock: Clock) -> None:
    """A person who has logged in by identity tokens since has none here but the one that ended."""
    token_id, _ = store.create("ana", "human", on_behalf_of="boss", created_by="root")
    store.create("lea", "human", on_behalf_of="boss", ttl_seconds=60, created_by="root")
    store.revoke(token_id, "root")
    clock.now += 61 * SECOND
    for person in ("ana", "lea"):
        store.create("bot", "agent", on_behalf_of=person, created_by="root")


def test_a_token_verifies_as_what_it_was_issued_for(store: TokenStore) -> None:
    token_id, token = store.create(
        "copilot", "agent", on_behalf_of="dana", groups=["eng", "ai", "eng"], roles=["auditor"], ttl_seconds=60, created_by="root"
    )
    credential = store.verify(token, START)
    assert credential == Credential(
        token_id, "copilot", PrincipalKind.AGENT, "dana", ("eng", "ai"), frozenset({Role.AUDITOR}), START + 60 * SECOND
    )
    principal = credential.principal()
    assert (principal.id, principal.delegation, principal.credential_id) == ("copilot", ("dana",), token_id)


def test_only_a_hash_is_kept_and_the_file_is_private(tmp_path: Path, store: TokenStore) -> None:
    _, token = store.create("dana", "human", created_by="root")
    secret = token.split("_", 2)[2]
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_store_readable_by_others_is_made_private_when_opened(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "identity.db"
    path.touch(0o644)
    TokenStore(path, clock, os.urandom).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mangle", [
    lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
    lambda t: t + "x",
    lambda t: "",
    lambda t: "afd_",
    lambda t: "afd__",
    lambda t: t.replace("afd_", "AFD_"),
    lambda t: "afd_nobody_" + t.split("_", 2)[2],
    lambda t: t.split("_", 2)[2],
    lambda t: t + "\x00",
    lambda t: "afd_\udcff_\udcff",
    lambda t: t + "y" * 1_000_000,
    lambda t: "afd_' OR 1=1 --_x",
])  # fmt: skip
def test_anything_but_the_token_is_unknown(store: TokenStore, mangle) -> None:
    _, token = store.create("dana", "human", created_by="root")
    assert store.verify(mangle(token), START) is Refusal.UNKNOWN
    assert isinstance(store.verify(token, START), Credential)


def test_a_token_expires_at_its_time_and_not_before(store: TokenStore) -> None:
    _, token = store.create("dana", "human", ttl_seconds=8 * 3600, created_by="root")
    end = START + 8 * 3600 * SECOND
    assert isinstance(store.verify(token, end - 1), Credential)
    assert store.verify(token, end) is Refusal.EXPIRED


def test_a_revoked_token_is_refused_at_once_also_by_another_process(tmp_path: Path, store: TokenStore, clock: Clock) -> None:
    token_id, token = store.create("dana", "human", created_by="root")
    other = TokenStore(tmp_path / "identity.db", clock, os.urandom)
    assert isinstance(other.verify(token, START), Credential)
    assert store.revoke(token_id, "root") is True
    assert other.verify(token, START) is Refusal.REVOKED
    assert store.revoke(token_id, "root") is False
    other.close()


def test_standing_tells_why_open_sessions_must_end(store: TokenStore) -> None:
    token_id, _ = store.create("dana", "human", ttl_seconds=10, created_by="root")
    assert store.standing(token_id, START + 9 * SECOND) is None
    assert store.standing(token_id, START + 10 * SECOND) is Refusal.EXPIRED
    assert store.standing("nobody", START) is Refusal.UNKNOWN
    store.revoke(token_id, "root")
    assert store.standing(token_id, START) is Refusal.REVOKED


def test_who_does_not_hold_the_secret_does_not_learn_that_a_token_was_revoked(store: TokenStore) -> None:
    token_id, _ = store.create("dana", "human", created_by="root")
    store.revoke(token_id, "root")
    assert store.verify(f"afd_{token_id}_guess", START) is Refusal.UNKNOWN


def test_revoke_takes_a_whole_token_and_never_repeats_its_secret(store: TokenStore) -> None:
    _, token = store.create("dana", "human", created_by="root")
    assert store.revoke(token, "root")
    with pytest.raises(TokenStoreError) as caught:
        store.revoke("afd_missing_verysecret", "root")
    assert "verysecret" not in str(caught.value)
    assert "affidavit token list" in str(caught.value)


@pytest.mark.parametrize(("arguments", "says"), [
    ({"principal": ""}, "principal must be"),
    ({"principal": "a b"}, "principal must be"),
    ({"principal": "a,b"}, "principal must be"),
    ({"principal": "a\n"}, "principal must be"),
    ({"principal": "x" * 201}, "principal must be"),
    ({"kind": "robot"}, "human, agent, service"),
    ({"roles": ["root"]}, "analyst, approver, auditor, admin"),
    ({"on_behalf_of": "dana"}, "on behalf of itself"),
    ({"groups": ["a b"]}, "group must be"),
    ({"groups": [f"g{n}" for n in range(65)]}, "too many"),
    ({"ttl_seconds": 0}, "lifetime"),
    ({"ttl_seconds": float("inf")}, "lifetime"),
    ({"ttl_seconds": float("nan")}, "lifetime"),
])  # fmt: skip
def test_what_cannot_be_issued_is_refused_and_leaves_nothing(store: TokenStore, arguments, says: str) -> None:
    with pytest.raises(TokenStoreError, match=says):
        store.create(**({"principal": "dana", "kind": "human", "created_by": "root"} | arguments))
    assert store.tokens() == []
    assert store.claim_actions() == []


def test_a_chain_of_agents_is_not_cut_short(store: TokenStore) -> None:
    """A token for an agent that acts for dana would neither be judged as dana nor end with her."""
    store.create("planner", "agent", on_behalf_of="dana", created_by="root")
    with pytest.raises(TokenStoreError, match=r"'planner' acts itself on behalf of 'dana': name whom it is finally for"):
        store.create("copilot", "agent", on_behalf_of="planner", created_by="root")
    store.create("copilot", "agent", on_behalf_of="dana", created_by="root")
    store.create("planner", "agent", created_by="root")
    _, token = store.create("copilot", "agent", on_behalf_of="planner", created_by="root")
    credential = store.verify(token, START)
    assert isinstance(credential, Credential)
    assert [(p.id, p.kind) for p in credential.behalf()] == [("planner", PrincipalKind.AGENT)], "an agent is no person"


@pytest.mark.parametrize(
    "name", ["da\u200bna", "\u202eanad", "dana\u2060", "da\u00adna", "\ufeffdana", "da\x85na", "dana\U000e0041"]
)
def test_a_name_that_looks_like_another_is_none(store: TokenStore, name: str) -> None:
    for arguments in ({"principal": name}, {"principal": "bot", "on_behalf_of": name}, {"principal": "bot", "groups": [name]}):
        with pytest.raises(TokenStoreError, match="cannot be seen"):
            store.create(**arguments, kind="agent", created_by="root")  # type: ignore[arg-type]
    store.create("日本@例え.jp", "human", created_by="root")


def test_list_shows_everything_but_the_secret(store: TokenStore, clock: Clock) -> None:
    first, _ = store.create("dana", "human", groups=["eng"], created_by="root")
    clock.now += SECOND
    second, token = store.create("storefront", "service", ttl_seconds=5, roles=["admin", "analyst"], created_by="ops")
    store.revoke(first, "root")
    listed = store.tokens()
    assert [t.token_id for t in listed] == [first, second]
    assert listed[0].revoked_at == clock.now
    assert listed[1].roles == (Role.ADMIN, Role.ANALYST)
    assert listed[1].expires_at == START + 6 * SECOND
    assert token.split("_", 2)[2] not in repr(listed)


def test_every_change_is_an_admin_action_without_the_secret(store: TokenStore) -> None:
    token_id, token = store.create("copilot", "agent", on_behalf_of="dana", ttl_seconds=60, created_by="root@host")
    store.revoke(token_id, "dana@host")
    created, revoked = store.claim_actions()
    assert (created.actor, created.action, created.target) == ("root@host", "token.create", token_id)
    assert created.details == {
        "principal": "copilot", "kind": "agent", "on_behalf_of": "dana", "expires_at": str(START + 60 * SECOND)
    }  # fmt: skip
    assert (revoked.actor, revoked.action, revoked.at) == ("dana@host", "token.revoke", START)
    assert token.split("_", 2)[2] not in repr([created, revoked])


def test_actions_are_claimed_once_settled_or_released_and_numbers_never_come_back(store: TokenStore) -> None:
    for n in range(5):
        store.create(f"p{n}", "human", created_by="root")
    first = store.claim_actions(limit=3)
    assert [a.number for a in first] == [1, 2, 3]
    assert [a.number for a in store.claim_actions()] == [4, 5]
    assert store.claim_actions() == []
    store.settle([1, 2])
    assert [a.number for a in store.claimed_actions()] == [3, 4, 5]
    store.release([4])
    assert [a.number for a in store.claim_actions()] == [4]
    store.settle([3, 4, 5])
    store.create("later", "human", created_by="root")
    assert [a.number for a in store.claim_actions()] == [6]


def test_claims_survive_the_process_that_made_them(tmp_path: Path, store: TokenStore, clock: Clock) -> None:
    store.create("dana", "human", created_by="root")
    store.claim_actions()
    other = TokenStore(tmp_path / "identity.db", clock, os.urandom)
    assert other.claim_actions() == []
    assert [a.target for a in other.claimed_actions()] == [store.tokens()[0].token_id]
    other.close()


def test_a_change_that_cannot_be_noted_does_not_happen(tmp_path: Path, store: TokenStore) -> None:
    other = sqlite3.connect(tmp_path / "identity.db")
    other.execute("CREATE TRIGGER full BEFORE INSERT ON action BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.commit()
    with pytest.raises(TokenStoreError, match="disk full"):
        store.create("dana", "human", created_by="root")
    assert store.tokens() == []
    other.execute("DROP TRIGGER full")
    other.commit()
    other.close()
    store.create("dana", "human", created_by="root")


def test_threads_share_a_store(store: TokenStore) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(10):
                _, token = store.create(name, "service", created_by="root")
                assert store.verify(token, START).principal_id == name
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.tokens()) == len(store.claim_actions(1000)) == 40


def test_the_same_randomness_gives_the_same_token(tmp_path: Path, clock: Clock) -> None:
    made = []
    for name in ("a.db", "b.db"):
        store = TokenStore(tmp_path / name, clock, counting_randomness())
        made.append(store.create("dana", "human", created_by="root"))
        store.close()
    assert made[0] == made[1]


def test_a_file_that_is_no_store_is_named(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "identity.db"
    path.write_bytes(b"this is not a database, it is a letter. " * 100)
    with pytest.raises(TokenStoreError, match=r"identity\.db.*damaged"):
        TokenStore(path, clock, os.urandom)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TokenStoreError, match=r"Not a directory|File exists"):
        TokenStore(tmp_path / "file" / "identity.db", clock, os.urandom)


def test_a_store_of_an_earlier_version_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "identity.db"
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE token (token_id TEXT PRIMARY KEY, digest BLOB NOT NULL, principal TEXT NOT NULL, kind TEXT NOT NULL,"
        " on_behalf_of TEXT NOT NULL, groups TEXT NOT NULL, roles TEXT NOT NULL, created_at INTEGER NOT NULL,"
        " created_by TEXT NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL) WITHOUT ROWID"
    )
    digest = hashlib.sha256(b"secret").digest()
    db.execute("INSERT INTO token VALUES ('old', ?, 'ana', 'human', '', '[]', '[]', 1, 'x', 0, 0)", (digest,))
    db.commit()
    db.close()
    for _ in range(2):
        store = TokenStore(path, lambda: 5, os.urandom)
        found = store.verify("afd_old_secret", 5)
        assert isinstance(found, Credential) and (found.principal_id, found.grant_id) == ("ana", "")
        _, token = store.create("bot", "agent", on_behalf_of="ana", grant_id="g1", created_by="x")
        found = store.verify(token, 5)
        assert isinstance(found, Credential) and found.grant_id == "g1"
        store.close()
