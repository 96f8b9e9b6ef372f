"""A login, networks and limits, for tests of policy and of what judges by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from popauthd import address
from popauthd.config import Config
from popauthd.config.limits import limits
from popauthd.model import Login
from popauthd.policy.limits import Limits

NOW = 1_795_467_610
LOGIN = Login(NOW - 10, "192.0.2.10", "alice", "imap", local_address="198.51.100.5", format="dovecot")


def default_limits(**changes: Any) -> Limits:
    """The limits of a configuration without any setting, with these changes."""
    return replace(limits(Config()), **changes)


def nets(*texts: str) -> tuple[address.Network, ...]:
    """The networks as the configuration has them."""
    return tuple(address.network(text) for text in texts)
