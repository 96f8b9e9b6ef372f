"""Exim's hook in a root, put in and taken out by popauthd's own command."""

from __future__ import annotations

from tests.package.site import Site


def enable(site: Site, way: str) -> None:
    """Let Exim ask in this way, and start it with the new configuration."""
    assert f"Exim asks popauthd through the {way}" in site.root.run("popauthctl", "exim", "enable", "--via", way)
    assert f'"via": "{way}"' in site.root.run("popauthctl", "exim", "status", "--json")
    site.start_exim()


def disable(site: Site) -> None:
    """Take it out again."""
    assert "Exim does not ask popauthd" in site.root.run("popauthctl", "exim", "disable")
    site.start_exim()
