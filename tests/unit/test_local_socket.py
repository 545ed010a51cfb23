"""A data directory may have a longer path than a kernel takes for a socket: both ends must still find it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from schemas.local_socket import MAX_ADDRESS_BYTES, address_of


@pytest.mark.parametrize("length", [1, 200])
def test_both_ends_meet(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("d" * length)
    folder.mkdir()
    path = folder / "status-0.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with address_of(path) as address:
            assert len(address) <= MAX_ADDRESS_BYTES
            server.bind(address)
        server.listen()
        assert path.is_socket()
        with address_of(path) as address:
            client.connect(address)
        client.sendall(b"x")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"x"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), address_of(tmp_path / ("d" * 200) / "x.sock"):
        pass
