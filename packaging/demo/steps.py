"""What the demos share: a step with its line, and what a user of such a server does and sees."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable

from tests.servers.clients import LOGIN, ask_rcpt, send
from tests.servers.dovecot import Dovecot
from tests.servers.exim import REFUSAL, REMOTE, Exim
from tests.servers.fakes import Sink
from tests.servers.place import ServerError, wait_for
from tests.servers.popauthd import Popauthd

LIFETIME_SECONDS = 10
OTHER = "127.0.0.200"


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

    def summed_up(self) -> int:
        """Say how many steps held; the exit status."""
        print(f"demo: {self.held} of {self.taken} steps held", flush=True)
        return 0 if self.held == self.taken else 1


def play(main: Callable[[list[str]], int]) -> None:
    """Run a demo with the arguments of this process, and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerError as error:
        sys.exit(f"FAILED {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def stay_until_interrupted() -> None:
    """Keep the servers until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    print("stopping, and removing everything", flush=True)


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
