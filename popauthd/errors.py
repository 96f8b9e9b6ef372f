"""The errors popauthd raises on purpose, each with the exit code (sysexits.h) it ends a command with.

Bad data from outside (a log line, a request) is never an exception: it is a value, counted.
These are for the other two kinds: the world in the way (retry), and a broken set-up (stop).
"""

from __future__ import annotations

import errno


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


class ForbiddenError(PopauthdError):
    """The system does not let this user do what is needed: a right is missing."""

    exit_code = 77  # EX_NOPERM


class UnavailableError(PopauthdError):
    """The watcher (or another service that is needed) does not answer."""

    exit_code = 69  # EX_UNAVAILABLE


class Stopped(Exception):
    """No error: this process was told to stop before it had started wholly."""


_NOT_NOW = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, None}


def in_the_way(what: str, error: OSError) -> PopauthdError:
    """The error that a failed system call at a start becomes, by whose fault it is; `what` was being done to what.

    A right is missing (77), the configuration names a wrong place (78, and trying again will not help), or the system
    has no room for it now (74).
    """
    message = f"{what}: {error.strerror or error}"
    if error.errno in _NO_RIGHT:
        return ForbiddenError(message)
    return ConfigError(message) if error.errno in _WRONG_PLACE else StoreError(message)


def unreadable(what: str, error: OSError) -> ConfigError:
    """The error of a file of the configuration that cannot be read.

    It ends a process with 78, after which systemd does not start it again; with 74 if the next start may read it.
    """
    found = ConfigError(f"{what}: cannot be read: {error.strerror}")
    if error.errno in _NOT_NOW:
        found.exit_code = StoreError.exit_code
    return found
