"""Looks at things as another user really sees them: in a child process that has become that user.

The child has the supplementary groups of the account alone. Exim's user has none, as Exim gives them up when it
changes to its user: being put into a group helps it nothing. A child that dies (a broken map kills its reader)
is an answer too.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from popauthd.doctor.visit import Account

ANSWER_SECONDS = 30
SOCKET_SECONDS = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LookError(Exception):
    """It cannot be seen; the message says why, in a few words."""


def account_of(group: str) -> Account:
    """The user that a group belongs to: of the same name, or whose own group it is. Raises LookError."""
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise LookError(f"there is no group {group}") from error
    users = sorted(pwd.getpwall(), key=lambda user: user.pw_name != group)
    found = next((user for user in users if user.pw_gid == gid), None)
    if found is None:
        raise LookError(f"no user has the group {group} as its own")
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def may_become(account: Account) -> bool:
    """Whether we can look as that user."""
    return os.geteuid() in (0, account.uid)


def look(account: Account | None, question: Callable[[], str]) -> str:
    """The answer to a question asked in a child process, as `account` (None: as ourselves).

    Raises LookError with the message of what `question` raised, or if the child died.
    """
    reader, writer = os.pipe()
    # The child must not be in the middle of our own way out when a signal comes.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        _answer(account, question, writer)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode("utf-8", "backslashreplace")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        raise LookError(f"looking ended with signal {signal.Signals(-status).name}")
    if status != 0:
        raise LookError(text)
    return text


def _answer(account: Account | None, question: Callable[[], str], writer: int) -> None:
    """The child's whole life; never returns."""
    status, text = 1, "looking failed"
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.alarm(ANSWER_SECONDS)
        if account is not None and os.geteuid() == 0:
            os.setgroups(account.groups)
            os.setgid(account.gid)
            os.setuid(account.uid)
        status, text = 0, question()
    except BaseException as error:
        text = str(getattr(error, "strerror", None) or error)
    finally:
        try:
            os.write(writer, text.encode("utf-8", "backslashreplace")[:60_000])
        finally:
            os._exit(status)


def ask_socket(path: str, address: str) -> str:
    """What the responder says of an address, at most 64 characters. Raises OSError."""
    return exchange(path, f"{address}\n".encode())


def exchange(path: str, message: bytes) -> str:
    """What a unix socket's server answers to a message, at most 64 characters. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SOCKET_SECONDS)
        connection.connect(path)
        connection.sendall(message)
        answer = b""
        while len(answer) < 64 and (more := connection.recv(64)):
            answer += more
    return answer.decode("ascii", "backslashreplace")


def modes(path: str) -> str:
    """A path with its mode and owners, as `ls -ld` has them."""
    try:
        found = Path(path).stat()
    except OSError as error:
        return f"{path} ({error.strerror})"
    return f"{path} ({stat.filemode(found.st_mode)} {_user(found.st_uid)}:{_group(found.st_gid)})"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
