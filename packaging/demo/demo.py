"""The demo: what a user of a POP-before-SMTP server sees, step by step, with real servers.

Run by packaging/demo.sh as `python3 packaging/demo/demo.py [--once]`. Clients are addresses of
127.0.0.0/8, which popauthd grants only because the demo's configuration says so; the lifetime is
10 seconds instead of 15 minutes.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.servers.clients import LOGIN, PASSWORD, USER, ask_rcpt, send
from tests.servers.dovecot import Dovecot
from tests.servers.exim import REFUSAL, REMOTE, WAYS, Exim
from tests.servers.fakes import Sink
from tests.servers.place import Place, ServerError, wait_for
from tests.servers.popauthd import Popauthd

ROOT = Path(__file__).resolve().parents[2]
LIFETIME_SECONDS = 10
OTHER = "127.0.0.200"
WORDS = {
    "socket": "Exim asks the responder's socket",
    "readlookup": "Exim runs readlookup",
    "hostlist": "Exim reads the host list",
}


class Steps:
    """Counts the steps, and prints a line for each."""

    def __init__(self) -> None:
        self.held = 0
        self.taken = 0

    def step(self, text: str, holds: Callable[[], tuple[bool, str]]) -> None:
        """Take one step; what goes wrong in it is a step that did not hold."""
        self.taken += 1
        try:
            held, seen = holds()
        except (OSError, ServerError) as error:
            held, seen = False, str(error)
        self.held += held
        print(f"{'ok    ' if held else 'FAILED'} {text}{': ' if seen else ''}{seen}", flush=True)


def refused(client: str, exim: Exim) -> tuple[bool, str]:
    """Relaying is refused, in the words that help."""
    reply = ask_rcpt(client, exim.port, REMOTE)
    return str(reply) == f"550 {REFUSAL}", f'the user reads "{reply}"'


def accepted(client: str, exim: Exim, sink: Sink, text: str) -> tuple[bool, str]:
    """A message is taken and arrives at the other mail server."""
    reply = send(client, exim.port, REMOTE, text)
    arrived = reply.accepted and sink.got(text.encode())
    return arrived, "it has arrived at example.com" if arrived else f"{reply}, and nothing arrived"


def logged_in(protocol: str, client: str, dovecot: Dovecot, popauthd: Popauthd) -> tuple[bool, str]:
    """A login, and the grant it makes."""
    if not LOGIN[protocol](client, dovecot.ports[protocol]):
        return False, "Dovecot refused it"
    wait_for(lambda: popauthd.settled(client, True), "the grant", LIFETIME_SECONDS)
    return True, f"{client} may relay for {LIFETIME_SECONDS} seconds"


def expired(client: str, popauthd: Popauthd) -> tuple[bool, str]:
    """The grant runs out by itself."""
    begun = time.monotonic()
    wait_for(lambda: not popauthd.may_relay(client), "the expiry", LIFETIME_SECONDS + 5)
    seconds = round(time.monotonic() - begun)
    return True, f"{seconds} second{'' if seconds == 1 else 's'} later"


def show(steps: Steps, way: str, exim: Exim, dovecot: Dovecot, popauthd: Popauthd, sink: Sink) -> None:
    """One way to ask, from the first refusal to the last; a client for each protocol."""
    print(f"-- {WORDS[way]} (exim/acl-{way}), port {exim.port}", flush=True)
    clients = {protocol: f"127.0.0.{10 * (WAYS.index(way) + 1) + index}" for index, protocol in enumerate(LOGIN)}
    for protocol, client in clients.items():
        text = f"by-{way}-after-{protocol}"
        steps.step(f"{client} may not relay", partial(refused, client, exim))
        steps.step(
            f"{client} checks mail with {protocol.upper()}", partial(logged_in, protocol, client, dovecot, popauthd)
        )
        steps.step(f"{client} sends mail", partial(accepted, client, exim, sink, text))
        steps.step(f"{OTHER}, who didn't, may not", partial(refused, OTHER, exim))
    for client in clients.values():
        steps.step(f"the grant of {client} ends", partial(expired, client, popauthd))
        steps.step(f"{client} may not relay any more", partial(refused, client, exim))


def to_try(dovecot: Dovecot, popauthd: Popauthd, exim: Exim) -> list[str]:
    """Commands for a second terminal, as root in the source tree; tests/system/test_documents.py runs them."""
    client = "127.0.0.77"
    control = f"{sys.executable} -m popauthd.cli --config {popauthd.config}"
    return [
        f"curl --interface {client} pop3://127.0.0.1:{dovecot.ports['pop3']} --user {USER}:{PASSWORD}",
        f"curl --interface {client} smtp://127.0.0.1:{exim.port} --mail-from {USER} --mail-rcpt {REMOTE} -T README.md",
        f"{control} list",
        f"{control} grant 127.0.0.78 --for 5m",
        f"{control} check 127.0.0.78",
        f"tail -f {dovecot.log}",
    ]


def stay(dovecot: Dovecot, popauthd: Popauthd, exims: dict[str, Exim]) -> None:
    """Say what to try, and wait for Ctrl-C or SIGTERM."""
    print(
        f"""
The servers stay up until Ctrl-C. Dovecot: POP3 port {dovecot.ports["pop3"]}, IMAP port {dovecot.ports["imap"]}.
Exim: {", ".join(f"{way} port {exim.port}" for way, exim in exims.items())}.
A login counts for {LIFETIME_SECONDS} seconds: send before they are over, and again after them.
Try in a second terminal, as root:
  cd {ROOT}""",
        *to_try(dovecot, popauthd, exims["socket"]),
        sep="\n  ",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    print("stopping, and removing everything", flush=True)


def main(arguments: list[str]) -> int:
    """Run the demo; the exit status."""
    steps = Steps()
    sink = Sink()
    with Place() as place:
        dovecot = Dovecot(place)
        popauthd = Popauthd(place, dovecot.log, f"{LIFETIME_SECONDS}s")
        popauthd.start("run")
        exims = {way: Exim(place, "light", way, popauthd.run_dir, sink.port) for way in WAYS}
        print(f"Dovecot {dovecot.version}, {exims['socket'].version()}, popauthd; all in {place.root}", flush=True)
        for way, exim in exims.items():
            show(steps, way, exim, dovecot, popauthd, sink)
        if "--once" not in arguments:
            stay(dovecot, popauthd, exims)
    sink.close()
    print(f"demo: {steps.held} of {steps.taken} steps held", flush=True)
    return 0 if steps.held == steps.taken else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerError as error:
        sys.exit(f"FAILED {error}")
    except KeyboardInterrupt:
        sys.exit(130)
