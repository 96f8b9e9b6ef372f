"""popauthctl's table of commands: each imports what it needs and no more, and is found wherever --config stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from popauthd.cli import COMMANDS, called
from tests.support.helpers import ROOT

SERVERS = {"pygtail", "watchdog", "smtplib", "popauthd.watch.watcher", "popauthd.doctor", "popauthd.eximsetup"}
BOOKS = {"lmdb", "popauthd.store.books"}
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from popauthd.cli import main; sys.exit(main())"

# A command as it is typed, and what it must not import beside SERVERS.
TYPED = [
    (["--help"], BOOKS | {"popauthd.config", "tomllib", "shutil"}),
    (["check", "192.0.2.7"], {"popauthd.formats.recogniser"}),
    (["list"], {"popauthd.formats.reasons", "popauthd.policy"}),
    (["status"], BOOKS | {"popauthd.formats.reasons", "popauthd.policy"}),
    (["grant", "192.0.2.7"], BOOKS),
    (["revoke", "--all"], BOOKS),
]


@pytest.mark.parametrize(("words", "unneeded"), TYPED, ids=[words[0] for words, _unneeded in TYPED])
def test_a_command_imports_only_what_it_needs(tmp_path: Path, words: list[str], unneeded: set[str]) -> None:
    config = tmp_path / "popauthd.toml"
    config.write_text(f'run_dir = "{tmp_path}"\nstate_dir = "{tmp_path}"\n')
    command = [sys.executable, "-I", "-X", "importtime", "-c", RUN, str(ROOT), "--config", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "popauthd.cli" in imported
    assert imported & (SERVERS | unneeded) == set()
    assert "this should not happen" not in done.stderr


CALLED = [
    (["check", "192.0.2.7"], "check"),
    (["--config", "status", "list"], "list"),
    (["--config=status", "list"], "list"),
    (["--help"], "--help"),
    (["--version"], "--version"),
    (["--conf", "x", "list"], ""),
    (["nonsense"], ""),
    ([], ""),
]


@pytest.mark.parametrize(("words", "command"), CALLED, ids=[" ".join(words) for words, _command in CALLED])
def test_the_command_that_is_called_is_known_before_its_arguments_are(words: list[str], command: str) -> None:
    assert called(words) == command


def test_every_command_has_its_file_and_no_file_is_without_one() -> None:
    modules = {module for _name, module, _help in COMMANDS}
    files = {path.stem for path in (ROOT / "popauthd/cli").glob("*.py")} - {"__init__", "__main__"}
    assert modules == files - {"common", "own_addresses"}
