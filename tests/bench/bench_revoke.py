"""How long revoking takes with a million grants: python3 -m tests.bench.bench_revoke [GRANTS]

Fills the books, starts the watcher on them, and asks it by `popauthctl`: to revoke an address, a user and everybody.
The yardstick is `popauthctl check`, which is the same process but asks the map alone. Each is one run, as each can be
revoked once; the reply must come, and say how many addresses were closed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from popauthd.config import load
from popauthd.model import Grant
from popauthd.store.books import Books
from popauthd.watch.assembly import rules
from tests.support.daemons import Installation
from tests.support.helpers import answers, eventually

AT_ONCE = 50_000
OF_ONE_USER = 50  # addresses


def address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def fill(books: Books, grants: int) -> None:
    """Enter that many grants, each of an address of its own; the first few are of one user."""
    now = int(time.time())
    for begin in range(0, grants, AT_ONCE):
        with books.writing() as writing:
            for number in range(begin, min(grants, begin + AT_ONCE)):
                user = "roaming" if number < OF_ONE_USER else f"user{number}@example.org"
                writing.logins.grant(
                    Grant(address(number), user, now, now + 7 * 86400, "dovecot", 0, "imap", "PLAIN", True)
                )


def main(grants: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory), 'lifetime = "7d"')
        settings = load(str(installation.config))
        Path(settings.state_dir).mkdir()
        books = Books(settings.books_path, rules(settings))
        fill(books, grants)
        books.close()
        installation.start("watch")
        eventually(lambda: answers(installation.run_dir / "control.sock"), "the watcher answers", 300)
        first = 0.0
        print(f"{grants} grants")
        for arguments in (
            ("check", address(7)), ("check", address(9)), ("revoke", address(9)), ("revoke", "--user", "roaming"),
            ("revoke", "--all"),
        ):  # fmt: skip
            began = time.perf_counter()
            done = installation.ctl(*arguments)
            seconds = time.perf_counter() - began
            if arguments[0] == "check":
                first = seconds  # the second of them counts
            said = (done.stdout or done.stderr).decode().splitlines()[0]
            shown = f"{' '.join(arguments):24} {seconds:6.2f} s  x {seconds / first:5.2f}"
            print(f"{shown}  exit {done.returncode}  {said}")
        installation.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
