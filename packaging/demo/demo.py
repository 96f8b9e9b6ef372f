"""The demo: what a user of a POP-before-SMTP server sees, step by step, with real servers.

Run by packaging/demo.sh as `python3 packaging/demo/demo.py [--once]`. Clients are addresses of
127.0.0.0/8, which popauthd grants only because the demo's configuration says so; the lifetime is
10 seconds instead of 15 minutes.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from steps import LIFETIME_SECONDS, OTHER, Steps, accepted, expired, logged_in, play, refused, stay_until_interrupted

from tests.servers.clients import LOGIN, PASSWORD, USER
from tests.servers.dovecot import Dovecot
from tests.servers.exim import REMOTE, WAYS, Exim
from tests.servers.fakes import Sink
from tests.servers.place import Place
from tests.servers.popauthd import Popauthd

ROOT = Path(__file__).resolve().parents[2]
WORDS = {
    "socket": "Exim asks the responder's socket",
    "readlookup": "Exim runs readlookup",
    "hostlist": "Exim reads the host list",
}


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
    stay_until_interrupted()


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
    return steps.summed_up()


if __name__ == "__main__":
    play(main)
