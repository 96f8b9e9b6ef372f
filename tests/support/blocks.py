"""A block in columns, made from events: what the recogniser gives for a log whose logins are all of the common form."""

from __future__ import annotations

from collections.abc import Sequence

from popauthd.formats.columns import Block
from popauthd.formats.servers import dovecot
from popauthd.model import Login, Matter, SessionEnd


def block_of(events: Sequence[Matter], *, common: bool = True) -> Block:
    """The block of these events. Logins and ends are in columns where `common` and Dovecot writes them so."""
    block = Block(len(events))
    for place, event in enumerate(events):
        if common and isinstance(event, Login) and event.format == dovecot.NAME:
            _add_login(block, place, event)
        elif common and isinstance(event, SessionEnd) and event.format == dovecot.NAME and event.session:
            ends = block.ends
            ends.place.append(place)
            ends.at.append(event.at)
            ends.session.append(event.session.encode())
            ends.user.append(event.user.encode())
            ends.protocol.append(event.protocol)
        else:
            block.others.append((place, event))
    return block


def _add_login(block: Block, place: int, login: Login) -> None:
    logins = block.logins
    logins.place.append(place)
    logins.at.append(login.at)
    logins.address.append(login.address.encode())
    logins.user.append(login.user.encode())
    logins.protocol.append(login.protocol)
    logins.method.append(login.method)
    logins.tls.append(login.tls)
    logins.session.append(login.session.encode())
    logins.local.append(login.local_address.encode())
