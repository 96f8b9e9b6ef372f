"""Logins and lookups at full speed for a while: nothing stays behind, no answer is wrong, and memory stays the same.

Random customers out of many addresses log in all the time, and lookups ask for those who must relay and for strangers.
POPAUTHD_SECONDS sets for how long, POPAUTHD_RATE how many logins a second, POPAUTHD_ADDRESSES from how many addresses,
POPAUTHD_LOOKUPS how many lookups a second, POPAUTHD_SEED the seed. The long campaign:

    POPAUTHD_SECONDS=600 POPAUTHD_RATE=5000 POPAUTHD_ADDRESSES=200000 POPAUTHD_LOOKUPS=10000 \\
        sh tests/run.sh -s tests/faults/test_load.py
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Installation, login_line
from tests.support.dose import dose, first_seed
from tests.support.helpers import ROOT, eventually

SECONDS = dose("SECONDS", 4)
RATE = dose("RATE", 500)
ADDRESSES = dose("ADDRESSES", 2000)
LOOKUPS = dose("LOOKUPS", 500)
SEED = first_seed(1)
TICK = 0.02
BEHIND_SECONDS = 10.0
ASKERS = 2
STANDING = "192.0.2.254"  # logs in again and again, so it must relay all the time
LAST = "192.0.2.253"
ASKER = """
import json, random, socket, sys, time
path, rate, seconds, seed, standing = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
dice, told = random.Random(seed), {"asked": 0, "wrong": []}
began = time.monotonic()
while (now := time.monotonic()) < began + seconds:
    if told["asked"] > (now - began) * rate:
        time.sleep(0.001)
        continue
    standing_one = dice.random() < 0.98  # a no is held
    address = standing if standing_one else f"203.0.113.{dice.randrange(256)}"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(address.encode() + b"\\n")
        answer = connection.recv(8)
    told["asked"] += 1
    if answer != (b"yes" if standing_one else b"no"):
        told["wrong"].append([address, answer.decode()])
print(json.dumps(told))
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, "host_list = true\nhold_no = '0s'\nlog_grants = 'none'\nhistory = '1h'")
    yield made
    made.close()


def needs(pid: int) -> tuple[int, int]:
    """KiB of memory of its own, and open files."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def test_at_full_speed_nothing_stays_behind_and_no_answer_is_wrong(installation: Installation) -> None:
    print(f"seed {SEED}: {SECONDS} s, {RATE} logins/s of {ADDRESSES} addresses, {LOOKUPS} lookups/s")
    dice = random.Random(SEED)
    parts = {part: installation.start(part) for part in ("watch", "respond")}
    installation.ready()
    installation.write(login_line(STANDING))
    eventually(lambda: installation.ask(STANDING) == "yes", "granted")
    command = [sys.executable, "-c", ASKER, str(installation.run_dir / "lookup.sock"), str(LOOKUPS / ASKERS)]
    askers = [
        subprocess.Popen([*command, str(SECONDS), str(number), STANDING], stdout=subprocess.PIPE, cwd=ROOT)
        for number in range(ASKERS)
    ]
    began = due = time.monotonic()
    written, half = 0, dict.fromkeys(parts, (0, 0))
    while (now := time.monotonic()) < began + SECONDS:
        lines = []
        while written < (now - began) * RATE:
            written += 1
            who = dice.randrange(ADDRESSES)
            lines.append(login_line(f"10.{who >> 16}.{who >> 8 & 255}.{who & 255}", user=f"user{who}"))
        installation.write(b"".join([*lines, login_line(STANDING)]))
        if half["watch"] == (0, 0) and now > began + SECONDS / 2:
            half = {part: needs(process.pid) for part, process in parts.items()}
        due += TICK
        time.sleep(max(0.0, due - time.monotonic()))
    installation.write(login_line(LAST))
    eventually(lambda: installation.ask(LAST) == "yes", "nothing is unread", BEHIND_SECONDS)
    behind = time.monotonic() - now
    told = [json.loads(asker.communicate()[0]) for asker in askers]
    end = {part: needs(process.pid) for part, process in parts.items()}
    asked = sum(one["asked"] for one in told)
    print(f"{written} logins, the last read after {behind:.2f} s; {asked} lookups; KiB and files {half} {end}")
    assert [wrong for one in told for wrong in one["wrong"]] == []
    for part, (memory, files) in end.items():
        assert memory <= half[part][0] * 1.25 + 16384, part
        assert files <= half[part][1] + 4, part
    assert installation.degraded() == ""
    assert "Traceback" not in installation.errors("watch") + installation.errors("respond")
