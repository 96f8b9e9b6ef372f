"""How the doctor looks: as another user, in a child that may die; and which way an ACL asks."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path

import pytest

from popauthd import config
from popauthd.as_user import Account, LookError, account_of, look, modes
from popauthd.doctor.context import Paths, Visit
from popauthd.doctor.exim import way_of
from popauthd.doctor.permissions import listed
from tests.support.helpers import ROOT

NOBODY = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)


def test_a_look_is_by_the_rights_of_that_user_and_no_group_helps() -> None:
    said = look(NOBODY, lambda: f"{os.getuid()} {os.geteuid()} {os.getgid()} {os.getgroups()}")
    assert said == f"{NOBODY.uid} {NOBODY.uid} {NOBODY.gid} []"


def test_what_that_user_may_not_see_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    with pytest.raises(LookError, match="Permission denied"):
        look(NOBODY, secret.read_text)
    assert look(None, secret.read_text) == ""
    assert modes(str(secret)) == f"{secret} (-rw------- root:root)"


def test_a_child_that_dies_is_told() -> None:
    def die() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    with pytest.raises(LookError, match="SIGKILL"):
        look(None, die)


def test_the_user_of_a_group_is_found() -> None:
    assert account_of("root") == Account("root", 0, 0)
    with pytest.raises(LookError, match="there is no group"):
        account_of("no-such-group")


RECIPES = {
    "socket": "/run/popauthd/lookup.sock",
    "readlookup": Paths().readlookup,
    "hostlist": "/run/popauthd/relay-hosts",
}


@pytest.mark.parametrize("way", RECIPES)
def test_each_recipe_is_known_by_how_it_asks(way: str) -> None:
    visit = Visit(None, Paths(), loaded=config.load(os.devnull))
    assert way_of(visit, (ROOT / f"exim/acl-{way}").read_text()) == (way, RECIPES[way])


def test_other_lookups_of_an_acl_are_not_taken_for_ours() -> None:
    visit = Visit(None, Paths(), loaded=config.load(os.devnull))
    grey = "defer condition = ${readsocket{/run/greylistd/socket}{--grey}{5s}{}{}}\n"
    assert way_of(visit, grey) is None
    assert way_of(visit, grey + "# ${readsocket{/run/popauthd/lookup.sock}") is None
    assert way_of(visit, grey + (ROOT / "exim/acl-socket").read_text()) == ("socket", RECIPES["socket"])


def test_the_host_list_is_read_to_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "relay-hosts"
    path.write_text('192.0.2.1: 1795467600\n"2001:db8::/64": 1795467601\n')
    assert listed(str(path)) == {"192.0.2.1": 1795467600, "2001:db8::/64": 1795467601}
    path.write_text("192.0.2.1: 1795467600\n192.0.2.2 yes\n")
    with pytest.raises(LookError, match=r"192\.0\.2\.2 yes"):
        listed(str(path))
