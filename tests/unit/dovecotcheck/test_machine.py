"""What is asked of the machine: doveconf's failures, who can write a log, journald's limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.dovecotcheck.machine import dovecot, journal, loose
from popauthd.errors import SourceError

GOOD = "printf '# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\\nlog_path = /x\\n'"


def test_doveconf_is_asked() -> None:
    found = dovecot(command=("sh", "-c", GOOD))
    assert (found.version, found.value("log_path")) == ((2, 4), "/x")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/nonexistent/doveconf", "-n"), "Dovecot is not installed"),
        (("sh", "-c", "echo 'Fatal: line 3' >&2; exit 89"), "repair Dovecot's configuration: Fatal: line 3"),
        (("sh", "-c", "echo hello"), "not what `doveconf -n` prints"),
    ],
    ids=["missing", "fails", "talks"],
)
def test_a_doveconf_that_gives_nothing_is_told(command: tuple[str, ...], why: str) -> None:
    with pytest.raises(SourceError, match=why):
        dovecot(command=command)


# What doveconf of 2.4.1 says to popauthd's snippets for 2.3.
STOPPED = [
    ("auth-policy", "auth_policy_request_attributes: Setting is a string list, use 'auth_policy_request_attributes {'"),
    ("post-login", "override_fields: Unknown setting: override_fields (userdb_override_fields not found either.)"),
]


@pytest.mark.parametrize(("way", "why"), STOPPED)
def test_a_snippet_that_stops_2_4_is_named_with_the_one_that_takes_its_place(way: str, why: str) -> None:
    said = f"doveconf: Fatal: Error in configuration file /etc/dovecot/conf.d/91.conf line 22: {why}"
    with pytest.raises(SourceError) as raised:
        dovecot(command=("sh", "-c", 'echo "$1" >&2; exit 89', "sh", said))
    assert f"/usr/share/popauthd/dovecot/popauthd-{way}-2.4.conf takes the place of" in str(raised.value)
    assert f"popauthd-{way}-2.3.conf" in str(raised.value)
    with pytest.raises(SourceError) as other:
        dovecot(command=("sh", "-c", "echo 'Fatal: protocols: Unknown setting' >&2; exit 89"))
    assert "takes the place" not in str(other.value)


ME = ("root", "dovecot")


def test_a_log_of_root_in_directories_of_root_is_fine(tmp_path: Path) -> None:
    log = tmp_path / "info.log"
    assert loose(str(log), ME) == ""
    log.touch(0o640)
    assert loose(str(log), ME) == ""


def test_whoever_can_write_the_log_or_its_directory_is_named(tmp_path: Path) -> None:
    log = tmp_path / "info.log"
    log.touch(0o600)
    log.chmod(0o622)
    assert loose(str(log), ME) == f"{log} can be written by everybody"
    log.chmod(0o620)
    assert loose(str(log), ME) == ""  # root's own group
    link = tmp_path / "link.log"
    link.symlink_to(log)
    log.chmod(0o602)
    assert loose(str(link), ME) == f"{log} can be written by everybody"
    log.chmod(0o600)
    tmp_path.chmod(0o777)
    assert loose(str(log), ME) == f"{tmp_path} can be written by everybody"
    tmp_path.chmod(0o1777)
    assert loose(str(log), ME) == ""


def test_a_log_of_somebody_else_is_told(tmp_path: Path) -> None:
    log = tmp_path / "info.log"
    log.touch()
    assert loose(str(log), ("dovecot",)).endswith("belongs to root")


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


LIMITS = [
    ("nothing is set", {}, (10_000, 30.0)),
    (
        "journald.conf",
        {"etc/systemd/journald.conf": "[Journal]\nRateLimitBurst=500\nRateLimitIntervalSec=1min\n"},
        (500, 60.0),
    ),
    ("the default, commented", {"etc/systemd/journald.conf": "[Journal]\n#RateLimitBurst=500\n"}, (10_000, 30.0)),
    ("the old name", {"etc/systemd/journald.conf": "[Journal]\nRateLimitInterval=0\n"}, (10_000, 0.0)),
    (
        "a drop-in wins",
        {
            "etc/systemd/journald.conf": "[Journal]\nRateLimitBurst=500\n",
            "etc/systemd/journald.conf.d/a.conf": "[Journal]\nRateLimitBurst=7\n",
            "usr/lib/systemd/journald.conf.d/b.conf": "[Journal]\nRateLimitIntervalSec=5s\n",
        },
        (7, 5.0),
    ),
    (
        "the service's own",
        {
            "etc/systemd/journald.conf": "[Journal]\nRateLimitBurst=500\n",
            "etc/systemd/system/dovecot.service.d/override.conf": "[Service]\nLogRateLimitIntervalSec=0\n",
        },
        (500, 0.0),
    ),
    ("garbage", {"etc/systemd/journald.conf": "RateLimitBurst\n[\n"}, (10_000, 30.0)),
    (
        "strange values",
        {"etc/systemd/journald.conf": "[Journal]\nRateLimitBurst=x\nRateLimitIntervalSec=5 moons\n"},
        (10_000, 30.0),
    ),
]


@pytest.mark.parametrize(("files", "limits"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_journalds_limits_are_read_where_systemd_reads_them(
    tmp_path: Path, files: dict[str, str], limits: tuple[int, float]
) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    found = journal(str(tmp_path))
    assert (found.burst, found.interval_seconds) == limits
    assert found.limited == all(limits)
