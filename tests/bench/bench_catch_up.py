"""Catching up logs whose every line lies in the last window, against grep and the peers: time and memory.

    python3 -m tests.bench.bench_catch_up [--lines N] [--variant NAME]... [--rounds N] [--directory DIR] [--json FILE]
        [--fail2ban] [--pop-before-smtp PATH] [--peer-lines N]

For each variant the generator makes a Debian mail log (5 million lines, some 780 MB) with up to 195,000 addresses;
the watcher is started on it, with held sessions, map, host list and books, and is done when every line is counted in
the books. The addresses that may relay then must be as many as the generator's truth says. The yardstick of the same
run is `grep -c 'Login: '` over the same files, before and after. Processor time and memory are those of the watcher
and its children. The peers read a log of their own of the mix "real" (see peers.py), a shorter one, as they are
slow; they are compared by the line. Ctrl-C ends it with the table so far.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from popauthd.control_client import ask_status
from popauthd.errors import PopauthdError
from tests.bench import peers
from tests.bench.generate import DOVECOT_FILE, ISO, Recipe, Truth, make
from tests.bench.table import Row, arguments, show
from tests.bench.usage import Usage, followed, grep
from tests.support.daemons import Installation

SECONDS = 3600.0  # for one variant
PAUSE = 0.1
PEERS = ("fail2ban-regex", "pop-before-smtp")
SETTINGS = 'lifetime = "1h"\nhold_sessions = true\n'
# Everybody of example.org but one, and not every hundredth.
USERS = "@example.org\n!user7@example.org\n"
UNWANTED = frozenset(f"user{number}@example.org" for number in range(1, 195_000, 100))


def all_of(_truth: Truth, _pair: tuple[str, str]) -> bool:
    """Every login grants."""
    return True


def under_tls(truth: Truth, pair: tuple[str, str]) -> bool:
    """What require_tls lets through."""
    return pair in truth.secured


def listed(_truth: Truth, pair: tuple[str, str]) -> bool:
    """What the lists of users let through."""
    return pair[1].endswith("@example.org") and pair[1] != "user7@example.org" and pair[1] not in UNWANTED


@dataclass(frozen=True, slots=True)
class Variant:
    """A log, the settings, and whose logins grant then."""

    recipe: Recipe
    settings: str = ""
    sources: int = 1
    grants: Callable[[Truth, tuple[str, str]], bool] = all_of


VARIANTS = {
    "real": Variant(Recipe()),
    "quiet": Variant(Recipe(mix="quiet")),
    "endless": Variant(Recipe(mix="endless")),
    "require_tls": Variant(Recipe(), "require_tls = true\n", grants=under_tls),
    "user lists": Variant(
        Recipe(), 'users_file = "{directory}/users"\ndeny_users = "{directory}/unwanted"\n', grants=listed
    ),
    "ISO stamps": Variant(Recipe(framing=ISO)),
    "Dovecot's own file": Variant(Recipe(framing=DOVECOT_FILE)),
    "two sources": Variant(Recipe(), sources=2),
    "odd line every 40": Variant(Recipe(odd_every=40)),
}


def installed(directory: Path, variant: Variant, logs: list[Path]) -> Installation:
    """popauthd configured for the variant, on these logs."""
    (directory / "users").write_text(USERS, encoding="ascii")
    (directory / "unwanted").write_text("\n".join(UNWANTED) + "\n", encoding="ascii")
    installation = Installation(directory, SETTINGS)
    head = installation.config.read_text(encoding="utf-8").partition("[[source]]")[0]
    framing = "dovecot-file" if variant.recipe.framing == DOVECOT_FILE else "syslog"
    sources = "".join(f'[[source]]\npath = "{log}"\nframing = "{framing}"\n' for log in logs)
    settings = variant.settings.format(directory=directory)
    installation.config.write_text(head + settings + sources, encoding="utf-8")
    return installation


def caught_up(variant: Variant, logs: list[Path], addresses: int) -> Usage:
    """Start the watcher on the logs; what it uses until all lines are read."""
    with tempfile.TemporaryDirectory(dir=logs[0].parent) as name:
        installation = installed(Path(name), variant, logs)
        control = str(installation.run_dir / "control.sock")

        # LIMIT: the counters are a day's, so a run must not cross midnight UTC.
        def done() -> bool:
            with contextlib.suppress(PopauthdError):
                return ask_status(control).today.get("lines", 0) >= variant.recipe.lines
            return False

        try:
            used = followed(installation.start("watch"), done, PAUSE, SECONDS)
            found = ask_status(control).addresses
        finally:
            installation.close()
    assert found == addresses, f"{found} addresses may relay, and not {addresses}"
    return used


def measured(name: str, variant: Variant, directory: Path, rounds: int) -> Row:
    """One row: the medians of the rounds, each between two runs of the yardstick."""
    logs = [directory / f"{number}.log" for number in range(variant.sources)]
    truth = make(variant.recipe, *logs)
    addresses = len({pair[0] for pair in truth.logins if variant.grants(truth, pair)})
    size = sum(log.stat().st_size for log in logs)
    marks, runs = [grep(logs)], []
    for _ in range(rounds):
        runs.append(caught_up(variant, logs, addresses))
        marks.append(grep(logs))
    for log in logs:
        log.unlink()
    return {**compared(name, variant.recipe.lines, runs, marks), "MB": round(size / 1e6), "addresses": addresses}


def compared(name: str, lines: int, runs: list[Usage], marks: list[Usage]) -> Row:
    """The figures of some runs, and their ratios to the yardstick."""
    wall, cpu = (statistics.median(one) for one in zip(*((run.wall, run.cpu) for run in runs), strict=True))
    mark = statistics.median(one.wall for one in marks), statistics.median(one.cpu for one in marks)
    return {
        "what": name,
        "x grep, CPU": round(cpu / mark[1], 1),
        "x grep, wall": round(wall / mark[0], 1),
        "wall s": round(wall, 2),
        "CPU s": round(cpu, 2),
        "CPU us a line": cpu / lines * 1e6,
        "anonymous MiB": round(max(run.peak_kib for run in runs) / 1024, 1),
    }


def peer_rows(options: argparse.Namespace, directory: Path) -> list[Row]:
    """fail2ban-regex and pop-before-smtp, each on the same log; a row says so where one was not asked for."""
    log = directory / "peers.log"
    truth = make(replace(Recipe(), lines=options.peer_lines), log)
    runs: dict[str, Callable[[], Usage] | None] = dict.fromkeys(PEERS)
    if options.fail2ban:
        runs["fail2ban-regex"] = partial(peers.run_fail2ban, log, truth.lines["login"])
    if options.pop_before_smtp:
        runs["pop-before-smtp"] = partial(peers.run_pop_before_smtp, options.pop_before_smtp, log)
    rows: list[Row] = []
    for name, run in runs.items():
        if run is None:
            rows.append({"what": name, "x grep, CPU": "not run"})
        else:
            before = grep([log], 9)
            rows.append(compared(name, options.peer_lines, [run()], [before, grep([log], 9)]))
    return rows


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--lines", type=int, default=Recipe().lines)
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="where the logs are made")
    parser.add_argument("--peer-lines", type=int, default=500_000)
    peers.arguments(parser)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        try:
            for variant in options.variant or VARIANTS:
                wanted = VARIANTS[variant]
                recipe = replace(wanted.recipe, lines=options.lines)
                rows.append(measured(variant, replace(wanted, recipe=recipe), Path(name), options.rounds))
            rows += peer_rows(options, Path(name))
        except KeyboardInterrupt:
            print("stopped")
    if not rows:
        return
    ours = rows[0]["CPU us a line"]
    for row in rows:
        if row["what"] in PEERS and "CPU us a line" in row:
            row["x the first row"] = round(float(row["CPU us a line"]) / float(ours), 1)
    show("catch_up", rows, options, lines=options.lines, peer_lines=options.peer_lines)


if __name__ == "__main__":
    main()
