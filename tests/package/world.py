"""The mail server of the world outside, on a network of its own with one wire to the root's.

On the root's own network Exim would take it for itself.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys

from tests.package.roots import Root, checked
from tests.support.helpers import ROOT

ADDRESS, NEAR = "203.0.113.25", "203.0.113.1"
SECONDS = 20.0
CODE = """
import json, sys, subprocess
from tests.servers.fakes import Sink
class Printing(Sink):
    def take(self, message):
        print(json.dumps(message.decode("latin-1")), flush=True)
print("up", flush=True)
sys.stdin.readline()
sink = Printing(sys.argv[1])
print(sink.port, flush=True)
sys.stdin.readline()
"""


class World:
    """Takes every message; `port` is where. It ends with this process."""

    def __init__(self, root: Root) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", CODE, ADDRESS],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert self._line() == "up\n"
        pid = str(self._process.pid)
        there = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
        here = [*root.enter("net"), "ip"]
        checked([*here, "link", "add", "world", "type", "veth", "peer", "name", "near", "netns", pid])
        for words, device, address in ((here, "world", NEAR), (there, "near", ADDRESS)):
            checked([*words, "address", "add", f"{address}/24", "dev", device])
            checked([*words, "link", "set", device, "up"])
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self.port = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(SECONDS), f"the world outside said nothing for {SECONDS:g} s"
        return self._process.stdout.readline()

    def next_message(self) -> str:
        """The next message that arrives. Fails if none does in time."""
        message: str = json.loads(self._line())
        return message

    def close(self) -> None:
        """Go away."""
        self._process.communicate()
