"""popauthctl recognise and config check with other servers' formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from popauthd.cli import main
from tests.support.corpus_samples import CORPUS, samples


def recognise(capsys: pytest.CaptureFixture[str], tmp_path: Path, log: Path, *options: str) -> list[dict[str, object]]:
    """What is said of each line of a log, with the configuration in tmp_path."""
    config = tmp_path / "popauthd.toml"
    config.touch()
    arguments = ["recognise", "--config", str(config), "--json", "--now", "2026-03-01T10:05:00+00:00"]
    assert main([*arguments, *options, str(log)]) == 0
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """popa3d's samples, whose logins take two lines, as a log."""
    path = tmp_path / "mail.log"
    path.write_bytes(b"".join(row.raw + b"\n" for row in samples(CORPUS / "popa3d.txt")))
    return path


def users(answers: list[dict[str, object]]) -> list[object]:
    return [answer["user"] for answer in answers if answer["verdict"] == "grant"]


def test_recognise_takes_a_format_and_links_its_two_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, log: Path
) -> None:
    (tmp_path / "popauthd.toml").write_text(f'[[source]]\npath = "{log}"\ntimezone = "UTC"\n')
    assert users(recognise(capsys, tmp_path, log)) == []
    answers = recognise(capsys, tmp_path, log, "--format", "courier", "--format", "popa3d")
    assert users(answers) == ["alice", "alice", "bob", "alice", "carol", "alice"]
    assert {answer["format"] for answer in answers} - {None} == {"popa3d"}


def test_recognise_uses_the_formats_of_the_source(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, log: Path
) -> None:
    source = f'[[source]]\npath = "{log}"\ntimezone = "UTC"\nformats = ["popa3d"]\n'
    (tmp_path / "popauthd.toml").write_text(source)
    assert len(users(recognise(capsys, tmp_path, log))) == 6


def test_config_check_finds_a_format_that_is_not_known(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, log: Path
) -> None:
    config = tmp_path / "popauthd.toml"
    config.write_text(f'[[source]]\npath = "{log}"\nformats = ["qmail"]\n')
    assert main(["config", "check", "--config", str(config)]) == 78
    assert "format 'qmail' is not known; use courier" in capsys.readouterr().err


def test_config_check_reads_the_lists_of_users(capsys: pytest.CaptureFixture[str], tmp_path: Path, log: Path) -> None:
    config, users = tmp_path / "popauthd.toml", tmp_path / "users"
    config.write_text(f'users_file = "{users}"\n[[source]]\npath = "{log}"\n')
    for text, code, said in (("anna\n", 0, ""), ("!anna\n", 0, "nobody is in the list"), ("an na\n", 78, "line 1")):
        users.write_text(text)
        assert main(["config", "check", "--config", str(config)]) == code
        captured = capsys.readouterr()
        assert said in captured.out + captured.err
        assert ("note: users_file" in captured.out) is (text == "!anna\n")
