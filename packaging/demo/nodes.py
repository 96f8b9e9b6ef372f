"""The demo of a cluster: users log in on one machine and send through two others, with real servers.

Run by packaging/demo.sh --nodes 3. Here the three machines are directories: `login` has Dovecot and its log, `relay1`
and `relay2` have an Exim each and no log. They share a key and a Redis, which hangs and then loses all that it had.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from steps import LIFETIME_SECONDS, OTHER, Steps, accepted, expired, logged_in, play, refused, stay_until_interrupted

from popauthd.cluster.keys import make_key
from tests.servers.dovecot import Dovecot
from tests.servers.exim import Exim
from tests.servers.fakes import Sink
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd
from tests.servers.redis import Redis

ROOT = Path(__file__).resolve().parents[2]
LOGIN, *RELAYS = NAMES = ("login", "relay1", "relay2")
TABLE = """
[cluster]
url = "redis://127.0.0.1:{port}"
node = "{name}"
key_file = "{key}"
"""


class World:
    """The nodes by their names, the Exims of those that relay, and what they share."""

    def __init__(self, stack: ExitStack) -> None:
        shared = stack.enter_context(Place())
        self.sink = stack.enter_context(closing(Sink()))
        self.redis = Redis(shared, "redis")
        self.dovecot = Dovecot(shared)
        key, no_log = shared.root / "cluster.key", shared.root / "no.log"
        key.touch(0o600)
        key.write_text(make_key())
        no_log.touch()
        self.nodes: dict[str, Popauthd] = {}
        self.exims: dict[str, Exim] = {}
        for name in NAMES:
            place = stack.enter_context(Place())
            log = self.dovecot.log if name == LOGIN else no_log
            self.nodes[name] = node = Popauthd(place, log, f"{LIFETIME_SECONDS}s")
            with node.config.open("a") as file:
                file.write(TABLE.format(port=self.redis.port, name=name, key=key))
            node.start("run")
            if name in RELAYS:
                self.exims[name] = Exim(place, "light", "socket", node.run_dir, self.sink.port)

    def type(self, name: str, *words: str) -> tuple[bool, str]:
        """What an administrator types on a node."""
        done = self.nodes[name].control(*words)
        return done.returncode == 0, (done.stdout or done.stderr).splitlines()[0]

    def hear(self) -> tuple[bool, str]:
        """Every node has heard of every other one."""

        def all_heard() -> bool:
            said = [node.control("cluster", "status").stdout for node in self.nodes.values()]
            return all(sum(f"  {name}: " in text for name in NAMES) == len(NAMES) - 1 for text in said)

        wait_for(all_heard, "the nodes to hear of each other")
        return True, ""

    def come_to(self, client: str, may: bool) -> tuple[bool, str]:
        """Every node that relays has heard what happened on another one."""
        for name in RELAYS:
            wait_for(lambda name=name: self.nodes[name].settled(client, may), name)  # type: ignore[misc]
        return True, ""


def show(steps: Steps, world: World) -> None:
    """From the first refusal to the last."""
    first, second = "127.0.0.50", "127.0.0.51"
    steps.step("the nodes hear of each other", world.hear)
    for name, exim in world.exims.items():
        steps.step(f"{first} may not relay through {name}", partial(refused, first, exim))
    print("-- a login on one opens all")
    steps.step(f"{first} checks mail on login", partial(logged_in, "pop3", first, world.dovecot, world.nodes[LOGIN]))
    steps.step("the others hear of it", partial(world.come_to, first, True))
    for name, exim in world.exims.items():
        steps.step(f"{first} sends through {name}", partial(accepted, first, exim, world.sink, f"by-{name}"))
        steps.step(f"{OTHER}, who didn't check mail, may not", partial(refused, OTHER, exim))
    print("-- a revocation on one closes all")
    steps.step("on relay2: popauthctl revoke", partial(world.type, "relay2", "revoke", first))
    steps.step("the others hear of it", partial(world.come_to, first, False))
    steps.step(f"{first} may not relay through relay1", partial(refused, first, world.exims["relay1"]))
    print("-- Redis hangs: what stands stands, and every lookup is answered")
    steps.step(f"{second} checks mail on login", partial(logged_in, "imap", second, world.dovecot, world.nodes[LOGIN]))
    steps.step("the others hear of it", partial(world.come_to, second, True))
    world.redis.hang()
    steps.step(f"{second} sends through relay1", partial(accepted, second, world.exims["relay1"], world.sink, "hung"))
    steps.step(f"{OTHER} may not", partial(refused, OTHER, world.exims["relay1"]))
    steps.step("the grant ends", partial(expired, second, world.nodes["relay1"]))
    print("-- Redis comes back and has lost everything: the nodes tell each other again")
    steps.step(f"{second} checks mail on login", partial(logged_in, "pop3", second, world.dovecot, world.nodes[LOGIN]))
    world.redis.kill()
    world.redis.start()
    steps.step("the others hear of it", partial(world.come_to, second, True))
    steps.step(f"{second} sends through relay2", partial(accepted, second, world.exims["relay2"], world.sink, "again"))


def stay(world: World) -> None:
    """Say what to try, and wait for Ctrl-C or SIGTERM."""
    ports = ", ".join(f"{name}'s Exim port {exim.port}" for name, exim in world.exims.items())
    print(f"\nThe servers stay up until Ctrl-C. POP3 port {world.dovecot.ports['pop3']}, {ports}.")
    print(f"Try in a second terminal, as root:\n  cd {ROOT}")
    for node in world.nodes.values():
        print(f"  {sys.executable} -m popauthd.cli --config {node.config} cluster status", flush=True)
    stay_until_interrupted()


def main(arguments: list[str]) -> int:
    """Run the demo; the exit status."""
    steps = Steps()
    with ExitStack() as stack:
        world = World(stack)
        print(f"three nodes, Dovecot {world.dovecot.version}, two Exims and a Redis on this machine", flush=True)
        show(steps, world)
        if "--once" not in arguments:
            stay(world)
    return steps.summed_up()


if __name__ == "__main__":
    play(main)
