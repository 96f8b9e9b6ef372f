"""Exim's hook in a root, put in and taken out by popauthd's own command, which reloads the running Exim itself."""

from __future__ import annotations

from popauthd.eximsetup.plan import VIAS
from tests.package.site import Site


def enable(site: Site, way: str) -> None:
    """Let Exim ask in this way."""
    said = site.root.run("popauthctl", "exim", "enable", "--via", way)
    assert f"Exim asks popauthd through {VIAS[way]}" in said
    assert "Exim reloaded (pid " in said
    site.listens()
    assert f'"via": "{way}"' in site.root.run("popauthctl", "exim", "status", "--json")


def disable(site: Site) -> None:
    """Take it out again."""
    said = site.root.run("popauthctl", "exim", "disable")
    assert "Exim does not ask popauthd" in said
    assert "Exim reloaded (pid " in said
    site.listens()
