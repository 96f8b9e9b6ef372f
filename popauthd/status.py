"""How the running watcher is: what `popauthctl status` and the doctor are told.

The watcher makes a `Status`. It goes over the control socket as one JSON object (`to_json`), and whoever asked has a
`Status` again (`from_json`). The keys of that object are those of `popauthctl status --json`, which people's scripts
read: a key may be added, none may change its name.

Units: `..._at`, `now`, `since` and `until` are epoch seconds UTC. `..._seconds` is a length of time, `..._bytes` a
size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from popauthd.conditions import CONDITIONS, Standing
from popauthd.model import SharedAddress

PRESENT = "present"  # the status of a source that can be read
BIGGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A log file that is followed.

    status: "present", or why it cannot be read: "missing", "unreadable", "refused"; `why` is the sentence for that.
    reading: the file that is read now, which may be a rotated one; offset: bytes of it that are read.
    behind_bytes: what is known to be unread. old_files: rotated files that are watched for late writes.
    long_lines: lines that were too long to be read, since the start.
    """

    path: str
    status: str
    why: str = ""
    reading: str | None = None
    offset: int | None = None
    behind_bytes: int = 0
    last_read_at: int | None = None
    at_end_at: int | None = None
    old_files: int = 0
    long_lines: int = 0

    @property
    def behind(self) -> int:
        """How much is unread; 0 at the end of the log."""
        return self.behind_bytes

    @property
    def behind_text(self) -> str:
        """The same for people."""
        return f"{self.behind_bytes} bytes"

    @property
    def place(self) -> tuple[object, ...]:
        """Up to where it is read; two that are equal mean that nothing was read between them."""
        return self.reading, self.offset, self.behind_bytes


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """A journal that is followed; path: its directory, or "journal" for this machine's.

    status and why: see FileStatus. behind_seconds: how old the last record that was read is, 0 at the end, None before
    the first. dropped_messages: what journald says that it suppressed of the unit's lines, since the start.
    """

    path: str
    status: str
    why: str = ""
    behind_seconds: int | None = None
    last_record_at: int | None = None
    last_read_at: int | None = None
    at_end_at: int | None = None
    dropped_messages: int = 0

    @property
    def behind(self) -> int:
        """How much is unread; 0 at the end of the journal."""
        return self.behind_seconds or 0

    @property
    def behind_text(self) -> str:
        """The same for people."""
        return f"{self.behind} s"

    @property
    def place(self) -> tuple[object, ...]:
        """Up to where it is read; two that are equal mean that nothing was read between them."""
        return (self.last_record_at,)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source with the time of the last login in it since the start; None: there was none.

    last_dovecot_line_at: when a line of Dovecot, or of another server of `formats`, was last seen in it, to a minute.
    """

    name: str
    state: FileStatus | JournalStatus
    last_login_at: int | None = None
    last_dovecot_line_at: int | None = None


@dataclass(frozen=True, slots=True)
class PushStatus:
    """A way in which Dovecot itself tells of logins; where: the path of its socket, or its address and port."""

    name: str
    where: str


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Another node of the cluster. seen_at: when it was last heard of.

    lag_ms: how old its last event was when it came here. skew_ms: how far its clock is behind the engine's.
    """

    node: str
    seen_at: int
    lag_ms: int
    skew_ms: int
    version: str


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """This node in its cluster. place: up to where the stream is read. unsent: how many events wait to be sent.

    gaps: how often something of the stream was lost, since the start. reading, sending: what is wrong with either half
    of the connection to the engine; "" if it works.
    """

    node: str
    place: str
    unsent: int
    gaps: int
    reading: str
    sending: str
    peers: tuple[PeerStatus, ...]


@dataclass(frozen=True, slots=True)
class ConfigurationStatus:
    """The configuration that the watcher goes by. digest: SHA-256 of its file, "" where there is none.

    since: when it was read.
    """

    path: str
    digest: str
    since: int


@dataclass(frozen=True, slots=True)
class Status:
    """The watcher as it is `now`, by its own clock.

    degraded: what is wrong, though the watcher goes on; "" if all is well. dry_run: nothing is published.
    addresses: how many may relay. held: how many logins an open session holds. today: the counters of this day (UTC),
    see popauthd/counters.py. notes: what an administrator should know, the newest last. conditions: what is not well,
    the worst first; `degraded` is made of those that are degraded. configuration: what the watcher goes by.
    cluster: None for a node by itself.
    """

    version: str
    pid: int
    now: int
    degraded: str
    dry_run: bool
    addresses: int
    held: int
    shared: tuple[SharedAddress, ...]
    sources: tuple[SourceStatus, ...]
    pushed: tuple[PushStatus, ...]
    today: Mapping[str, int]
    notes: tuple[str, ...]
    conditions: tuple[Standing, ...] = ()
    configuration: ConfigurationStatus | None = None
    cluster: ClusterStatus | None = None


def to_json(status: Status) -> dict[str, Any]:
    """The object that goes over the control socket."""
    sources = [
        {
            "name": source.name,
            **asdict(source.state),
            "last_login_at": source.last_login_at,
            "last_dovecot_line_at": source.last_dovecot_line_at,
        }
        for source in status.sources
    ]
    conditions = [
        {"word": one.word, "severity": one.severity, "about": one.about, "evidence": one.evidence,
         "since": one.since, "advice": one.advice}
        for one in status.conditions
    ]  # fmt: skip
    return {**asdict(status), "sources": sources, "conditions": conditions}


def from_json(given: Mapping[str, Any]) -> Status:
    """The Status that an object tells. Raises ValueError where it is not in good form, whatever it is."""
    return Status(
        _text(given, "version"),
        _number(given, "pid"),
        _number(given, "now"),
        _text(given, "degraded"),
        _truth(given, "dry_run"),
        _number(given, "addresses"),
        _number(given, "held"),
        tuple(_shared(row) for row in _rows(given, "shared")),
        tuple(_source(row) for row in _rows(given, "sources")),
        tuple(PushStatus(_text(row, "name"), _text(row, "where")) for row in _rows(given, "pushed")),
        _numbers(given.get("today")),
        _texts(given.get("notes")),
        tuple(_condition(row) for row in _rows(given, "conditions")),
        _configuration(given.get("configuration")),
        _cluster(given.get("cluster")),
    )


def _cluster(given: object) -> ClusterStatus | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError("the cluster is not an object")  # noqa: TRY004 - one kind of error
    return ClusterStatus(
        _text(given, "node"),
        _text(given, "place"),
        _number(given, "unsent"),
        _number(given, "gaps"),
        _text(given, "reading"),
        _text(given, "sending"),
        tuple(_peer(row) for row in _rows(given, "peers")),
    )


def _peer(row: Mapping[str, Any]) -> PeerStatus:
    skew = row.get("skew_ms")
    if not isinstance(skew, int) or isinstance(skew, bool) or abs(skew) > BIGGEST:
        raise ValueError("skew_ms is not a number that can be")
    return PeerStatus(_text(row, "node"), _number(row, "seen_at"), _number(row, "lag_ms"), skew, _text(row, "version"))


def _configuration(given: object) -> ConfigurationStatus | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError("the configuration is not an object")  # noqa: TRY004 - one kind of error
    return ConfigurationStatus(_text(given, "path"), _text(given, "digest"), _number(given, "since"))


def _condition(row: Mapping[str, Any]) -> Standing:
    if row.get("word") not in CONDITIONS:
        raise ValueError(f"{row.get('word')!r} is no condition that this version knows")
    return Standing(_text(row, "word"), _text(row, "about"), _text(row, "evidence"), _number(row, "since"))


def _shared(row: Mapping[str, Any]) -> SharedAddress:
    return SharedAddress(_text(row, "address"), _number(row, "since"), _number(row, "until"), _number(row, "users"))


def _source(row: Mapping[str, Any]) -> SourceStatus:
    state = _file(row) if "behind_bytes" in row else _journal(row)
    return SourceStatus(_text(row, "name"), state, _maybe(row, "last_login_at"), _maybe(row, "last_dovecot_line_at"))


def _file(row: Mapping[str, Any]) -> FileStatus:
    return FileStatus(
        _text(row, "path"),
        _text(row, "status"),
        _text(row, "why"),
        None if row.get("reading") is None else _text(row, "reading"),
        _maybe(row, "offset"),
        _number(row, "behind_bytes"),
        _maybe(row, "last_read_at"),
        _maybe(row, "at_end_at"),
        _number(row, "old_files"),
        _number(row, "long_lines"),
    )


def _journal(row: Mapping[str, Any]) -> JournalStatus:
    return JournalStatus(
        _text(row, "path"),
        _text(row, "status"),
        _text(row, "why"),
        _maybe(row, "behind_seconds"),
        _maybe(row, "last_record_at"),
        _maybe(row, "last_read_at"),
        _maybe(row, "at_end_at"),
        _number(row, "dropped_messages"),
    )


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return value
    raise ValueError(f"{key} is not text")


def _truth(row: Mapping[str, Any], key: str) -> bool:
    value = row.get(key)
    if isinstance(value, bool):
        return value
    raise ValueError(f"{key} is neither true nor false")


def _number(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value <= BIGGEST:
        raise ValueError(f"{key} is not a number that can be")
    return value


def _maybe(row: Mapping[str, Any], key: str) -> int | None:
    return None if row.get(key) is None else _number(row, key)


def _rows(given: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    rows = given.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{key} is not a list of objects")
    return rows


def _numbers(given: object) -> dict[str, int]:
    if isinstance(given, dict):
        return {str(name): _number(given, name) for name in given}
    raise ValueError("the counters are not an object")


def _texts(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise ValueError("the notes are not a list of texts")
    return tuple(given)
