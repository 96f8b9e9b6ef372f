"""popauthctl recognise and config check with other servers' formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from popauthd.cli import main
from tests.support.corpus_samples import CORPUS, samples
from tests.support.helpers import ROOT


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


COMPOSED = (
    b"dovecot-mailcow_1 | Nov 25 22:20:19 mail dovecot: imap-login: Login: user=<joe>, method=PLAIN, rip=192.0.2.10\n"
)
UNSTAMPED = COMPOSED.partition(b" mail ")[2]


def test_recognise_names_the_head_that_it_does_not_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, log: Path
) -> None:
    tagged = b"Nov 25 22:20:19 dockerhost 3c1f0e2d4b5a[8]: Nov 25 22:20:18 mail " + UNSTAMPED
    log.write_bytes(COMPOSED + UNSTAMPED + tagged + b"hello\n")
    answers = recognise(capsys, tmp_path, log, "--framing", "syslog")
    heads = [answer["head"] for answer in answers]
    assert heads[:2] == ["docker-compose's prefix (dovecot-mailcow_1 |)", "no time stamp"]
    assert heads[2:] == ['a container\'s output in syslog: name its tag, programs = ["3c1f0e2d4b5a"]', None]
    assert main(["recognise", "--config", str(tmp_path / "popauthd.toml"), "--framing", "syslog", str(log)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2] == "2: refused unframed head=no time stamp"
    assert said[4].endswith('programs = ["3c1f0e2d4b5a"]')


LINE = b"Nov 23 21:00:00 imap-login: Info: "
LINES = [
    LINE + b"Login: user=<anna>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.5, mpid=1, TLS, session=<x>",
    LINE + b"Disconnected (auth failed, 1 attempts in 2 secs): user=<bob>, rip=192.0.2.8, lip=198.51.100.5, TLS",
    LINE + b"Login: method=PLAIN, rip=192.0.2.9, lip=198.51.100.5, mpid=1, TLS, session=<\x1b[31mx>",
]


def piped(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """recognise with those lines on standard input, not a terminal."""
    config = tmp_path / "popauthd.toml"
    config.write_text('[[source]]\npath = "/x"\nframing = "dovecot-file"\ntimezone = "UTC"\n')
    command = [sys.executable, "-m", "popauthd.cli", "--config", str(config), "recognise"]
    command += ["--now", "2026-11-23T21:00:10+00:00", *words]
    given = b"".join(line + b"\n" for line in LINES).decode()
    environment = {**os.environ, "TZ": "UTC"}
    return subprocess.run(
        command, input=given, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize("words", [[], ["-"]], ids=["no file", "a dash"])
def test_each_line_is_shown_below_its_answer_and_all_are_summed_up(tmp_path: Path, words: list[str]) -> None:
    done = piped(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert shown[0] == "1: grant address=192.0.2.7 user=anna format=dovecot until 2026-11-23T21:15:00+0000"
    assert shown[1] == f"  | {LINES[0].decode()}"
    assert shown[2] == "2: ignored failure address=192.0.2.8 user=bob format=dovecot"
    assert shown[4].startswith("3: refused ")
    assert "\\x1b[31mx" in shown[5]
    assert shown[6] == "3 lines: 1 would grant, 1 refused, 0 session ends, 1 ignored"
    assert "\x1b" not in done.stdout


def test_json_has_an_object_a_line_and_nothing_else(tmp_path: Path) -> None:
    found = [json.loads(text) for text in piped(tmp_path, "--json").stdout.splitlines()]
    assert [one["verdict"] for one in found] == ["grant", "ignored", "refused"]
    assert found[0]["expires_at"] == 1_795_467_600 + 900


def on_terminal(command: list[str], *, stdin: bool) -> str:
    """What a command says on standard error (and reads from standard input) where these are a terminal."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command, stdin=theirs if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT
    ) as process:
        os.close(theirs)
        said = b""
        if stdin:
            said += os.read(ours, 1000)
            os.write(ours, b"\x04")  # Ctrl-D
        process.communicate(timeout=60)
        while True:
            try:
                more = os.read(ours, 1000)
            except OSError:  # nobody holds the other end any more
                break
            if not more:
                break
            said += more
    os.close(ours)
    return said.decode()


def test_it_says_that_it_waits_for_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "popauthd.toml").touch()
    command = [sys.executable, "-m", "popauthd.cli", "--config", str(tmp_path / "popauthd.toml"), "recognise"]
    assert "reading log lines from standard input; end with Ctrl-D" in on_terminal(command, stdin=True)


def test_a_long_log_shows_how_much_is_read_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "popauthd.toml").touch()
    log = tmp_path / "mail.log"
    log.write_bytes(LINES[0] + b"\n")
    code = (
        "import sys; from popauthd.cli import main, recognise; recognise.PROGRESS_SECONDS = 0; "
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--config", str(tmp_path / "popauthd.toml"), "recognise", str(log)]
    assert "0.0 MB of 0.0 MB read" in on_terminal(command, stdin=False)
