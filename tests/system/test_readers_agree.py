"""For every address and every set of grants, everybody who reads gives the one answer that the grants give."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popauthd.responder import Responder
from popauthd.serving.unix_socket import listen
from popauthd.store import host_list
from popauthd.store.books import Books
from popauthd.store.relay_map import MapReader
from tests.servers.exim import stock
from tests.support.helpers import ROOT, write_map

pytestmark = pytest.mark.system

# Few networks, so that addresses and grants meet; of every shape that changes how a /64 is written.
SITES = (
    0x20010DB8_00010002,
    0x20010DB8_00000000,
    0x20010DB8_00000001,
    0x20010000_00000001,
    0x00010002_00030004,
    0xFD << 56,
)
HOSTS = (0, 1, 0x7, 0xFFFF, 0x1_0000, 0xABCD_0000_0000_0001, (1 << 64) - 1)
SIX = st.builds(
    lambda site, host: str(ipaddress.IPv6Address(site << 64 | host)), st.sampled_from(SITES), st.sampled_from(HOSTS)
)
SITE = st.sampled_from(SITES).map(lambda site: f"{ipaddress.IPv6Address(site << 64)}/64")
FOUR = st.integers(1, 5).map(lambda host: f"192.0.2.{host}")
HOURS = st.sampled_from([-2, -1, 1, 2])  # until it runs out: no clock comes near
GRANTS = st.dictionaries(st.one_of(FOUR, SIX, SIX, SITE, SITE), HOURS, max_size=10)
ASKED = [f"192.0.2.{host}" for host in range(1, 7)] + [
    str(ipaddress.IPv6Address(site << 64 | host)) for site in SITES for host in HOSTS
]


def readlookup() -> ModuleType:
    """The script as a module, but for its first act of closing stderr."""
    script = ROOT / "exim/readlookup"
    loader = SourceFileLoader("readlookup", str(script))
    spec = importlib.util.spec_from_loader("readlookup", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    text = script.read_text().replace('posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 2)', "pass")
    exec(compile(text, script, "exec"), module.__dict__)
    return module


SCRIPT = readlookup()


def truth(grants: Mapping[str, int], now: int, client: str) -> str:
    """An oracle of its own: a grant names a network, of one address or of 2^64."""
    address = ipaddress.ip_address(client)
    until = [expires_at for key, expires_at in grants.items() if address in ipaddress.ip_network(key)]
    return "yes" if until and max(until) > now else "no"


def exim_says(directory: Path, clients: list[str]) -> list[str]:
    """What Exim's iplsearch finds in the list, all asked of one process."""
    ask = "${{if >{{${{lookup{{{}}}iplsearch{{{}}}{{$value}}{{0}}}}}}{{$tod_epoch}}{{yes}}{{no}}}}"
    lines = "".join(ask.format(client, directory / "relay-hosts") + "\n" for client in clients)
    (directory / "exim.conf").touch()
    command = [str(stock("light")), "-C", str(directory / "exim.conf"), "-be"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.replace("> ", "").split()


def responder_says(directory: Path, clients: list[str]) -> list[str]:
    """What the responder answers on its socket, asked one after the other."""
    listener = listen(str(directory / "lookup.sock"), 0o660)
    responder = Responder(listener, MapReader(str(directory / "relay.mdb")), 0)
    replies: list[str] = []

    def ask() -> None:
        for client in clients:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(directory / "lookup.sock"))
                connection.sendall(f"{client}\n".encode())
                replies.append(connection.recv(16).decode())

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        responder.turn(0.005)
    responder.close()
    listener.close()
    return replies


def script_says(path: Path, clients: list[str]) -> list[str]:
    """What readlookup finds, its keys and its trust in records, without a process for each."""
    reader = MapReader(str(path))
    with reader._open().begin() as transaction:
        records = dict(transaction.cursor())
    reader.close()
    answers = []
    for client in clients:
        wanted = [key.encode() for key in SCRIPT.keys(client)]
        yes = any(SCRIPT.allows(records.get(key), key, time.time()) for key in wanted)
        answers.append("yes" if yes else "no")
    return answers


@given(GRANTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_reader_gives_the_answer_of_the_grants(grants: dict[str, int]) -> None:
    now = int(time.time())
    expiries = {key: now + 3600 * hours for key, hours in grants.items()}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        path = directory / "relay.mdb"
        write_map(path, expiries)
        books = Books(str(directory / "books.mdb"))
        with books.writing() as writing:
            for key, expires_at in expiries.items():
                writing.published.change(key, None, expires_at)
        with books.reading() as reading:
            host_list.write(str(directory / "relay-hosts"), reading.published.host_list())
        books.close()
        (directory / "relay-hosts").chmod(0o644)
        wanted = [truth(expiries, now, client) for client in ASKED]
        reader = MapReader(str(path))
        said = {
            "map": ["yes" if (reader.expiry(client) or 0) > now else "no" for client in ASKED],
            "script": script_says(path, ASKED),
            "responder": responder_says(directory, ASKED),
            "host list": exim_says(directory, ASKED),
        }
        reader.close()
        for who, answers in said.items():
            assert dict(zip(ASKED, answers, strict=True)) == dict(zip(ASKED, wanted, strict=True)), who


def test_the_script_itself_answers_alike(tmp_path: Path) -> None:
    path, later = tmp_path / "relay.mdb", int(time.time()) + 3600
    grants = {"2001:db8:1:2::/64": later, "2001:db8:1:2::1": 5, "2001:db8::7": later, "2001:db8:0:1::/64": 5}
    write_map(path, grants)
    for client in ASKED:
        done = subprocess.run([ROOT / "exim/readlookup", "--map", path, client], capture_output=True, check=False)
        assert done.stdout.decode().strip() == truth(grants, later - 3600, client), client
