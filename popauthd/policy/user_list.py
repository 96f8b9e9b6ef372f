"""A list of users: who may, or may not, relay by address. Pure: text in, a list or what is wrong with it out.

One entry a line; `#` begins a comment line. `anna@example.org` or `anna` is a user, as Dovecot logs him;
`@example.org` is every user of a domain; `*` is everybody; `!` before an entry takes it out again. The
most exact entry that fits decides: the user, then his domain, then `*`; nobody else is in the list.
A to Z and a to z are the same, as in Dovecot, which lowers just these (str_lcase): another letter that
Unicode calls a capital of one of them is another user. The domain is what follows the last @.

LIMIT: a user who can log in under several names (`joe`, `joe@example.org`) is as many users.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

LONGEST_ENTRY = 512
_ENTRY = re.compile(r"(!?)(\*|@[^\s*@<>]+|[^\s!*#@<>][^\s*<>]*(?<!@))")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class UserList:
    """Users, domains and exceptions; looking one up takes the same time however long the list is."""

    def __init__(self, entries: Iterable[tuple[str, bool]] = ()) -> None:
        """entries: (entry in lower case, whether it is in the list)."""
        self._entries = dict(entries)

    def entries(self) -> list[tuple[str, bool]]:
        """The entries in a fixed order."""
        return sorted(self._entries.items())

    def __len__(self) -> int:
        return len(self._entries)

    def holds(self, user: str) -> bool:
        """Whether a user is in the list."""
        name = lower(user)
        exact = self._entries.get(name) if not name.startswith("@") else None
        if exact is not None:
            return exact
        _, at, domain = name.rpartition("@")
        found = self._entries.get(f"@{domain}") if at else None
        return found if found is not None else self._entries.get("*", False)

    def may_hold(self, begin: str) -> bool:
        """Whether a user is in the list of whose name only the beginning is known, as far as can be told."""
        return any(inside and _may_fit(entry, lower(begin)) for entry, inside in self._entries.items())

    def surely_holds(self, begin: str) -> bool:
        """Whether every user whose name begins so is in the list."""
        excepted = any(not inside and _may_fit(entry, lower(begin)) for entry, inside in self._entries.items())
        return self._entries.get("*", False) and not excepted


def _may_fit(entry: str, begin: str) -> bool:
    return entry == "*" or entry.startswith(("@", begin))


def lower(text: str) -> str:
    """The text with A to Z in lower case and nothing else changed."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def parse(text: str) -> UserList:
    """Read a list. Raises ValueError naming the line that is wrong, and what would be right."""
    entries: dict[str, bool] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        word = line.strip(" \t\r")
        if not word or word.startswith("#"):
            continue
        found = _ENTRY.fullmatch(word)
        # not printable: control characters, and what an editor does not show
        if found is None or len(word) > LONGEST_ENTRY or not word.isprintable():
            raise ValueError(f"line {number}: not one user, @domain or *, with or without a ! before it")
        name, inside = lower(found[2]), not found[1]
        if entries.get(name, inside) is not inside:
            raise ValueError(f"line {number}: {name} is in the list twice, with and without !")
        entries[name] = inside
    return UserList(entries.items())
