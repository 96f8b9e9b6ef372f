"""rsyslog on loopback, from Debian's packages unpacked by packaging/setup.sh: nothing of the machine's syslog."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.servers.mailservers import tree
from tests.servers.place import Place, Server

MAIN = """
global(workDirectory="{work}" net.enableDNS="off")
{snippet}
action(type="omfile" file="{rest}")
"""


class Rsyslog:
    """A rsyslogd with a snippet of ours. `rest` is the file of what the snippet leaves to the usual rules."""

    def __init__(self, place: Place, name: str, snippet: str) -> None:
        self._place, self._name = place, name
        root = place.directory(name)
        work = place.directory(f"{name}/work")
        self.rest = root / "rest.log"
        self._config = root / "rsyslog.conf"
        self._config.write_text(MAIN.format(work=work, snippet=snippet, rest=self.rest))
        self._pid = root / "pid"
        (library,) = (tree("rsyslog") / "usr/lib").glob("*-linux-gnu*")
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
        self._words: list[str | Path] = [
            tree("rsyslog") / "usr/sbin/rsyslogd",
            "-f",
            self._config,
            "-M",
            library / "rsyslog",
        ]
        subprocess.run([*self._words, "-N1"], env=self._environment, check=True, capture_output=True)
        self.server = self.start()

    def start(self) -> Server:
        """Start it, again after an end."""
        words = [*self._words, "-n", "-i", self._pid]
        self._pid.unlink(missing_ok=True)
        self.server = self._place.start(f"{self._name}.server", words, self._environment)
        self.server.wait_until(self._pid.exists, "write its pid file")
        return self.server
