"""Users' names as they travel between nodes: a keyed digest (HMAC-SHA256) of the name, and of its domain. Pure.

Who has the key of the cluster can tell whether a pseudonym is that of a name that he knows; nobody can turn one back.
A pseudonym is a user name itself (policy/peer_names.py), of 25 to 51 bytes, so no server's way to cut names touches it.
The digest is of the name as lists and revocations compare names: with A to Z in lower case, and as UTF-8 in which bytes
that are no character stand as `\\xNN`.

While a key is being replaced a user has a pseudonym of each key. The first is the one that this node sends.
"""

from __future__ import annotations

import base64
import hmac

from popauthd.cluster.keys import Keys
from popauthd.policy.peer_names import MARK, is_peer_name
from popauthd.policy.user_list import lower

REMEMBERED = 32768  # users
_DIGEST_BYTES = 15  # 24 letters of base32, and no padding


def pseudonym(key: bytes, user: str) -> str:
    """A user's name as it travels. user: not "". With a domain behind its last @ it ends with the domain's own."""
    name = lower(user)
    _, _, domain = name.rpartition("@") if "@" in name else ("", "", "")
    return _part(key, b"user", name) + (f"@{_part(key, b'domain', domain)}" if domain else "")


def _part(key: bytes, kind: bytes, name: str) -> str:
    data = b"popauthd %b\0%b" % (kind, name.encode("utf-8", "backslashreplace"))
    digest = hmac.digest(key, data, "sha256")[:_DIGEST_BYTES]
    return MARK + base64.b32encode(digest).decode("ascii").lower()


class Pseudonyms:
    """The pseudonyms of users by the keys in force."""

    def __init__(self, keys: Keys) -> None:
        self._secrets = [key.secret for key in keys.all]
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, user: str) -> tuple[str, ...]:
        """A user's pseudonym for each key in force, the one to send first; none for "".

        A name that has the form of a pseudonym already is its own: an administrator names a peer's user by it.
        """
        found = self._known.get(user)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[user] = self._work_out(user)
        return found

    def _work_out(self, user: str) -> tuple[str, ...]:
        if not user:
            return ()
        return (lower(user),) if is_peer_name(user) else tuple(pseudonym(key, user) for key in self._secrets)

    def of_entry(self, entry: str) -> tuple[str, ...]:
        """What stands for an entry of a list of users (policy/user_list.py) where peers' users are looked up.

        A user's entry becomes his pseudonyms, `@domain` becomes `@` and those of the domain, and `*` stays.
        """
        if entry == "*":
            return ("*",)
        if entry.startswith("@"):
            return tuple("@" + _part(key, b"domain", lower(entry[1:])) for key in self._secrets)
        return self.of(entry)
