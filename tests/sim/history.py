"""What truly happened, and what follows from it: who must relay at a time, who may, and who must not.

It knows nothing of books, streams or merges. Times are true ones. Clocks that differ, whole seconds and the pace of
the nodes blur them: `blur` seconds before and after, either answer is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Happened:
    """A login that a node saw, or a grant by hand (user ""). until: of a grant, else 0.

    open_until: the last time at which its session was known to be open; told_until: the same, as others must know it.
    session: its id while it is open. sure: the node that saw it still knows it, or has told it for good.
    """

    node: str
    address: str
    user: str
    at: float
    until: float = 0.0
    session: str = ""
    open_until: float = 0.0
    told_until: float = 0.0
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revocation made on a node. Both "": everybody."""

    node: str
    at: float
    address: str
    user: str

    def concerns(self, one: Happened) -> bool:
        """Whether it is about a login, whenever that was."""
        if self.user:
            return one.user == self.user
        return not self.address or one.address == self.address


@dataclass
class History:
    """Everything that happened. lifetime: of a login, the same on every node."""

    lifetime: float
    blur: float
    logins: dict[str, list[Happened]] = field(default_factory=dict)  # by address
    revoked: list[Revoked] = field(default_factory=list)
    forgotten: dict[str, int] = field(default_factory=dict)  # node -> how many revocations there were when it lost all
    open: dict[str, Happened] = field(default_factory=dict)  # by session
    unsure: set[Revoked] = field(default_factory=set)

    def login(self, one: Happened) -> None:
        """A login, or a grant by hand."""
        self.logins.setdefault(one.address, []).append(one)
        if one.session:
            self.open[one.session] = one

    def alive(self, node: str, now: float) -> None:
        """A node runs now, so it knows which of its sessions are open."""
        for one in self.open.values():
            if one.node == node:
                one.open_until = now
                one.told_until = max(one.told_until, now - self.lifetime / 2 - self.blur)

    def end(self, one: Happened, now: float) -> None:
        """A session ends, and its node knows."""
        del self.open[one.session]
        one.session, one.open_until, one.told_until = "", now, now

    def lost(self, node: str, now: float, *, all_lost: bool) -> None:
        """A node has lost its books, and with all_lost its revocations as well."""
        for one in [one for some in self.logins.values() for one in some if one.node == node]:
            one.sure = False
            if one.session:
                self.end(one, one.open_until)
        if all_lost:
            self.forgotten[node] = len(self.revoked)
            self.unsure.update(one for one in self.revoked if one.node == node)

    def must(self, now: float) -> set[str]:
        """The addresses that relay on every node that has heard everything."""
        return {address for address, some in self.logins.items() if any(self._must(one, now) for one in some)}

    def standing(self, address: str, now: float) -> list[Happened]:
        """What happened at an address and has not run out."""
        return [one for one in self.logins.get(address, ()) if self._may(one, now, ())]

    def close(self, one: Happened) -> bool:
        """Whether a login and a revocation of it, or two grants by hand, are too close to tell what came first."""
        hands = [other for other in self.logins[one.address] if not other.user and not one.user and other is not one]
        times = [each.at for each in self.revoked if each.concerns(one)] + [other.at for other in hands]
        return any(abs(at - one.at) <= 2 * self.blur for at in times)

    def lengthened(self, one: Happened) -> bool:
        """Whether a session that was revoked may lengthen a login on some nodes, see `_merged`."""
        return bool(one.user) and self._merged(one) > max(one.at, one.open_until)

    def may(self, address: str, now: float, *, by: str = "") -> bool:
        """Whether an address may relay: by what one node knows for sure, or else on a node that has heard everything.

        by: the node, which knows at least the revocations that were made there since it last lost all.
        """
        if by:
            known: Iterable[Revoked] = (one for one in self.revoked[self.forgotten.get(by, 0) :] if one.node == by)
        else:
            known = (one for one in self.revoked if one not in self.unsure)
        against = list(known)
        return any(self._may(one, now, against) for one in self.logins.get(address, ()))

    def _must(self, one: Happened, now: float) -> bool:
        if not one.sure or any(each.concerns(one) and one.at <= each.at + self.blur for each in self.revoked):
            return False
        if not one.user:
            others = [other for other in self.logins[one.address] if not other.user and other is not one]
            return now < one.until - self.blur and all(other.at < one.at - self.blur for other in others)
        return now < max(one.at, one.told_until) + self.lifetime - self.blur

    def _may(self, one: Happened, now: float, revoked: Iterable[Revoked]) -> bool:
        if any(each.concerns(one) and one.at < each.at - self.blur for each in revoked):
            return False
        return now < (one.until or self._merged(one) + self.lifetime) + self.blur

    def _merged(self, one: Happened) -> float:
        """When a login, or a session of the same user from the same address, was last known to count.

        Both travel as maxima. So a session that was revoked while its node was cut off can still lengthen a login that
        was made after the revocation, by a lifetime at most (packaging/notes/decisions.md).
        """
        return max(max(each.at, each.open_until) for each in self.logins[one.address] if each.user == one.user)
