"""What Exim's user sees of popauthd's files, looked at as another user."""

from __future__ import annotations

import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.accounts import Account
from popauthd.as_user import LookError
from popauthd.config import Config, from_mapping
from popauthd.doctor import permissions
from popauthd.doctor.verdicts import FAIL, OK, SKIP, Verdicts, at_once, learn

NOBODY = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)


@pytest.fixture
def config() -> Iterator[Config]:
    """popauthd in a directory that everybody can reach, as tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield from_mapping({"group": "nogroup", "run_dir": name, "host_list": True}, "test")


def said(verdicts: Verdicts) -> tuple[str, str]:
    (found,) = verdicts
    return found.state, found.seen


def test_a_missing_file_is_said_to_be_missing_once(config: Config) -> None:
    for check, path in [
        (permissions.relay_map, config.map_path),
        (permissions.lookup_socket, config.lookup_path),
        (permissions.host_list, config.host_list_path),
    ]:
        assert said(check(NOBODY, config)) == (FAIL, f"nobody looks at {path}: No such file or directory")


def test_a_file_that_may_not_be_read_is_shown_with_its_mode(config: Config) -> None:
    path = Path(config.host_list_path)
    path.touch(0o600)
    expected = f"nobody looks at {path} (-rw------- root:root): Permission denied"
    assert said(permissions.host_list(NOBODY, config)) == (FAIL, expected)
    path.chmod(0o646)
    assert said(permissions.host_list(NOBODY, config))[1].endswith(": it can be written")
    path.chmod(0o644)
    assert said(permissions.host_list(NOBODY, config)) == (OK, f"nobody reads {path}, 0 address(es)")


def test_a_run_dir_is_entered_and_not_written_into(config: Config) -> None:
    path = Path(config.run_dir)
    assert said(permissions.run_dir(NOBODY, config)) == (OK, f"nobody can enter {path}, and cannot write there")
    path.chmod(0o700)
    assert said(permissions.run_dir(NOBODY, config))[1].endswith("(drwx------ root:root): it cannot be entered")


def test_the_script_is_run_as_exims_user(config: Config) -> None:
    script = Path(config.run_dir, "readlookup")
    assert said(permissions.readlookup(NOBODY, str(script), config.map_path))[0] == SKIP
    script.write_text('#!/bin/sh\n[ "$(id -un)" = nobody ] && [ "$1" = --map ] && echo no && exit 1\n')
    script.chmod(0o755)
    expected = f"nobody runs {script}, which says no"
    assert said(permissions.readlookup(NOBODY, str(script), config.map_path)) == (OK, expected)
    script.write_text("#!/bin/sh\necho perhaps\n")
    state, seen = said(permissions.readlookup(NOBODY, str(script), config.map_path))
    assert (state, "it prints 'perhaps\\n', exit code 0" in seen) == (FAIL, True)


def test_exims_user_is_learned_from_its_group() -> None:
    assert at_once(learn("exim-user", lambda: permissions.exim_user("root"))).value == Account("root", 0, 0)
    outcome = at_once(learn("exim-user", lambda: permissions.exim_user("no-such-group")))
    assert outcome.learned is None
    assert outcome.results[0].seen == "there is no group no-such-group: is Exim installed?"


def test_the_host_list_is_read_to_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "relay-hosts"
    path.write_text('192.0.2.1: 1795467600\n"2001:db8::/64": 1795467601\n')
    assert permissions.listed(str(path)) == {"192.0.2.1": 1795467600, "2001:db8::/64": 1795467601}
    path.write_text("192.0.2.1: 1795467600\n192.0.2.2 yes\n")
    with pytest.raises(LookError, match=r"192\.0\.2\.2 yes"):
        permissions.listed(str(path))
