"""What a cluster needs of the engine that carries its events: an append-only stream, read by every node from its own
place. The engine itself is in engine.py; the simulation in tests/sim/ has another.

Ids are the engine's: `milliseconds-number`, growing. "" stands for no id. The milliseconds are the engine's clock at
the time of the append, whatever the sender says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from popauthd.errors import UnavailableError

BEGIN = "0-0"
"""The id before every entry."""

Fields = Mapping[bytes, bytes]
Entry = tuple[str, dict[bytes, bytes]]

WORDS: Mapping[str, str] = {
    "refused": "nothing listens there, or the name of the host is not known",
    "timeout": "it did not answer in time",
    "auth": "it does not let us in, or not do what we need",
    "readonly": "it is a replica, and takes nothing",
    "full": "it has no room, or cannot write to its disk",
    "loading": "it is still reading its data",
    "wrong-type": "the stream's name holds something else",
    "lost": "the connection broke",
    "protocol": "it answered what we do not understand",
}
"""What an EngineError's word means."""


class EngineError(UnavailableError):
    """The engine does not do what it was asked now. word: a key of WORDS. text: what it said, for administrators."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word
        self.text = text


@dataclass(frozen=True, slots=True)
class Info:
    """A stream as it is now. first_id, last_id: of its entries; "" if it is not there. last_id stays when all entries
    are trimmed, and first_id is "" then. entries_added: all there ever were, -1 if the engine cannot tell.
    """

    first_id: str = ""
    last_id: str = ""
    entries_added: int = 0
    length: int = 0


class Stream(Protocol):
    """One stream. Every method raises EngineError, and none waits longer than the time-outs it was made with."""

    def append(self, entries: Sequence[Fields], keep_after_ms: int) -> list[str]:
        """Append entries, in order; returns their ids. Entries from before keep_after_ms may go.

        keep_after_ms: epoch milliseconds by the engine's clock, see time_ms: by a clock that is ahead of it, what was
        just appended would go.
        After an error some may have been appended: appending them again does no harm, as they merge by maximum.
        """

    def read(self, after: str, count: int, block_ms: int) -> list[Entry]:
        """Up to `count` entries behind an id, in order. With none, wait up to block_ms for one (0: do not wait)."""

    def info(self) -> Info:
        """The stream's ends and how much went through it."""

    def time_ms(self) -> int:
        """The engine's clock, epoch milliseconds."""

    def close(self) -> None:
        """Let the connection go. It is made again when it is needed. Never raises."""


def id_ms(entry_id: str) -> int:
    """The engine's time in an entry's id, epoch milliseconds."""
    return int(entry_id.partition("-")[0])
