"""Exim's hook in a root, put in and taken out by hand as /usr/share/doc/popauthd/README.exim.md says."""

from __future__ import annotations

from pathlib import Path

from tests.package.site import Site

SHARE = "usr/share/popauthd/exim"
BEGIN, END = "# BEGIN popauthd\n", "# END popauthd\n"


def _macros(site: Site) -> Path:
    name = "conf.d/main/00_popauthd" if site.split else "exim4.conf.localmacros"
    return site.root.path / "etc/exim4" / name


def enable(site: Site, way: str) -> None:
    """Let Exim ask in this way, and start it with the new configuration."""
    path = site.root.path
    acl = path / "etc/popauthd/exim-acl"
    acl.write_text((path / SHARE / f"acl-{way}").read_text())
    acl.chmod(0o644)
    if not _macros(site).exists():
        _macros(site).write_text(BEGIN + (path / SHARE / "popauthd-macros").read_text() + END)
    site.root.run("update-exim4.conf")
    site.root.run("exim4", "-bV")
    site.start_exim()


def disable(site: Site) -> None:
    """Take it out again."""
    (site.root.path / "etc/popauthd/exim-acl").unlink()
    _macros(site).unlink()
    site.root.run("update-exim4.conf")
    site.start_exim()
