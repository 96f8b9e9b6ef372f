"""popauthd.sources.file.logrotate: where rotated files are, by logrotate's own configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.sources.file.logrotate import old_directories

LOG = "/var/log/dovecot-info.log"
CASES = [
    ("none", "/var/log/*.log {\n weekly\n}\n", ()),
    ("of the block", "/var/log/*.log {\n olddir /var/log/old\n}\n", ("/var/log/old",)),
    ("relative", "/var/log/dovecot-info.log {\n  olddir old # kept\n}\n", ("/var/log/old",)),
    ("of all", "weekly\nolddir /srv/logs\n/var/log/dovecot*.log\n{\n}\n", ("/srv/logs",)),
    ("of all, but not here", "olddir /srv/logs\n/var/log/dovecot*.log {\n noolddir\n}\n", ()),
    ("of another log", "/var/log/mail.log {\n olddir /var/log/old\n}\n", ()),
    ("one of several", "/var/log/mail.log\n/var/log/dovecot-info.log {\n olddir old\n}\n", ("/var/log/old",)),
    ("one of several on a line", '/var/log/a "/var/log/dovecot-info.log" { olddir "old er" }\n', ("/var/log/old er",)),
    ("in a script", "/var/log/*.log {\n postrotate\n  olddir /x\n  }\n endscript\n olddir /y\n}\n", ("/y",)),
    ("a comment", "/var/log/*.log {\n # olddir /x\n}\n", ()),
    ("beside the log", "/var/log/*.log {\n olddir /var/log/\n}\n", ()),
    ("no value", "/var/log/*.log {\n olddir\n}\n", ()),
    ("a block that never ends", "/var/log/*.log {\n olddir /x\n", ()),
    ("no block", "}\n{\n}\n", ()),
]


@pytest.mark.parametrize(("text", "directories"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_directory_for_old_files(tmp_path: Path, text: str, directories: tuple[str, ...]) -> None:
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(text)
    assert old_directories(LOG, str(configuration)) == directories


def test_what_is_included_counts_but_for_what_dpkg_left(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/dovecot").write_text("/var/log/dovecot-info.log {\n olddir /a\n}\n")
    (tmp_path / "d/dovecot.dpkg-old").write_text("/var/log/dovecot-info.log {\n olddir /b\n}\n")
    (tmp_path / "logrotate.conf").write_text(f"include {tmp_path}/d\ninclude {tmp_path}/none\n")
    assert old_directories(LOG, str(tmp_path / "logrotate.conf")) == ("/a",)


def test_without_a_configuration_there_is_none(tmp_path: Path) -> None:
    assert old_directories(LOG, str(tmp_path / "none")) == ()
