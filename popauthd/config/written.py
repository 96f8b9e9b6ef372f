"""Settings as people write them, and what differs between two configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from popauthd.config.settings import (
    CLUSTER_SETTINGS,
    NEEDS_RESTART,
    SETTINGS,
    SOURCE_SETTINGS,
    ClusterConfig,
    Config,
    Setting,
    SourceConfig,
)

UNITS = {"_seconds": "s", "_ms": "ms"}
LARGER = {"s": (60, "m"), "m": (60, "h"), "h": (24, "d")}


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that two configurations have different values for, each as it may be written in the file."""

    key: str
    before: str
    after: str

    @property
    def needs_restart(self) -> bool:
        """Whether a reload cannot put it in force."""
        return self.key.partition(" ")[0] in NEEDS_RESTART


def plain(value: object, row: Setting) -> object:
    """A value as it stands in the file, before it is written as TOML.

    A length of time has the largest unit of which it is a whole number.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        unit = next((unit for ending, unit in UNITS.items() if row.field.endswith(ending)), "")
        return _short(f"{value}{unit}") if unit else value
    if isinstance(row.default, dict) and isinstance(value, tuple):
        return {str(key): item if isinstance(item, str) else _short(f"{item}s") for key, item in value}
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value)


def written(value: object, row: Setting) -> str:
    """A value in one line, as it may be written in the file."""
    found = plain(value, row)
    if isinstance(found, Mapping):
        pairs = ", ".join(f"{json.dumps(key)} = {json.dumps(text)}" for key, text in found.items())
        return f"{{ {pairs} }}"
    return json.dumps(found, ensure_ascii=False)


def _short(text: str) -> str:
    count, unit = int(text.rstrip("smh")), text.lstrip("0123456789")
    while count and unit in LARGER and count % LARGER[unit][0] == 0:
        count, unit = count // LARGER[unit][0], LARGER[unit][1]
    return f"{count}{unit}"


def differences(before: Config, after: Config) -> tuple[Difference, ...]:
    """What differs, by key. A [[source]] table is known by its log."""
    ours = _rows("", SETTINGS, before, after)
    return (*ours, *_cluster(before.cluster, after.cluster), *_sources(before.sources, after.sources))


def _rows(prefix: str, rows: tuple[Setting, ...], before: object, after: object) -> Iterator[Difference]:
    for row in rows:
        one, other = getattr(before, row.field), getattr(after, row.field)
        if one != other:
            yield Difference(f"{prefix}{row.key}", written(one, row), written(other, row))


def _cluster(before: ClusterConfig | None, after: ClusterConfig | None) -> Iterator[Difference]:
    if (before is None) != (after is None):
        named = ("not there" if one is None else "there" for one in (before, after))
        yield Difference("[cluster]", *named)
    else:
        yield from _rows("[cluster] ", CLUSTER_SETTINGS, before or ClusterConfig(), after or ClusterConfig())


def _sources(before: tuple[SourceConfig, ...], after: tuple[SourceConfig, ...]) -> Iterator[Difference]:
    ours, theirs = ({source.name: source for source in sources} for sources in (before, after))
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            yield Difference(f"[[source]] {name}", _followed(one), _followed(other))
        else:
            yield from _rows(f"[[source]] {name}: ", SOURCE_SETTINGS, one, other)


def _followed(source: SourceConfig | None) -> str:
    return "not named" if source is None else "named"
