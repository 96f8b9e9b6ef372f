"""What the package says for people is what the program does: configuration file, manual pages, completion."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import __version__, config, errors
from popauthd.cli import parser
from popauthd.conditions import CONDITIONS
from popauthd.config.settings import CLUSTER_SETTINGS, SETTINGS, SOURCE_SETTINGS, Setting
from popauthd.counters import COUNTERS
from popauthd.formats.servers import FORMATS
from popauthd.reasons import LOGINS
from tests.support.helpers import ROOT

MADE = [sys.executable, str(ROOT / "packaging/from_settings.py")]
ROWS = [*SETTINGS, *SOURCE_SETTINGS, *CLUSTER_SETTINGS]


def made(*arguments: str) -> str:
    return subprocess.run([*MADE, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def plain(page: str) -> str:
    """A manual page's text without its escapes, in one line."""
    text = re.sub(r"\\\((dq|aq|ga)", lambda found: {"dq": '"', "aq": "'", "ga": "`"}[found[1]], page)
    return " ".join(text.replace("\\-", "-").replace("\\e", "\\").split())


def test_the_configuration_file_with_every_key_in_force_is_the_default() -> None:
    text = made("conffile")
    assert config.from_mapping(tomllib.loads(text), "as installed") == config.from_mapping({}, "defaults")
    ours, _, source = text.partition("#[[source]]\n")
    in_force = re.sub(r"^#(?=[a-z_]+ = )", "", ours, flags=re.MULTILINE)
    given = {key: value for key, value in tomllib.loads(in_force).items() if value != ""}
    assert config.from_mapping(given, "in force") == config.from_mapping({}, "defaults")
    source, _, cluster = source.partition("#[cluster]\n")
    for section, rows in ((source, SOURCE_SETTINGS), (cluster, CLUSTER_SETTINGS)):
        assert re.findall(r"^#([a-z_]+) = ", section, flags=re.MULTILINE) == [row.key for row in rows]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_the_manual_has_every_setting_as_it_is(row: Setting) -> None:
    text = plain(made("manual", "packaging/man/popauthd.toml.5.in"))
    assert f".It Ic {row.key} Default: {json.dumps(row.default)} .br {row.sentence}" in text


def section(name: str) -> str:
    """A section of popauthd.toml(5), as it is made from the rows."""
    page = made("manual", "packaging/man/popauthd.toml.5.in")
    return page.partition(f".Sh {name}\n")[2].partition("\n.Sh ")[0]


def test_the_manual_has_every_reason_against_a_login_in_the_order_of_judging() -> None:
    items = [plain(item) for item in section("WHO MAY").partition(".El\n")[0].split(".It Ic ")[1:]]
    assert items == [f"{word} {sentence}" for word, sentence in LOGINS.items()]


def test_the_manual_has_every_format_with_the_servers_it_is_of_and_where_it_is_read() -> None:
    items = dict(plain(item).split(" ", 1) for item in section("FORMATS").partition(".El\n")[0].split(".It Ic ")[1:])
    assert list(items) == list(dict.fromkeys(row.part_of for row in FORMATS))
    for row in FORMATS:
        assert row.since in items[row.part_of]
        assert not row.real or f"tested with the real server ({row.real})" in items[row.part_of]
    assert "framing: syslog, dovecot-file" in items["dovecot"]
    assert "framing: zimbra-file" in items["zimbra"]


def test_the_manual_has_every_counter_with_its_sentence_and_no_other() -> None:
    section = (ROOT / "packaging/man/popauthctl.8").read_text().partition(".Sh COUNTERS\n")[2].partition(".El\n")[0]
    items = [plain(item) for item in section.split(".It Ic ")[1:]]
    assert items == [f"{name} {sentence}" for name, sentence in COUNTERS.items()]


def test_the_manual_has_every_condition_with_what_it_means_and_what_to_do() -> None:
    section = (ROOT / "packaging/man/popauthctl.8").read_text().partition(".Sh CONDITIONS\n")[2].partition(".El\n")[0]
    items = [plain(item) for item in section.split(".It Ic ")[1:]]
    assert items == [
        f"{word} Pq {row.severity} {row.sentence} What to do: {row.advice}." for word, row in CONDITIONS.items()
    ]


def commands(given: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, with its parser."""
    below = [action for action in given._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for word, inner in action.choices.items():
            yield from commands(inner, f"{name} {word}".strip())
    if not below:
        yield name, given


COMMANDS = dict(commands(parser()))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_manual_and_the_completion_know_every_command_and_option(name: str) -> None:
    page = plain((ROOT / "packaging/man/popauthctl.8").read_text())
    completion = (ROOT / "packaging/completion/popauthctl").read_text()
    assert re.search(rf"\.It Cm {name}\b", page), name
    for word in name.split():
        assert re.search(rf"\b{word}\b", completion), word
    for action in COMMANDS[name]._actions:
        for option in action.option_strings:
            if action.help != argparse.SUPPRESS and option.startswith("--") and option != "--help":
                assert f"Fl Fl {option[2:]}" in page, option
                assert option in completion, f"{name} {option}"


def completed(*line: str) -> set[str]:
    """What bash offers for the last word of a command line."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    words: list[str | Path] = ["bash", "-c", script, "bash", ROOT / "packaging/completion" / line[0], *line]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {*done.stdout.split()}


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_completes_every_command(name: str) -> None:
    *before, last = name.split()
    assert last in completed("popauthctl", *before, "")


def test_bash_completes_the_daemon_and_values() -> None:
    assert {"watch", "respond", "run"} <= completed("popauthd", "")
    assert {"socket", "readlookup", "hostlist"} <= completed("popauthctl", "exim", "enable", "--via", "")


MAN = ROOT / "packaging/man"
TEMPLATE = MAN / "popauthd.toml.5.in"
PAGES = sorted(path.name for path in MAN.iterdir() if path != TEMPLATE)


@pytest.mark.parametrize("name", [*PAGES, "popauthd.toml.5"])
def test_mandoc_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    path = MAN / name
    if not path.exists():
        path = tmp_path / name
        path.write_text(made("manual", str(TEMPLATE)))
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_every_page_is_installed() -> None:
    listed = (ROOT / "packaging/debian/popauthd.manpages").read_text().split()
    assert sorted(listed) == sorted(["debian/popauthd.toml.5", *(f"packaging/man/{name}" for name in PAGES)])


@pytest.mark.parametrize("name", ["popauthctl.8", "popauthd.8"])
def test_the_manual_has_every_exit_status(name: str) -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.PopauthdError)}
    section = (MAN / name).read_text().partition(".Sh EXIT STATUS\n")[2]
    assert codes <= {int(number) for number in re.findall(r"^\.It (\d+)", section, re.MULTILINE)}


def test_the_package_has_the_program_s_version() -> None:
    first = (ROOT / "packaging/debian/changelog").read_text().splitlines()[0]
    assert first.startswith(f"popauthd ({__version__}")
