"""What one real Redis takes: entries in and out for a second of its processor time, and its memory for each.

Measured with redis-benchmark over a unix socket, by the processor time of the server: so what else runs on the machine
does not count, and neither does who asks.
"""

from __future__ import annotations

import subprocess

from popauthd.cluster.events import PeerLogin
from popauthd.cluster.keys import Key, Keys
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.wire import encode
from tests.servers.mailservers import tree
from tests.servers.place import Place
from tests.servers.redis import ENGINES, STREAM, Redis, environment
from tests.support.policy import NOW

READ = 1000  # entries at once, as a node reads
NODES = (3, 10, 30, 100)
Row = dict[str, str | int | float]


def measured(entries: int) -> list[Row]:
    """The figures, a row each. entries: how many are appended."""
    with Place() as place:
        redis = Redis(place, "redis")
        fields = [part for pair in _entry().items() for part in pair]
        before, empty = _seconds(redis), _number(redis, "memory", "used_memory")
        _benchmark(redis, entries, "XADD", STREAM, "MINID", "~", "0", "*", *fields)
        appended = entries / (_seconds(redis) - before)
        size = (_number(redis, "memory", "used_memory") - empty) / entries
        before, reads = _seconds(redis), max(1, 5 * entries // READ)
        _benchmark(redis, reads, "XREAD", "COUNT", str(READ), "STREAMS", STREAM, "0-0")
        read = reads * READ / (_seconds(redis) - before)
    rows: list[Row] = [
        {"what": f"{ENGINES[0]}: entries appended in a second of its processor time", "figure": round(appended)},
        {"what": "entries given out in a second of it, 1000 at once", "figure": round(read)},
        {"what": "bytes of memory for an entry", "figure": round(size)},
        {"what": "GB for an hour of 1000 entries a second", "figure": round(size * 3.6e6 / 1e9, 2)},
    ]
    # each entry is appended once and given to every node
    ends = [(nodes, 1 / (1 / appended + nodes / read)) for nodes in NODES]
    return rows + [{"what": f"entries/s at which its core is full, {n} nodes", "figure": round(r)} for n, r in ends]


def _entry() -> dict[str, str]:
    keys = Keys((Key("one", bytes(32)),))
    user = Pseudonyms(keys).of("user123456@example.org")[0]
    event = PeerLogin("10.100.100.100", user, NOW, NOW, "imap", "PLAIN", True)
    fields = encode(event, node="node42", run="0" * 16, number=123456, sent_ms=NOW * 1000, stream=STREAM, keys=keys)
    return {name.decode(): value.decode() for name, value in fields.items()}


def _benchmark(redis: Redis, number: int, *words: str) -> None:
    program = str(tree(ENGINES[0]) / f"usr/bin/{ENGINES[0]}-benchmark")
    command = [program, "-s", str(redis.socket), "-q", "-n", str(number), "-c", "4", "-P", "20", *words]
    subprocess.run(command, env=environment(ENGINES[0]), check=True, capture_output=True, timeout=600)


def _seconds(redis: Redis) -> float:
    return _number(redis, "cpu", "used_cpu_user") + _number(redis, "cpu", "used_cpu_sys")


def _number(redis: Redis, section: str, name: str) -> float:
    lines = dict(line.strip().partition(":")[::2] for line in redis.ask("INFO", section).splitlines())
    return float(lines[name])
