"""A file with a list of users (user_list.py), read again when it changes.

At the start a file that cannot be used is an error. Later, a change that cannot be used leaves the last good
list in force, and is told once. A change counts when the file has stayed the same from one look to the
next, some two seconds: of a list that is being written, the users not yet there would lose what stands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

from popauthd.as_user import open_plain
from popauthd.errors import ConfigError, unreadable
from popauthd.policy.limits import Limits
from popauthd.policy.user_list import UserList, parse

FILE_BYTES = 16 << 20
LOOK_EVERY_SECONDS = 1.0

Identity = tuple[int, ...]


class UserFile:
    """The list in the file `path`; `users` is the one in force. key: the setting's name, for messages.

    trouble: why the list in force is not what the file has now; "" if it is.
    """

    def __init__(self, key: str, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.users = UserList()
        self.trouble = ""
        self._what = f"{key} {path}"
        self._path = path
        self._clock = clock
        self._read_as: Identity = ()  # what was read last, well or not
        self._seen: Identity = ()  # at the last look
        self._look_at = 0.0

    def load(self) -> str:
        """Read it for the first time; returns a note for the administrator. Raises ConfigError."""
        try:
            data, self._read_as = _contents(self._path)
            self._seen = self._read_as
            return self._take(data)
        except OSError as error:
            raise unreadable(self._what, error) from error
        except ValueError as error:
            raise ConfigError(f"{self._what}: {error}") from error

    def refresh(self) -> str:
        """Read it again if it has changed, looking at most once a second; returns a note, or ""."""
        now = self._clock()
        if now < self._look_at:
            return ""
        self._look_at = now + LOOK_EVERY_SECONDS
        before, self._seen = self._seen, _look(self._path)
        if self._seen == self._read_as or self._seen != before:
            return ""
        try:
            data, as_what = _contents(self._path)
            if as_what != self._seen:  # it is being written
                return ""
            self._read_as = as_what
            return self._take(data)
        except (OSError, ValueError) as error:
            told = self.trouble
            # What hinders us may be over soon, with the file as it is.
            self._read_as = () if isinstance(error, OSError) else self._seen
            self.trouble = f"{self._what}: {_words(error)}; the last good list stays in force"
            return "" if self.trouble == told else self.trouble

    def _take(self, data: bytes) -> str:
        try:
            self.users = parse(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 at byte {error.start}") from error
        self.trouble = ""
        return self.warning() or f"{self._what}: {len(self.users)} entries"

    def warning(self) -> str:
        """What an administrator should know of the list in force, or ""."""
        if any(on for _entry, on in self.users.entries()):
            return ""
        return f"{self._what}: {len(self.users) or 'no'} entries; nobody is in the list"


def _contents(path: str) -> tuple[bytes, Identity]:
    """The bytes of a plain file, and what it was after they were read. Raises OSError or ValueError."""
    descriptor = open_plain(path)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > FILE_BYTES:
            raise ValueError(f"not a plain file of at most {FILE_BYTES >> 20} MiB")
        return file.read(FILE_BYTES), _identity(os.fstat(descriptor))


def _look(path: str) -> Identity:
    """What the file is now; the number of the error if it cannot be told."""
    try:
        return _identity(os.stat(path))  # noqa: PTH116 - every second
    except OSError as error:
        return (error.errno or 0,)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _words(error: OSError | ValueError) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


class UserFiles:
    """The lists that the configuration names: whose logins alone count, and whose never do; "" for none.

    known_as: by what entries users of other nodes are looked up, for an entry.
    """

    def __init__(
        self, users_file: str, deny_users: str, known_as: Callable[[str], tuple[str, ...]] = lambda _entry: ()
    ) -> None:
        self._known_as = known_as
        self._users = UserFile("users_file", users_file) if users_file else None
        self._denied = UserFile("deny_users", deny_users) if deny_users else None

    def load(self) -> list[str]:
        """Read all for the first time; returns notes. Raises ConfigError."""
        return [file.load() for file in (self._users, self._denied) if file is not None]

    def refresh(self) -> list[str]:
        """Read again what has changed; returns notes, none if nothing has."""
        notes = [file.refresh() for file in (self._users, self._denied) if file is not None]
        return [note for note in notes if note]

    @property
    def trouble(self) -> str:
        """Why a list in force is not what its file has now; "" if all are."""
        return "; ".join(file.trouble for file in (self._users, self._denied) if file is not None and file.trouble)

    def warnings(self) -> list[str]:
        """What an administrator should know of the lists in force."""
        return [text for file in (self._users, self._denied) if file is not None and (text := file.warning())]

    def applied(self, limits: Limits) -> Limits:
        """The limits with the lists that are in force."""
        return replace(limits, users=self._list(self._users), denied=self._list(self._denied))

    def _list(self, file: UserFile | None) -> UserList | None:
        if file is None:
            return None
        entries = file.users.entries()
        return UserList([*entries, *((name, inside) for entry, inside in entries for name in self._known_as(entry))])
