"""What several commands need: the books opened for reading, an argument read as an address."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popauthd import address, config
from popauthd.books import Books
from popauthd.control import ask
from popauthd.errors import PopauthdError, StoreError, UsageError
from popauthd.text import safe

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any


def settings(options: argparse.Namespace) -> config.Config:
    """The configuration that --config names, or the default one."""
    return config.load(options.config)


def client(text: str) -> str:
    """A canonical address from the command line. Raises UsageError."""
    canonical = address.canonical(text)
    if canonical is None:
        raise UsageError(f"{safe(text)} is not an IPv4 or IPv6 address")
    return canonical


def open_books(loaded: config.Config) -> Books:
    """The books, read-only. Raises StoreError, saying what to do, if they are missing or not ours to read."""
    try:
        Path(loaded.books_path).stat()
    except PermissionError as error:
        raise StoreError(f"books {loaded.books_path}: private; run this as root") from error
    except OSError as error:
        raise StoreError(f"books {loaded.books_path}: {error.strerror}; has the watcher ever run?") from error
    return Books(loaded.books_path, readonly=True)


def ask_watcher(options: argparse.Namespace, **request: object) -> dict[str, Any]:
    """Ask the running watcher; its refusal is raised as the error it names."""
    reply = ask(settings(options).control_path, request)
    if "error" in reply:
        error = PopauthdError(str(reply["error"]))
        error.exit_code = int(reply.get("exit_code", error.exit_code))
        raise error
    return reply
