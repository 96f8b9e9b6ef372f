"""Looks at things with the rights of another user, and never for long: in a child process that has become that user.

Root must not open names in a directory that somebody less owns: the owner may put a link, a pipe or a device there.
`look_in` looks as the directory's owner, so that he can harm nobody but himself; `look` looks as any account, such as
Exim's; `read_plain` is for a small file that root must read itself. The child has the supplementary groups of the
account alone. Exim's user has none, as Exim gives them up when it changes to its user: being put into a group helps it
nothing. A child that dies (a broken map kills its reader), hangs or says too much is an answer too.

In a directory that root owns and others can write into, `look_in` looks as root: there `shared` tells what not to do.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from popauthd.accounts import Account, group_name, own_group, user_name
from popauthd.errors import PopauthdError

SILENT_SECONDS = 20  # a child that says nothing for so long is ended
ANSWER_BYTES = 256 << 20  # 4 million addresses
CHILD_BYTES = 1 << 30
SOCKET_SECONDS = 5.0
FAILED = "\0"  # behind it stands why, whatever has been said before
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LookError(Exception):
    """It cannot be seen; the message says why, in a few words. exit_code: of the PopauthdError that it was, or 0."""

    exit_code = 0


def may_become(account: Account) -> bool:
    """Whether we can look as that user."""
    return os.geteuid() in (0, account.uid)


def look(account: Account | None, question: Callable[[], str]) -> str:
    """The answer to a question asked in a child process, as `account` (None: as ourselves).

    Raises LookError with the message of what `question` raised, or if the child died or did not answer in time.
    """
    return _asked(account, lambda: (question(),), None)


def look_in(directory: str, question: Callable[[], Iterable[str]]) -> str:
    """The pieces of an answer, joined, that a child gives whose working directory is `directory` and who has become
    its owner, where we are root. So `question` uses names without a slash.

    Raises LookError as `look` does; from an OSError if we cannot go into the directory.
    """
    try:
        # A link in the directory's own place is the administrator's; what is opened here is what is looked at.
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LookError(f"{directory}: {error.strerror}") from error
    try:
        found = os.fstat(place)
        owner = None
        if os.geteuid() == 0 and found.st_uid != 0:
            group = own_group(found.st_uid)
            owner = Account(user_name(found.st_uid), found.st_uid, found.st_gid if group is None else group)
        return _asked(owner, question, place)
    finally:
        os.close(place)


def _asked(account: Account | None, pieces: Callable[[], Iterable[str]], place: int | None) -> str:
    reader, writer = os.pipe()
    # The child must not be in the middle of our own way out when a signal comes.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        _answer(account, pieces, place, writer)
    os.close(writer)
    status = None
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        text = _heard(reader).decode("utf-8", "backslashreplace")
        status = _ended(child)
    finally:
        os.close(reader)
        if status is None:
            os.kill(child, signal.SIGKILL)  # whoever it has become may have stopped it, and no alarm would come
            os.waitpid(child, 0)
    if status < 0:
        raise LookError(f"looking ended with signal {signal.Signals(-status).name}")
    if status != 0:
        failed = LookError(text.rpartition(FAILED)[2])
        failed.exit_code = status if status != 1 else 0
        raise failed
    return text


def _heard(reader: int) -> bytes:
    """All that a child says. Raises LookError if it falls silent, or does not come to an end."""
    said = bytearray()
    while True:
        if not select.select([reader], [], [], SILENT_SECONDS)[0]:
            raise LookError(f"no answer within {SILENT_SECONDS} s")
        more = os.read(reader, 1 << 16)
        if not more:
            return bytes(said)
        said += more
        if len(said) > ANSWER_BYTES:
            raise LookError(f"the answer is longer than {ANSWER_BYTES >> 20} MiB")


def _ended(child: int) -> int:
    """A child's exit code; its pipe is closed already. Raises LookError if it does not end."""
    until = time.monotonic() + SILENT_SECONDS
    while time.monotonic() < until:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    raise LookError(f"no end within {SILENT_SECONDS} s")


def _answer(account: Account | None, pieces: Callable[[], Iterable[str]], place: int | None, writer: int) -> NoReturn:
    """The child's whole life; never returns. Exit code 0, or 1, or that of a PopauthdError."""
    status, text = 1, FAILED + "looking failed"
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.alarm(SILENT_SECONDS)  # should nobody be left to end us
        resource.setrlimit(resource.RLIMIT_DATA, (CHILD_BYTES, CHILD_BYTES))
        if place is not None:
            os.fchdir(place)
        if account is not None and os.geteuid() == 0:
            os.setgroups(account.groups)
            os.setgid(account.gid)
            os.setuid(account.uid)
        for piece in pieces():
            signal.alarm(SILENT_SECONDS)
            _say(writer, piece)
        status, text = 0, ""
    except BaseException as error:
        status, text = getattr(error, "exit_code", 0) or 1, FAILED + _words(error)
    finally:
        try:
            _say(writer, text)
        finally:
            os._exit(status)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, PopauthdError | LookError) else f"{type(error).__name__}: {error}"


def _say(writer: int, text: str) -> None:
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    while data:
        data = data[os.write(writer, data) :]


def open_plain(path: str | Path) -> int:
    """A descriptor of a plain file, whatever somebody may have put in its place. Raises OSError for all else.

    A link is followed, unless we are root and others than root could have put it there.
    """
    directory, name = os.path.split(path)
    place = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        link = os.O_NOFOLLOW if os.geteuid() == 0 and _others(os.fstat(place)) else 0
        # Not blocking: a pipe in its place would never be opened.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | link, dir_fd=place)
    finally:
        os.close(place)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a plain file")


def _others(directory: os.stat_result) -> bool:
    """Whether others than root can put files into a directory."""
    return directory.st_uid != 0 or _open(directory)


def _open(directory: os.stat_result) -> bool:
    mode = directory.st_mode
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and directory.st_gid != 0))


def plain_name(name: str) -> str:
    """A name for a plain file that nobody can put another file under, for as long as this process lives.

    Raises OSError as `open_plain` does.
    """
    return f"/proc/self/fd/{open_plain(name)}"


def shared(directory: str) -> bool:
    """Whether others than a directory's owner, and root's group, can put files there. Raises OSError."""
    return _open(Path(directory).stat())


def read_plain(path: str | Path, limit: int) -> bytes:
    """The bytes of a plain file, opened by `open_plain`. Raises OSError, also if it is longer than `limit`."""
    with os.fdopen(open_plain(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"longer than {limit} bytes")
    return data


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
    return f"{path} ({stat.filemode(found.st_mode)} {user_name(found.st_uid)}:{group_name(found.st_gid)})"


def modes_and_reason(path: str, reason: object) -> str:
    """A path with its mode and owners, and why it cannot be used. A file that is missing is said to be so once."""
    shown = modes(path)
    return f"{path}: {reason}" if shown == f"{path} ({reason})" else f"{shown}: {reason}"
