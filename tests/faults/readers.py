"""Whoever can be asked whether an address may relay, and how a wrong answer is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from popauthd.errors import StoreError
from popauthd.store.relay_map import MapReader
from tests.faults.clocks import Clocks
from tests.support.helpers import ROOT


class Wrong(NamedTuple):
    """An answer that is not right. step: after which, counted from 0."""

    step: int
    kind: str
    address: str
    who: str
    said: str

    def __str__(self) -> str:
        return f"after step {self.step}: {self.kind}: {self.address}: {self.who} said {self.said}"


class Faulty(Exception):
    """Something was wrong."""

    def __init__(self, wrong: Wrong) -> None:
        super().__init__(str(wrong))
        self.wrong = wrong


class Readers:
    """Asks what is in run_dir, by the machine's clock."""

    def __init__(self, run_dir: Path, clocks: Clocks) -> None:
        self._map = run_dir / "relay.mdb"
        self._list = run_dir / "relay-hosts"
        self._clocks = clocks

    def expiry(self, address: str) -> int:
        """What the map has for an address, 0 for nothing. Not to be asked while it may be damaged."""
        reader = MapReader(str(self._map))
        try:
            return reader.expiry(address) or 0
        except StoreError:
            return 0
        finally:
            reader.close()

    def listed(self, address: str) -> bool:
        """Whether the host list lets an address relay, read as Exim reads it."""
        try:
            lines = self._list.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return False
        found = dict(line.replace('"', "").rsplit(": ", 1) for line in lines)
        return int(found.get(address, 0)) > self._clocks.wall()

    def scripts_say(self, addresses: Iterable[str]) -> dict[str, str]:
        """What exim/readlookup says, a process for each address; whoever says no is asked once more.

        It would itself look again before it says no (`hold_no`), but with these clocks its time.sleep fails.
        """
        said = self._scripts_say(addresses)
        return said | self._scripts_say([address for address, word in said.items() if word != "yes"])

    def _scripts_say(self, addresses: Iterable[str]) -> dict[str, str]:
        scripts = {
            address: subprocess.Popen(
                [ROOT / "exim/readlookup", "--map", self._map, address],
                env=self._clocks.environment,
                stdout=subprocess.PIPE,
            )
            for address in addresses
        }
        return {address: script.communicate()[0].decode().strip() for address, script in scripts.items()}
