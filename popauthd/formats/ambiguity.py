"""What makes a line ambiguous: two servers know it, each in its own way. Such a line is refused.

This can happen where the lines of one program may have the formats of two servers. An attacker chooses user names,
reverse DNS names and client ids, so a line that can be read in two ways must not grant in either.
"""

from __future__ import annotations

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.model import Ignored, Refusal


def read(rows: tuple[Format, ...], frame: Frame, at: int) -> tuple[str, Outcome]:
    """The format's name and the outcome of the one server that knows the line; a refusal if two servers know it.

    The rows of one server are tried in their order, and the first that knows the line decides for this server.
    """
    if len(rows) == 1:
        return _first(rows, frame, at)
    servers: dict[str, tuple[Format, ...]] = {}
    for row in rows:
        servers[row.part_of] = (*servers.get(row.part_of, ()), row)
    found = [_first(group, frame, at) for group in servers.values()]
    known = [pair for pair in found if pair[1] is not None]
    mattering = [pair for pair in known if not isinstance(pair[1], Ignored)]
    if len(mattering) < 2:
        return (mattering or known or [("", None)])[0]
    refused = next((pair for pair in mattering if isinstance(pair[1], Refusal)), None)
    return refused or ("", Refusal("ambiguous", at))


def _first(rows: tuple[Format, ...], frame: Frame, at: int) -> tuple[str, Outcome]:
    """The name and the outcome of the first format that knows the line; "" and None if no format does."""
    for row in rows:
        outcome = row.read(frame, at)
        if outcome is not None:
            return row.name, outcome
    return "", None
