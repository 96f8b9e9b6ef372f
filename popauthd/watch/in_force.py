"""The configuration that the watcher goes by, and whether the file still says the same.

The file is looked at every LOOK_SECONDS, and when somebody asks for the status. A change counts when the file has
stayed the same from one look to the next: an editor may be writing it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from popauthd import config
from popauthd.config import Config, Loaded
from popauthd.config.written import Difference, differences
from popauthd.errors import ConfigError
from popauthd.status import ConfigurationStatus
from popauthd.watch.health import Health

LOOK_SECONDS = 2.0
WRONG, NOT_IN_FORCE = "configuration-wrong", "configuration-not-in-force"
RESTART = "systemctl restart popauthd popauthd-lookup"


class InForce:
    """given: the file as it was named at the start, None for the usual one. now: epoch seconds."""

    def __init__(self, given: str | None, loaded: Loaded, health: Health, now: int) -> None:
        self.loaded = loaded
        self._given = given
        self._health = health
        self._since = now
        self._refused: tuple[str, str] | None = None  # the digest of a file that could not be put in force, and why
        self._seen: tuple[int, ...] = ()
        self._judged: tuple[int, ...] = ()
        self._look_at = 0.0

    @property
    def status(self) -> ConfigurationStatus:
        """What the watcher goes by, for `popauthctl status`."""
        return ConfigurationStatus(str(Path(self.loaded.path).absolute()), self.loaded.digest, self._since)

    def look(self, now: int, *, at_once: bool = False) -> None:
        """Compare the file with what is in force, if that is due or at once."""
        if not at_once and time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        before, self._seen = self._seen, _identity(self.loaded.path)
        if at_once or self._seen == before != self._judged:
            self._judged = self._seen
            self._judge(now)

    def _judge(self, now: int) -> None:
        try:
            found = config.read(self._given)
        except ConfigError as error:
            self._health.over(NOT_IN_FORCE, self.loaded.path)
            self._health.holds(WRONG, "", str(error), now)
            return
        if self._refused is not None and found.digest == self._refused[0]:
            self._health.holds(WRONG, "", self._refused[1], now)
        else:
            self._refused = None
            self._health.over(WRONG)
        differing = differences(self.loaded.config, found.config)
        if differing:
            self._health.holds(NOT_IN_FORCE, self.loaded.path, in_words(differing), now)
        else:
            self._health.over(NOT_IN_FORCE, self.loaded.path)

    def read(self) -> tuple[Loaded, tuple[Difference, ...]]:
        """The file as it is now, and what differs. Raises ConfigError if it is wrong, or if it needs a restart."""
        found = config.read(self._given)
        differing = differences(self.loaded.config, found.config)
        if keys := [one.key for one in differing if one.needs_restart]:
            named = ", ".join(keys)
            raise ConfigError(f"{found.path}: a reload cannot change {named}; nothing was changed. Restart: {RESTART}")
        return found, differing

    def refused(self, error: str, now: int) -> None:
        """The file as it is now could not be put in force: that is told until it, or another one, is."""
        try:
            found = config.read(self._given)
        except ConfigError:
            self._refused = None  # `look` finds it out by itself
        else:
            restart = any(one.needs_restart for one in differences(self.loaded.config, found.config))
            self._refused = None if restart else (found.digest, error)
        self.look(now, at_once=True)

    def taken(self, loaded: Loaded, now: int) -> None:
        """This configuration is in force from now on."""
        self.loaded, self._since, self._refused = loaded, now, None
        self.look(now, at_once=True)

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self.loaded.config


def in_words(differing: tuple[Difference, ...]) -> str:
    """The keys that differ, each with the value in force and the file's."""
    return "; ".join(
        f"{one.key} is {one.before}, the file says {one.after}{' (needs a restart)' if one.needs_restart else ''}"
        for one in differing
    )


def _identity(path: str) -> tuple[int, ...]:
    """What the file is now; the number of the error if that cannot be told."""
    try:
        found = os.stat(path)  # noqa: PTH116 - every two seconds
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode
