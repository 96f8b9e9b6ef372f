"""The life of the package on a clean Debian 12 and 13 with their own Dovecot and Exim, from installing to purging.

The tests are chapters: each goes on where the one before it ended. Nothing is installed on this machine itself.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import __version__
from tests.package import hook
from tests.package.building import of_release, of_version
from tests.package.roots import SUITES, Root, differences
from tests.package.site import LOCAL, RELAY_NET_CLIENT, REMOTE, Site
from tests.support.helpers import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]

WAYS = ("socket", "readlookup", "hostlist")
CLIENT, OTHER, STRANGER, SIX = "192.0.2.10", "192.0.2.11", "192.0.2.13", "2001:db8::7"
AS_EXIM = ("setpriv", "--reuid", "Debian-exim", "--regid", "Debian-exim", "--init-groups", "--")
AS_NOBODY = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--")


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def deb(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_release(suite, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def site(suite: str, deb: Path) -> Iterator[Site]:
    """A mail server as it is before popauthd comes, but for the packages that popauthd depends on."""
    with Root(suite) as root:
        running = Site(root)
        running.start_exim()
        root.install(deb)
        root.run("apt-get", "-q", "-y", "purge", "popauthd")
        running.before = root.tree()
        yield running
        running.stop_popauthd()
        running.close()


def asked_as_before(site: Site) -> None:
    """What Exim accepts and refuses without popauthd."""
    assert [site.rcpt(client, LOCAL) for client in (CLIENT, STRANGER, RELAY_NET_CLIENT)] == [250, 250, 250]
    assert [site.rcpt(client, REMOTE) for client in (CLIENT, STRANGER, RELAY_NET_CLIENT)] == [550, 550, 250]


def test_purging_leaves_nothing_of_the_package_but_its_user(site: Site) -> None:
    administrators = "etc/dovecot/conf.d/90-popauthd.conf"
    assert [path for path in site.before if "popauth" in path] == [administrators]
    assert "popauthd:" in (site.root.path / "etc/passwd").read_text()


def test_installing_changes_no_mail_flow(site: Site, deb: Path) -> None:
    site.root.install(deb)
    changed = differences(site.before, site.root.tree())
    assert [path for path, (old, _new) in changed.items() if old and not path.startswith("etc/")] == []
    assert [path for path in changed if "exim" in path and "popauthd" not in path] == []
    asked_as_before(site)


def test_the_configuration_as_installed_is_right(site: Site) -> None:
    config = site.root.path / "etc/popauthd/popauthd.toml"
    assert all(not line or line.startswith("#") for line in config.read_text().splitlines())
    assert "/var/log/dovecot-info.log" in site.root.run("popauthctl", "config", "check")


def test_what_the_documents_name_is_installed(site: Site) -> None:
    """Links between them, and files of the package by their whole paths; /usr/lib/popauthd and /usr/share alone."""
    root = site.root.path
    there = root / "usr/share/doc/popauthd"
    readmes = sorted(there.rglob("README*"))
    assert [str(path.relative_to(there)) for path in readmes] == [
        "README.Debian", "README.md", "dovecot/README.md", "exim/README.md",
    ]  # fmt: skip
    pages = [gzip.decompress(path.read_bytes()).decode() for path in root.glob("usr/share/man/man?/popauth*.gz")]
    assert len(pages) == 4
    for path in readmes:
        links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
        assert [link for link in links if not (path.parent / link).is_file()] == [], path
    texts = [*(path.read_text() for path in readmes), (root / "etc/popauthd/popauthd.toml").read_text(), *pages]
    named = {
        found.rstrip(".")
        for text in texts
        for found in re.findall(r"/usr/(?:lib|share)/[\w./-]*popauthd[\w./-]*", text.replace("\\-", "-"))
    }
    assert len(named) > 8
    assert sorted(name for name in named if not (root / name[1:]).exists()) == []


@pytest.mark.parametrize(("unit", "most"), [("popauthd.service", 1.0), ("popauthd-lookup.service", 0.6)])
def test_the_services_are_locked_in(site: Site, unit: str, most: float) -> None:
    said = site.root.run("systemd-analyze", "security", "--offline=true", unit)
    assert float(said.partition(f"exposure level for {unit}: ")[2].split()[0]) <= most


@pytest.mark.parametrize("unit", ["popauthd.service", "popauthd-lookup.service", "popauthd-lookup.socket"])
def test_systemd_finds_nothing_wrong_in_the_units(site: Site, unit: str) -> None:
    said = site.root.fails("systemd-analyze", "verify", unit)[1].splitlines()
    assert [line for line in said if "Command 'man " not in line] == []  # man is not installed there


def test_the_services_start_as_their_own_user(site: Site) -> None:
    site.start_popauthd()
    groups = site.root.run("id", "popauthd").split("groups=")[1]
    assert {word.split("(")[1].rstrip(")\n") for word in groups.split(",")} == {"popauthd", "adm", "systemd-journal"}
    eventually(
        lambda: "WATCHDOG=1" in site.watcher.listen() and "WATCHDOG=1" in site.lookup.listen(), "the watchdog is fed"
    )


def test_only_exims_group_may_look(site: Site) -> None:
    assert site.root.run("stat", "-c", "%a %U %G", "/run/popauthd") == "2750 popauthd Debian-exim\n"
    assert site.root.run("stat", "-c", "%a %U", "/var/lib/popauthd") == "700 popauthd\n"
    assert site.login("pop3", CLIENT)
    site.relays(CLIENT)
    lookup = "/usr/lib/popauthd/readlookup"
    assert site.root.run(*AS_EXIM, lookup, CLIENT) == "yes\n"
    assert site.root.fails(*AS_EXIM, lookup, STRANGER) == (1, "no\n")
    assert site.root.fails(*AS_NOBODY, lookup, CLIENT) == (1, "no\n")
    for path in ("/run/popauthd/relay.mdb-lock", "/var/lib/popauthd/books.mdb"):
        assert site.root.fails(*AS_EXIM, "cat", path)[0] != 0


def test_exim_is_not_asking_yet(site: Site) -> None:
    asked_as_before(site)


def test_no_lookup_is_lost_while_the_services_restart(site: Site) -> None:
    answers: list[str] = []
    done = threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            answers.append(site.socket.ask(CLIENT))

    askers = [threading.Thread(target=ask_on) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for service in (site.lookup, site.watcher, site.lookup):
            seen = len(answers)
            # Heard meanwhile, as systemd does: a socket holds ten messages, and what comes then is lost.
            eventually(
                lambda service=service, seen=seen: service.listen() and len(answers) > seen + 100,  # type: ignore[misc]
                "questions are asked",
            )
            assert service.stop() == 0
            assert "STOPPING=1" in service.heard
            service.start()
    finally:
        done.set()
        for asker in askers:
            asker.join()
    assert len(answers) > 300
    assert set(answers) == {"yes"}


def test_an_upgrade_keeps_the_grants(site: Site, deb: Path) -> None:
    before = site.root.run("popauthctl", "list", "--json")
    site.root.run("dpkg", "-i", f"/tmp/{deb.name}")
    for service in (site.lookup, site.watcher):
        service.stop()
        service.start()
    assert CLIENT in before
    assert site.socket.ask(CLIENT) == "yes"


def test_a_downgrade_is_refused_with_a_clear_word(site: Site, tmp_path: Path) -> None:
    older = of_version("0.0.9", tmp_path)
    (site.root.path / "tmp" / older.name).write_bytes(older.read_bytes())
    status, said = site.root.fails("dpkg", "-i", f"/tmp/{older.name}")
    assert status != 0
    assert f"{__version__} is installed and 0.0.9 is older" in said
    assert "To go back all the same:" in said
    words = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "popauthd")
    assert site.root.run(*words) == f"installed {__version__}"
    assert site.socket.ask(CLIENT) == "yes"


SCHEMA = """
import lmdb, sys
with lmdb.open("/var/lib/popauthd/books.mdb", subdir=False, max_dbs=20, map_size=1 << 33) as env:
    with env.begin(write=True, db=env.open_db(b"meta")) as txn:
        print(txn.get(b"schema").decode())
        txn.put(b"schema", sys.argv[1].encode())
"""


def test_books_of_a_newer_version_are_refused_with_a_clear_word(site: Site) -> None:
    site.watcher.stop()
    ours = site.root.run("python3", "-c", SCHEMA, "99").strip()
    site.watcher.launch()
    eventually(lambda: site.watcher.ended() is not None, "the watcher ends")
    assert site.watcher.ended() == 78
    assert "was written by a newer popauthd (schema 99" in site.watcher.log.read_text()
    assert site.socket.ask(CLIENT) == "yes"  # grants stand until they run out
    site.root.run("python3", "-c", SCHEMA, ours)
    site.watcher.start()


@pytest.mark.parametrize("split", ["false", "true"], ids=["unsplit", "split"])
@pytest.mark.parametrize("way", WAYS)
def test_exim_relays_for_who_has_logged_in(site: Site, way: str, split: str) -> None:
    relays_when_asked(site, way, split)


def relays_when_asked(site: Site, way: str, split: str) -> None:
    """The whole path in one configuration: in, real logins over POP3 and IMAP, real messages, revoked, out."""
    site.root.run("popauthctl", "revoke", "--all")
    site.set_exim(dc_use_split_config=split)
    hook.enable(site, way)
    asked_as_before(site)
    site.next_second()
    for protocol, client in (("pop3", CLIENT), ("imap", SIX)):
        assert site.login(protocol, client)
        site.relays(client)
        eventually(lambda client=client: site.rcpt(client, REMOTE) == 250, f"{client} relays by {way}")  # type: ignore[misc]
        assert site.send(client, f"by {way} from {client}") == 250
    assert site.rcpt(OTHER, REMOTE) == 550
    proved(site)
    site.root.run("popauthctl", "revoke", "--all")
    eventually(lambda: site.rcpt(CLIENT, REMOTE) == 550, "revoked")
    hook.disable(site)
    site.next_second()
    assert site.login("imap", CLIENT)
    site.relays(CLIENT)
    asked_as_before(site)


def proved(site: Site) -> None:
    """The doctor finds nothing wrong, and leaves nothing granted."""
    before = site.root.run("popauthctl", "list", "--json")
    checks = json.loads(site.root.run("popauthctl", "doctor", "--json"))
    assert [check for check in checks if check["state"] == "FAIL"] == []
    assert {check["check"] for check in checks if check["state"] == "ok"} >= {"grant-socket", "relay", "refused"}, (
        checks
    )
    assert len(json.loads(before)) == len(json.loads(site.root.run("popauthctl", "list", "--json")))


@pytest.mark.parametrize("split", ["true", "false"], ids=["split", "unsplit"])
def test_removed_without_disabling_exim_accepts_all_it_did_before(site: Site, deb: Path, split: str) -> None:
    site.set_exim(dc_use_split_config=split)
    hook.enable(site, "socket")
    assert site.rcpt(CLIENT, REMOTE) == 250
    site.stop_popauthd()
    site.root.run("apt-get", "-q", "-y", "remove", "popauthd")
    assert not (site.root.path / "run/popauthd").exists()
    asked_as_before(site)
    site.start_exim()
    asked_as_before(site)
    site.root.run("dpkg", "-i", f"/tmp/{deb.name}")
    site.start_popauthd()
    assert site.rcpt(CLIENT, REMOTE) == 250
    hook.disable(site)


def test_purged_without_disabling_exim_is_as_before_and_nothing_is_left(site: Site) -> None:
    site.set_exim(dc_use_split_config="false")
    hook.enable(site, "socket")
    site.stop_popauthd()
    site.root.run("apt-get", "-q", "-y", "purge", "popauthd")
    site.root.run("exim4", "-bV")
    asked_as_before(site)
    left = differences(site.before, site.root.tree())
    assert {
        path: change for path, change in left.items() if not path.startswith(("var/mail", "var/spool", "home"))
    } == {}


def test_installed_again_it_begins_anew_from_the_log(site: Site, deb: Path) -> None:
    site.root.run("dpkg", "-i", f"/tmp/{deb.name}")
    site.start_popauthd()
    site.relays(CLIENT)


def debconf(site: Site, split: str) -> None:
    """Answer debconf's question, and let exim4-config ask all of its own again."""
    answer = f"exim4-config exim4/use_split_config boolean {split}"
    site.root.run("sh", "-c", f"echo '{answer}' | debconf-set-selections")
    # The answers in the file win over debconf's own, so it is told there as well.
    site.set_exim(dc_use_split_config=split)
    site.root.run("dpkg-reconfigure", "exim4-config")
    assert site.split == (split == "true")


@pytest.mark.parametrize("split", ["false", "true"], ids=["unsplit", "split"])
def test_it_stays_in_when_exim_is_reconfigured_and_upgraded(site: Site, split: str) -> None:
    debconf(site, split)
    hook.enable(site, "socket")
    for other in ("true", "false") if split == "false" else ("false", "true"):
        debconf(site, other)
        site.start_exim()
        assert [site.rcpt(client, REMOTE) for client in (CLIENT, STRANGER, RELAY_NET_CLIENT)] == [250, 550, 250]
    # What an upgrade does: every maintainer script of Exim's packages, and its files put in place anew.
    site.root.apt("install", "--reinstall", "exim4-config", "exim4-base", "exim4-daemon-light")
    site.start_exim()
    assert [site.rcpt(client, REMOTE) for client in (CLIENT, STRANGER, RELAY_NET_CLIENT)] == [250, 550, 250]
    proved(site)
    hook.disable(site)
    asked_as_before(site)


def test_the_heavy_exim_as_well(site: Site) -> None:
    hook.enable(site, "socket")
    site.root.apt("install", "exim4-daemon-heavy")
    site.start_exim()
    assert site.rcpt(CLIENT, REMOTE) == 250
    hook.disable(site)
    for split in ("true", "false"):
        for way in WAYS:
            relays_when_asked(site, way, split)
