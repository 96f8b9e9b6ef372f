"""`popauthctl dovecot status` against Debian's own Dovecot, 2.3 or 2.4: its configuration, and what it then writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.clients import imap_login, pop3_login
from tests.servers.dovecot import Dovecot, branch, version
from tests.servers.place import Place, free_port
from tests.servers.popauthd import Popauthd
from tests.servers.pushes import SECRET, auth_policy, post_login, secret_file
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

OLD = version().startswith("2.3.")
USER, METHOD, RIP = ("%u", "%m", "%r") if OLD else ("%{user}", "%{mechanism}", "%{remote_ip}")
LPORT, SECURITY = ("%a", "%k") if OLD else ("%{local_port}", "%{ssl_security}")
SESSION = "session=<%{session}>"
ELEMENTS = "login_log_format_elements"
PROXY = (
    "passdb {\n driver = static\n args = proxy=y host=192.0.2.1\n}\n"
    if OLD
    else "passdb static {\n fields {\n proxy = y\n host = 192.0.2.1\n }\n}\n"
)


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as own:
        yield own


def status(dovecot: Dovecot, popauthd: Popauthd, *arguments: str) -> tuple[int, str]:
    """The exit code and output of `popauthctl dovecot status` for that Dovecot."""
    done = popauthd.control("dovecot", "status", "--doveconf", str(dovecot.doveconf()), *arguments)
    assert done.stderr == ""
    return done.returncode, done.stdout


def findings(dovecot: Dovecot, popauthd: Popauthd) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(status(dovecot, popauthd, "--json")[1])
    return found


def test_popauthds_own_snippet_is_fine(place: Place) -> None:
    dovecot = Dovecot(place)
    popauthd = Popauthd(place, dovecot.log)
    dovecot.logged_in()
    code, text = status(dovecot, popauthd)
    assert code == 0, text
    assert f'use path = "{dovecot.log}"' in text
    assert all(finding["severity"] == "ok" for finding in findings(dovecot, popauthd))


def test_a_link_to_the_log_is_followed_as_well(place: Place) -> None:
    dovecot = Dovecot(place)
    link = place.root / "link.log"
    link.symlink_to(dovecot.log)
    dovecot.logged_in()
    assert status(dovecot, Popauthd(place, link))[0] == 0


EXTRAS = [
    ("any user name", "auth_username_chars =\n", "auth_username_chars", "danger" if OLD else "note", True),
    ("reordered", f"{ELEMENTS} = rip={RIP} user=<{USER}> method={METHOD} {SESSION}\n", "", "", True),
    ("no rip", f"{ELEMENTS} = user=<{USER}> method={METHOD} {SESSION}\n", ELEMENTS, "warning", False),
    ("no user", f"{ELEMENTS} = method={METHOD} rip={RIP} {SESSION}\n", ELEMENTS, "warning", False),
    ("no method", f"{ELEMENTS} = user=<{USER}> rip={RIP} {SESSION}\n", ELEMENTS, "warning", True),
    ("rip at the end", f"{ELEMENTS} = user=<{USER}> method={METHOD} rip={RIP}\n", ELEMENTS, "warning", False),
    ("a stamp", 'log_timestamp = "%d %b %Y %T "\n', "log_timestamp", "warning", False),
    ("a stamp that is known", 'log_timestamp = "%Y-%m-%d %H:%M:%S "\n', "", "", True),
    ("a proxy", PROXY, "proxy", "warning", True),
    (
        "ports",
        f"{ELEMENTS} = user=<{USER}> method={METHOD} rip={RIP} lport={LPORT} more={SECURITY} {SESSION}\n",
        "",
        "",
        True,
    ),
    (
        "an empty element at the end",
        f"{ELEMENTS} = user=<{USER}> method={METHOD} rip={RIP} {SESSION} {SECURITY}\n",
        "",
        "",
        True,
    ),
    (
        "a port without a name",
        f"{ELEMENTS} = user=<{USER}> method={METHOD} rip={RIP} {LPORT} {SESSION}\n",
        ELEMENTS,
        "warning",
        False,
    ),
    ("no time", "log_timestamp =\n", "log_timestamp", "warning", False),
    ("balancers", "haproxy_trusted_networks = 192.0.2.0/24 10.0.0.0/8\n", "proxy", "danger", True),
]


@pytest.mark.parametrize(
    ("extra", "check", "severity", "recognised"), [row[1:] for row in EXTRAS], ids=[row[0] for row in EXTRAS]
)
def test_what_is_said_is_what_popauthd_makes_of_a_real_login(
    place: Place, extra: str, check: str, severity: str, recognised: bool
) -> None:
    dovecot = Dovecot(place, extra)
    popauthd = Popauthd(place, dovecot.log)
    dovecot.logged_in()
    found = {one["check"]: one["severity"] for one in findings(dovecot, popauthd) if one["severity"] != "ok"}
    assert found == ({check: severity} if check else {})
    assert status(dovecot, popauthd)[0] == (1 if severity in ("warning", "danger") else 0)
    text = popauthd.control("recognise", str(dovecot.log)).stdout
    assert (" grant " in text) is recognised, text


def test_a_webmail_that_is_trusted_names_its_users_and_the_advice_keeps_it_from_granting(place: Place) -> None:
    webmail, browser = "127.0.0.9", "127.0.0.77"
    trusted = f"login_trusted_networks = {webmail}\n"
    dovecot = Dovecot(place, trusted)
    popauthd = Popauthd(place, dovecot.log, settings=f'never = ["{webmail}/32"]\n')
    popauthd.start("run")
    assert imap_login(webmail, dovecot.ports["imap"], browser=browser)
    eventually(lambda: popauthd.may_relay(browser), f"{browser} may relay")  # never has no effect
    (found,) = (one for one in findings(dovecot, popauthd) if one["check"] == "proxy")
    assert found["severity"] == "note"
    assert "take a webmail's host out of login_trusted_networks, then list it under never" in found["advice"]
    dovecot.config.write_text(dovecot.config.read_text().replace(trusted, ""))
    subprocess.run(["doveadm", "-c", dovecot.config, "reload"], check=True)
    popauthd.control("revoke", browser)
    assert imap_login(webmail, dovecot.ports["imap"], browser=browser)
    assert imap_login("127.0.0.10", dovecot.ports["imap"])
    eventually(lambda: popauthd.may_relay("127.0.0.10"), "127.0.0.10 may relay")
    assert not popauthd.may_relay(browser)
    assert not popauthd.may_relay(webmail)
    assert [one for one in findings(dovecot, popauthd) if one["severity"] != "ok"] == []


def test_that_lines_arrive_is_said_when_one_was_seen(place: Place) -> None:
    dovecot = Dovecot(place)
    # What Dovecot says of its start, and of who looked whether its ports answer, are lines of it too.
    eventually(lambda: "pop3-login: " in dovecot.log.read_text(), "Dovecot has said all that")
    lines = dovecot.log.rename(dovecot.log.with_name("aside"))
    popauthd = Popauthd(place, dovecot.log)
    popauthd.start("run")
    (found,) = (one for one in findings(dovecot, popauthd) if one["check"] == "follows")
    assert "no line of it was seen since popauthd was started" in found["seen"]
    lines.rename(dovecot.log)
    assert pop3_login("127.0.0.10", dovecot.ports["pop3"])
    eventually(lambda: popauthd.may_relay("127.0.0.10"), "127.0.0.10 may relay")
    (found,) = (one for one in findings(dovecot, popauthd) if one["check"] == "follows")
    assert "its last line was seen" in found["seen"]


def pushed(place: Place, way: str, port: int) -> tuple[str, str]:
    """popauthd's snippet for Dovecot, and the settings that it needs."""
    if way == "post-login":
        return post_login(place, place.root / "run/push.sock"), 'post_login = true\npush_users = ["dovecot"]\n'
    settings = f'auth_policy_listen = "127.0.0.1:{port}"\nauth_policy_secret_file = "{secret_file(place)}"\n'
    return auth_policy(place, port), settings


@pytest.mark.parametrize("way", ["post-login", "auth-policy"])
def test_a_snippet_that_pushes_is_fine_and_one_side_of_it_alone_is_told(place: Place, way: str) -> None:
    snippet, settings = pushed(place, way, free_port())
    dovecot = Dovecot(place, snippet)
    for config, severity in ((settings, "ok"), ("", "warning")):
        popauthd = Popauthd(place, dovecot.log, settings=config)
        (found,) = (one for one in findings(dovecot, popauthd) if one["check"] == "push")
        assert found["severity"] == severity, found
        assert SECRET not in status(dovecot, popauthd)[1]
    dovecot.config.write_text(dovecot.config.read_text().replace(snippet, ""))
    popauthd = Popauthd(place, dovecot.log, settings=settings)
    (found,) = (one for one in findings(dovecot, popauthd) if one["check"] == "push")
    assert found["severity"] == "warning"
    assert f"popauthd-{way}-{branch()}.conf" in found["advice"]


def test_a_log_that_others_can_write_is_told(place: Place) -> None:
    dovecot = Dovecot(place)
    dovecot.logged_in()
    popauthd = Popauthd(place, dovecot.log)
    for path, mode, why in [
        (dovecot.log, 0o666, f"{dovecot.log} can be written by everybody"),
        (dovecot.log.parent, 0o777, f"{dovecot.log.parent} can be written by everybody"),
    ]:
        before = path.stat().st_mode
        path.chmod(mode)
        code, text = status(dovecot, popauthd)
        assert code == 1
        assert f"DANGER  log-file: {dovecot.log} can be forged: {why}" in text
        path.chmod(before)
    assert status(dovecot, popauthd)[0] == 0


def test_without_doveconfs_output_it_says_what_is_wrong(place: Place, tmp_path: Path) -> None:
    popauthd = Popauthd(place, None)
    (tmp_path / "broken").write_text("something else\n")
    for name, why in [("missing", "cannot be read"), ("broken", "not what `doveconf -n` prints")]:
        done = popauthd.control("dovecot", "status", "--doveconf", str(tmp_path / name))
        assert done.returncode == 66
        assert why in done.stderr
