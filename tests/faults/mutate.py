"""The mutation run: `python3 -m tests.faults.mutate [--seed N] [--each N] [--jobs N] [FILE...]`.

Puts one small fault at a time (mutants.py) into a copy of the tree, and runs the tests that judge the file there. A
mutant that no test notices survives, and is shown: either a test is missing, or it is harmless and belongs into
harmless-mutants.txt, with the reason. Exits 1 when fewer than 85 % die, 2 when the judges fail without a mutant.
Needs what the unit tests need. FILE is the end of a path; without any, all files below are tried.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePath

from tests.faults.mutants import Harmless, Mutant, sample

ROOT = Path(__file__).resolve().parents[2]
HARMLESS = ROOT / "tests/faults/harmless-mutants.txt"
ENOUGH = 0.85
MEMORY = 3 << 30  # bytes; a mutant may ask for all there is
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

FORMATS = (
    "formats/dovecot",
    "formats/framing",
    "formats/fast_path",
    "formats/pending",
    "formats/s*",
    "formats/linear",
    "formats/corpus",
)
BOOKS = (
    "store/books/books*",
    "store/books/queues",
    "store/books/revocations",
    "store/books/shared",
    "watch/batch",
    "watch/housekeeping",
    "store/books/sessions",
    "watch/chunks",
    "watch/commands",
    "store/books/migrations",
    "watch/doveadm_who",
)
POLICY = (
    "policy/order",
    "policy/decide",
    "policy/limits",
    "policy/address_facts",
    "policy/user_list",
    "watch/housekeeping",
    "formats/corpus",
)
# What judges each file, the cheapest first: paths below tests/unit, without `test_`.
JUDGES: dict[str, tuple[str, ...]] = {
    "popauthd/formats/servers/dovecot.py": FORMATS,
    "popauthd/formats/recogniser.py": (*FORMATS, "formats/journal_fields", "formats/columns", "formats/block"),
    "popauthd/formats/journal_fields.py": ("formats/journal_fields",),
    "popauthd/formats/grammars.py": FORMATS,
    "popauthd/formats/ambiguity.py": ("formats/servers", "formats/ambiguous", "formats/samples"),
    "popauthd/formats/framing.py": FORMATS,
    "popauthd/formats/dovecot_wording.py": (*FORMATS, "formats/block"),
    "popauthd/formats/fast_path.py": (*FORMATS, "formats/columns", "formats/block"),
    "popauthd/formats/columns.py": ("formats/columns", "formats/fast_path", "formats/block"),
    "popauthd/formats/numbered.py": ("cli/line_answers", "formats/columns"),
    "popauthd/cli/line_answers.py": ("cli/line_answers", "cli/recognise"),
    "popauthd/formats/headers.py": FORMATS,
    "popauthd/formats/timestamps.py": ("formats/timestamps", "formats/framing"),
    "popauthd/address.py": ("address", "store/relay_map"),
    "popauthd/policy/cells.py": ("policy/cells", "watch/housekeeping"),
    "popauthd/policy/order.py": POLICY,
    "popauthd/policy/decide.py": POLICY,
    "popauthd/policy/limits.py": POLICY,
    "popauthd/policy/address_facts.py": POLICY,
    "popauthd/policy/plain.py": ("policy/plain",),
    "popauthd/store/books/writing.py": BOOKS,
    "popauthd/store/books/sessions.py": (
        "store/books/sessions",
        "watch/chunks",
        "watch/housekeeping",
        "watch/batch",
        "watch/doveadm_who",
    ),
    "popauthd/store/books/meta.py": BOOKS,
    "popauthd/store/books/transaction.py": BOOKS,
    "popauthd/store/books/counters.py": BOOKS,
    "popauthd/store/books/refusals.py": BOOKS,
    "popauthd/store/books/places.py": BOOKS,
    "popauthd/store/books/logins.py": BOOKS,
    "popauthd/store/books/judging.py": ("store/books/judging", "watch/housekeeping"),
    "popauthd/store/books/login_rows.py": BOOKS,
    "popauthd/store/books/published.py": BOOKS,
    "popauthd/store/books/outbox.py": ("store/books/peers", "watch/cluster"),
    "popauthd/store/books/peers.py": ("store/books/peers", "watch/cluster"),
    "popauthd/cluster/gaps.py": ("cluster/halves",),
    "popauthd/cluster/inbound.py": ("cluster/halves",),
    "popauthd/cluster/outbound.py": ("cluster/halves",),
    "popauthd/cluster/offset.py": ("cluster/halves",),
    "popauthd/watch/cluster.py": ("watch/cluster",),
    "popauthd/watch/peer_batch.py": ("watch/cluster",),
    "popauthd/watch/peers_seen.py": ("watch/cluster",),
    "popauthd/watch/told_again.py": ("watch/cluster",),
    "popauthd/store/books/bulk.py": ("watch/bulk",),
    "popauthd/store/books/bulk_play.py": ("watch/bulk",),
    "popauthd/store/books/shared.py": ("store/books/shared", "watch/housekeeping", "watch/watcher"),
    "popauthd/store/books/rows.py": BOOKS,
    "popauthd/store/books/revocations.py": ("store/books/revocations", "watch/intake", "watch/commands"),
    "popauthd/store/books/revocation_times.py": ("store/books/revocations", "watch/intake", "watch/housekeeping"),
    "popauthd/store/books/revocation_file.py": ("store/books/revocations", "watch/commands"),
    "popauthd/store/books/migrations/__init__.py": ("store/books/migrations",),
    "popauthd/store/books/migrations/from_2_to_3.py": ("store/books/migrations",),
    "popauthd/store/books/migrations/from_3_to_4.py": ("store/books/migrations",),
    "popauthd/store/relay_map.py": (
        "store/relay_map",
        "store/publisher",
        "store/quarantine",
        "responder",
        "watch/housekeeping",
    ),
    "popauthd/store/reader_lock.py": ("store/relay_map",),
    "popauthd/store/stopped_reader.py": ("store/publisher",),
    "popauthd/responder.py": ("responder",),
    "popauthd/serving/clients.py": ("serving/clients", "serving/peers_in_turn", "watch/control"),
    "popauthd/serving/peers_in_turn.py": ("serving/peers_in_turn",),
    "popauthd/watch/control.py": ("watch/control",),
    "popauthd/serving/accepting.py": ("serving/accepting", "serving/clients", "responder"),
    "popauthd/protocol.py": ("protocol",),
    "popauthd/store/host_list.py": ("store/host_list*", "store/relay_map", "store/publisher*"),
    "popauthd/store/host_list_writer.py": ("store/host_list_writer",),
    "popauthd/store/publisher.py": ("store/publisher*", "store/host_list*", "watch/housekeeping", "store/relay_map"),
    "popauthd/watch/batch.py": ("watch/batch", "watch/chunks", "watch/bulk", "watch/watcher"),
    "popauthd/watch/housekeeping.py": ("watch/housekeeping", "watch/watcher", "watch/commands"),
    "popauthd/watch/watcher.py": ("watch/watcher*", "watch/commands"),
    "popauthd/watch/intake.py": ("watch/intake", "watch/watcher", "watch/commands"),
    "popauthd/watch/ledger.py": ("watch/ledger", "watch/housekeeping", "watch/commands", "watch/watcher"),
    "popauthd/watch/clock_steps.py": ("watch/housekeeping", "watch/watcher"),
    "popauthd/watch/limits_in_force.py": ("watch/housekeeping", "watch/commands", "watch/watcher"),
    "popauthd/sources/file/source.py": ("sources/file/*",),
    "popauthd/sources/file/open_file.py": ("sources/file/*",),
    "popauthd/sources/file/rotation.py": ("sources/file/*",),
    "popauthd/sources/file/old_files.py": ("sources/file/*",),
    "popauthd/sources/file/window.py": ("sources/file/*",),
    "popauthd/sources/gaps.py": ("sources/gaps", "sources/file/old_files"),
    "popauthd/sources/file/tail.py": ("sources/file/*",),
    "popauthd/sources/file/place.py": ("sources/file/*",),
    "popauthd/sources/file/blocks.py": ("sources/file/*",),
    "exim/readlookup": ("readlookup",),
    "dovecot/post-login": ("sources/push/post_login",),
}


def judges(file: str) -> list[str]:
    """The tests that judge a file, by their paths."""
    patterns = [str(PurePath(name).with_name(f"test_{PurePath(name).name}.py")) for name in JUDGES[file]]
    paths = [path for pattern in patterns for path in sorted((ROOT / "tests/unit").glob(pattern))]
    return [str(path.relative_to(ROOT)) for path in paths]


class Judge:
    """A copy of the tree, and processes forked from this one, which has imported what is slow to import."""

    def __init__(self, place: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tree-", dir=place))
        self.root.chmod(0o755)
        self._scratch = self.root.with_name(self.root.name + "-tmp")
        unneeded = shutil.ignore_patterns(".git", ".cache", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, self.root, ignore=unneeded, symlinks=True, dirs_exist_ok=True)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a test leaves behind becomes ours to end
        for name in (
            "pytest",
            "hypothesis",
            "hypothesis.strategies",
            "lmdb",
            "watchdog.observers",
            "pygtail",
            "socket",
        ):
            __import__(name)

    def passes(self, tests: list[str], seconds: float) -> bool:
        """Whether the tests pass, in this time."""
        child = os.fork()
        if not child:
            self._test(tests)
        until = time.monotonic() + seconds
        ended, status = 0, 1
        while not ended and time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.01)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        _end_children()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return status == 0

    def survives(self, mutant: Mutant, seconds: float) -> bool:
        """Whether no test notices the mutant."""
        path = self.root / mutant.file
        original = path.read_bytes()
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()
        path.write_text(mutant.text, encoding="utf-8")
        try:
            return self.passes(judges(mutant.file), seconds)
        finally:
            path.write_bytes(original)

    def _test(self, tests: list[str]) -> None:
        """Run pytest on the copy. Never returns."""
        status = 1
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            quiet = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(quiet, number)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            os.chdir(self.root)
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            sys.dont_write_bytecode = True
            sys.path[:] = [str(self.root), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
            for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "popauthd")]:
                del sys.modules[name]
            import hypothesis
            import pytest

            # Without shrinking, and without what another mutant has taught.
            phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
            hypothesis.settings.register_profile("mutants", database=None, derandomize=True, phases=phases)
            hypothesis.settings.load_profile("mutants")
            options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", f"--basetemp={self._scratch}"]
            status = int(pytest.main([*options, *tests]))
        finally:
            os._exit(status)


def _end_children() -> None:
    """End every process that has become a child of this one, and theirs, which then become so too."""
    me = str(os.getpid())
    while True:
        found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == me]
        if not found:
            return
        for number in found:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)


def _parent(process: Path) -> str:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


JUDGE: list[Judge] = []  # the one of this process of the pool


def _start(place: Path) -> None:
    JUDGE.append(Judge(place))


def _seconds(file: str) -> float:
    """How long the judges of a file take without a mutant; 0 if they fail."""
    began = time.monotonic()
    return time.monotonic() - began if JUDGE[0].passes(judges(file), 600) else 0.0


def _survives(mutant: Mutant, seconds: float) -> bool:
    return JUDGE[0].survives(mutant, seconds)


def report(file: str, drawn: list[Mutant], survived: list[bool]) -> str:
    """One line of the table, and below it the survivors as harmless-mutants.txt has them."""
    lines = [f"{file:34} {len(drawn):4} mutants {len(drawn) - sum(survived):4} killed {sum(survived):4} survived"]
    for mutant, alive in zip(drawn, survived, strict=True):
        if alive:
            lines += ["", f"{mutant.file}:{mutant.line}", f"- {mutant.before}", f"+ {mutant.after}"]
    return "\n".join(lines)


def run(files: list[str], seed: int, each: int, jobs: int) -> int:
    """Try the files, print the table; the exit status."""
    harmless = Harmless(HARMLESS.read_text(encoding="utf-8") if HARMLESS.exists() else "")
    made = killed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        Path(place).chmod(0o755)
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(Path(place),)) as pool:
            for file, usual in zip(files, pool.map(_seconds, files), strict=True):
                if not usual:
                    print(f"{file}: its judges fail without a mutant", file=sys.stderr)
                    return 2
                drawn = sample(file, (ROOT / file).read_text(encoding="utf-8"), seed, each, harmless)
                survived = list(pool.map(_survives, drawn, [60 + 5 * usual] * len(drawn)))
                print(report(file, drawn, survived), flush=True)
                made += len(drawn)
                killed += len(drawn) - sum(survived)
    share = killed / made if made else 1.0
    print(f"\n{made} mutants, {killed} killed: {share:.1%} (seed {seed})")
    return 0 if share >= ENOUGH else 1


def chosen(ends: list[str]) -> Iterator[str]:
    """The files whose paths end so; all without any. Raises SystemExit for one that is not known."""
    for end in ends or [""]:
        found = [file for file in JUDGES if f"/{file}".endswith(f"/{end}" if end else "")]
        if not found:
            raise SystemExit(f"{end}: not one of\n  " + "\n  ".join(JUDGES))
        yield from found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other mutants")
    parser.add_argument("--each", type=int, default=21, help="how many mutants of each file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("file", nargs="*", help="the end of a path")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and the copies are removed
    return run(list(chosen(given.file)), given.seed, given.each, given.jobs)


if __name__ == "__main__":
    raise SystemExit(main())
