"""The configuration written as TOML again, defaults included. For `popauthctl config show`."""

from __future__ import annotations

import tomli_w

from popauthd.config import ClusterConfig, Config, SourceConfig
from popauthd.config.settings import CLUSTER_SETTINGS, SETTINGS, SOURCE_SETTINGS, Setting
from popauthd.config.written import plain

Section = Config | ClusterConfig | SourceConfig


def as_table(config: Config, *, changed: bool = False) -> dict[str, object]:
    """The settings by their keys, as they stand in the file. changed: without those that are the default."""
    table = _rows(config, Config(), SETTINGS, changed=changed)
    if config.cluster is not None:
        table["cluster"] = _rows(config.cluster, ClusterConfig(), CLUSTER_SETTINGS, changed=changed)
    sources = [_rows(one, SourceConfig(), SOURCE_SETTINGS, changed=changed) for one in config.sources]
    return {**table, "source": sources} if sources else table


def as_toml(table: dict[str, object]) -> str:
    """What `popauthd.config.load` reads as the same configuration."""
    return tomli_w.dumps(table)


def _rows(config: Section, default: Section, rows: tuple[Setting, ...], *, changed: bool) -> dict[str, object]:
    return {
        row.key: plain(getattr(config, row.field), row)
        for row in rows
        if not changed or getattr(config, row.field) != getattr(default, row.field)
    }
