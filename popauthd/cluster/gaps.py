"""Whether a stream has lost something between what we have read of it and now. Pure.

The ids alone do not tell: after a FLUSHALL, or a failover to a replica that lacks the end, new entries get ids that are
later than ours. So what was read is counted, and compared with what the engine says that there ever was.

LIMIT: a replica that lacks as many entries as it then got with ids before ours, because its clock is behind, looks
complete. What each node publishes again every ten minutes heals that.
"""

from __future__ import annotations

from popauthd.cluster.stream import BEGIN, Info
from popauthd.cluster.traffic import Place

GONE = "the stream is gone (FLUSHALL, or a server without it)"
BACK = "the stream ends before what was read of it (an older copy, or another server)"
TRIMMED = "entries were removed before they were read (this node was away for longer than they are kept)"
MISCOUNTED = "the stream does not hold what was read of it (FLUSHALL, or a replica that lacked the end)"


def order(entry_id: str) -> tuple[int, int]:
    """What ids are compared by."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


def look(place: Place, info: Info, *, begun: bool = False) -> str:
    """What is lost, a sentence; "" for nothing. place: up to where the stream was read.

    begun: it was read from its beginning, and its position is too low by what was removed just before that.
    """
    if place.id in ("", BEGIN):
        return ""
    if not info.last_id or info.last_id == BEGIN:
        return GONE
    if order(info.last_id) < order(place.id):
        return BACK
    at_end = info.last_id == place.id
    if place.position >= 0 and info.entries_added >= 0:
        if info.entries_added < place.position or (at_end and not begun and info.entries_added != place.position):
            return MISCOUNTED
        if begun:
            return ""
        return TRIMMED if info.entries_added - info.length > place.position else ""
    return TRIMMED if not at_end and (not info.first_id or order(info.first_id) > order(place.id)) else ""
