"""What several commands need: the books asked, the running watcher asked, an argument read as an address."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popauthd import address, config, control_client
from popauthd.as_user import LookError, look_in, shared
from popauthd.control_client import map_expiry
from popauthd.errors import PopauthdError, StoreError, UnavailableError, UsageError
from popauthd.text import safe

if TYPE_CHECKING:
    from popauthd.store.books import Books

NOT_THERE = "not there; is the watcher running? Start it with: systemctl start popauthd"


class PrivateError(StoreError):
    """They are another user's to read, and root's."""


def settings(options: argparse.Namespace) -> config.Config:
    """The configuration that --config names, or the default one."""
    return config.load(options.config)


def client(text: str) -> str:
    """A canonical address from the command line. Raises UsageError."""
    canonical = address.canonical(text)
    if canonical is None:
        raise UsageError(f"{safe(text)} is not an IPv4 or IPv6 address")
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


def map_has(loaded: config.Config, wanted: str) -> int | None:
    """What the relay map has for an address. Raises StoreError."""
    with _told("relay map", loaded.map_path):
        return map_expiry(loaded.map_path, wanted)


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
            failed = PrivateError(f"{what} {path}: private; run this as root (sudo popauthctl ...)")
        if "signal SIGBUS" in said or "signal SIGSEGV" in said:
            failed = StoreError(f"{what} {path}: damaged ({said}); restart popauthd, which makes it anew")
        failed.exit_code = error.exit_code or failed.exit_code
        raise failed from error


def ask_watcher(options: argparse.Namespace, **request: object) -> dict[str, Any]:
    """Ask the running watcher; its refusal is raised as the error it names."""
    reply = control_client.ask_watcher(settings(options).control_path, **request)
    if "error" in reply:
        error = PopauthdError(safe(reply["error"], 400))
        code = reply.get("exit_code")
        error.exit_code = code if isinstance(code, int) and 0 < code < 126 else UnavailableError.exit_code
        raise error
    return reply
