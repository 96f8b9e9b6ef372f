"""The settings that the books must know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings. By default, all of this is switched off.

    shared_users: an address is shared if more users than this stand on it; 0 for any number. spared: whether an
    address is never counted as shared. hold_seconds: how long after its login an open session may keep its address
    allowed; 0 if sessions are not held. pseudonyms: by what names other nodes know a user, the one to send first; none
    outside of a cluster. replicate: what this node learns is told to other nodes.
    """

    shared_users: int = 0
    spared: Callable[[str], bool] = lambda _address: False
    hold_seconds: int = 0
    pseudonyms: Callable[[str], tuple[str, ...]] = lambda _user: ()
    replicate: bool = False
