"""Users and groups by name and by number, by those that every Debian has."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from popauthd import accounts
from popauthd.accounts import Account, NoAccountError

NONE = "no-such-name"
FREE = 3_999_999_999  # nobody's number


def test_the_user_of_a_group_is_found() -> None:
    assert accounts.user_of_group("root") == Account("root", 0, 0)
    with pytest.raises(NoAccountError, match="there is no group"):
        accounts.user_of_group("no-such-group")
    with pytest.raises(NoAccountError, match="no user has the group adm as its own"):
        accounts.user_of_group("adm")


def test_names_have_numbers_and_numbers_have_names() -> None:
    nobody = pwd.getpwnam("nobody")
    assert accounts.user_id("nobody") == nobody.pw_uid
    assert accounts.user_name(nobody.pw_uid) == "nobody"
    assert accounts.group_id("adm") == grp.getgrnam("adm").gr_gid
    assert accounts.group_name(grp.getgrnam("adm").gr_gid) == "adm"
    assert accounts.own_group(nobody.pw_uid) == nobody.pw_gid
    assert accounts.user("nobody") == Account("nobody", nobody.pw_uid, nobody.pw_gid)


def test_who_does_not_exist_is_none_and_is_shown_by_number() -> None:
    assert accounts.user(NONE) is None
    assert (accounts.user_id(NONE), accounts.group_id(NONE), accounts.own_group(FREE)) == (None, None, None)
    assert accounts.user_name(FREE) == accounts.group_name(FREE) == str(FREE)


def test_a_file_is_given_to_a_group_if_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    accounts.give_to_group(path, NONE)
    assert path.stat().st_gid == os.getegid()
    accounts.give_to_group(path, "adm")
    assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), grp.getgrnam("adm").gr_gid)
