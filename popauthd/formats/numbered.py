"""What each line of a block says, by the number of the line: for `popauthctl recognise`, which shows every line.

Logins and session ends of the common form stay in columns (see columns.py), so no object is made for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from operator import add

from popauthd.formats.columns import Ends, Logins
from popauthd.formats.fast_path import Taken
from popauthd.formats.servers import dovecot
from popauthd.model import Event, Failure, Ignored

OTHER, EMPTY = Ignored("other"), Ignored("empty")


@dataclass(slots=True)
class Numbered:
    """What the lines of a block say; they are numbered from 0 on.

    logins, ends: their place is the number of the line. others: of the lines in no column. A line that is nowhere is
    OTHER.
    """

    lines: int
    logins: Logins
    ends: Ends
    others: dict[int, Event]

    def events(self) -> list[Event]:
        """An event for each line, as the strict reader gives it line by line, and as slow."""
        events: list[Event] = [OTHER] * self.lines
        for number, event in self.others.items():
            events[number] = event
        for number, login in zip(self.logins.place, self.logins.events(), strict=True):
            events[number] = login
        for number, end in zip(self.ends.place, self.ends.events(), strict=True):
            events[number] = end
        return events


def one_by_one(events: Iterable[Event]) -> Numbered:
    """The lines, where each was read alone."""
    others = dict(enumerate(events))
    return Numbered(len(others), Logins(), Ends(), others)


def number(block: bytes, taken: Taken, left: bytes, judged: Iterable[tuple[int, int, Event]]) -> Numbered:
    """The lines of a block of which many were taken.

    left: the lines that were not taken, together. judged: what the strict reader says of a line: its place (see
    columns.put_in_order), where it begins in `left` (-1 if it is of a match), and the event; in the order of the log.
    """
    judged = list(judged)
    of_match = [1] * (len(taken.gaps) - 1)  # lines
    for match, lines in Counter(place >> 1 for place, start, _event in judged if start < 0).items():
        of_match[match] = lines
    feeds = [gap.count(b"\n") if gap else 0 for gap in taken.gaps]
    first = list(accumulate(map(add, feeds, [0, *of_match])))  # line of each match, and the end of the block
    others: dict[int, Event] = {}
    if block.startswith(b"\n") or b"\n\n" in block:
        others.update((line, EMPTY) for line, raw in enumerate(block.split(b"\n")[:-1]) if not raw)
    for place, told in taken.failures:
        others[first[place >> 1]] = Ignored("failure", dovecot.NAME, told if isinstance(told, Failure) else None)
    begins = [0, *accumulate(map(len, taken.gaps))]
    doubted: Counter[int] = Counter()  # lines of each match so far
    for place, start, event in judged:
        match = place >> 1
        if start < 0:
            others[first[match] + doubted[match]] = event
            doubted[match] += 1
        else:
            others[first[match] - feeds[match] + left.count(b"\n", begins[match], start) - 1] = event
    logins, ends = taken.logins, taken.ends
    logins.place = list(map(first.__getitem__, logins.place))
    ends.place = list(map(first.__getitem__, ends.place))
    return Numbered(first[-1] - 1, logins, ends, others)
