"""What a record of the journal costs the recogniser, against the detour by a line of JSON.

    python3 -m tests.bench.bench_journal_record [--records N] [--rounds N] [--json FILE]

The records are as python3-systemd gives them. The yardstick of the same run turns each into a line of JSON,
as `journalctl -o json` prints it, and reads a block of these lines. The processor's time, the best of the rounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from popauthd.formats.journal_fields import LOG_PROCESS, UNIT
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.sources.journal.fields import chosen, size
from tests.bench.table import Row, arguments, show

NOW = 1795469400
MESSAGES = {
    "a login": "imap-login: Login: user=<user%06d@example.org>, method=PLAIN, rip=192.0.2.%d, lip=198.51.100.5, "
    "mpid=4242, TLS, session=<aKTnLvhgIrN/AAAB>",
    "a session's end": "imap(user%06d@example.org)<42%d><aKTnLvhgIrN/AAAB>: Disconnected: Logged out in=8 out=468",
    "a failed login": "imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 3 secs): "
    "user=<user%06d@example.org>, method=PLAIN, rip=203.0.113.%d, lip=198.51.100.5",
}
BESIDE = dict.fromkeys(("_BOOT_ID", "_MACHINE_ID", "_HOSTNAME", "_CMDLINE", "_CAP_EFFECTIVE", "_PID"), b"x" * 20)

Given = dict[str, object]
Counted = tuple[int, int]


def record(number: int, message: str) -> Given:
    """A record as python3-systemd gives it, with fields that nobody reads."""
    return BESIDE | {
        "__CURSOR": f"s=1;i={number:x}",
        "__REALTIME_TIMESTAMP": (NOW + number // 1000) * 1_000_000,
        "_UID": b"0",
        "_EXE": LOG_PROCESS.encode(),
        "_COMM": b"log",
        "_SYSTEMD_UNIT": UNIT.encode(),
        "_TRANSPORT": b"syslog",
        "SYSLOG_IDENTIFIER": b"dovecot",
        "MESSAGE": (message % (number, number % 250)).encode(),
    }


def by_fields(records: list[Given], reader: Recogniser) -> Counted:
    """The way of the journal source: choose the fields, and read them."""
    kept = [chosen(one) for one in records]
    assert sum(map(size, kept))
    events, count = reader.records(kept)
    return len(events), count


def by_json(records: list[Given], reader: Recogniser) -> Counted:
    """The detour: a line of JSON a record, taken apart again."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    block = b"".join(
        encode({name: _text(one) for name, one in chosen(record).items()}).encode() + b"\n" for record in records
    )
    events, count = reader.block(block, NOW)
    return len(events), count


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def seconds(way: Callable[[list[Given], Recogniser], Counted], records: list[Given], expected: Counted) -> float:
    """How long one pass takes."""
    reader = Recogniser(Options("journal"))
    began = time.process_time()
    found = way(records, reader)
    took = time.process_time() - began
    assert found == expected
    return took


def main() -> None:
    """Measure in turn and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    rows: list[Row] = []
    for name, message in MESSAGES.items():
        records = [record(one, message) for one in range(options.records)]
        expected = (options.records, options.records)
        rounds = [[seconds(way, records, expected) for way in (by_fields, by_json)] for _ in range(options.rounds)]
        fields, detour = (min(column) * 1e6 / options.records for column in zip(*rounds, strict=True))
        rows.append(
            {"record": name, "by fields, us": fields, "by JSON, us": detour, "ratio": round(fields / detour, 2)}
        )
    show("journal_record", rows, options, records=options.records)


if __name__ == "__main__":
    main()
