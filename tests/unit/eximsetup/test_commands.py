"""Exim is run in one place: how a session is played, and what is said of a program that fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from popauthd.errors import ConfigError
from popauthd.eximsetup import commands
from popauthd.eximsetup.commands import Envelope, Exim, must, run
from popauthd.eximsetup.one_at_a_time import only_change
from popauthd.eximsetup.site import Site

ENVELOPE = Envelope("client.example.org", "anna@example.org", "ben@example.com")
GREETING = "220 mx ESMTP\n250-mx Hello\n250-SIZE 100\n250 HELP\n250 OK\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Answers with the file `answer`, and keeps what it was told."""
    path = tmp_path / "exim4"
    path.write_text(f'#!/bin/sh\npwd >{path}.pwd\necho "$@" >{path}.arguments\ncat >{path}.input\n. {path}.answer\n')
    path.chmod(0o755)
    return path


def answering(program: Path, output: str, errors: str = "", code: int = 0) -> None:
    program.with_name("output").write_text(output)
    program.with_name("errors").write_text(errors)
    script = f"cat {program.parent}/output; cat {program.parent}/errors >&2; exit {code}\n"
    program.with_name("exim4.answer").write_text(script)


def test_a_session_is_played_by_a_configuration_and_the_reply_to_rcpt_is_returned(program: Path) -> None:
    answering(program, f"\n**** SMTP testing session\n{GREETING}550 relay not permitted\n221 mx closing\n")
    assert Exim(program, "/etc/other").reply_to_rcpt("192.0.2.7", ENVELOPE) == "550 relay not permitted"
    assert Path(f"{program}.arguments").read_text() == "-C /etc/other -bh 192.0.2.7\n"
    assert Path(f"{program}.input").read_bytes() == (
        b"EHLO client.example.org\r\nMAIL FROM:<anna@example.org>\r\nRCPT TO:<ben@example.com>\r\nQUIT\r\n"
    )
    assert Path(f"{program}.pwd").read_text() == "/\n"


def test_without_a_configuration_exim_reads_its_own(program: Path) -> None:
    answering(program, "Exim version 4.98")
    assert Exim(program).must("-bV") == "Exim version 4.98"
    assert Path(f"{program}.arguments").read_text() == "-bV\n"


EARLY = [
    ("after its last reply", "220 mx\n554 go away\n", "", "554 go away"),
    ("with what Exim complains of", "", "exim: first\nexim: cannot read\n", "exim: cannot read"),
    ("without a word", "", "", "nothing"),
]


@pytest.mark.parametrize(("output", "errors", "said"), [row[1:] for row in EARLY], ids=[row[0] for row in EARLY])
def test_a_session_that_ends_early_is_told(program: Path, output: str, errors: str, said: str) -> None:
    answering(program, output, errors)
    with pytest.raises(ConfigError, match=f"^the session ended before RCPT: {said}$"):
        Exim(program).reply_to_rcpt("192.0.2.7", ENVELOPE)


def test_a_command_that_fails_is_told_with_what_it_said(program: Path) -> None:
    answering(program, "on output\n", "on errors\n", 1)
    with pytest.raises(ConfigError, match=r"^exim -bP config failed: on output\non errors$"):
        Exim(program).must("-bP", "config")
    with pytest.raises(ConfigError, match=r"^making it failed: on output"):
        must([program], "making it")
    assert Exim(program).run("-bV").returncode == 1


def test_a_command_that_cannot_be_started_or_does_not_end_is_told(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^/nonexistent/exim4: No such file or directory$"):
        run(["/nonexistent/exim4"])
    monkeypatch.setattr(commands, "SECONDS", 0.1)
    program.with_name("exim4.answer").write_text("exec sleep 60\n")
    with pytest.raises(ConfigError, match="timed out"):
        run([program])


def test_what_is_not_text_is_told_all_the_same(program: Path) -> None:
    answering(program, "")
    program.with_name("output").write_bytes(b"caf\xe9\n")
    assert run([program]).stdout == "caf\\xe9\n"


def test_a_program_does_not_run_on_when_a_signal_ends_the_change(tmp_path: Path) -> None:
    for _ in range(40):  # the signal comes while it is being started, or a moment later
        with pytest.raises(ConfigError, match=r"^ended by SIGTERM$"), only_change(Site(work=tmp_path / "work")):
            run(["sh", "-c", "kill -TERM $PPID; exec sleep 60"])
        assert Path(f"/proc/self/task/{os.getpid()}/children").read_text() == ""
