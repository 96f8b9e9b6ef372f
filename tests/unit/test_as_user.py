"""Root looks at what others own: as its owner, at plain files alone, and never for long."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import as_user
from popauthd.accounts import Account
from popauthd.as_user import LookError, look, look_in, modes, modes_and_reason, open_plain, read_plain
from popauthd.cli import main
from popauthd.cli.common import ask_books
from popauthd.config import load
from tests.support.helpers import ROOT, write_map

NOBODY = pwd.getpwnam("nobody")
ACCOUNT = Account("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
ADDRESS = "192.0.2.10"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory of another user's."""
    path = tmp_path / "theirs"
    path.mkdir(0o700)
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    return path


def test_a_directory_is_looked_at_as_its_owner(theirs: Path, tmp_path: Path) -> None:
    who = lambda: [f"{os.getuid()} {os.geteuid()} {os.getgid()} {os.getgroups()} ", str(Path.cwd())]  # noqa: E731
    assert look_in(str(tmp_path), who) == f"0 0 0 {os.getgroups()} {tmp_path}"
    found = look_in(str(theirs), lambda: [f"{os.getuid()} {os.geteuid()} {os.getgid()} {os.getgroups()}"])
    assert found == f"{NOBODY.pw_uid} {NOBODY.pw_uid} {NOBODY.pw_gid} []"
    (tmp_path / "link").symlink_to(theirs)
    assert look_in(str(tmp_path / "link"), lambda: [str(os.getuid())]) == str(NOBODY.pw_uid)
    with pytest.raises(LookError, match="none: No such file"):
        look_in(str(tmp_path / "none"), lambda: [""])


def test_a_look_is_by_the_rights_of_that_user_and_no_group_helps() -> None:
    said = look(
        Account("nobody", NOBODY.pw_uid, NOBODY.pw_gid),
        lambda: f"{os.getuid()} {os.geteuid()} {os.getgid()} {os.getgroups()}",
    )
    assert said == f"{NOBODY.pw_uid} {NOBODY.pw_uid} {NOBODY.pw_gid} []"


def test_what_that_user_may_not_see_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    with pytest.raises(LookError, match="Permission denied"):
        look(ACCOUNT, secret.read_text)
    assert look(None, secret.read_text) == ""
    assert modes(str(secret)) == f"{secret} (-rw------- root:root)"


@pytest.mark.parametrize(
    ("missing", "reason", "said"),
    [
        (True, "No such file or directory", "{path}: No such file or directory"),
        (True, "it cannot be entered", "{path} (No such file or directory): it cannot be entered"),
        (False, "No such file or directory", "{path} (-rw-r--r-- root:root): No such file or directory"),
    ],
    ids=["missing", "missing, and another reason", "there"],
)
def test_a_missing_file_is_said_to_be_so_once(tmp_path: Path, missing: bool, reason: str, said: str) -> None:
    path = tmp_path / "file"
    if not missing:
        path.touch(0o644)
    assert modes_and_reason(str(path), reason) == said.format(path=path)


def test_a_child_that_dies_is_told() -> None:
    def die() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    with pytest.raises(LookError, match="SIGKILL"):
        look(None, die)


def children() -> set[str]:
    """The children of this process, those of other tests among them, that have not ended or were not waited for."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def stopped() -> str:
    os.kill(os.getpid(), signal.SIGSTOP)
    return ""


def ignoring() -> str:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        signal.pause()


@pytest.mark.parametrize("question", [stopped, ignoring], ids=lambda question: question.__name__)
def test_a_child_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch, question: Iterator[str]) -> None:
    monkeypatch.setattr(as_user, "SILENT_SECONDS", 1)
    before = children()
    with pytest.raises(LookError, match="no answer within 1 s"):
        look(None, question)  # type: ignore[arg-type]
    assert children() <= before, "it has ended, and was waited for"


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(as_user, "ANSWER_BYTES", 1 << 20)

    def endless() -> Iterator[str]:
        while True:
            yield "x" * 65536

    with pytest.raises(LookError, match="longer than 1 MiB"):
        look_in(str(tmp_path), endless)
    assert len(look_in(str(tmp_path), lambda: ["x" * 65536] * 16)) == 1 << 20


def test_an_error_is_told_without_what_was_said_before(tmp_path: Path) -> None:
    def failing() -> Iterator[str]:
        yield "said before"
        raise KeyError("what")

    with pytest.raises(LookError, match=r"^KeyError: 'what'$"):
        look_in(str(tmp_path), failing)


def test_memory_has_a_bound() -> None:
    with pytest.raises(LookError, match="MemoryError"):
        look(None, lambda: str(len(bytearray(2 << 30))))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def directory(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("secret")
    path.symlink_to(target)


@pytest.mark.parametrize("make", [pipe, zeros, directory, link], ids=lambda make: make.__name__)
def test_nothing_but_a_plain_file_is_opened_where_others_write(theirs: Path, make: object) -> None:
    make(theirs / "file")  # type: ignore[operator]
    with pytest.raises(OSError, match=r"plain file|symbolic links"):
        open_plain(theirs / "file")


def test_a_link_of_roots_own_is_followed(tmp_path: Path) -> None:
    link(tmp_path / "file")
    assert read_plain(tmp_path / "file", 100) == b"secret"
    with pytest.raises(OSError, match="longer than 5"):
        read_plain(tmp_path / "file", 5)
    tmp_path.chmod(0o777)
    with pytest.raises(OSError, match="symbolic links"):
        read_plain(tmp_path / "file", 100)


@pytest.fixture
def site(theirs: Path, tmp_path: Path) -> Path:
    """popauthd as another user's, with one grant; its configuration's path is returned."""
    code = (
        "import sys, time; from popauthd.store.books import Books; books = Books(sys.argv[1])\n"
        "with books.writing() as writing:\n"
        "    writing.logins.grant_by_hand(sys.argv[2], int(time.time()), int(time.time()) + 900)"
    )
    subprocess.run([sys.executable, "-c", code, str(theirs / "books.mdb"), ADDRESS], check=True, cwd=ROOT)
    write_map(theirs / "relay.mdb", {ADDRESS: int(time.time()) + 900})
    for path in theirs.iterdir():
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    config = tmp_path / "popauthd.toml"
    config.write_text(f'run_dir = "{theirs}"\nstate_dir = "{theirs}"\n')
    return config


def ctl(site: Path, *words: str) -> int:
    return main(["--config", str(site), *words])


def test_root_asks_as_the_owner(site: Path, theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in theirs.glob("*-lock"):
        path.unlink()
    assert ctl(site, "check", ADDRESS) == 0
    assert ctl(site, "list") == 0
    said = capsys.readouterr()
    assert "granted by hand" in said.out
    assert said.err == ""
    assert (theirs / "books.mdb-lock").stat().st_uid == NOBODY.pw_uid
    assert not (theirs / "relay.mdb-lock").exists()


def test_a_link_in_the_place_of_the_lock_harms_nothing_of_roots(
    site: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim, missing = tmp_path / "victim", tmp_path / "missing"
    victim.write_text("precious")
    victim.chmod(0o600)
    for target in (victim, missing):
        (theirs / "books.mdb-lock").unlink(missing_ok=True)
        (theirs / "books.mdb-lock").symlink_to(target)
        assert ctl(site, "list") == 74
        assert ctl(site, "check", ADDRESS) == 0, "Exim's answer is the map's"
        said = capsys.readouterr()
        assert "books.mdb: cannot be opened" in said.err
        assert "why cannot be told" in said.out
    assert victim.read_text() == "precious"
    assert not missing.exists()


def test_books_in_a_directory_that_everybody_writes_into_are_not_roots_to_open(
    site: Path, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chown(theirs, 0, 0)
    theirs.chmod(0o777)
    assert ctl(site, "list") == 74
    assert "chmod 0700" in capsys.readouterr().err


def test_who_may_not_read_the_books_is_told_to_be_root(site: Path) -> None:
    loaded = load(str(site))
    with pytest.raises(LookError, match=r"private; needs root \(sudo popauthctl"):
        look(Account("daemon", 1, 1), lambda: ask_books(loaded, lambda _books: [""]))
