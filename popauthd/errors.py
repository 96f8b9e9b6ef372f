"""The errors popauthd raises on purpose, each with the exit code (sysexits.h) it ends a command with.

Bad data from outside (a log line, a request) is never an exception: it is a value, counted.
These are for the other two kinds: the world in the way (retry), and a broken set-up (stop).
"""

from __future__ import annotations


class PopauthdError(Exception):
    """Base of the tree; `exit_code` is what a command that ends with it returns."""

    exit_code = 70  # EX_SOFTWARE


class UsageError(PopauthdError):
    """The command line is wrong."""

    exit_code = 64  # EX_USAGE


class ConfigError(PopauthdError):
    """The configuration is wrong: the message names file, key and what would be right."""

    exit_code = 78  # EX_CONFIG


class StoreError(PopauthdError):
    """The books or the relay map cannot be read or written now."""

    exit_code = 74  # EX_IOERR


class StoreNewerError(StoreError):
    """A newer version has written it, and trying again will not help: another version must be installed."""

    exit_code = 78  # EX_CONFIG


class StoreFullError(StoreError):
    """The books fill the address space they were given: forget what has run out, or give them more."""


class StoreBrokenError(StoreError):
    """LMDB gave up on the open file (a commit failed half-way): only a new process can go on."""


class SourceError(PopauthdError):
    """A log source cannot be read now."""

    exit_code = 66  # EX_NOINPUT


class UnavailableError(PopauthdError):
    """The watcher (or another service that is needed) does not answer."""

    exit_code = 69  # EX_UNAVAILABLE
