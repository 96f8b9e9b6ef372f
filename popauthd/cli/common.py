"""What several commands need: the books asked, the running watcher asked, an argument read as an address."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from popauthd import address, config, control_client
from popauthd.as_user import LookError, look_in, shared
from popauthd.control_client import map_expiries
from popauthd.errors import ConfigError, ForbiddenError, StoreError, UnavailableError, UsageError
from popauthd.text import safe

if TYPE_CHECKING:
    from popauthd.store.books import Books

T = TypeVar("T")

NOT_THERE = "not there; is the watcher running? Start it with: systemctl start popauthd"


RED, GREEN, YELLOW = "31", "32", "33"


def coloured(text: str, colour: str) -> str:
    """The text in a colour, "" for none, where standard output is a terminal that wants it (https://no-color.org)."""
    if not colour or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


class PrivateError(StoreError):
    """They are another user's to read, and root's."""


def settings(options: argparse.Namespace) -> config.Config:
    """The configuration that --config names, or the default one."""
    return config.load(options.config)


def asked(options: argparse.Namespace, question: Callable[[str], T]) -> T:
    """What `question` makes of the running watcher's control socket; also where the file is wrong by now.

    Raises ConfigError if the file is wrong and no watcher answers.
    """
    try:
        return question(settings(options).control_path)
    except ConfigError as wrong:
        try:
            return question(config.Config(run_dir=config.run_dir(options.config)).control_path)
        except (UnavailableError, ForbiddenError):
            raise wrong from None


def client(text: str, hint: str = "") -> str:
    """A canonical address from the command line. Raises UsageError, with the hint at its end."""
    canonical = address.canonical(text)
    if canonical is None:
        raise UsageError(f"{safe(text)} is not an IPv4 or IPv6 address{hint}")
    return canonical


def ask_books(loaded: config.Config, question: Callable[[Books], Iterable[str]]) -> str:
    """What `question` says of the books, its pieces joined; asked as the owner of state_dir, and never for long.

    Raises StoreError, saying what to do, if they are missing, damaged or not ours to read.
    """
    directory, name = os.path.split(loaded.books_path)

    def asked() -> Iterator[str]:
        books = _opened(name)
        yield from question(books)
        books.close()

    with _told("books", loaded.books_path):
        return look_in(directory, asked)


def _opened(name: str) -> Books:
    """The books in the working directory. Raises StoreError."""
    if os.geteuid() == 0 and shared("."):
        raise StoreError("others can write into the directory, so root does not open them; chmod 0700 it")
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            raise StoreError("not a plain file; move it away and restart popauthd, it then begins anew from the log")
    except FileNotFoundError as error:
        raise StoreError(NOT_THERE) from error
    from popauthd.store.books import Books  # most commands need none

    return Books(name, readonly=True)


def map_has(loaded: config.Config, wanted: Sequence[str]) -> list[int]:
    """What the relay map has for these addresses; 0 for nothing. Raises StoreError."""
    with _told("relay map", loaded.map_path):
        return [expires_at or 0 for expires_at in map_expiries(loaded.map_path, wanted)]


@contextlib.contextmanager
def _told(what: str, path: str) -> Iterator[None]:
    """What could not be seen of a file becomes a StoreError with its whole path, and what to do."""
    try:
        yield
    except LookError as error:
        directory, name = os.path.split(path)
        # in there the file has no directory
        said = re.sub(rf"^({re.escape(directory)}|{what} {re.escape(name)}): ", "", str(error))
        if said == os.strerror(errno.ENOENT):  # the file, or its directory
            said = NOT_THERE
        failed = StoreError(f"{what} {path}: {said}")
        if said == "Permission denied":
            failed = PrivateError(f"{what} {path}: private; needs root (sudo popauthctl ...)")
        if "signal SIGBUS" in said or "signal SIGSEGV" in said:
            failed = StoreError(f"{what} {path}: damaged ({said}); restart popauthd, which makes it anew")
        failed.exit_code = error.exit_code or failed.exit_code
        raise failed from error


def ask_watcher(options: argparse.Namespace, **request: object) -> dict[str, Any]:
    """Ask the running watcher; its refusal is raised as the error it names."""
    reply = control_client.ask_watcher(settings(options).control_path, **request)
    if "error" in reply:
        raise control_client.refusal(reply)
    return reply
