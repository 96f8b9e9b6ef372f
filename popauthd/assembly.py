"""Builds the watcher from the configuration: opens books and map, makes a source for every log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from popauthd.books import DATABASES, SCHEMA, Books
from popauthd.config import Config, SourceConfig
from popauthd.errors import ConfigError
from popauthd.formats import Reading, Recogniser
from popauthd.heal import heal
from popauthd.policy import Limits
from popauthd.relaymap import MapWriter
from popauthd.sources.logfile import LogFile
from popauthd.sources.wake import Waker
from popauthd.watcher import Followed, Watcher


def recogniser(source: SourceConfig, framing: str = "") -> Recogniser:
    """The recogniser for a source's lines; `framing` overrides the configured one. Raises ConfigError."""
    try:
        return Recogniser(
            Reading(
                framing=framing or source.framing,
                timezone=source.timezone,
                timestamp=source.timestamp,
                hostnames=source.hostnames,
                programs=source.programs,
            )
        )
    except ValueError as error:
        raise ConfigError(f"source {source.path}: {error}") from error


def build(settings: Config, sources: Sequence[SourceConfig], limits: Limits) -> Watcher:
    """Open everything. Raises ConfigError or StoreError; nothing stays open then but for the process's end."""
    followed = []
    for source in sources:
        reader = recogniser(source)
        followed.append(Followed(LogFile(source.path, reader.stamp), reader))
    healed = [heal(settings.books_path, DATABASES, SCHEMA.decode("ascii")), heal(settings.map_path)]
    return Watcher(
        limits,
        Books(settings.books_path),
        MapWriter(settings.map_path),
        followed,
        host_list=settings.host_list_path if settings.host_list else "",
        history_seconds=settings.history_seconds,
        notes=[note for note in healed if note],
    )


def build_waker(sources: Sequence[SourceConfig], wake: Callable[[], None]) -> Waker:
    """Start watching the logs' directories; `wake` is called from another thread."""
    waker = Waker([source.path for source in sources], wake)
    waker.start()
    return waker
