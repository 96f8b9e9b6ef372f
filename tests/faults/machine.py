"""A machine with popauthd on it, to which things happen in any order, and everybody who can be asked who relays.

Steps are plain tuples, so that a sequence can be printed, cut and played again. After each the watcher is waited for (a
login of its own, a marker, must come through, and then a question must be answered), and then everybody is asked about
every address: the map, by its own reader; the host list; exim/readlookup; the socket. Truth says what is right.
The map is also asked until when: an entry that ends too late is found long before it does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from popauthd.control_client import ask
from popauthd.errors import PopauthdError
from tests.faults.clocks import Clocks
from tests.faults.material import ADDRESSES, RULES, STRANGER, configuration, line
from tests.faults.readers import Faulty, Readers, Wrong
from tests.faults.truth import FUTURE_SECONDS, Login, Moment, Truth
from tests.support.daemons import Installation
from tests.support.helpers import eventually
from tests.support.logworld import World as Log

Step = tuple[str | int, ...]
MARKER = "marker"  # a user whom no configuration refuses
PARTS = ("watch", "respond")
SETTLE_SECONDS = 30.0
HOST_LIST_SECONDS = 20.0  # it follows the map at the next look, and is written for a tenth of the time at most


class Machine:
    """The world of one sequence. `play` raises Faulty at the first wrong answer."""

    def __init__(self, directory: Path, *, mounting: bool) -> None:
        directory.mkdir(parents=True)
        self.clocks = Clocks(directory, mounting=mounting)
        self.log = Log(directory, "dovecot.log")
        self.truth = Truth(RULES[0])
        self.directory = directory
        self.installation = self.install()
        self._control = str(self.installation.run_dir / "control.sock")
        self._readers = Readers(self.installation.run_dir, self.clocks)
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self.step = 0
        self._markers = 0
        self._settled = False
        self.map_whole = self._new_responder = False

    def install(self) -> Installation:
        """Write the configuration anew, for the limits that are to be in force."""
        made = Installation(self.directory, configuration(self.truth.rules, self.directory))
        made.prefix, made.environment = self.clocks.prefix, self.clocks.environment
        return made

    def now(self) -> Moment:
        return Moment(self.clocks.true(), self.clocks.wall(), self.clocks.frame)

    def play(self, steps: list[Step], happen: Mapping[str, Callable[..., None]]) -> None:
        """Do one step after the other, and ask after each; after "hurry" the next step is followed by the one after.

        happen: what each step's name stands for.
        """
        hurried = False
        for self.step, (name, *arguments) in enumerate(steps):
            if name == "hurry":
                hurried = True
                continue
            self._settled = False
            happen[str(name)](self, *arguments)
            if not hurried:
                self.settle()
                self._ask_everybody()
            hurried = False

    def close(self) -> None:
        """End every process."""
        self.end_all(signal.SIGKILL)

    def runs(self, part: str) -> bool:
        return part in self._parts and self._parts[part].poll() is None

    def pid(self, part: str) -> int:
        """The process of a part that was started; `unshare` and `sh` before it become it."""
        return self._parts[part].pid

    def settle(self) -> None:
        """Wait until a running watcher has read everything, and has gone once through its loop after that."""
        for part, process in self._parts.items():
            if process.poll() is not None and self.map_whole:
                raise Faulty(Wrong(self.step, "ended by itself", part, str(process.poll()), "nothing"))
        if not self.runs("watch"):
            return
        until = time.monotonic() + SETTLE_SECONDS
        while not self._marker_comes_through():
            self._sit_out_revocations()
            if not self.runs("watch") or time.monotonic() > until:
                raise Faulty(Wrong(self.step, "stuck", "a marker", "the watcher", "nothing"))
        eventually(self._answers, "the watcher answers on its control socket", SETTLE_SECONDS)
        if self.runs("respond") and self._new_responder:
            with contextlib.suppress(AssertionError):  # it is asked all the same
                eventually(lambda: self.installation.ask(STRANGER) == "no", "it answers", 10)
            self._new_responder = False
        self.truth.settled(self.now())
        self._settled = self.map_whole = True

    def _sit_out_revocations(self) -> None:
        """New books that know of revocations by their file alone believe no stamp that may be a revoked one."""
        if self.truth.waits and self._answers():
            self.clocks.suspend(2 * FUTURE_SECONDS)
            self.truth.waits = False

    def _answers(self) -> bool:
        try:
            return "error" not in ask(self._control, {"command": "status"})
        except PopauthdError:
            return False

    def _marker_comes_through(self) -> bool:
        self._markers += 1
        address = f"198.18.{self._markers >> 8}.{self._markers & 255}"
        self.log.append(line(Login(address, MARKER, int(self.clocks.wall())), iso=False))
        until = time.monotonic() + 1
        while time.monotonic() < until and self.runs("watch"):
            if self._readers.expiry(address) > self.clocks.wall():
                return True
            time.sleep(0.01)
        return False

    def asked(self, request: dict[str, object]) -> bool:
        """Ask the watcher as popauthctl does; whether it did what it was asked."""
        try:
            return "error" not in ask(self._control, request)
        except PopauthdError:
            if self.runs("watch"):  # it may have been cut off while it did it
                self.truth.doubt()
            return False

    def start(self) -> None:
        """Start what does not run."""
        for part in PARTS:
            if not self.runs(part):
                self.end(part, signal.SIGKILL)
                self._parts[part] = self.installation.start(part)
                self._new_responder |= part == "respond"
        self.truth.up = True

    def end(self, part: str, number: signal.Signals) -> None:
        """A signal for all of a part's process group, as systemd sends it; waits for the end."""
        process = self._parts.pop(part, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            process.wait(20)
        self.truth.up = self.truth.up and part != "watch"

    def end_all(self, number: signal.Signals) -> None:
        """A signal for both parts."""
        for part in PARTS:
            self.end(part, number)

    def starts_still(self) -> bool:
        """Whether the watcher has not come to look through its books yet."""
        try:
            pid = self._parts["watch"].pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            if any(b"books.mdb" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children):
                return False
        except OSError:
            return True
        return not self.installation.errors("watch").endswith(f"watching {self.log.path}\n")

    def last_words(self) -> str:
        """What the watcher has logged last."""
        return "; ".join(self.installation.errors("watch").splitlines()[-3:])

    def _ask_everybody(self) -> None:
        verdicts = {
            address: self.truth.verdict(address, self.now(), settled=self._settled)
            for address in (*ADDRESSES, STRANGER)
        }
        said = self._readers.scripts_say(
            address
            for address, verdict in verdicts.items()
            if verdict and (address == STRANGER or self.truth.knows(address))
        )
        for address, verdict in verdicts.items():
            if verdict:
                self._judge(address, verdict, "readlookup", said.get(address, "no"))
                self._judge(address, verdict, "the host list", self._listed_says(address, verdict))
                if self.runs("respond") or verdict == "no":
                    self._judge(address, verdict, "the socket", self.installation.ask(address))
            if self.map_whole:
                self._look_at_map(address, verdict)

    def _judge(self, address: str, verdict: str, who: str, answer: str) -> None:
        if (answer == "yes") is not (verdict == "yes"):
            kind = "OPEN RELAY" if verdict == "no" else "lost mail"
            raise Faulty(Wrong(self.step, kind, address, who, answer or "nothing"))

    def _listed_says(self, address: str, verdict: str) -> str:
        until = time.monotonic() + (HOST_LIST_SECONDS if self.runs("watch") else 0)
        while self._readers.listed(address) is not (verdict == "yes") and time.monotonic() < until:
            time.sleep(0.02)
        return "yes" if self._readers.listed(address) else "no"

    def _look_at_map(self, address: str, verdict: str) -> None:
        expires_at = self._readers.expiry(address)
        now = self.now()
        if verdict:
            self._judge(address, verdict, "the map", "yes" if expires_at > now.wall else "no")
        ends, latest = now.true + expires_at - now.wall, self.truth.latest(address, now)
        if self._settled and expires_at > now.wall and ends > latest:
            said = f"yes for {ends - now.true:.0f} s more, at most {latest - now.true:.0f} s are right"
            raise Faulty(Wrong(self.step, "OPEN RELAY", address, "the map", said))
