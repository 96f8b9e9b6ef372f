"""popauthd on a 32-bit machine: Debian 13 for i386 in a directory, whose programs most amd64 kernels run.

What could not fit there: sizes of maps, and times after January 2038, as its time_t has 32 bits. A machine that cannot
run such programs leaves this out; tests/unit/store/test_map_size.py asks for the sizes everywhere.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.books import unpack
from tests.package.building import copy_source
from tests.package.roots import Root
from tests.support.helpers import ROOT

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]

# What packaging/demo.sh would install, so that it needs no network; and what the unit tests need.
INCLUDE = (
    "ca-certificates", "dovecot-imapd", "dovecot-pop3d", "exim4-daemon-light", "python3-lmdb", "python3-pygtail",
    "python3-systemd", "python3-tomli-w", "python3-watchdog", "python3-pytest", "python3-hypothesis",
    "tzdata", "xz-utils", "zstd",
)  # fmt: skip
# Whatever opens a map, counts the bytes of a large file, or reads and writes times.
UNITS = (
    "store/books/books", "store/quarantine", "sources/file/source", "sources/file/start", "policy/order",
    "policy/decide", "policy/limits", "policy/address_facts", "sources/push/messages", "readlookup", "cli/recognise",
    "store/relay_map", "responder", "store/books/sessions", "store/books/shared", "store/map_size",
    "formats/timestamps", "text",
)  # fmt: skip
WAYS = ("socket", "readlookup", "hostlist")
FETCH_EXIM = 'root=/src; . "$root/packaging/setup.sh"; prepare; need_exim light'
OPEN = """
import sys
from popauthd.store.books import DATABASES, SCHEMA, Books
from popauthd.store.quarantine import heal
print(heal("/tmp/books.mdb", DATABASES, SCHEMA.decode("ascii")))
Books("/tmp/books.mdb").close()
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Root]:
    """A clean system for i386, with the source in /src and the demo's Exim unpacked."""
    if subprocess.run(["arch-test", "i386"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine cannot run programs for i386")
    with Root("trixie", INCLUDE, "i386") as root:
        source = copy_source(root.path / "src")
        shutil.copytree(ROOT / "tests", source / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        kept, there = ROOT / ".cache/roots/trixie-i386-exim", source / ".cache/trixie/exim"
        if kept.exists():
            shutil.copytree(kept, there, symlinks=True)
        else:
            root.online("sh", "-c", FETCH_EXIM)
            shutil.copytree(there, kept.with_name(f"{kept.name}.new"), symlinks=True)
            kept.with_name(f"{kept.name}.new").rename(kept)
        yield root


def test_it_is_a_machine_of_32_bits(machine: Root) -> None:
    code = "import sys, time; print(sys.maxsize, flush=True); time.gmtime(1 << 31)"
    status, said = machine.fails("python3", "-c", code)
    assert said.startswith("2147483647\n")
    assert (status, said.splitlines()[-1]) == (1, "OverflowError: timestamp out of range for platform time_t")


def test_every_step_of_the_demo_holds_there(machine: Root) -> None:
    said = machine.run("sh", "/src/packaging/demo.sh", "--once")
    assert [way for way in WAYS if f"(exim/acl-{way})" in said] == list(WAYS)


def test_what_counts_bytes_and_seconds_is_right_there(machine: Root) -> None:
    files = [f"tests/unit/{Path(name).with_name(f'test_{Path(name).name}.py')}" for name in UNITS]
    said = machine.run("sh", "-c", f"cd /src && python3 -B -m pytest -q -p no:cacheprovider {' '.join(files)}")
    assert " passed" in said
    assert "failed" not in said


def test_books_of_a_64_bit_machine_are_told_from_ours_and_kept_aside(machine: Root) -> None:
    unpack(2, machine.path / "tmp/books.mdb")
    said = machine.run("sh", "-c", f"cd /src && python3 -B -c '{OPEN}'")
    assert "MDB_INVALID" in said
    assert "kept as /tmp/books.mdb.damaged-" in said
