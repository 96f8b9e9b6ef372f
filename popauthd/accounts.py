"""Users and groups of this machine, by name and by number.

A name or number that does not exist is None, or is shown as its number.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import NamedTuple


class NoAccountError(Exception):
    """There is no such user or group; the message says which."""


class Account(NamedTuple):
    """A system user, and by whose rights something is looked at. groups: the supplementary ones, by number."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def user_id(name: str) -> int | None:
    """The number of a user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_id(name: str) -> int | None:
    """The number of a group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def own_group(uid: int) -> int | None:
    """The number of a user's own (primary) group."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None


def user_name(uid: int) -> str:
    """The name of a user, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or the number if there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user(name: str) -> Account | None:
    """A user by name, without supplementary groups."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, found.pw_uid, found.pw_gid)


def user_of_group(group: str) -> Account:
    """The user that a group belongs to: of the same name, or whose own group it is. Raises NoAccountError."""
    gid = group_id(group)
    if gid is None:
        raise NoAccountError(f"there is no group {group}")
    users = sorted(pwd.getpwall(), key=lambda user: user.pw_name != group)
    found = next((user for user in users if user.pw_gid == gid), None)
    if found is None:
        raise NoAccountError(f"no user has the group {group} as its own")
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def give_to_group(path: Path | str, group: str) -> None:
    """Give a file to a group; nothing is done if there is no such group. Raises OSError."""
    gid = group_id(group)
    if gid is not None:
        os.chown(path, -1, gid)
