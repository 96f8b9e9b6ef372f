"""exim/readlookup as Exim runs it: a process of its own, judged by its output, status and silence."""

from __future__ import annotations

import importlib.util
import ipaddress
import mmap
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd import address as addresses
from tests.support.helpers import ROOT, write_map

SCRIPT = ROOT / "exim/readlookup"
LATER = 4_000_000_000


def run(*arguments: str | bytes, script: Path = SCRIPT) -> tuple[str, int]:
    """Run the script; whatever it does, stderr must stay empty."""
    done = subprocess.run([script, *arguments], capture_output=True, check=False, timeout=30)
    assert done.stderr == b""
    return done.stdout.decode(), done.returncode


def ask(path: Path, address: str | bytes) -> tuple[str, int]:
    return run("--map", str(path), address)


YES, NO = ("yes\n", 0), ("no\n", 1)


def raw_map(path: Path, records: dict[bytes, bytes]) -> Path:
    """A map with records that popauthd itself would never write."""
    env = lmdb.open(str(path), subdir=False, map_size=1 << 24)
    with env.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    env.close()
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "relay.mdb"
    now = int(time.time())
    entries: dict[str, int | None] = {
        "192.0.2.10": now + 900,
        "192.0.2.11": now - 1,
        "2001:db8::7": now + 900,
        "2001:db8::8": now - 1,
        "::1": now + 900,
    }
    write_map(path, entries)
    return path


ASKED = [
    ("granted IPv4", "192.0.2.10", YES),
    ("granted IPv6", "2001:db8::7", YES),
    ("granted ::1", "::1", YES),
    ("IPv6 written out, as exim -bh does", "2001:0db8:0000:0000:0000:0000:0000:0007", YES),
    ("IPv6 in upper case", "2001:DB8::7", YES),
    ("IPv4-mapped", "::ffff:192.0.2.10", YES),
    ("IPv4-mapped in hexadecimal", "::ffff:c000:20a", YES),
    ("expired IPv4", "192.0.2.11", NO),
    ("expired IPv6", "2001:db8::8", NO),
    ("unknown", "192.0.2.12", NO),
    ("IPv4-compatible", "::192.0.2.10", NO),
    ("zone", "fe80::1%lo", NO),
    ("zone on a granted one", "2001:db8::7%lo", NO),
    ("network", "192.0.2.10/32", NO),
    ("leading zero", "192.0.2.010", NO),
    ("short form", "192.0.522", NO),
    ("blank after", "192.0.2.10 ", NO),
    ("line feed after", "192.0.2.10\n", NO),
    ("brackets", "[2001:db8::7]", NO),
    ("empty", "", NO),
    ("not text", b"\xff\xfe", NO),
    ("very long", "1" * 100_000, NO),
    ("an option", "--help", NO),
]


@pytest.mark.parametrize(("address", "answer"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED])
def test_it_answers_by_the_map(good: Path, address: str | bytes, answer: tuple[str, int]) -> None:
    assert ask(good, address) == answer


WRONG_CALLS = [
    ("nothing", ()),
    ("two addresses", ("192.0.2.10", "192.0.2.10")),
    ("only a map", ("--map", "/nowhere")),
    ("an unknown option", ("--mop", "/nowhere", "192.0.2.10")),
    ("no such map", ("--map", "/nowhere/relay.mdb", "192.0.2.10")),
    ("a directory", ("--map", "/", "192.0.2.10")),
    ("a map named by an empty text", ("--map", "", "192.0.2.10")),
    ("a device", ("--map", "/dev/null", "192.0.2.10")),
]


@pytest.mark.parametrize("arguments", [row[1] for row in WRONG_CALLS], ids=[row[0] for row in WRONG_CALLS])
def test_a_wrong_call_is_a_no(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == NO


RECORDS = [
    ("right", b"%d 192.0.2.10" % LATER, YES),
    ("for another address", b"%d 192.0.2.99" % LATER, NO),
    ("for a longer address", b"%d 192.0.2.100" % LATER, NO),
    ("for a shorter address", b"%d 192.0.2.1" % LATER, NO),
    ("without an address", b"%d" % LATER, NO),
    ("without an expiry", b" 192.0.2.10", NO),
    ("with a sign", b"+%d 192.0.2.10" % LATER, NO),
    ("with an underscore", b"4_000_000_000 192.0.2.10", NO),
    ("with other digits", "٤٠٠٠٠٠٠٠٠٠ 192.0.2.10".encode(), NO),
    ("with a blank too many", b"%d  192.0.2.10" % LATER, NO),
    ("with a NUL after", b"%d 192.0.2.10\0" % LATER, NO),
    ("with a line feed after", b"%d 192.0.2.10\n" % LATER, NO),
    ("of twelve digits", b"9" * 12 + b" 192.0.2.10", YES),
    ("of too many digits", b"9" * 13 + b" 192.0.2.10", NO),
    ("of absurdly many digits", b"9" * 400 + b" 192.0.2.10", NO),
    ("in hexadecimal", b"0xffffffff 192.0.2.10", NO),
    ("expiring at the epoch", b"0 192.0.2.10", NO),
    ("empty", b"", NO),
    ("not text", b"\xff\xfe\xfd", NO),
]


@pytest.mark.parametrize(("record", "answer"), [row[1:] for row in RECORDS], ids=[row[0] for row in RECORDS])
def test_it_trusts_only_a_record_that_names_the_address(tmp_path: Path, record: bytes, answer: tuple[str, int]) -> None:
    path = raw_map(tmp_path / "relay.mdb", {b"192.0.2.10": record})
    assert ask(path, "192.0.2.10") == answer


def test_a_grant_ends_by_the_readers_own_clock(tmp_path: Path) -> None:
    now = int(time.time())
    path = raw_map(tmp_path / "relay.mdb", {b"192.0.2.10": b"%d 192.0.2.10" % now})
    assert ask(path, "192.0.2.10") == NO


SPOILT = [
    "missing",
    "empty",
    "one byte",
    "cut after the meta pages",
    "cut in the middle",
    "noise",
    "noisy pages",
    "zeros",
]


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_map_is_a_no_and_never_a_crash(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "relay.mdb"
    raw_map(path, {f"10.0.{i >> 8}.{i & 255}".encode(): b"%d x" % LATER for i in range(3000)})
    whole = path.read_bytes()
    page = 4096
    noise = bytes((i * 197 + (i >> 7)) & 255 for i in range(len(whole)))
    contents = {
        "empty": b"",
        "one byte": whole[:1],
        "cut after the meta pages": whole[: 2 * page],
        "cut in the middle": whole[: len(whole) // 2],
        "noise": noise,
        "noisy pages": whole[: 2 * page] + noise[2 * page :],
        "zeros": bytes(len(whole)),
    }
    path.unlink()
    if fault in contents:
        path.write_bytes(contents[fault])
    assert ask(path, "10.0.1.1") == NO


def test_it_writes_nothing_beside_the_map(tmp_path: Path) -> None:
    path = raw_map(tmp_path / "relay.mdb", {b"192.0.2.10": b"%d 192.0.2.10" % LATER})
    (tmp_path / "relay.mdb-lock").unlink()
    before = path.stat()
    assert ask(path, "192.0.2.10") == YES
    assert [entry.name for entry in tmp_path.iterdir()] == ["relay.mdb"]
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_map_that_may_only_be_read_is_read() -> None:
    """As Exim's user, who may not write the map nor beside it; where the tests are no root, as ourselves."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to others
        place = Path(name)
        path = raw_map(place / "relay.mdb", {b"192.0.2.10": b"%d 192.0.2.10" % LATER})
        script = Path(shutil.copy(SCRIPT, place))
        path.chmod(0o444)
        (place / "relay.mdb-lock").unlink()
        place.chmod(0o555)
        command = [str(script), "--map", str(path), "192.0.2.10"]
        user = 65534 if os.geteuid() == 0 else None
        groups: list[str | int] | None = None if user is None else []
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=30, user=user, group=user, extra_groups=groups
        )
        place.chmod(0o755)
    assert (done.stdout.decode(), done.returncode, done.stderr) == (*YES, b"")


def test_a_map_that_keeps_its_reader_waiting_is_a_no(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "relay.mdb")
    assert ask(tmp_path / "relay.mdb", "192.0.2.10") == NO


def test_without_a_map_named_it_reads_the_daemons(good: Path, tmp_path: Path) -> None:
    text = SCRIPT.read_text()
    default = 'DEFAULT_MAP = "/run/popauthd/relay.mdb"'
    assert default in text
    script = tmp_path / "readlookup"
    script.write_text(text.replace(default, f'DEFAULT_MAP = "{good}"'))
    script.chmod(0o755)
    assert run("192.0.2.10", script=script) == YES
    assert run("192.0.2.12", script=script) == NO


def test_a_map_larger_than_lmdbs_default_is_read(tmp_path: Path) -> None:
    path = tmp_path / "relay.mdb"
    env = lmdb.open(str(path), subdir=False, map_size=1 << 26)
    with env.begin(write=True) as transaction:
        for number in range(6000):
            transaction.put(b"filler%d" % number, bytes(3000))
        transaction.put(b"192.0.2.10", b"%d 192.0.2.10" % LATER)
    env.close()
    assert path.stat().st_size > 10_485_760
    assert ask(path, "192.0.2.10") == YES


def test_a_missing_lmdb_is_a_no(tmp_path: Path, good: Path) -> None:
    script = tmp_path / "readlookup"
    script.write_text(SCRIPT.read_text().replace("/usr/lib/python3/dist-packages/lmdb", "/nowhere"))
    script.chmod(0o755)
    assert run("--map", str(good), "192.0.2.10", script=script) == NO


def test_an_answer_that_cannot_be_written_is_not_a_yes(good: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run([SCRIPT, "--map", good, "192.0.2.10"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_hostile_environment_changes_nothing(good: Path, tmp_path: Path) -> None:
    (tmp_path / "lmdb.py").write_text("raise SystemExit(0)")
    (tmp_path / "sitecustomize.py").write_text("print('yes')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONVERBOSE": "1", "PYTHONSTARTUP": "x"}
    done = subprocess.run(
        [SCRIPT, "--map", good, "192.0.2.12"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (done.stdout, done.returncode, done.stderr) == (b"no\n", 1, b"")


def _ignored() -> None:
    for number in (signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGALRM})


@pytest.mark.parametrize("left", [_ignored, _blocked])
def test_signals_as_whoever_started_it_left_them_change_nothing(
    good: Path, tmp_path: Path, left: Callable[[], None]
) -> None:
    os.mkfifo(tmp_path / "relay.mdb")
    for path, address, answer in (
        (good, "192.0.2.10", YES),
        (good, "192.0.2.12", NO),
        (tmp_path / "relay.mdb", "192.0.2.10", NO),  # it would be waited for without end
    ):
        command = [str(SCRIPT), "--map", str(path), address]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30, preexec_fn=left)
        assert (done.stdout.decode(), done.returncode, done.stderr) == (*answer, b"")


def script_module() -> ModuleType:
    """The script as a module, in a process whose stderr it would otherwise take away."""
    text = SCRIPT.read_text()
    line = 'posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 2)'
    assert line in text
    loader = SourceFileLoader("readlookup", str(SCRIPT))
    spec = importlib.util.spec_from_loader("readlookup", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(text.replace(line, "pass"), SCRIPT, "exec"), module.__dict__)
    return module


MODULE = script_module()


def canonical(text: str) -> str | None:
    try:
        return str(MODULE.keys(text)[0])
    except (ValueError, OSError):
        return None


@given(st.one_of(st.ip_addresses().map(str), st.text("0123456789abcdefF:.%/ ", max_size=48), st.text(max_size=20)))
def test_it_reads_addresses_as_the_daemon_does(text: str) -> None:
    reads_as_the_daemon(text)


def reads_as_the_daemon(text: str) -> None:
    daemon = addresses.parse(text)
    compatible = daemon is not None and daemon.version == 6 and 0xFFFF < int(daemon) < 1 << 32
    assert canonical(text) == (None if daemon is None or compatible else str(daemon))


@given(st.integers(1 << 49, (1 << 128) - 1))
def test_it_asks_for_the_same_keys_as_the_daemon(number: int) -> None:
    text = str(ipaddress.IPv6Address(number))
    assert MODULE.keys(text) == list(addresses.keys(text))


def test_a_64_in_the_map_speaks_for_its_addresses_alone(tmp_path: Path) -> None:
    path = tmp_path / "relay.mdb"
    write_map(path, {"2001:db8:1:2::/64": LATER, "2001:db8:1:2::9": 1})
    assert ask(path, "2001:db8:1:2:ffff::7") == YES
    assert ask(path, "2001:db8:1:2::9") == YES, "its own login has run out, the network's has not"
    assert ask(path, "2001:db8:1:3::7") == NO
    assert ask(path, "2001:db8:1:2::/64") == NO


def test_a_broken_page_keeps_nobody_from_the_other_ones(tmp_path: Path) -> None:
    """The address's own page says CORRUPTED to LMDB; the page of its /64 is whole."""
    own, net = b"2001:db8:1:2::9", b"2001:db8:1:2::/64"
    fillers = {b"2001:db8:1:2::0%03d" % number: bytes(1000) for number in range(40)}
    path = raw_map(tmp_path / "relay.mdb", {net: b"%d %s" % (LATER, net), own: b"%d %s" % (LATER, own), **fillers})
    content = bytearray(path.read_bytes())
    page = content.rindex(b"%d %s" % (LATER, own)) // mmap.PAGESIZE * mmap.PAGESIZE
    assert content.rindex(b"%d %s" % (LATER, net)) // mmap.PAGESIZE * mmap.PAGESIZE != page
    content[page + 10 : page + 12] = bytes(2)  # the flags: neither a branch nor a leaf
    path.write_bytes(content)
    assert ask(path, own) == YES
    assert ask(path, "2001:db8:1:3::9") == NO


@given(st.integers(0, (1 << 128) - 1), st.sampled_from(["exploded", "compressed", "upper"]))
def test_every_spelling_of_an_ipv6_address_is_the_daemons_key(number: int, spelling: str) -> None:
    six = ipaddress.IPv6Address(number)
    text = {"exploded": six.exploded, "compressed": six.compressed, "upper": str(six).upper()}[spelling]
    reads_as_the_daemon(text)


HOLDS = [
    ("told", b"100\n", 0.1),
    ("nothing held", b"0\n", 0),
    ("the longest", b"1500\n", 1.5),
    ("longer than any", b"99999\n", 1.5),
    ("empty", b"", 0),
    ("a sign", b"-100\n", 0),
    ("no number", b"100ms\n", 0),
    ("other digits", "\u0661\n".encode(), 0),
    ("endless", b"1" * 9999, 1.5),
]


@pytest.mark.parametrize(("told", "seconds"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_how_long_a_no_is_held_stands_beside_the_map(tmp_path: Path, told: bytes, seconds: float) -> None:
    (tmp_path / "configured").write_bytes(told)
    assert MODULE.hold_seconds(str(tmp_path / "relay.mdb")) == seconds


def test_nothing_is_held_where_nothing_is_told(tmp_path: Path) -> None:
    assert MODULE.hold_seconds(str(tmp_path / "relay.mdb")) == 0
    (tmp_path / "configured").mkdir()
    assert MODULE.hold_seconds(str(tmp_path / "relay.mdb")) == 0
    (tmp_path / "configured").rmdir()
    os.mkfifo(tmp_path / "configured")
    assert MODULE.hold_seconds(str(tmp_path / "relay.mdb")) == 0


def test_a_map_beside_us_is_told_of_beside_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configured").write_text("100")
    assert MODULE.hold_seconds("relay.mdb") == 0.1


@pytest.mark.parametrize("there", [True, False])
def test_a_login_while_a_no_is_held_is_a_yes(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "relay.mdb"
    (tmp_path / "configured").write_text("1500\n")
    if there:
        raw_map(path, {b"192.0.2.99": b"%d 192.0.2.99" % LATER})
    with subprocess.Popen([SCRIPT, "--map", path, "192.0.2.10"], stdout=subprocess.PIPE) as asked:
        raw_map(path, {b"192.0.2.10": b"%d 192.0.2.10" % LATER})
        assert asked.stdout is not None
        assert asked.stdout.read() == b"yes\n"


def test_a_no_that_stays_one_is_said_when_its_time_is_over(good: Path) -> None:
    (good.parent / "configured").write_text("300\n")
    began = time.monotonic()
    assert ask(good, "192.0.2.12") == NO
    assert time.monotonic() - began >= 0.3
    assert ask(good, "192.0.2.11") == NO, "one that has run out"
    (good.parent / "configured").unlink()
