"""A list of users: who may, or may not, relay by address. Pure: text in, a list or what is wrong with it out.

One entry a line; `#` begins a comment line. `anna@example.org` or `anna` is a user, as Dovecot logs him;
`@example.org` is every user of a domain; `*` is everybody; `!` before an entry takes it out again. The
most exact entry that fits decides: the user, then his domain, then `*`; nobody else is in the list.
Letters are compared without regard to case, as Dovecot does by default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_ENTRY = 512
_ENTRY = re.compile(r"(!?)(\*|[^\s!*#\x00-\x1f\x7f<>][^\s*\x00-\x1f\x7f<>]*)")


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
        name = user.lower()
        exact = self._entries.get(name) if not name.startswith("@") else None
        if exact is not None:
            return exact
        _, at, domain = name.rpartition("@")
        found = self._entries.get(f"@{domain}") if at else None
        return found if found is not None else self._entries.get("*", False)


def parse(text: str) -> UserList:
    """Read a list. Raises ValueError naming the line that is wrong, and what would be right."""
    entries: dict[str, bool] = {}
    for number, line in enumerate(text.split("\n"), 1):
        word = line.strip(" \t\r")
        if not word or word.startswith("#"):
            continue
        found = _ENTRY.fullmatch(word)
        if found is None or len(word) > LONGEST_ENTRY or found[2] == "@":
            raise ValueError(f"line {number}: not one user, @domain or *, with or without a ! before it")
        name, inside = found[2].lower(), not found[1]
        if entries.get(name, inside) is not inside:
            raise ValueError(f"line {number}: {name} is in the list twice, with and without !")
        entries[name] = inside
    return UserList(entries.items())
