"""The snippets put into Debian's own generated configuration, split and unsplit, as exim/README.md says.

Debian's update-exim4.conf and templates, unpacked from exim4-config, with nothing changed but the
directories; sessions are played with `exim -bh`, from addresses that aren't loopback.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.servers.exim import (
    FLAVOURS,
    LOCAL,
    REFUSAL,
    REMOTE,
    WAYS,
    write_snippets,
)
from tests.servers.place import Place
from tests.support.debian_exim import Debian, relocated
from tests.support.helpers import write_map

pytestmark = pytest.mark.system

# Nothing is asked of the world's name servers.


@pytest.fixture(scope="module", params=[False, True], ids=["unsplit", "split"])
def split(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module", params=FLAVOURS)
def debian(request: pytest.FixtureRequest, split: bool) -> Iterator[Debian]:
    with Place() as place:
        yield relocated(place, request.param, split)


@pytest.fixture(scope="module")
def installed(debian: Debian) -> Debian:
    """With popauthd's macros in; a map and a list in which two addresses are granted, and no socket."""
    run_dir = debian.root / "run"
    run_dir.mkdir()
    later = int(time.time()) + 86400
    write_map(run_dir / "relay.mdb", {"192.0.2.10": later, "2001:db8::7": later})
    (run_dir / "relay.mdb").chmod(0o644)
    (run_dir / "relay-hosts").write_text(f'192.0.2.10: {later}\n"2001:db8::7": {later}\n')
    (run_dir / "relay-hosts").chmod(0o644)
    debian.install(write_snippets(debian.root, "hostlist", run_dir).read_text())
    debian.generate()
    return debian


CASES = [
    ("a stranger relays", "192.0.2.99", REMOTE, f"550 {REFUSAL}"),
    ("a stranger relays over IPv6", "2001:db8::99", REMOTE, f"550 {REFUSAL}"),
    ("a stranger writes to us", "192.0.2.99", LOCAL, "250 Accepted"),
    ("a granted address writes to us", "192.0.2.10", LOCAL, "250 Accepted"),
    ("a relay network of the administrator", "198.51.100.9", REMOTE, "250 Accepted"),
    ("this host", "127.0.0.1", REMOTE, "250 Accepted"),
    ("a bad local part", "192.0.2.10", "/etc/passwd@example.com", "550 restricted characters in address"),
]
GRANTED = {
    "socket": f"550 {REFUSAL}",  # there is none: fail closed
    "readlookup": "250 Accepted",
    "hostlist": "250 Accepted",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("source", "to", "reply"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_debians_rules_stay_in_force(installed: Debian, way: str, source: str, to: str, reply: str) -> None:
    write_snippets(installed.root, way, installed.root / "run")
    assert installed.says(source, to) == reply


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8::7"])
def test_a_granted_address_relays(installed: Debian, way: str, source: str) -> None:
    write_snippets(installed.root, way, installed.root / "run")
    assert installed.says(source, REMOTE) == GRANTED[way]


def test_without_the_acl_file_it_is_debians_exim(installed: Debian) -> None:
    installed.acl.rename(installed.root / "aside")
    try:
        for source in ("192.0.2.99", "192.0.2.10"):
            assert installed.says(source, REMOTE) == "550 relay not permitted"
        assert installed.says("198.51.100.9", REMOTE) == "250 Accepted"
        assert installed.says("192.0.2.99", LOCAL) == "250 Accepted"
    finally:
        (installed.root / "aside").rename(installed.acl)


def test_the_text_stands_in_the_acl_file(installed: Debian) -> None:
    text = "Please fetch your mail first (see https://example.org/help)"
    before = installed.acl.read_text()
    installed.acl.write_text(before.replace(REFUSAL, text))
    try:
        assert installed.says("192.0.2.99", REMOTE) == f"550 {text}"
    finally:
        installed.acl.write_text(before)


def test_an_administrators_own_acl_is_kept(installed: Debian) -> None:
    name = "conf.d/main/000_local" if installed.split else "exim4.conf.localmacros"
    path = installed.root / "exim4" / name
    before = path.read_text()
    path.write_text(f"MAIN_ACL_CHECK_RCPT = deny message = mine\n{before}")
    try:
        installed.generate()
        assert installed.says("192.0.2.10", REMOTE) == "550 mine"
    finally:
        path.write_text(before)
        installed.generate()
