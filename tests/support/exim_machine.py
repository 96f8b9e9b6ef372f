"""A Debian Exim that popauthd can be put into and taken out of, in a directory of its own."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from popauthd.eximsetup import trial
from popauthd.eximsetup.change import disable, enable
from popauthd.eximsetup.commands import must
from popauthd.eximsetup.site import Site
from tests.servers.exim import REMOTE
from tests.servers.place import Place
from tests.support.debian_exim import relocated
from tests.support.helpers import ROOT


@dataclass
class Machine:
    """A machine's Exim in a directory, and what the commands said."""

    root: Path
    site: Site
    said: list[str] = field(default_factory=list)

    def enable(self, via: str = "socket", text: str = "", *, dry_run: bool = False) -> bool:
        self.site.check()
        return enable(self.site, via, text, dry_run=dry_run, say=self.said.append)

    def disable(self, *, dry_run: bool = False) -> bool:
        return disable(self.site, dry_run=dry_run, say=self.said.append)

    def tree(self) -> dict[str, tuple[int, bytes]]:
        """Every file: mode and contents; the generated configuration names the time it was made."""
        found = {}
        for path in sorted((self.root / "exim4").rglob("*")):
            found[str(path)] = (path.stat().st_mode, path.read_bytes() if stat.S_ISREG(path.stat().st_mode) else b"")
        acl = self.site.acl_file
        return {**found, **({str(acl): (acl.stat().st_mode, acl.read_bytes())} if acl.exists() else {})}

    def regenerate(self) -> None:
        """As update-exim4.conf does, run by the administrator."""
        must([self.site.update, "-d", self.site.confdir, "-o", self.site.generated], "update")

    def says(self, client: str = "192.0.2.77", to: str = REMOTE) -> str:
        return trial.play(self.site, self.site.generated, client, to)


def machine_in(place: Place, *, split: bool) -> Machine:
    debian = relocated(place, "light", split)
    (debian.root / "popauthd").mkdir()
    site = Site(
        confdir=debian.root / "exim4",
        acl_file=debian.root / "popauthd/exim-acl",
        generated=debian.config,
        exim=debian.binary,
        update=debian.root / "update-exim4.conf",
        run_dir=debian.root / "run",
        readlookup=ROOT / "exim/readlookup",
        work=debian.root / "work",
    )
    site.update.chmod(0o755)
    debian.generate()
    return Machine(debian.root, site)
