"""Do the sessions of a worker end with their credentials, also where the store of tokens cannot be read?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ingest.identity.tokens import Credential, Refusal, TokenStoreError
from ingest.net.worker import Worker
from schemas.events import PrincipalKind


def test_a_store_that_is_locked_is_waited_for_once_and_what_has_expired_ends() -> None:
    """Each read waits seconds for a lock, on the loop: with one for each of a thousand sessions nobody would be served."""
    asked: list[str] = []
    killed: dict[str, str] = {}

    def standing(credential: Credential, now: int) -> Refusal | None:
        asked.append(credential.token_id)
        raise TokenStoreError("database is locked")

    def connection(number: int) -> Any:
        name = f"t{number}"
        expires_at = 5 if number % 2 else 0
        credential = Credential(name, "ana", PrincipalKind.HUMAN, "", (), frozenset(), expires_at)
        return SimpleNamespace(credential=credential, kill=lambda code, text, why, cancel: killed.update({name: why}))

    worker = SimpleNamespace(
        clock=lambda: 10,
        connections=[connection(number) for number in range(10)],
        logins=SimpleNamespace(standing=standing),
        log=SimpleNamespace(error=lambda *args, **members: None),
        loop=SimpleNamespace(call_later=lambda *args: None),
        _check_credentials=print,
    )
    Worker._check_credentials(worker)  # type: ignore[arg-type]
    assert len(asked) == 1
    assert killed == {f"t{number}": "expired" for number in (1, 3, 5, 7, 9)}
