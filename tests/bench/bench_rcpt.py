"""What a lookup adds to RCPT on a warm connection: a real Exim with each way to ask, beside one that does not ask.

    python3 -m tests.bench.bench_rcpt [--tries N] [--rounds N] [--way NAME]... [--json FILE]

Each client has one connection, and asks for a recipient to be relayed again and again. "granted" is a client with a
grant; its yardstick is a relay host of the administrator's on the Exim without popauthd. "refused" is a stranger, and
its yardstick the same stranger there; a "no" is not held (hold_no is 0). All take turns, so whatever else the machine
does hits all alike; the figures are medians.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from tests.bench.table import Row, arguments, show
from tests.servers.clients import SENDER, smtp
from tests.servers.exim import RELAY_HOST, REMOTE, WAYS, Exim
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd

GRANTED, STRANGER = "127.0.0.5", "127.0.0.6"
WITHOUT = ""
CODES = {"granted": 250, "refused": 550}


@dataclass(slots=True)
class Asking:
    """A client of an Exim, connected, and how long each of its questions took, in seconds."""

    way: str
    client: str
    code: int
    port: int
    took: list[float] = field(default_factory=list)

    def ask(self, number: int) -> None:
        """Connect, ask once to warm up, and then so often."""
        session = smtp(self.client, self.port)
        session.mail(SENDER)
        session.rcpt(REMOTE)
        for _ in range(number):
            began = time.perf_counter()
            code, text = session.rcpt(REMOTE)
            self.took.append(time.perf_counter() - began)
            assert code == self.code, text
        session.close()


def measured(place: Place, ways: list[str], tries: int, rounds: int) -> list[Row]:
    """A row for each way and answer."""
    popauthd = Popauthd(place, None, settings='hold_no = "0ms"\n')
    popauthd.start("watch", "respond")
    assert popauthd.control("grant", GRANTED, "--for", "1h").returncode == 0
    wait_for(lambda: popauthd.settled(GRANTED, True), "the grant")
    ports = {way: Exim(place, "light", way, popauthd.run_dir).port for way in (WITHOUT, *ways)}
    askings = [
        Asking(way, client, CODES[answer], port)
        for way, port in ports.items()
        for answer, client in (("granted", GRANTED if way else RELAY_HOST), ("refused", STRANGER))
    ]
    for _ in range(rounds):
        for asking in askings:
            asking.ask(tries)
    return [row(asking, next(one for one in askings if one.code == asking.code)) for asking in askings]


def row(asking: Asking, yardstick: Asking) -> Row:
    """The figures of one kind of question, and what it takes more than its yardstick."""
    median = statistics.median(asking.took)
    return {
        "way": asking.way or "none",
        "answer": next(answer for answer, code in CODES.items() if code == asking.code),
        "ms": round(median * 1000, 3),
        "adds ms": round((median - statistics.median(yardstick.took)) * 1000, 3),
        "p99 ms": round(statistics.quantiles(asking.took, n=100)[98] * 1000, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--tries", type=int, default=200, help="of each kind on one connection")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--way", choices=WAYS, action="append")
    options = parser.parse_args()
    with Place() as place:
        rows = measured(place, options.way or list(WAYS), options.tries, options.rounds)
    show("rcpt", rows, options, tries=options.tries, rounds=options.rounds)


if __name__ == "__main__":
    main()
