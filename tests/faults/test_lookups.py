"""Lookups while everything goes wrong around them: floods, a writer at full speed, readers that stand still.

Each has a dose that every run of the tests plays in some seconds. POPAUTHD_SEED sets the seed, or "random"; it is
printed. The campaigns:

    POPAUTHD_IDLE=2000 POPAUTHD_GARBAGE=1000000 POPAUTHD_P99_MS=20 pytest -s tests/faults/test_lookups.py -k flood
    POPAUTHD_ROUNDS=50 POPAUTHD_LOOKS=1000000 pytest -s tests/faults/test_lookups.py -k full_speed
    POPAUTHD_STOPPED_SECONDS=600 pytest -s tests/faults/test_lookups.py -k stopped
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemons import Installation, login_line
from tests.support.dose import dose, first_seed
from tests.support.helpers import ROOT, eventually

SEED = first_seed(1)
IDLE = dose("IDLE", 300)
GARBAGE = dose("GARBAGE", 4000)
P99_MS = dose("P99_MS", 2000)
ROUNDS = dose("ROUNDS", 2)
LOOKS = dose("LOOKS", 30_000)
STOPPED_SECONDS = dose("STOPPED_SECONDS", 6)
MOST_BYTES = 256 << 20  # a quarter of the address space of a map
STANDING = "192.0.2.254"
STRANGER = "203.0.113.66"

# Holds so many connections, every second one of which sends a byte now and then; who is dropped comes again.
HOLDERS = """
import itertools, random, resource, socket, sys, time
path, number, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(number + 100, hard), hard))
dice, held = random.Random(seed), {}
def connect(place):
    if place in held:
        held[place].close()
    held[place] = socket.socket(socket.AF_UNIX)
    held[place].connect(path)
    held[place].setblocking(False)
for place in range(number):
    connect(place)
print("holding", flush=True)
for place in itertools.cycle(range(number)):
    try:
        if place % 2:
            held[place].send(dice.choice([b"1", b".", b"9"]))
        answer = held[place].recv(10)
        assert answer != b"yes", "a yes for a request that is not whole"
        connect(place)
    except BlockingIOError:
        pass
    except (BrokenPipeError, ConnectionError):
        connect(place)
    if not place % 20:
        time.sleep(0.01)
"""
# Sends so many requests that are none, one a connection; prints how often each answer came.
GARBAGE_SENDERS = """
import collections, json, random, socket, sys
path, number, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dice, answers = random.Random(seed), collections.Counter()
KINDS = (
    lambda: dice.randbytes(dice.randrange(300)),
    lambda: dice.randbytes(dice.randrange(60)) + b"\\n",
    lambda: b"192.0.2.254" + dice.randbytes(dice.randrange(1, 9)) + b"\\n",
    lambda: b"192.0.2.254\\n192.0.2.254\\n",
    lambda: b"192.0.2.254 \\n",
    lambda: b"::ffff:192.0.2.254%1\\n",
    lambda: b"x" * 5000,
    lambda: b"GET / HTTP/1.1\\r\\n\\r\\n",
    lambda: b"",
)
for _ in range(number):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        request = dice.choice(KINDS)()
        if request.strip() == b"192.0.2.254":
            request = b"?"
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(10).decode()
        except (BrokenPipeError, ConnectionResetError):
            answer = "reset"
    answers[answer] += 1
print(json.dumps(answers))
"""
WRITER = """
import random, sys
from popauthd.store.relay_map import MapWriter
writer, dice = MapWriter(sys.argv[1]), random.Random(int(sys.argv[2]))
writer.apply({sys.argv[3]: 4_000_000_000})
print("writing", flush=True)
while True:
    some = {f"10.0.0.{dice.randrange(60)}": dice.choice((None, 4_000_000_000)) for _ in range(dice.choice((1, 1, 5)))}
    writer.apply({**some, sys.argv[3]: 4_000_000_000})
"""
READER = """
import json, sys
from popauthd.errors import StoreError
from popauthd.store.relay_map import MapReader
reader = MapReader(sys.argv[1], lock=True)
wrong, trouble = [], []
for _ in range(int(sys.argv[2]) // 2):
    for address, right in ((sys.argv[3], 4_000_000_000), (sys.argv[4], None)):
        try:
            found = reader.expiry(address)
        except StoreError as error:
            trouble.append(str(error))
        else:
            if found != right:
                wrong.append([address, found])
print(json.dumps([wrong, trouble]))
"""
STANDS_STILL = """
import os, signal, sys, lmdb
with lmdb.open(sys.argv[1], subdir=False, readonly=True, max_readers=16).begin() as txn:
    txn.get(b"192.0.2.254")
    print("reading", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@contextlib.contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process, gone at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def said(started: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert started.stdout is not None
    return started.stdout.readline().strip()


@contextlib.contextmanager
def granted(directory: Path, settings: str = "") -> Iterator[Installation]:
    """Watcher and responder, and somebody who may relay."""
    installation = Installation(directory, settings)
    try:
        for part in ("watch", "respond"):
            installation.start(part)
        installation.ready()
        installation.write(login_line(STANDING))
        eventually(lambda: installation.ask(STANDING) == "yes", "granted")
        yield installation
    finally:
        installation.close()


def test_beside_a_flood_the_right_answer_comes_soon(tmp_path: Path) -> None:
    print(f"seed {SEED}, idle {IDLE}, garbage {GARBAGE}")
    with granted(tmp_path) as installation, contextlib.ExitStack() as stack:
        path = installation.run_dir / "lookup.sock"
        responder = installation.processes[1]
        holders = stack.enter_context(process(HOLDERS, path, IDLE, SEED))
        assert said(holders) == "holding"
        senders = [stack.enter_context(process(GARBAGE_SENDERS, path, GARBAGE // 2, SEED + one)) for one in (1, 2)]
        took: list[float] = []
        while len(took) < 100 or any(sender.poll() is None for sender in senders):
            began = time.perf_counter()
            assert installation.ask(STANDING) == "yes"
            took.append(1000 * (time.perf_counter() - began))
            time.sleep(0.002)
        answers = [json.loads(said(sender)) for sender in senders]
        assert sum(sum(one.values()) for one in answers) == GARBAGE // 2 * 2
        assert {answer for one in answers for answer in one} <= {"no", "reset", ""}
        assert holders.poll() is None, "nobody who holds a connection got a yes"
        assert responder.poll() is None
        assert "Traceback" not in installation.errors("respond")
        assert (installation.ask(STANDING), installation.ask(STRANGER)) == ("yes", "no")
    p99 = statistics.quantiles(took, n=100)[98]
    print(f"{len(took)} questions, p50 {statistics.median(took):.2f} ms, p99 {p99:.2f} ms; answers {answers}")
    assert p99 < P99_MS


def test_a_reader_beside_a_writer_at_full_speed_lives_and_is_right(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}, rounds {ROUNDS}, looks {LOOKS}")
    for number in range(ROUNDS):
        path = tmp_path / f"{number}.mdb"
        with process(WRITER, path, dice.randrange(1 << 32), STANDING) as writer:
            assert said(writer) == "writing"
            with process(READER, path, LOOKS, STANDING, STRANGER) as reader:
                assert json.loads(said(reader) or "null") == [[], []], f"round {number}"
                assert reader.wait() == 0
            assert writer.poll() is None
        path.unlink()
        print(f"round {number + 1} of {ROUNDS}", flush=True)


def test_a_stopped_reader_under_writes_is_told_and_the_map_stays_within_its_size(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}, {STOPPED_SECONDS} s")
    largest, told = 0, 0
    with granted(tmp_path) as installation:
        path = installation.run_dir / "relay.mdb"
        until = time.monotonic() + STOPPED_SECONDS
        while time.monotonic() < until or not told:
            with process(STANDS_STILL, path) as reader:
                assert said(reader) == "reading"
                held = Path(f"/proc/{reader.pid}/fd")
                stopped = time.monotonic()
                while not conditions(installation) and time.monotonic() < stopped + 60:
                    lines = (login_line(f"10.0.{dice.randrange(9)}.{dice.randrange(256)}") for _ in range(20))
                    installation.write(*lines, login_line(STANDING))
                    assert (installation.ask(STANDING), installation.ask(STRANGER)) == ("yes", "no")
                    largest = max(largest, path.stat().st_size, *(one.stat().st_size for one in held.iterdir()))
                    time.sleep(0.01)
                assert conditions(installation) == {"map-reader-stopped"}
                told += 1
                reader.send_signal(signal.SIGCONT)
                reader.wait()
            eventually(lambda: not conditions(installation), "it is over")
    print(f"told {told} times, largest map {largest >> 10} KiB")
    assert largest < MOST_BYTES


def conditions(installation: Installation) -> set[str]:
    return {one["word"] for one in installation.status()["conditions"]}
