"""popauthd.serving.unix_socket: a socket that replaces another without a gap, and who is at the other end."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from popauthd.serving.unix_socket import listen, peer_uid


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


def test_it_listens_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with listen(str(tmp_path / "socket"), 0o666), connected(tmp_path / "socket"):
            assert [path.name for path in tmp_path.iterdir()] == ["socket"]
            assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o666
            assert os.umask(0o027) == 0o027, "the process keeps its umask"
    finally:
        os.umask(before)


def test_it_takes_the_place_of_whatever_was_left_there(tmp_path: Path) -> None:
    (tmp_path / "socket").write_text("an old file")
    (tmp_path / "socket.new").write_text("left by a process that was killed")
    with listen(str(tmp_path / "socket"), 0o600) as listener, connected(tmp_path / "socket"):
        accepted, _peer = listener.accept()
        accepted.close()
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)


def test_who_connected_before_it_was_replaced_is_still_in_the_queue_of_the_old_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with listen(path, 0o600) as old, connected(tmp_path / "socket") as client, listen(path, 0o600):
        accepted, _peer = old.accept()
        with accepted:
            accepted.sendall(b"old")
            assert client.recv(10) == b"old"


def test_the_user_of_a_connection_is_the_one_who_connected(tmp_path: Path) -> None:
    with listen(str(tmp_path / "socket"), 0o600) as listener, connected(tmp_path / "socket"):
        accepted, _peer = listener.accept()
        with accepted:
            assert peer_uid(accepted) == os.geteuid()
