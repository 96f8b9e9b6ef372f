"""Who is not root is told that root is needed, and never asked whether anything runs."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import as_user
from popauthd.accounts import Account
from popauthd.cli import main
from tests.support.helpers import write_map

NOBODY = Account("nobody", 65534, 65534)
COMMANDS = [
    ["status"],
    ["grant", "192.0.2.7"],
    ["revoke", "--all"],
    ["list"],
    ["check", "192.0.2.7"],
    ["check", "anna"],
    ["config", "show"],
    ["exim", "enable"],
    ["recognise", "LOG"],
]


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    """Directories and a control socket that are root's alone."""
    tmp_path.chmod(0o755)
    for name in ("run", "state"):
        (tmp_path / name).mkdir(0o700)
    (tmp_path / "log").touch(0o600)
    write_map(tmp_path / "run/relay.mdb", {})
    (tmp_path / "run/relay.mdb").chmod(0o600)
    (tmp_path / "popauthd.toml").write_text(f'run_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run/control.sock"))
        listener.listen()
        yield tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("open_run_dir", [True, False], ids=["socket seen", "directory closed"])
def test_whoever_is_not_root_is_told_that_root_is_needed(
    private: Path, words: list[str], open_run_dir: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for path in (tmp_path_factory.getbasetemp(), tmp_path_factory.getbasetemp().parent):
        path.chmod(0o755)
    if open_run_dir:
        (private / "run").chmod(0o755)
        (private / "run/control.sock").chmod(0o600)
    if words[0] == "config":
        (private / "popauthd.toml").chmod(0o600)
    given = [str(private / "log") if word == "LOG" else word for word in words]

    def asked() -> str:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(["--config", str(private / "popauthd.toml"), *given])
        return f"{code} {said.getvalue()}"

    said = as_user.look(NOBODY, asked)
    assert said[:2] not in ("0 ", "70")
    assert "needs root (sudo popauthctl" in said
    assert "is it running" not in said
