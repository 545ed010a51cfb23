"""One process a chDB folder: who has it is said, and one process may not open it twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processors.sinks.clickhouse import Store, StoreLockedError, connect
from schemas.config import ClickHouseSettings


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An open chDB."""
    store = connect(ClickHouseSettings(), tmp_path_factory.mktemp("chdb"))
    yield store
    store.close()


def test_a_second_process_is_told_who_owns_the_folder(engine: Store, tmp_path: Path) -> None:
    assert engine._path is not None
    code = (
        "import sys; from pathlib import Path; from schemas.config import ClickHouseSettings as S\n"
        "from processors.sinks.clickhouse import connect, StoreLockedError\n"
        "try: connect(S(), Path(sys.argv[1]))\n"
        "except StoreLockedError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(engine._path.parent)], capture_output=True, text=True, timeout=60)
    assert f"in use by process {os.getpid()}" in done.stdout, done.stderr
    assert "Stop that process" in done.stdout


def test_opening_it_twice_in_one_process_is_refused_too(engine: Store) -> None:
    assert engine._path is not None
    with pytest.raises(StoreLockedError):
        connect(ClickHouseSettings(), engine._path.parent)


def test_more_clients_of_the_owner_are_fine(engine: Store) -> None:
    client = engine.new_client()
    assert client.command("SELECT 1") == 1
