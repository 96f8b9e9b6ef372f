"""What policy needs of the configuration."""

from __future__ import annotations

from popauthd.config import Config
from popauthd.policy.limits import Limits


def limits(settings: Config) -> Limits:
    """The settings that policy asks for, without the lists of users (see UserFiles)."""
    return Limits(
        lifetime_seconds=settings.lifetime_seconds,
        future_seconds=settings.future_seconds,
        never=settings.never,
        own_addresses=settings.own_addresses,
        grant_loopback=settings.grant_loopback,
        lifetime_by_network=settings.lifetime_by_network,
        proxies=settings.proxies,
        always=settings.always,
        protocols=settings.protocols,
        require_tls=settings.require_tls,
        refuse_mechanisms=settings.refuse_mechanisms,
        ipv6_prefix=settings.ipv6_prefix,
    )
