"""What a block of lines says, in columns: one list for each part of a login, and no object for each line.

The lists of `Logins` are of one length, and so are those of `Ends`. They hold what the common form of a line says (see
fast_path.py), in the order of the log; all else is in `others`. `place` is the number of an entry among all entries of
the block, from 0 on and without holes, so the three can be put in order again.

The columns hold what is written: bytes, not text. An address is always that of a client, in IPv4 or IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from popauthd.formats.sentence import as_text
from popauthd.formats.servers import dovecot
from popauthd.model import Login, Matter, SessionEnd


@dataclass(slots=True)
class Logins:
    """The logins of the common form. at: epoch seconds. session: b"" if the line names none."""

    place: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    address: list[bytes] = field(default_factory=list)
    user: list[bytes] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)
    method: list[str] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    session: list[bytes] = field(default_factory=list)
    local: list[bytes] = field(default_factory=list)

    def events(self) -> Iterable[Login]:
        """Each login as the strict reader gives it."""
        return map(
            Login,
            self.at,
            map(bytes.decode, self.address),
            map(as_text, self.user),
            self.protocol,
            self.method,
            self.tls,
            map(bytes.decode, self.session),
            map(bytes.decode, self.local),
            [dovecot.NAME] * len(self.at),
        )


@dataclass(slots=True)
class Ends:
    """The session ends of the common form. at: epoch seconds."""

    place: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    session: list[bytes] = field(default_factory=list)
    user: list[bytes] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)

    def events(self) -> Iterable[SessionEnd]:
        """Each end as the strict reader gives it."""
        return map(
            SessionEnd,
            self.at,
            map(bytes.decode, self.session),
            map(as_text, self.user),
            self.protocol,
            [dovecot.NAME] * len(self.at),
        )


@dataclass(slots=True)
class Block:
    """What a block of lines says. others: the entries that are in no column, in order, each with its place."""

    lines: int
    logins: Logins = field(default_factory=Logins)
    ends: Ends = field(default_factory=Ends)
    others: list[tuple[int, Matter]] = field(default_factory=list)

    def matters(self) -> list[Matter]:
        """Everything as events, in the order of the log: as the strict reader gives it line by line, and as slow."""
        placed: dict[int, Matter] = dict(self.others)
        placed.update(zip(self.logins.place, self.logins.events(), strict=True))
        placed.update(zip(self.ends.place, self.ends.events(), strict=True))
        return [placed[place] for place in range(len(placed))]


def put_in_order(
    lines: int, matches: int, logins: Logins, ends: Ends, between: Iterable[tuple[int, Matter | None]]
) -> Block:
    """A block from what was found in so many matches of a pattern, and what the strict reader says of the rest.

    logins, ends: their place is the number of their match; it is replaced. between: in order, with 2n for what stands
    before match n, and 2n + 1 for what stands for match n, which is no login or end then. None is nothing that matters.
    """
    places: list[int] = []  # of the matches looked at
    others: list[tuple[int, Matter]] = []
    ahead = 0  # entries that are no match, less matches that are no entry
    replaced = -1  # the last match that something stands for
    for where, matter in between:
        match = where >> 1
        if where & 1:
            if match != replaced:
                replaced = match
                if matter is not None:
                    others.append((match + ahead, matter))  # it takes the place of its match
                    continue
                places += range(len(places) + ahead, match + 1 + ahead)
                ahead -= 1
                continue
            match += 1
        if matter is not None:
            places += range(len(places) + ahead, match + ahead)
            others.append((match + ahead, matter))
            ahead += 1
    if places or ahead:
        places += range(len(places) + ahead, matches + ahead)
        logins.place = list(map(places.__getitem__, logins.place))
        ends.place = list(map(places.__getitem__, ends.place))
    return Block(lines, logins, ends, others)
