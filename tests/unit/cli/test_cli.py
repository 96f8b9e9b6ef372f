"""popauthctl's table of commands: each imports what it needs and no more, and is found wherever --config stands."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from popauthd.cli import COMMANDS, called, main
from popauthd.cli.common import GREEN, coloured
from tests.support.helpers import ROOT

SERVERS = {"pygtail", "watchdog", "smtplib", "popauthd.watch.watcher", "popauthd.doctor", "popauthd.eximsetup"}
BOOKS = {"lmdb", "popauthd.store.books"}
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from popauthd.cli import main; sys.exit(main())"

# A command as it is typed, and what it must not import beside SERVERS.
TYPED = [
    (["--help"], BOOKS | {"popauthd.config", "tomllib", "shutil", "argparse", "re", "typing"}),
    (["check", "192.0.2.7"], {"popauthd.formats.recogniser", "difflib", "hashlib", "popauthd.status"}),
    (["list"], {"popauthd.reasons", "popauthd.policy", "hashlib", "popauthd.status"}),
    (["status"], BOOKS | {"popauthd.formats", "popauthd.policy"}),
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
    assert modules == files - {"common", "explain", "facts", "line_answers", "own_addresses", "relay_nets"}


LISTED = [(["--help"], 0), (["-h"], 0), (["help"], 0), ([], 2), (["--config", "x"], 2), (["--config", "x", "help"], 0)]


@pytest.mark.parametrize(("words", "code"), LISTED, ids=[" ".join(words) for words, _code in LISTED])
def test_the_list_of_commands_is_shown(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    said = capsys.readouterr()
    assert said.err == ""
    for name, _module, help_text in COMMANDS:
        assert re.search(rf"^  {name} +{re.escape(help_text)}$", said.out, re.MULTILINE)
    assert all(len(line) <= 100 for line in said.out.splitlines())


@pytest.mark.parametrize(("group", "within"), [("exim", "enable"), ("config", "show"), ("dovecot", "status")])
def test_a_group_by_itself_lists_its_commands(group: str, within: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 2
    said = capsys.readouterr()
    assert within in said.out
    assert said.err == ""


def test_help_of_a_command_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["help", "config", "show"])
    assert ended.value.code == 0
    assert "--changed" in capsys.readouterr().out


class Terminal(io.StringIO):
    """A standard output that is a terminal, or not."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize(
    ("tty", "no_color", "term", "coloured_"),
    [
        (True, None, "xterm", True),
        (True, "", "xterm", True),
        (True, "1", "xterm", False),
        (True, None, "dumb", False),
        (False, None, "xterm", False),
    ],
)
def test_only_a_terminal_gets_colours_and_no_color_is_honoured(
    tty: bool, no_color: str | None, term: str, coloured_: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal(tty))
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert coloured("yes", GREEN) == ("\x1b[32myes\x1b[0m" if coloured_ else "yes")
