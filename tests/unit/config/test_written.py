"""What differs between two configurations is named by key, with both values as a file has them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from popauthd import config
from popauthd.config.settings import NEEDS_RESTART, SETTINGS, SOURCE_SETTINGS
from popauthd.config.written import differences, written
from popauthd.errors import ConfigError


def read(text: str) -> config.Config:
    return config.from_mapping(tomllib.loads(text), "test")


def told(before: str, after: str) -> list[tuple[str, str, str]]:
    return [(one.key, one.before, one.after) for one in differences(read(before), read(after))]


LOG = '[[source]]\npath = "/a.log"\n'
DIFFER = [
    ("a length of time", "", 'lifetime = "20m"', [("lifetime", '"15m"', '"20m"')]),
    ("a length that is no whole minute", "", "lifetime = 90", [("lifetime", '"15m"', '"90s"')]),
    ("a length that is no time at all", "", "history = 0", [("history", '"1d"', '"0s"')]),
    ("milliseconds", "", 'hold_no = "1500ms"', [("hold_no", '"100ms"', '"1500ms"')]),
    ("networks", "", 'never = ["192.0.2.0/24"]', [("never", "[]", '["192.0.2.0/24"]')]),
    ("a truth", "", "dry_run = true", [("dry_run", "false", "true")]),
    ("a number", "", "shared_users = 0", [("shared_users", "25", "0")]),
    (
        "lifetimes",
        "",
        'lifetime_by_network = { "10.0.0.0/8" = "1h" }',
        [("lifetime_by_network", "{  }", '{ "10.0.0.0/8" = "1h" }')],
    ),
    ("a log more", "", LOG, [("[[source]] /a.log", "not named", "named")]),
    ("a log less", LOG, "", [("[[source]] /a.log", "named", "not named")]),
    (
        "a log that is read otherwise",
        LOG,
        f'{LOG}programs = ["dovecot2"]',
        [("[[source]] /a.log: programs", '["dovecot"]', '["dovecot2"]')],
    ),
    ("a cluster", "", '[cluster]\nurl = "redis://mq"', [("[cluster]", "not there", "there")]),
    (
        "another engine",
        '[cluster]\nurl = "redis://mq"',
        '[cluster]\nurl = "redis://mq2"',
        [("[cluster] url", '"redis://mq"', '"redis://mq2"')],
    ),
    ("the same, written otherwise", 'lifetime = "15m"', "lifetime = 900", []),
    ("the same logs in another order", f'{LOG}[[source]]\npath = "/b.log"', f'[[source]]\npath = "/b.log"\n{LOG}', []),
]


@pytest.mark.parametrize(("before", "after", "what"), [row[1:] for row in DIFFER], ids=[row[0] for row in DIFFER])
def test_a_difference_is_named_with_both_values(before: str, after: str, what: list[tuple[str, str, str]]) -> None:
    assert told(before, after) == what


def test_every_default_is_written_as_a_file_may_have_it() -> None:
    whole = config.Config()
    for row in SETTINGS:
        value = tomllib.loads(f"{row.key} = {written(getattr(whole, row.field), row)}")[row.key]
        assert row.read(value) == getattr(whole, row.field) if value != "" else row.default == ""


def test_what_needs_a_restart_is_a_setting_and_says_so() -> None:
    assert {*NEEDS_RESTART} <= {row.key for row in SETTINGS} | {"[cluster]"}
    assert not {*NEEDS_RESTART} & {row.key for row in SOURCE_SETTINGS}
    found = differences(read(""), read('run_dir = "/x"\nlifetime = "20m"'))
    assert {one.key: one.needs_restart for one in found} == {"run_dir": True, "lifetime": False}
    one, other = (read(f'[cluster]\nurl = "redis://mq"\nnode = "{name}"') for name in ("mx1", "mx2"))
    assert [found.needs_restart for found in (*differences(read(""), one), *differences(one, other))] == [True, True]


RUN_DIRS = [
    ("a right file", 'lifetime = "5m"\nrun_dir = "/a/b"\n', "/a/b"),
    ("a setting that is wrong", "run_dir = '/a/b'\nlifetyme = 1\n", "/a/b"),
    ("no TOML at all", 'run_dir="/a/b"\n= 1\n', "/a/b"),
    ("none named", "lifetyme = 1\n", "/run/popauthd"),
    ("commented out", '#run_dir = "/a/b"\n', "/run/popauthd"),
]


@pytest.mark.parametrize(("text", "where"), [row[1:] for row in RUN_DIRS], ids=[row[0] for row in RUN_DIRS])
def test_where_the_watcher_runs_is_known_though_the_file_is_wrong(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "popauthd.toml"
    file.write_text(text)
    assert config.run_dir(str(file)) == where


def test_where_the_watcher_runs_without_a_file(tmp_path: Path) -> None:
    assert config.run_dir(str(tmp_path / "none.toml")) == "/run/popauthd"


def test_a_file_is_known_by_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "popauthd.toml"
    file.write_text("lifetime = 900\n")
    first = config.read(str(file))
    file.write_text('lifetime = "15m"\n')
    second = config.read(str(file))
    assert first.config == second.config
    assert first.digest != second.digest
    assert (first.path, len(first.digest)) == (str(file), 64)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        config.read(str(file))
