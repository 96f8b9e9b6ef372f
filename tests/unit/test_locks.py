"""popauthd.locks: one process at a time, a short wait for one that ends, and whether what is ours is still there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from popauthd import locks
from popauthd.errors import ConfigError, ForbiddenError, Stopped, StoreError
from popauthd.locks import Places, hold, listens


def never() -> bool:
    return False


def test_only_one_holds_it_and_the_next_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.1)
    first = hold(tmp_path / "lock", "taken", never)
    with pytest.raises(StoreError, match=r"^taken$"):
        hold(tmp_path / "lock", "taken", never)
    os.close(first)
    os.close(hold(tmp_path / "lock", "taken", never))


def test_one_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock", "taken", never)

    def looked() -> bool:
        os.close(first)
        return False

    second = hold(tmp_path / "lock", "taken", looked)
    with pytest.raises(StoreError, match="taken"):
        hold(tmp_path / "lock", "taken", never)
    os.close(second)


def test_waiting_ends_when_we_are_to_stop(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock", "taken", never)
    with pytest.raises(Stopped):
        hold(tmp_path / "lock", "taken", lambda: True)
    os.close(first)


def test_a_lock_whose_file_is_removed_while_we_wait_is_taken_on_the_file_that_is_there(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock", "taken", never)

    def looked() -> bool:
        (tmp_path / "lock").unlink()
        os.close(first)
        return False

    held = hold(tmp_path / "lock", "taken", looked)
    assert os.path.samestat(os.fstat(held), (tmp_path / "lock").stat())
    os.close(held)


def test_it_ends_with_its_process_and_is_not_inherited(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from pathlib import Path; from popauthd.locks import hold\n"
        "hold(Path(sys.argv[1]), 'taken', lambda: False); null = subprocess.DEVNULL\n"
        "print(subprocess.Popen(['sleep', '60'], stdout=null, stderr=null).pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lock")], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    os.close(hold(tmp_path / "lock", "taken", never))
    os.kill(int(done.stdout), 9)


def test_the_file_is_for_nobody_else_to_open(tmp_path: Path) -> None:
    (tmp_path / "lock").touch(mode=0o666)
    before = os.umask(0)
    try:
        for name in ("lock", "new"):
            os.close(hold(tmp_path / name, "taken", never))
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("path", "error"),
    [("/sys/lock", ForbiddenError), ("/nonexistent/lock", ConfigError), ("link", ConfigError)],
    ids=["no right", "no directory", "a link"],
)
def test_a_file_that_cannot_be_opened_is_an_error_with_words(tmp_path: Path, path: str, error: type[Exception]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(error, match="cannot be opened"):
        hold(tmp_path / path, "taken", never)
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_ours_is_lost_when_it_is_removed_or_replaced(tmp_path: Path) -> None:
    places = Places(0)
    for name in ("one", "two"):
        (tmp_path / name).touch()
        places.add(str(tmp_path / name))
    assert places.lost() == ""
    (tmp_path / "two").rename(tmp_path / "aside")
    assert places.lost() == str(tmp_path / "two")
    (tmp_path / "two").touch()
    assert places.lost() == str(tmp_path / "two")
    (tmp_path / "aside").rename(tmp_path / "two")
    assert places.lost() == ""
    (tmp_path / "one").unlink()
    (tmp_path / "one").symlink_to("two")
    assert places.lost() == str(tmp_path / "one")


def test_what_is_ours_is_looked_at_only_now_and_then(tmp_path: Path) -> None:
    places = Places(3600)
    (tmp_path / "one").touch()
    places.add(str(tmp_path / "one"))
    assert places.lost() == ""
    (tmp_path / "one").unlink()
    assert places.lost() == "", "it was just looked at"


def test_whether_a_process_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert not listens(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert not listens(path)
        listener.listen(0)
        assert listens(path)
        assert listens(path), "its queue is full"
        assert listens(path)
    assert not listens(path)
