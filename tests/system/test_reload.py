"""Another configuration is put in force while popauthd runs: nothing is lost, and a wrong one changes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.sources.push.messages import OK
from tests.servers.place import free_port
from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.helpers import ROOT, answers, eventually
from tests.support.push_messages import CLOSE, LOGIN, push, request, status

A, B, C = "192.0.2.10", "192.0.2.77", "2001:db8::7"
WRONG, NOT_IN_FORCE = "configuration-wrong", "configuration-not-in-force"


class Changing(Installation):
    """An installation whose configuration is written anew while it runs."""

    def configure(self, settings: str, *logs: Path) -> None:
        """Write the whole configuration; logs: what is followed, its one log if none is named."""
        text = f'run_dir = "{self.run_dir}"\nstate_dir = "{self.directory}/state"\n'
        text += settings if "hold_sessions" in settings else f"hold_sessions = false\n{settings}"
        for log in logs or (self.log,):
            text += f'\n[[source]]\npath = "{log}"\nframing = "dovecot-file"\n'
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config)

    def conditions(self) -> dict[str, str]:
        return {one["word"]: f"{one['about']}: {one['evidence']}" for one in self.status()["conditions"]}

    def reload(self) -> str:
        done = self.ctl("reload")
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def refused(self) -> str:
        done = self.ctl("reload")
        assert done.returncode == 78
        return done.stderr.decode()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Changing]:
    made = Changing(tmp_path)
    with contextlib.closing(made):
        made.start("run")
        made.ready()
        yield made


def test_no_login_and_no_lookup_is_lost_while_the_lifetime_changes_again_and_again(running: Changing) -> None:
    standing, never = "198.51.100.200", "203.0.113.1"
    running.write(login_line(standing))
    eventually(lambda: running.ask(standing) == "yes", "granted")
    wrong: list[str] = []
    asked = [0]
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            asked[0] += 1
            found = running.ask(standing), running.ask(never)
            if found != ("yes", "no"):
                wrong.append(f"{found}")

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    at = int(time.time())
    addresses = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    try:
        for number, address in enumerate(addresses):
            running.write(login_line(address, at=at, user=f"u{number}@example.org"))
            if number % 250 == 100:
                running.configure(f'lifetime = "{20 + number // 250}m"')
                assert "is in force" in running.reload()
        eventually(lambda: running.ask(addresses[-1]) == "yes", "the log was read to its end")
        eventually(lambda: asked[0] > 20, "enough was asked")
    finally:
        over.set()
        for thread in asking:
            thread.join()
    assert wrong == []
    listed = running.listed()
    assert {*addresses} <= listed.keys()
    possible = {at + seconds for seconds in (LIFETIME, 1200, 1260, 1320, 1380)}
    assert {listed[address] for address in addresses} <= possible
    assert listed[addresses[-1]] == at + 1380, "by the one that is in force"
    assert running.status()["today"]["login"] == 1001, "each was read once"


def test_a_shorter_lifetime_holds_for_what_stands(running: Changing) -> None:
    at = int(time.time())
    running.write(login_line(A, at=at - 600), login_line(B, at=at - 60))
    eventually(lambda: running.listed().keys() == {A, B}, "both are granted")
    running.configure('lifetime = "5m"')
    assert 'lifetime was "15m", is "5m"' in running.reload()
    assert (running.ask(A), running.ask(B)) == ("no", "yes")
    assert running.listed() == {B: at - 60 + 300}


def test_what_is_never_granted_from_now_on_ends_at_once_in_map_and_host_list(running: Changing) -> None:
    running.write(login_line(A), login_line(B))
    eventually(lambda: running.listed().keys() == {A, B}, "both are granted")
    running.configure('never = ["192.0.2.0/26"]')
    assert running.ask(A) == "yes", "not before it is in force"
    running.reload()
    assert (running.ask(A), running.ask(B)) == ("no", "yes")
    assert (running.run_dir / "relay-hosts").read_text().startswith(f"{B}: ")
    running.configure("")
    running.reload()
    assert running.ask(A) == "no", "what was taken back does not come again by itself"
    time.sleep(1.1)  # a login of the second in which it was taken back does not open it again
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "until the next login")


def test_sources_come_and_go(running: Changing) -> None:
    other = running.directory / "other.log"
    other.write_bytes(login_line(B, user="bea@example.org"))
    running.configure("", running.log, other)
    assert f"[[source]] {other} was not named, is named" in running.reload()
    eventually(lambda: running.ask(B) == "yes", "a log that is new is read from the lifetime before")
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "the one from before is read on")
    running.configure("", other)
    running.reload()
    running.write(login_line(C))
    with other.open("ab") as file:
        file.write(login_line("192.0.2.78"))
    eventually(lambda: running.ask("192.0.2.78") == "yes", "the other one is read on")
    assert running.ask(C) == "no"
    assert [source["name"] for source in running.status()["sources"]] == [str(other)]
    running.configure("", running.log)
    running.reload()
    eventually(lambda: running.ask(C) == "yes", "named again, it is read from its place")
    assert running.status()["today"]["login"] == 4, "no line twice"


def test_a_source_that_is_read_otherwise_goes_on_at_its_place(running: Changing) -> None:
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "granted")
    text = running.config.read_text()
    running.config.write_text(text.replace('framing = "dovecot-file"', 'framing = "auto"'))
    assert f'[[source]] {running.log}: framing was "dovecot-file", is "auto"' in running.reload()
    running.write(login_line(B))
    eventually(lambda: running.ask(B) == "yes", "read on")
    assert running.status()["today"]["login"] == 2


def test_a_wrong_file_leaves_the_old_one_in_force_until_a_right_one_comes(running: Changing) -> None:
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "granted")
    right = running.config.read_text()
    running.config.write_text('lifetyme = "1m"\n' + right)
    said = running.refused()
    assert 'did you mean "lifetime"' in said
    assert "the configuration from before stays in force" in said
    assert "lifetyme" in running.errors("run")
    running.write(login_line(B))
    eventually(lambda: running.ask(B) == "yes", "the watcher goes on")
    assert "lifetyme" in running.conditions()[WRONG], "status can be asked though the file is wrong"
    assert running.status()["degraded"] == ""
    running.configure('lifetime = "20m"')
    assert running.conditions().keys() == {NOT_IN_FORCE}
    running.reload()
    assert running.conditions() == {}


def test_a_file_that_is_no_toml_is_told_too(running: Changing) -> None:
    with running.config.open("a") as file:
        file.write("\n= 1\n")
    assert "not valid TOML" in running.refused()
    assert "not valid TOML" in running.conditions()[WRONG]


CANNOT_BE_HAD = [
    ("a list of users that is missing", 'users_file = "{directory}/users"', "users: cannot be read"),
    (
        "a secret that is missing",
        'auth_policy_listen = "127.0.0.1:{port}"\nauth_policy_secret_file = "{directory}/missing"',
        "missing: cannot be read",
    ),
    (
        "a port that is taken",
        'auth_policy_listen = "127.0.0.1:{taken}"\nauth_policy_secret_file = "{secret}"',
        "Address already in use",
    ),
    ("a user that is missing", 'push_users = ["no-such-user"]', "no user 'no-such-user'"),
]


def test_what_cannot_be_had_changes_nothing_at_all(running: Changing, secret: Path) -> None:
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "granted")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for label, settings, why in CANNOT_BE_HAD:
            given = settings.format(directory=running.directory, port=free_port(), taken=port, secret=secret)
            running.configure(f'never = ["192.0.2.0/24"]\npost_login = true\n{given}')
            assert why in running.refused(), label
            assert running.ask(A) == "yes", "no part of it is in force"
            assert not (running.run_dir / "push.sock").exists()
            found = running.conditions()
            assert why in found[WRONG]
            assert 'never is [], the file says ["192.0.2.0/24"]' in found[NOT_IN_FORCE]
    running.configure("")
    assert running.conditions() == {}


def test_what_needs_a_restart_is_named_and_nothing_else_changes_either(running: Changing) -> None:
    running.configure('lifetime = "20m"\ngroup = "adm"')
    said = running.refused()
    assert "cannot change group" in said
    assert "systemctl restart popauthd popauthd-lookup" in said
    found = running.conditions()
    assert found.keys() == {NOT_IN_FORCE}
    assert 'group is "Debian-exim", the file says "adm" (needs a restart)' in found[NOT_IN_FORCE]
    assert 'lifetime is "15m", the file says "20m"' in found[NOT_IN_FORCE]


def test_a_moved_run_dir_is_said(running: Changing) -> None:
    text = running.config.read_text()
    running.config.write_text(text.replace(str(running.run_dir), f"{running.directory}/elsewhere"))
    done = running.ctl("reload")
    assert done.returncode == 69
    assert b"if run_dir was changed: systemctl restart popauthd" in done.stderr


@pytest.mark.parametrize("part", ["run", "watch"])
def test_sighup_puts_the_file_in_force(tmp_path: Path, part: str) -> None:
    made = Changing(tmp_path)
    with contextlib.closing(made):
        process = made.start(part)
        eventually(lambda: answers(made.run_dir / "control.sock"), "the watcher answers")
        made.configure('lifetime = "20m"')
        process.send_signal(signal.SIGHUP)
        eventually(lambda: 'lifetime was "15m", is "20m"' in made.errors(part), "it is in force")
        made.config.write_text("lifetime = 0\n")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "stays in force" in made.errors(part), "the wrong file is told")
        assert process.poll() is None


@pytest.mark.parametrize("part", ["respond", "run"])
def test_sighup_at_any_moment_of_a_start_ends_nothing(tmp_path: Path, part: str) -> None:
    made = Changing(tmp_path)
    with contextlib.closing(made):
        process = made.start(part)
        blocked = Path(f"/proc/{process.pid}/status")
        eventually(lambda: (int(field(blocked, "SigBlk"), 16) | int(field(blocked, "SigCgt"), 16)) & 1 == 1, "it began")
        for _ in range(20):
            process.send_signal(signal.SIGHUP)
        socket_name = "lookup.sock" if part == "respond" else "control.sock"
        eventually(lambda: answers(made.run_dir / socket_name), "it answers")
        assert process.poll() is None


def field(status_file: Path, name: str) -> str:
    lines = status_file.read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def held(running: Changing) -> float:
    """How long a "no" is held."""
    began = time.monotonic()
    assert running.ask("203.0.113.9") == "no"
    return time.monotonic() - began


@pytest.mark.parametrize("way", ["popauthctl", "SIGHUP to the responder"])
def test_the_responder_goes_by_it_too(tmp_path: Path, way: str) -> None:
    made = Changing(tmp_path, 'hold_no = "0ms"')
    with contextlib.closing(made):
        made.start("watch")
        responder = made.start("respond")
        made.ready()
        time.sleep(2)  # the responder looks once a second whether the watcher has read its configuration at its start
        made.configure('hold_no = "1500ms"')
        assert held(made) < 1
        if way == "popauthctl":
            made.reload()
        else:
            responder.send_signal(signal.SIGHUP)
        eventually(lambda: held(made) >= 1.4, "a no is held")
        if way == "popauthctl":
            assert (made.run_dir / "configured").read_text() == "1500\n", "which readlookup reads"
        made.config.write_text("hold_no = 7\n")
        responder.send_signal(signal.SIGHUP)
        eventually(lambda: "stays in force" in made.errors("respond"), "the wrong file is told")
        assert held(made) >= 1.4


def test_a_dry_run_begins_and_ends(running: Changing) -> None:
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "granted")
    running.configure("dry_run = true")
    running.reload()
    assert running.ask(A) == "no"
    assert (running.run_dir / "relay-hosts").read_text() == ""
    running.configure("")
    running.reload()
    assert running.ask(A) == "yes"
    assert (running.run_dir / "relay-hosts").read_text().startswith(A)


def test_the_log_tells_of_grants_as_it_is_told_to(running: Changing) -> None:
    def granted() -> int:
        return sum(" granted address=" in line for line in running.errors("run").splitlines())

    def log_in(third: int) -> None:
        addresses = [f"10.1.{third}.{number}" for number in range(250)]
        running.write(b"".join(map(login_line, addresses)))
        eventually(lambda: running.ask(addresses[-1]) == "yes", "granted")

    log_in(1)
    eventually(lambda: "more addresses within a second" in running.errors("run"), "the sum")
    before = granted()
    assert 0 < before < 250
    running.configure('log_grants = "none"')
    running.reload()
    log_in(2)
    time.sleep(1.1)
    assert granted() == before
    running.configure("")
    running.reload()
    log_in(3)
    eventually(lambda: granted() > before, "told of again")


@pytest.mark.parametrize("anew", [False, True], ids=["reload", "restart"])
def test_a_host_list_that_is_kept_no_longer_names_nobody(running: Changing, anew: bool) -> None:
    def take() -> None:
        if anew:
            running.close()
            running.start("run")
            running.ready()
        else:
            running.reload()

    hosts = running.run_dir / "relay-hosts"
    running.write(login_line(A))
    eventually(lambda: hosts.read_text().startswith(A), "listed")
    running.configure("host_list = false")
    take()
    assert hosts.read_text() == ""
    running.configure("")
    take()
    assert hosts.read_text().startswith(A)


@pytest.mark.parametrize(
    ("after", "log"),
    [("hold_sessions = false", True), ("hold_sessions = true\npost_login = true", False)],
    ids=["off", "no log any more"],
)
def test_sessions_are_not_held_any_more_once_that_is_off(tmp_path: Path, after: str, log: bool) -> None:
    made = Changing(tmp_path, "hold_sessions = true\n")
    with contextlib.closing(made):
        made.start("run")
        made.ready()
        made.write(login_line(A))
        eventually(lambda: made.status()["held"] == 1, "held")
        made.configure(after)
        if not log:
            made.config.write_text(made.config.read_text().partition("[[source]]")[0])
        made.reload()
        assert made.status()["held"] == 0
        assert made.ask(A) == "yes", "its lifetime is not over"


def told_of(address: str) -> bytes:
    """A login as the post-login script tells of it."""
    now, client = str(int(time.time())).encode(), address.encode()
    return push(b"at=" + now, b"address=" + client, b"user=anna", b"protocol=imap")


def test_dovecots_own_messages_are_heard_without_a_gap(running: Changing, secret: Path) -> None:
    port = free_port()
    where = f'auth_policy_listen = "127.0.0.1:{port}"\nauth_policy_secret_file = "{secret}"\npost_login = true\n'
    running.configure(where)
    running.reload()
    path = running.run_dir / "push.sock"
    inode = path.stat().st_ino

    def tell(message: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(message)
            return client.recv(100)

    with socket.create_connection(("127.0.0.1", port), 20) as kept, socket.socket(socket.AF_UNIX) as half:
        half.settimeout(20)
        half.connect(str(path))
        message = told_of(A)
        half.sendall(message[:5])
        running.configure(f'{where}lifetime = "20m"\n')
        running.reload()
        half.sendall(message[5:])
        assert half.recv(100) == OK
        kept.sendall(request(LOGIN, more=CLOSE))
        assert status(kept.recv(4096)) == 200
    assert path.stat().st_ino == inode
    assert [one["name"] for one in running.status()["pushed"]] == ["post-login", "auth-policy"]
    running.configure("")
    running.reload()
    assert not path.exists()
    assert running.status()["pushed"] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 20)
    running.configure(where)
    running.reload()
    assert tell(told_of(B)) == OK


def test_the_file_is_looked_at_without_being_asked(running: Changing) -> None:
    running.configure('lifetime = "20m"')
    eventually(lambda: f"warning {NOT_IN_FORCE}" in running.errors("run"), "it is in the log")


def test_config_check_and_show_say_whether_the_file_is_in_force(running: Changing) -> None:
    def said(command: str) -> str:
        done = running.ctl("config", command)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    assert "it is in force, since " in said("check")
    running.configure('lifetime = "20m"')
    for command in ("check", "show"):
        assert f"warning {NOT_IN_FORCE}: " in said(command)
        assert 'lifetime is "15m", the file says "20m"' in said(command)
        assert "what to do: `popauthctl reload`" in said(command)
    assert tomllib.loads(said("show"))["lifetime"] == "20m"
    running.reload()
    link = running.directory / "link.toml"
    link.symlink_to(running.config)
    for name in (str(link), os.path.relpath(running.config, ROOT)):
        assert "it is in force, since " in running.ctl("config", "check", "--config", name).stdout.decode(), name
    copy = running.directory / "copy.toml"
    copy.write_text(running.config.read_text())
    assert (
        f"not in force: the watcher goes by {running.config}"
        in running.ctl("config", "check", "--config", str(copy)).stdout.decode()
    )
    running.close()
    assert f"nothing runs by it: no watcher answers on {running.run_dir}/control.sock" in said("check")


def test_a_file_that_the_watcher_cannot_read_is_said(running: Changing) -> None:
    """Root reads what the service's user cannot: the watcher's own word counts."""
    running.config.rename(running.directory / "aside")
    assert "popauthd.toml: cannot be read: No such file" in running.refused()
    (running.directory / "aside").rename(running.config)
    assert running.conditions() == {}
