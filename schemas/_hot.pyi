from collections.abc import Callable, Sequence

def outcome(
    ended_at: int,
    status: bytes,
    sqlstate: bytes,
    rows: int,
    affected: int,
    bytes_in: int,
    bytes_out: int,
    db_us: int,
    held_us: int,
    total_us: int,
    exposure: bytes,
    /,
) -> bytes: ...
def dynamic(kind: bytes, transaction: bytes, params: Sequence[str], claims: bytes, decision: bytes, /) -> bytes: ...
def frame(epoch: int, number: int, payload: bytes, /) -> bytes: ...
def intent(number: int, at: int, context: int, statement: int, dynamic: bytes, /) -> bytes: ...
def ended(number: int, seq: int, outcome: bytes, /) -> bytes: ...
def now_us() -> int: ...
def without_digits(text: bytes, /) -> bytes: ...

class Keyed:
    def __init__(self, key: bytes, /) -> None: ...
    def token(self, type: str, value: bytes, /) -> str: ...
    def numbers(self, text: bytes, first: bytes, behind: tuple[bytes, ...], most: int, /) -> tuple[str, ...] | None: ...
    def bound(
        self,
        data: bytes,
        prefix: bytes,
        start: int,
        plan: tuple[Callable[[bytes], tuple[str, bytes]], ...],
        plain: Callable[[bytes], tuple[str, bytes]],
        null: str,
        /,
    ) -> tuple[list[str], int] | None: ...
