"""The shared key of a cluster, in a file: who has it can open the relay on every node.

One line a key: `key-id base64`, 32 to 128 bytes. The first key signs; what is signed with any of them is accepted. So a
key is replaced without a gap: put the new one below the old one on every node, then swap the two lines on every
node, then take the old one out. `#` begins a comment line.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass, field

from popauthd.accounts import user_name
from popauthd.as_user import open_plain
from popauthd.errors import ConfigError, unreadable

SHORTEST, LONGEST = 32, 128  # bytes of a key
MOST_KEYS = 2
FILE_BYTES = 4096
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
MAKE_ONE = "make one with: popauthctl cluster init"


@dataclass(frozen=True, slots=True)
class Key:
    """One key. key_id: its name in what it signs. The secret is in no message and no repr."""

    key_id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys in force, one or two. The first one signs."""

    all: tuple[Key, ...]

    @property
    def signing(self) -> Key:
        """The key that signs what this node sends."""
        return self.all[0]

    def secret(self, key_id: str) -> bytes | None:
        """The secret of a key in force; None if there is no such key."""
        return next((key.secret for key in self.all if key.key_id == key_id), None)


def read_keys(path: str, owners: Collection[int] | None = None) -> Keys:
    """The keys in a file. Raises ConfigError, with what to do, for a file that others could have read or is wrong.

    owners: the numbers of the users that the file may belong to; without it root and whoever we are.
    """
    what = f"cluster key_file {path}"
    data = read_private(what, path, FILE_BYTES, owners)
    try:
        return parse_keys(data.decode("ascii"))
    except ValueError as error:
        words = "not plain ASCII" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"{what}: {words}; {MAKE_ONE}") from error


def read_private(what: str, path: str, limit: int, owners: Collection[int] | None = None) -> bytes:
    """The bytes of a file that nobody but its owner can open. Raises ConfigError; what: the setting and the file."""
    try:
        with os.fdopen(open_plain(path), "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(limit + 1)
    except OSError as error:
        raise unreadable(what, error) from error
    _must_be_private(what, found, {0, os.geteuid()} if owners is None else owners)
    if len(data) > limit:
        raise ConfigError(f"{what}: longer than {limit} bytes")
    return data


def _must_be_private(what: str, found: os.stat_result, owners: Collection[int]) -> None:
    if found.st_uid not in owners:
        raise ConfigError(f"{what}: belongs to {user_name(found.st_uid)}; chown it to the service's user")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{what}: its mode {stat.S_IMODE(found.st_mode):04o} lets others than its owner in; chmod 0600 it, and "
            "make a new key if anybody can have read it"
        )


def parse_keys(text: str) -> Keys:
    """Read the contents of a key file. Raises ValueError saying what is wrong, never with a secret in it."""
    lines = [line.split() for line in text.splitlines()]
    keys = tuple(_key(words, number) for number, words in enumerate(lines, 1) if words and words[0][0] != "#")
    if not 1 <= len(keys) <= MOST_KEYS:
        raise ValueError(f"has {len(keys)} keys; one is needed, and {MOST_KEYS} while one is replaced")
    if len({key.key_id for key in keys}) < len(keys) or len({key.secret for key in keys}) < len(keys):
        raise ValueError("has the same key, or the same key's name, twice")
    return Keys(keys)


def _key(words: list[str], number: int) -> Key:
    if len(words) != 2 or not _KEY_ID.fullmatch(words[0]):
        raise ValueError(f"line {number}: not a key's name and the key in base64")
    try:
        secret = base64.b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise ValueError(f"line {number}: the key is not base64") from error
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"line {number}: the key has {len(secret)} bytes, and {SHORTEST} to {LONGEST} are right")
    return Key(words[0], secret)


def make_key() -> str:
    """A new key, as a line of a key file. Its name is made up as well, so that two new keys differ in it."""
    return f"k{os.urandom(4).hex()} {base64.b64encode(os.urandom(SHORTEST)).decode('ascii')}\n"
