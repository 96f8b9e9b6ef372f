"""`ipv6_prefix = 64`: whoever asks, by whatever way, gets the same answer for every address of the network."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.exim import FLAVOURS, stock
from tests.support.daemons import Installation, login_line
from tests.support.helpers import ROOT, eventually

pytestmark = pytest.mark.system


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    started = Installation(tmp_path, 'ipv6_prefix = 64\nnever = ["2001:db8:1:9::1/128"]')
    started.start("watch")
    started.start("respond")
    started.ready()
    yield started
    started.close()


def host_list_says(installation: Installation, flavour: str, client: str) -> str:
    """What Exim's own iplsearch makes of the list, compared with the clock as the snippet does."""
    text = f"${{lookup{{{client}}}iplsearch{{{installation.run_dir}/relay-hosts}}{{$value}}{{0}}}}"
    empty = installation.directory / "exim.conf"
    empty.touch()
    done = subprocess.run(
        [stock(flavour), "-C", empty, "-be", text], capture_output=True, text=True, check=True, timeout=30
    )
    return "yes" if int(done.stdout) > time.time() else "no"


def readlookup_says(installation: Installation, client: str) -> str:
    command = [str(ROOT / "exim/readlookup"), "--map", str(installation.run_dir / "relay.mdb"), client]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


def check_says(installation: Installation, client: str) -> str:
    return {0: "yes", 1: "no"}[installation.ctl("check", client).returncode]


def everybody_says(installation: Installation, client: str) -> set[str]:
    return {
        installation.ask(client),
        readlookup_says(installation, client),
        check_says(installation, client),
        *(host_list_says(installation, flavour, client) for flavour in FLAVOURS),
    }


def in_the_list(installation: Installation, text: str) -> None:
    eventually(lambda: text in (installation.run_dir / "relay-hosts").read_text(), f"{text} in the host list")


def test_a_login_opens_its_64_and_nothing_else(installation: Installation) -> None:
    installation.write(login_line("2001:db8:1:2::7"), login_line("192.0.2.7"))
    in_the_list(installation, '"2001:db8:1:2::/64"')
    in_the_list(installation, "192.0.2.7")
    for client in ("2001:db8:1:2::7", "2001:db8:1:2:ffff:1:2:3", "192.0.2.7"):
        assert everybody_says(installation, client) == {"yes"}, client
    for client in ("2001:db8:1:3::7", "2001:db8:1:1:ffff:ffff:ffff:ffff", "192.0.2.8"):
        assert everybody_says(installation, client) == {"no"}, client


def test_an_address_whose_own_grant_ran_out_is_still_in_its_network(installation: Installation) -> None:
    assert installation.ctl("grant", "2001:db8:1:2::7", "--for", "5s").returncode == 0
    in_the_list(installation, '"2001:db8:1:2::7"')
    installation.write(login_line("2001:db8:1:2::8"))
    in_the_list(installation, '"2001:db8:1:2::/64"')
    assert everybody_says(installation, "2001:db8:1:2::7") == {"yes"}
    eventually(lambda: "2001:db8:1:2::7" not in installation.listed(), "the grant by hand to run out")
    assert everybody_says(installation, "2001:db8:1:2::7") == {"yes"}


def test_revoking_an_address_closes_its_network(installation: Installation) -> None:
    installation.write(login_line("2001:db8:1:2::7"))
    in_the_list(installation, '"2001:db8:1:2::/64"')
    assert installation.ctl("revoke", "2001:db8:1:2::55").returncode == 0
    eventually(lambda: everybody_says(installation, "2001:db8:1:2::7") == {"no"}, "the revocation")
    installation.write(login_line("2001:db8:1:2::7", at=time.time() - 60))
    installation.write(login_line("192.0.2.7"))
    in_the_list(installation, "192.0.2.7")
    assert everybody_says(installation, "2001:db8:1:2::7") == {"no"}, "an older login stays revoked"
    said = installation.ctl("check", "2001:db8:1:2::8").stdout.decode()
    assert "last refused login" in said
    assert ": revoked. " in said, "what was refused under the network's key is told for its addresses"


def test_a_network_is_revoked_with_every_address_in_it(installation: Installation) -> None:
    installation.write(login_line("2001:db8:1:2::7"), login_line("2001:db8:1:4::7"))
    assert installation.ctl("grant", "2001:db8:1:2::9").returncode == 0
    in_the_list(installation, '"2001:db8:1:2::/64"')
    assert installation.ctl("revoke", "2001:db8:1:2::/64").returncode == 0
    assert set(installation.listed()) == {"2001:db8:1:4::/64"}
    for wrong in ("2001:db8:1:2::7/64", "2001:db8::/32", "192.0.2.0/24"):
        done = installation.ctl("revoke", wrong)
        assert done.returncode == 64, wrong
        assert b"not an" in done.stderr


def test_a_network_with_an_address_that_is_never_granted_is_not_opened_whole(installation: Installation) -> None:
    installation.write(login_line("2001:db8:1:9::7"))
    in_the_list(installation, '"2001:db8:1:9::7"')
    assert everybody_says(installation, "2001:db8:1:9::7") == {"yes"}
    assert everybody_says(installation, "2001:db8:1:9::1") == {"no"}
    assert everybody_says(installation, "2001:db8:1:9::8") == {"no"}


def test_check_says_through_which_key_an_address_may_relay(installation: Installation) -> None:
    installation.write(login_line("2001:db8:1:2::7", user="anna"))
    in_the_list(installation, '"2001:db8:1:2::/64"')
    said = installation.ctl("check", "2001:db8:1:2::8").stdout.decode()
    assert "login by anna" in said
    assert "through 2001:db8:1:2::/64" in said
