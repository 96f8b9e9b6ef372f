"""What policy needs of the configuration."""

from __future__ import annotations

from dataclasses import fields

from popauthd.config import Config
from popauthd.policy import Limits


def limits(settings: Config) -> Limits:
    """What policy needs of the configuration, the lists of users left out (see UserFiles)."""
    names = {field.name for field in fields(Limits)} & {field.name for field in fields(settings)}
    return Limits(**{name: getattr(settings, name) for name in names})
