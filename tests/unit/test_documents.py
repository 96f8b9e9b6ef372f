"""The documents for administrators: lines that fit a terminal, and names of files as they are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.cli import COMMANDS, parser
from popauthd.config.settings import Config
from tests.servers.exim import REFUSAL
from tests.support.helpers import ROOT

COLUMNS = 100
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "dovecot/README.md", "exim/README.md")),
    ROOT / "packaging/debian/popauthd.README.Debian",
    *sorted((ROOT / "packaging/man").iterdir()),
]
SNIPPETS = sorted(
    [*ROOT.glob("dovecot/*.conf"), ROOT / "dovecot/logrotate", *ROOT.glob("exim/acl-*"), ROOT / "exim/popauthd-macros"]
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_line_has_at_most_100_columns(path: Path) -> None:
    """Rows of tables are left out: Markdown has no way to break them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines
    assert [line for line in lines if len(line) > COLUMNS and not line.startswith("|")] == []


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.name)
def test_a_comment_of_a_snippet_has_at_most_100_columns(path: Path) -> None:
    """Settings are left out: neither Exim nor Dovecot can break all of them."""
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("#")]
    assert comments
    assert [line for line in comments if len(line) > COLUMNS] == []


READMES = [path for path in DOCUMENTS if path.parent.name != "man"]
LINK = re.compile(r"\]\(([^)#:]+)\)")
CODE = re.compile(r"`([^`]+)`|^(?: {4}|\.Ql )(.*)$", re.MULTILINE)
COUNTED = re.compile(r"\bthe (?:first|second|third|fourth|fifth|last) command\b", re.IGNORECASE)


def test_readme_is_the_path_of_a_newcomer_and_no_manual() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_what_users_are_told_is_what_happens() -> None:
    """The words that they read, and times that fit: they may send for a lifetime, and look for mail within it."""
    told = (ROOT / "README.md").read_text(encoding="utf-8").partition("What to tell your users: *")[2].partition("*")[0]
    minutes = [int(number) for number in re.findall(r"(\d+)\s+minutes", told)]
    assert [minutes[0] * 60, minutes[1] < minutes[0]] == [Config().lifetime_seconds, True]
    quoted = re.findall(r'"(.*?)"', told)
    assert quoted
    assert all(REFUSAL.startswith(words) for words in quoted)


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_to_a_file(path: Path) -> None:
    """As they are installed: tests/system/test_package.py."""
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).is_file()] == []


def test_a_command_is_named_and_not_counted() -> None:
    assert [path for path in DOCUMENTS if COUNTED.search(path.read_text(encoding="utf-8"))] == []


def shown_calls() -> Iterator[tuple[str, ...]]:
    """Every call of popauthctl that a document shows, without what only describes its arguments."""
    for path in DOCUMENTS:
        for found in CODE.finditer(path.read_text(encoding="utf-8").replace("\\-", "-")):
            for part in re.split(r"&&|\||;|  +", (found[1] or found[2]).removeprefix("# ")):
                words = part.partition("#")[0].rstrip(" ,").split()
                if words[:1] == ["popauthctl"] and len(words) > 1 and not re.search(r"[\[\]]|\.\.\.", part):
                    yield tuple(words[1:])


@pytest.mark.parametrize("words", sorted(set(shown_calls())), ids=" ".join)
def test_a_call_of_popauthctl_that_is_shown_is_one_that_it_takes(words: tuple[str, ...]) -> None:
    """One word alone is a command's name in a sentence."""
    assert words[0] in {row[0] for row in COMMANDS}
    if len(words) > 1:
        parser().parse_args(words)
