"""Asks Dovecot which connections are open: `doveadm -f json who -1`, in a process of its own, never waited for.

The answer is a list of objects with `username`, `service`, `pid` and `ip` (Dovecot 2.3.19 and 2.4.1). doveadm
asks Dovecot's anvil socket, which is root's alone unless the administrator opens it (dovecot/README.md).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from popauthd import address
from popauthd.errors import SourceError

COMMAND = ("doveadm", "-f", "json", "who", "-1")
ANSWER_BYTES = 64 << 20
ANSWER_SECONDS = 30.0


class Who:
    """One question at a time: `ask`, then `answer` until it is there."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._until = 0.0

    def ask(self) -> None:
        """Start asking. Raises SourceError if doveadm cannot be started."""
        self.close()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        # Apart: doveadm 2.3 complains that it may not write Dovecot's statistics, and answers all the same.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._complaints
            )
        except OSError as error:
            self.close()
            raise SourceError(f"{self._command[0]}: cannot be run: {error.strerror}") from error
        self._until = time.monotonic() + ANSWER_SECONDS

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._process is not None

    def answer(self) -> set[str] | None:
        """The addresses with an open connection, in canonical form; None while they are not known yet.

        Raises SourceError if doveadm failed, took too long or said something strange.
        """
        process, output, complaints = self._process, self._output, self._complaints
        if process is None or output is None or complaints is None:
            return None
        if process.poll() is None:
            if time.monotonic() < self._until:
                return None
            self.close()
            raise SourceError(f"{self._command[0]} took more than {ANSWER_SECONDS:g} s")
        output.seek(0)
        complaints.seek(0)
        text, why = output.read(ANSWER_BYTES), complaints.read(ANSWER_BYTES)
        self.close()
        if process.returncode != 0:
            raise SourceError(f"{self._command[0]} failed: {why[-200:].decode('utf-8', 'backslashreplace').strip()}")
        return addresses(text)

    def close(self) -> None:
        """Ask no more."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for file in (self._output, self._complaints):
            if file is not None:
                file.close()
        self._process = self._output = self._complaints = None


def addresses(text: bytes) -> set[str]:
    """The addresses in the answer of `doveadm -f json who -1`. Raises SourceError if it is none."""
    try:
        rows = json.loads(text)
        found = {address.canonical(row["ip"]) for row in rows}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SourceError("doveadm who gave an answer that cannot be read") from error
    return {client for client in found if client is not None}
