"""The configuration written as TOML again, as it is in force, defaults included. For `popauthctl config show`."""

from __future__ import annotations

import tomli_w

from popauthd.config import Config
from popauthd.config.settings import SETTINGS, SOURCE_SETTINGS, Setting

UNITS = {"_seconds": "s", "_ms": "ms"}


def as_toml(config: Config) -> str:
    """What `popauthd.config.load` reads as the same configuration."""
    table: dict[str, object] = {row.key: _value(getattr(config, row.field), row) for row in SETTINGS}
    sources = [{row.key: _value(getattr(one, row.field), row) for row in SOURCE_SETTINGS} for one in config.sources]
    return tomli_w.dumps({**table, "source": sources} if sources else table)


def _value(value: object, row: Setting) -> object:
    """A value as it stands in the file; a length of time has its unit."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        unit = next((unit for ending, unit in UNITS.items() if row.field.endswith(ending)), "")
        return f"{value}{unit}" if unit else value
    if isinstance(row.default, dict) and isinstance(value, tuple):
        return {str(net): f"{seconds}s" for net, seconds in value}
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value)
