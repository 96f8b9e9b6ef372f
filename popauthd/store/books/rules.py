"""What the books must know of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """The defaults switch everything off.

    shared_users: more standing users than this make a shared address; 0 for any number.
    spared: addresses for which that does not count. hold_seconds: how long after its login an open
    session may keep its address allowed; 0 for the plain rule.
    """

    shared_users: int = 0
    spared: Callable[[str], bool] = lambda _address: False
    hold_seconds: int = 0
