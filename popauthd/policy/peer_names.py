"""The names that users of other nodes have here. Pure.

A user's name never travels between nodes. What travels is his pseudonym (popauthd/cluster/pseudonym.py): `~` and 24
letters and digits, and if he has a domain, `@~` and 24 more. It is a user name like any other, and no server gives out
such names by itself. A login that a log tells of by such a name would pass for another user's here.
"""

from __future__ import annotations

import re

MARK = "~"
_PART = r"~[a-z2-7]{24}"
_PEER_NAME = re.compile(rf"{_PART}(?:@{_PART})?")


def is_peer_name(user: str) -> bool:
    """Whether a user name has exactly the form of a pseudonym; upper and lower case are the same, as in all names."""
    return user.startswith(MARK) and user.isascii() and _PEER_NAME.fullmatch(user.lower()) is not None
