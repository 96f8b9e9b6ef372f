"""The file of revocations, which outlives the books: no log could give a revocation back.

Each revocation is a line of JSON. It says who was revoked (`address`, `network`, `user` or `everybody`) and when
(`revoked_at`). If a login that it ended was stamped later than that, `ahead_seconds` says by how much. `user_sha256`
stands for a user name that is too long for the books; `user_cut` and `user_whole` stand for user names that begin like
a name that was cut. The file is private (0600). A revocation is synced to disk before it is answered, and now and then
the file is written anew without old lines. An administrator may add lines, with an address in any spelling and a user
in upper or lower case.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from popauthd import file_marks
from popauthd.address import key as address_key
from popauthd.durable import sync_directory
from popauthd.errors import StoreError
from popauthd.file_marks import Mark
from popauthd.policy.user_list import lower

FILE_MODE = 0o600
USER_BYTES = 200  # LMDB keys hold 511 bytes; a longer name is known by its digest
LINE_BYTES = 4096
FILE_BYTES = 256 << 20  # popauthd itself never writes so much


class RevocationRecord(NamedTuple):
    """A revocation: it ends the logins that `key` names (see rows.py) and that began at or before `at`, epoch seconds.

    ahead_seconds: how much later than `at` the latest of these logins was stamped.
    """

    key: bytes
    at: int
    ahead_seconds: int = 0


class RevocationFile:
    """The file at `path`. `trouble`: why it does not hold every revocation; "" if it does.

    `lines`: the number of its lines. `needed`: the number of lines when it was last written anew.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.trouble = ""
        self.lines = self.needed = 0
        self._left: Mark | None = None  # as we left it

    def touched(self) -> str:
        """What somebody else did to the file since we last used it, in words for the administrator; "" for nothing."""
        now = file_marks.at(self.path)
        return "" if now == self._left else file_marks.difference(self._left, now)

    def load(self) -> tuple[dict[bytes, RevocationRecord], int]:
        """The latest revocation of each key, and how many lines could not be read. Raises StoreError."""
        found: dict[bytes, RevocationRecord] = {}
        *lines, rest = self._read().split(b"\n")
        bad = int(rest != b"")  # a torn line: what we append to it would be lost as well
        self.lines, self._left = len(lines), file_marks.at(self.path)
        for line in [*lines, rest]:
            revocation = _read(line)
            if revocation is None:
                bad += line != rest
            else:
                found[revocation.key] = later(found.get(revocation.key), revocation)
        return found, bad

    def _read(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(FILE_BYTES)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreError(f"revocations {self.path}: cannot be read: {error.strerror}") from error

    def append(self, revocations: Sequence[RevocationRecord]) -> None:
        """Add revocations, and return when they are on the disk. On failure `trouble` is set until `write` succeeds."""
        if self.trouble:
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(_line(revocation) for revocation in revocations)
                file.flush()
                os.fsync(file.fileno())
            self.lines, self._left = self.lines + len(revocations), file_marks.at(self.path)
        except OSError as error:
            self._failed(error)

    def write(self, revocations: Sequence[RevocationRecord]) -> None:
        """Make the file hold exactly these revocations. On failure the old file stays, and `trouble` is set."""
        fresh = Path(f"{self.path}.new")
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(_line(revocation) for revocation in revocations)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self.path)
            sync_directory(fresh.parent)
            self.trouble, self.lines, self.needed = "", len(revocations), len(revocations)
            self._left = file_marks.at(self.path)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.trouble = (
            f"revocations {self.path}: cannot be written ({error.strerror}): what was revoked is in the books, but "
            "would be forgotten if they were damaged; it is tried again"
        )


def later(known: RevocationRecord | None, other: RevocationRecord) -> RevocationRecord:
    """One revocation that does the same as two revocations of one key."""
    if known is None:
        return other
    at = max(known.at, other.at)
    return RevocationRecord(other.key, at, max(known.at + known.ahead_seconds, other.at + other.ahead_seconds) - at)


# The first two bytes of a key, and the field's name in JSON. The rest of the key is the text of the field.
_KINDS = {b"a\0": "address", b"u\0": "user", b"c\0": "user_cut", b"w\0": "user_whole", b"n\0": "network"}
_DIGEST = b"u\0\0"


def _line(revocation: RevocationRecord) -> bytes:
    key = revocation.key
    whom: dict[str, Any]
    if key == b"*":
        whom = {"everybody": True}
    elif key.startswith(_DIGEST):
        whom = {"user_sha256": key[len(_DIGEST) :].hex()}
    else:
        whom = {_KINDS[key[:2]]: key[2:].decode("utf-8", "surrogateescape")}
    more = {"ahead_seconds": revocation.ahead_seconds} if revocation.ahead_seconds else {}
    return json.dumps({"revoked_at": revocation.at, **whom, **more}).encode("ascii") + b"\n"


def _read(line: bytes) -> RevocationRecord | None:
    """The revocation on a line, or None if the line is not valid."""
    if len(line) > LINE_BYTES:
        return None
    try:
        fields = json.loads(line)
        at, ahead_seconds = fields["revoked_at"], fields.get("ahead_seconds", 0)
        key = _key(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    whole = type(at) is int and type(ahead_seconds) is int and 0 <= at < 1 << 40 and 0 <= ahead_seconds < 1 << 20
    return RevocationRecord(key, at, ahead_seconds) if whole and len(key) <= 500 else None


def _key(fields: dict[str, Any]) -> bytes:
    if fields.get("everybody") is True:
        return b"*"
    if "user_sha256" in fields:
        return _DIGEST + bytes.fromhex(fields["user_sha256"])
    for begin, name in _KINDS.items():
        if name in fields:
            text = fields[name]
            return begin + (_user(text) if name.startswith("user") else _address(text))
    raise KeyError("nobody is named")


def _user(text: str) -> bytes:
    name = lower(text).encode("utf-8", "surrogateescape")
    if len(name) <= USER_BYTES:
        return name
    from hashlib import sha256  # as in rows.py

    return b"\0" + sha256(name).digest()


def _address(text: str) -> bytes:
    if (canonical := address_key(text)) is None:
        raise ValueError("not an address")
    return canonical.encode("ascii")
