"""popauthd.installed: what makes a right file a wrong configuration on this machine."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from popauthd.accounts import Account
from popauthd.cli import main
from popauthd.cluster.access import node_name
from popauthd.cluster.keys import make_key
from popauthd.config import Config, from_mapping
from popauthd.errors import ConfigError
from popauthd.installed import (
    NOT_SEEN,
    NOTE,
    WRONG,
    Finding,
    group,
    kept_out,
    named,
    readable,
    service_user,
    unit_properties,
)

NOBODY = pwd.getpwnam("nobody")


class Site:
    """A configuration of a service that runs as nobody, in a directory that everybody can reach."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "popauthd.toml"
        (root / "state").mkdir()
        os.chown(root / "state", NOBODY.pw_uid, NOBODY.pw_gid)
        (root / "log").touch()
        self.write("")

    def write(self, settings: str) -> None:
        places = f'run_dir = "{self.root}/run"\nstate_dir = "{self.root}/state"\n'
        self.file.write_text(f'{places}{settings}\n[[source]]\npath = "{self.root}/log"\n')

    def check(self) -> int:
        return main(["config", "check", "--config", str(self.file)])


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Site(Path(name))


def test_a_configuration_that_the_services_user_cannot_read_is_wrong(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.check() == 0
    site.file.chmod(0o600)
    assert site.check() == 78
    said = capsys.readouterr().err
    assert f"by the rights of the service's user nobody: {site.file}: cannot be read: Permission denied" in said
    assert "let that user read the file" in said
    os.chown(site.file, 0, NOBODY.pw_gid)
    site.file.chmod(0o640)
    assert site.check() == 0, "its group is enough"


NAMED = [
    ("a list of users", 'users_file = "{file}"', "anna\n"),
    ("a list of users that may not", 'deny_users = "{file}"', "anna\n"),
    ("a secret", 'auth_policy_listen = "127.0.0.1:4001"\nauth_policy_secret_file = "{file}"', "0123456789abcdef\n"),
]


@pytest.mark.parametrize(("settings", "text"), [row[1:] for row in NAMED], ids=[row[0] for row in NAMED])
def test_a_named_file_that_the_services_user_cannot_read_is_wrong(
    site: Site, capsys: pytest.CaptureFixture[str], settings: str, text: str
) -> None:
    file = site.root / "named"
    file.write_text(text)
    file.chmod(0o600)
    site.write(settings.format(file=file))
    assert site.check() == 78
    assert (
        f"user nobody: {settings.split()[0 if 'users' in settings else -3]} {file}: cannot be read"
        in capsys.readouterr().err
    )
    os.chown(file, NOBODY.pw_uid, 0)
    assert site.check() == 0


CLUSTER = '[cluster]\nurl = "{url}"\nkey_file = "{root}/key"\npassword_file = "{root}/password"\n'


@pytest.fixture
def node(site: Site) -> Site:
    """A node that is as it should be, of a Redis on this machine."""
    for name, text in (("key", make_key()), ("password", "secret\n")):
        (site.root / name).write_text(text)
        (site.root / name).chmod(0o600)
        os.chown(site.root / name, NOBODY.pw_uid, NOBODY.pw_gid)
    site.write(CLUSTER.format(root=site.root, url="redis://127.0.0.1"))
    return site


def test_a_node_of_a_cluster_is_right_and_clear_text_is_noted(node: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.check() == 0
    assert "note:" not in capsys.readouterr().out
    node.write(CLUSTER.format(root=node.root, url="redis://192.0.2.9"))
    assert node.check() == 0
    assert "cross the network in clear; take rediss://" in capsys.readouterr().out


def test_a_key_that_only_root_can_read_is_wrong_by_the_services_rights(
    node: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chown(node.root / "key", 0, 0)
    assert node.check() == 78
    said = capsys.readouterr().err
    assert f"by the rights of the service's user nobody: cluster key_file {node.root}/key: cannot be read" in said


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("key", "x", "not a key's name"),
        ("password", "", "one line with the password"),
        ("password", "a\nb\n", "one line with the password"),
        ("password", "x" * 600, "longer than"),
    ],
)
def test_a_wrong_secret_of_a_cluster_is_named(
    node: Site, name: str, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (node.root / name).write_text(text)
    assert node.check() == 78
    said = capsys.readouterr().err
    assert f"{node.root}/{name}: " in said
    assert words in said


def test_a_secret_of_a_cluster_that_others_can_read_is_wrong(node: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (node.root / "password").chmod(0o640)
    assert node.check() == 78
    assert f"password_file {node.root}/password: its mode 0640" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ca", "cert"])
def test_what_is_no_certificate_is_wrong(node: Site, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = node.root / "file.pem"
    settings = CLUSTER.format(root=node.root, url="rediss://mq.example.org") + f'tls_{name}_file = "{file}"'
    node.write(settings)
    assert node.check() == 78
    assert f"{file}: cannot be read" in capsys.readouterr().err.replace(f" with tls_key_file {file}", "")
    file.write_text("x")
    assert node.check() == 78
    assert "not PEM" in capsys.readouterr().err


def test_without_redis_py_the_package_is_named(
    node: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert node.check() == 78
    assert "apt install python3-redis" in capsys.readouterr().err


def test_a_host_name_that_is_no_nodes_name_is_told() -> None:
    for name in ("mx1.example.org", ""):
        settings = from_mapping({"cluster": {"url": "redis://127.0.0.1", "node": name}}, "test").cluster
        assert settings is not None
        assert node_name(settings) == (name or os.uname().nodename)


def test_who_is_neither_root_nor_the_services_user_is_told_what_was_not_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = from_mapping({"state_dir": f"{site.root}/state"}, "test")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert [(one.kind, one.text) for one in readable(str(site.file), settings)] == [
        (NOT_SEEN, "whether the user nobody can read all of it; run this as root")
    ]
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    assert list(readable(str(site.file), settings)) == []


def test_before_the_first_start_the_user_is_known_by_the_usual_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Account("popauthd", NOBODY.pw_uid, NOBODY.pw_gid)
    monkeypatch.setattr("popauthd.accounts.user", lambda name: nobody if name == "popauthd" else None)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid])
    settings = from_mapping({"state_dir": "/nowhere"}, "test")
    assert service_user("/tmp/other.toml", settings) is None
    for given in (None, "/etc/popauthd/popauthd.toml"):
        assert service_user(given, settings) == nobody._replace(groups=(NOBODY.pw_gid,))


def test_a_service_that_runs_as_root_reads_everything(tmp_path: Path) -> None:
    assert list(readable(None, from_mapping({"state_dir": str(tmp_path)}, "test"))) == []


def refusing(_settings: Config) -> None:
    raise ConfigError("secret: cannot be read") from PermissionError(13, "Permission denied")


def test_what_only_root_may_read_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("popauthd.watch.push_sources.check", refusing)
    with pytest.raises(ConfigError):
        list(named(Config()))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert list(named(Config())) == [Finding(NOT_SEEN, "secret: cannot be read", "run this as root")]


def exim(directory: Path, said: str, code: int = 0) -> str:
    program = directory / "exim4"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    program.chmod(0o755)
    return str(program)


def test_a_group_that_is_not_there_or_not_exims_is_wrong(tmp_path: Path) -> None:
    def found(name: str, said: str, code: int = 0) -> list[tuple[str, str]]:
        settings = from_mapping({"group": name}, "test")
        return [(one.kind, one.text) for one in group(settings, exim(tmp_path, said, code))]

    advice = "name the group that Exim runs as: `exim4 -bP exim_group`"
    assert found("nogroup", "exim_group = nogroup") == []
    assert found("nogroup", f"exim_group = {NOBODY.pw_gid}") == [], "by its number"
    assert found("nogroup", "exim_group = adm") == [
        (WRONG, f"group is nogroup, and Exim runs as adm, so it cannot ask; {advice}")
    ]
    assert found("no-such-group", "exim_group = adm") == [
        (WRONG, f"group: there is no group no-such-group, so Exim cannot ask; {advice}")
    ]
    assert found("nogroup", "broken", 1)[0][0] == NOT_SEEN


def test_before_exim_is_installed_the_default_group_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("popauthd.accounts.group_id", lambda _name: None)
    assert [one.kind for one in group(Config(), "/nowhere/exim4")] == [NOTE]
    assert [one.kind for one in group(from_mapping({"group": "exim"}, "test"), "/nowhere/exim4")] == [WRONG]


# As `systemctl show` prints them: the unit as it is installed, and with the drop-ins.
UNIT = {
    "LoadState": "loaded", "PrivateNetwork": "yes", "RestrictAddressFamilies": "AF_UNIX", "IPAddressAllow": "",
    "IPAddressDeny": "0.0.0.0/0 ::/0", "ProtectHome": "yes", "PrivateTmp": "yes", "NeedDaemonReload": "no",
}  # fmt: skip
DROP_IN = {
    "PrivateNetwork": "no", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "IPAddressAllow": "127.0.0.0/8 ::1/128",
}  # fmt: skip
LISTEN = {"auth_policy_listen": "127.0.0.1:4001"}
SIX = {"auth_policy_listen": "[::1]:4001"}
MANY = {"cluster": {"url": "redis://192.0.2.9"}}
NAMED_MANY = {"cluster": {"url": "rediss+sentinel://s1,192.0.2.9/main"}}
EXAMPLE = "/usr/share/doc/popauthd/examples"
SANDBOXES: list[tuple[str, dict[str, str], dict[str, Any], list[str]]] = [
    ("nothing asked", {}, {}, []),
    ("TCP without its drop-in", {}, LISTEN, [f"{EXAMPLE}/auth-policy.conf"]),
    ("TCP with its drop-in", DROP_IN, LISTEN, []),
    ("IPv6 with its drop-in", DROP_IN, SIX, []),
    ("half a drop-in", {**DROP_IN, "PrivateNetwork": "yes"}, LISTEN, ["auth-policy.conf"]),
    ("no address allowed", {**DROP_IN, "IPAddressAllow": ""}, LISTEN, ["auth-policy.conf"]),
    ("IPv4 alone", {**DROP_IN, "IPAddressAllow": "127.0.0.0/8"}, SIX, ["auth-policy.conf"]),
    ("no limits at all", {**dict.fromkeys(UNIT, ""), "PrivateNetwork": "no"}, LISTEN, []),
    ("a drop-in that systemd has not read", {"NeedDaemonReload": "yes"}, LISTEN, ["systemctl daemon-reload"]),
    ("a log in /home", {}, {"source": [{"path": "/home/a/mail.log"}]}, [f"{EXAMPLE}/logs-in-home.conf"]),
    ("a log in /home, with its drop-in", {"ProtectHome": "read-only"}, {"source": [{"path": "/home/a/x"}]}, []),
    ("a list in /root", {}, {"users_file": "/root/users"}, ["/root/users: popauthd.service does not see it"]),
    ("a log in /tmp", {}, {"source": [{"path": "/tmp/mail.log"}]}, ["keep the file elsewhere"]),
    ("a cluster without its drop-in", {}, MANY, [f"{EXAMPLE}/cluster.conf"]),
    ("a cluster with its drop-in", {**DROP_IN, "IPAddressAllow": "0.0.0.0/0 ::/0"}, MANY, []),
    ("a cluster with the drop-in of the policy server", DROP_IN, MANY, ["cluster.conf"]),
    ("a cluster with its own addresses allowed", {**DROP_IN, "IPAddressAllow": "192.0.2.0/28"}, MANY, []),
    ("a cluster with a name for its engine", {**DROP_IN, "IPAddressAllow": "192.0.2.0/28"}, NAMED_MANY, []),
    ("a cluster on a unix socket", {}, {"cluster": {"url": "unix:///run/redis/redis.sock"}}, []),
    (
        "a cluster with its key in /home",
        {},
        {"cluster": {"url": "unix:///run/redis.sock", "key_file": "/home/a/key"}},
        ["/home/a/key"],
    ),
    ("a log in its place", {}, {"source": [{"path": "/var/log/mail.log"}]}, []),
]


@pytest.mark.parametrize(("unit", "table", "words"), [row[1:] for row in SANDBOXES], ids=[row[0] for row in SANDBOXES])
def test_what_the_unit_does_not_let_be_is_wrong(unit: dict[str, str], table: dict[str, Any], words: list[str]) -> None:
    settings = from_mapping(table, "test")
    found = [one.text for one in kept_out({**UNIT, **unit}, settings, settings.sources)]
    assert len(found) == len(words)
    for text, word in zip(found, words, strict=True):
        assert word in text


def test_what_systemd_says_is_read_by_name() -> None:
    def printing(text: str) -> Any:
        return lambda *_args, **_more: subprocess.CompletedProcess([], 0, text)

    def gone(*_args: object, **_more: object) -> Any:
        raise FileNotFoundError

    assert unit_properties(printing("A=b=c\nB=\n")) == {"A": "b=c", "B": ""}
    assert unit_properties(gone) == {}
