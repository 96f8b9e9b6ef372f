"""Runs Exim and update-exim4.conf, and plays a session with `exim -bh`: the one place that starts these programs.

`exim -bh ADDRESS` acts as if a client at that address had connected. Nothing is sent, and nothing is changed.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from popauthd.errors import ConfigError
from popauthd.eximsetup.one_at_a_time import ENDING
from popauthd.text import safe

SECONDS = 120  # a session may wait for name servers that do not answer
_REPLY = re.compile(r"[2-5][0-9][0-9] ")  # the last line of a reply
_RCPT = 3  # the replies before it are those to the connection, EHLO and MAIL


class Envelope(NamedTuple):
    """What the client of a session says: its own name, and a message's sender and recipient."""

    helo: str
    sender: str
    recipient: str


class Session(NamedTuple):
    """What Exim said in a session: its replies, and on the side (`exim -bh`) which statement of an ACL came to what.

    replies: the last line of each, to the connection, to EHLO and to each command.
    """

    replies: list[str]
    trace: str


class Exim(NamedTuple):
    """An Exim program, and the configuration that it is to use; "" for its own."""

    program: Path | str
    config: Path | str = ""

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run it. Raises ConfigError if it takes too long or cannot be started."""
        return run(self._command(*arguments), text)

    def must(self, *arguments: str) -> str:
        """Run it, and return its output. Raises ConfigError with what it said if it fails."""
        return must(self._command(*arguments), f"exim {' '.join(arguments)}")

    def reply_to_rcpt(self, client: str, envelope: Envelope) -> str:
        """What a client at an address reads after RCPT, by `exim -bh`.

        Raises ConfigError if the session cannot be played, or ends before.
        """
        commands = [f"MAIL FROM:<{envelope.sender}>", f"RCPT TO:<{envelope.recipient}>"]
        return self.session(client, envelope.helo, commands).replies[_RCPT]

    def session(self, client: str, helo: str, commands: Sequence[str]) -> Session:
        """A session of a client at an address, by `exim -bh`. Raises ConfigError if it ends before the last command."""
        words = [f"EHLO {helo}", *commands, "QUIT"]
        done = self.run("-bh", client, text="".join(f"{word}\r\n" for word in words))
        replies = [line for line in done.stdout.splitlines() if _REPLY.match(line)]
        if len(replies) < len(words):  # the one to QUIT is not needed
            said = replies[-1] if replies else (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise ConfigError(f"the session ended before RCPT: {safe(said, 200)}")
        return Session(replies, done.stderr)

    def _command(self, *arguments: str) -> list[str | Path]:
        return [self.program, *(["-C", self.config] if self.config else []), *arguments]


def run(command: Sequence[str | Path], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with `text` as its input. Raises ConfigError if it takes too long or cannot be started.

    If the handler of a signal raises (one_at_a_time.py), the command is killed, so that it does not run on beside the
    undoing. Signals wait while it is being started, or nobody would know what to kill. The command itself is started
    with these signals blocked: they end us, and we end it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="backslashreplace", cwd="/"
        ) as process:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                output, errors = process.communicate(text, timeout=SECONDS)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{command[0]}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def must(command: Sequence[str | Path], what: str) -> str:
    """Run a command that must succeed; returns its output. Raises ConfigError with what it said."""
    done = run(command)
    if done.returncode != 0:
        raise ConfigError(f"{what} failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.stdout
