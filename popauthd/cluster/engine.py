"""The stream of a cluster in Redis or Valkey, 6.2 or newer.

Entries are appended with XADD, which also trims what is older than asked, and read with XREAD from an id that the
reader knows. It never reads from `$`, which would skip what came in between, and it has no consumer group: every node
needs every entry, and a group steps back after a failover. Nothing is ever written but to the one stream.

A connection is made when it is needed. After any error it is given up, and the next call looks for the primary anew:
a primary that has become a replica, or hangs, holds us no longer than one call. `read`, and `info` each time, make sure
that they ask a primary: a replica answers them too, with what it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from popauthd.cluster.connection import NO_SUCH_KEY, Connection, Word
from popauthd.cluster.primary import Access, find_primary, must_be_primary
from popauthd.cluster.stream import EngineError, Entry, Fields, Info

AT_ONCE = 500  # entries that are sent before an answer is read: what is on its way must fit into the sockets' buffers


class RedisStream:
    """The stream `name`; see `popauthd.cluster.stream.Stream`, which this is."""

    def __init__(self, access: Access, name: str) -> None:
        self._access = access
        self._name = name
        self._connection: Connection | None = None

    @property
    def where(self) -> str:
        """The server that is asked now; "" if none is."""
        return self._connection.where if self._connection is not None else ""

    def append(self, entries: Sequence[Fields], keep_after_ms: int) -> list[str]:
        """Append entries; see Stream. They are trimmed by whole nodes of the stream (`~`), so later than asked."""
        found: list[str] = []
        for begin in range(0, len(entries), AT_ONCE):
            some = entries[begin : begin + AT_ONCE]
            trim: tuple[Word, ...] = ("MINID", "~", max(0, keep_after_ms))
            commands = [("XADD", self._name, *trim, "*", *_flat(fields)) for fields in some]
            found += [_text(answer) for answer in self._ask_all(commands)]
        return found

    def read(self, after: str, count: int, block_ms: int) -> list[Entry]:
        """Read entries behind an id; see Stream."""
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        answer = self._ask("XREAD", "COUNT", count, *block, "STREAMS", self._name, after, wait=block_ms / 1000)
        try:
            # RESP 2: pairs of a stream and its entries; RESP 3: a map.
            of_streams = answer.values() if isinstance(answer, dict) else [pair[1] for pair in answer or ()]
            return [(_text(entry[0]), _pairs(entry[1])) for entries in of_streams for entry in entries]
        except (TypeError, IndexError, AttributeError, UnicodeDecodeError) as error:
            raise self._not_understood(answer) from error

    def info(self) -> Info:
        """The stream as it is; see Stream."""
        try:
            must_be_primary(self._connected())
            answer = self._ask("XINFO", "STREAM", self._name)
        except EngineError as error:
            self.close()
            if NO_SUCH_KEY in error.text:
                return Info()
            raise
        try:
            found = answer if isinstance(answer, dict) else _pairs(answer)
            first = found.get(b"first-entry")
            last_id = _text(found[b"last-generated-id"])
            return Info(
                _text(first[0]) if first else "",
                last_id if last_id != "0-0" else "",
                int(found.get(b"entries-added", -1)),
                int(found[b"length"]),
            )
        except (TypeError, IndexError, KeyError, ValueError, AttributeError) as error:
            raise self._not_understood(answer) from error

    def time_ms(self) -> int:
        """The server's clock; see Stream."""
        answer = self._ask("TIME")
        try:
            return int(answer[0]) * 1000 + int(answer[1]) // 1000
        except (TypeError, IndexError, ValueError) as error:
            raise self._not_understood(answer) from error

    def close(self) -> None:
        """Let the connection go; see Stream."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = find_primary(self._access)
        return self._connection

    def _ask(self, *words: Word, wait: float = 0.0) -> Any:
        return self._ask_all([words], wait)[0]

    def _ask_all(self, commands: Sequence[Sequence[Word]], wait: float = 0.0) -> list[Any]:
        try:
            return self._connected().ask_all(commands, wait)
        except EngineError:
            self.close()
            raise

    def _not_understood(self, answer: object) -> EngineError:
        where = self.where
        self.close()
        return EngineError("protocol", f"{where}: an answer that is not understood: {str(answer)[:80]!r}")


def _flat(fields: Fields) -> Iterator[bytes]:
    for pair in fields.items():
        yield from pair


def _pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    """What is told as names and values in turns, as a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _text(answer: bytes) -> str:
    return answer.decode("ascii")
