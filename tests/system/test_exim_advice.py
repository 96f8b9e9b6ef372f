"""What `popauthctl exim enable` prints for an ACL of the administrator's own, followed word for word.

All mail stays as it was, a granted client relays, and what the ACL denies later is still denied.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from popauthd.errors import ConfigError
from popauthd.eximsetup.commands import Envelope, Exim
from tests.servers.place import Place
from tests.support.exim_machine import Machine, machine_in

pytestmark = pytest.mark.system

STRANGER, GRANTED, RELAY_HOST = "192.0.2.77", "192.0.2.10", "198.51.100.9"
REMOTE, HERE, NOBODY_HERE = "friend@example.com", "postmaster@example.org", ".nobody@example.org"
BAD = "bad@example.net"

RELAY_HOSTS_FIRST = """
  accept hosts = :
  accept hosts = +relay_from_hosts
         control = submission
  deny   local_parts = ^[.]
  require message = relay not permitted
          domains = +local_domains : +relay_to_domains
  deny message = not you
       senders = bad@example.net
  accept
"""
NO_RELAY_HOSTS = RELAY_HOSTS_FIRST.replace("accept hosts = +relay_from_hosts\n         control = submission", "warn")
ONE_DENY = r"""
  deny   local_parts = ^[.]
  deny message = Hier wird nicht \
                 weitergeleitet
       !domains = +local_domains : +relay_to_domains
       !hosts = : +relay_from_hosts
       !authenticated = *
  deny message = log in first
       sender_domains = +local_domains
       !hosts = : +relay_from_hosts
       !authenticated = *
  deny message = not you
       senders = bad@example.net
  accept
"""
DENY_AT_THE_END = """
  accept hosts = : +relay_from_hosts
  deny   local_parts = ^[.]
  deny   senders = bad@example.net
  accept domains = +local_domains : +relay_to_domains
  deny   message = no relaying here
"""
NOTHING_AT_THE_END = DENY_AT_THE_END.replace("  deny   message = no relaying here\n", "")
CONTROL_PANEL = """
log_file_path = {root}/log/%slog
spool_directory = {root}/spool
keep_environment =
domainlist local_domains = example.org
domainlist relay_to_domains = example.org
hostlist relay_from_hosts = 127.0.0.1 : 198.51.100.0/24
acl_smtp_mail = acl_check_mail
acl_smtp_rcpt = {name}
tls_advertise_hosts =
host_lookup =
begin acl
acl_check_mail:
  deny    condition     = ${{if eq{{$sender_helo_name}}{{}}}}
          message       = say HELO first
  accept
{name}:
  accept  hosts         = :
  accept  hosts         = +relay_from_hosts
          control       = submission
  accept  authenticated = *
          control       = submission/domain=
  deny    local_parts   = ^[.]
  require message       = relay not permitted
          domains       = +local_domains : +relay_to_domains
  deny    message       = log in before you send
          sender_domains = +local_domains
          !authenticated = *
  deny    senders       = bad@example.net
  accept
begin routers
all:
  driver = accept
  transport = hole
begin transports
hole:
  driver = appendfile
  file = /dev/null
begin authenticators
"""


def by_macro_of_debconf(machine: Machine, acl: str) -> None:
    """Debian makes a macro of each line of update-exim4.conf.conf that begins with a capital."""
    (machine.site.confdir / "conf.d/acl/35_own").write_text(f"my_acl:\n{acl}")
    debconf = machine.site.debconf
    debconf.write_text(f"{debconf.read_text()}MAIN_ACL_CHECK_RCPT=my_acl\n")


def by_macro_of_a_file(machine: Machine, acl: str) -> None:
    (machine.site.confdir / "conf.d/acl/35_own").write_text(f"my_acl:\n{acl}")
    (machine.site.confdir / "conf.d/main/000_own").write_text("MAIN_ACL_CHECK_RCPT = my_acl\n")


def as_template(machine: Machine, text: str) -> None:
    machine.site.debconf.write_text(machine.site.debconf.read_text().replace("='true'", "='false'"))
    machine.site.macros_file.unlink()
    template = machine.site.confdir / "exim4.conf.template"
    template.write_text(text.format(root=machine.root, name="acl_check_rcpt"))


def by_hand(machine: Machine, text: str) -> None:
    """Exim reads nothing else then; its lists and ACLs are not called as Debian's are."""
    own = text.format(root=machine.root, name="acl_rcpt")
    machine.site.handwritten.write_text(
        re.sub("local_domains|relay_to_domains", "ours", own, count=0)
        .replace("domainlist ours = example.org\ndomainlist ours = example.org", "domainlist ours = example.org")
        .replace("+ours : +ours", "+ours")
        .replace("relay_from_hosts", "friends")
    )


@dataclass(frozen=True)
class Kind:
    """A site with an ACL of its own. later: what it says to BAD, who is granted, elsewhere."""

    make: Callable[[Machine, str], None]
    text: str


KINDS = {
    "relay hosts are accepted first, by debconf's file": Kind(by_macro_of_debconf, RELAY_HOSTS_FIRST),
    "no relay hosts": Kind(by_macro_of_a_file, NO_RELAY_HOSTS),
    "one deny, in another language": Kind(by_macro_of_debconf, ONE_DENY),
    "a deny at the end": Kind(by_macro_of_a_file, DENY_AT_THE_END),
    "nothing at the end": Kind(by_macro_of_debconf, NOTHING_AT_THE_END),
    "a control panel's template": Kind(as_template, CONTROL_PANEL),
    "a handwritten exim4.conf": Kind(by_hand, CONTROL_PANEL),
}


@pytest.fixture(params=list(KINDS))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Place() as place:
        made = machine_in(place, split=True)
        KINDS[request.param].make(made, KINDS[request.param].text)
        made.site.run_dir.mkdir()
        made.site.run_dir.chmod(0o755)
        made.regenerate()
        yield made


def said(machine: Machine, *clients: str) -> dict[tuple[str, str, str], str]:
    """Every client's every message, and Exim's reply."""
    exim = Exim(machine.site.exim, machine.site.config)
    return {
        (client, sender, to): exim.reply_to_rcpt(client, Envelope("client.example.net", sender, to))
        for client in clients
        for sender in ("anna@example.net", "anna@example.org", BAD, "")
        for to in (REMOTE, HERE, NOBODY_HERE)
    }


def followed(advice: str) -> Path:
    """Do what the first step says, word for word, to the file that it names; returns that file."""
    step = advice.partition("\n1. In ")[2].partition("\n2. ")[0]
    path = Path(step.partition(", ")[0])
    text = path.read_text()
    texts = [textwrap.dedent(found) for found in re.findall(r"(?m)(?:^ {6,}\S.*\n?)+", step)]
    instructions = re.findall(r"(?m)^   (\w.*):$", step)
    if "as its end is reached" in step:
        assert instructions == ["relaying as its end is reached. Put these lines at its end"]
        (lines,) = texts
        path.write_text(f"{text}\n{lines}\n")
        return path
    old, new, *others = texts
    match instructions[0]:
        case "Put these lines directly above it":
            path.write_text(text := put(text, old, f"{new}\n{{}}"))
        case "Put this in its place":
            path.write_text(text := put(text, old, new))
        case "Add this line at its end":
            path.write_text(text := put(text, old, f"{{}}\n{new}"))
        case other:
            raise AssertionError(other)
    if others:
        line = new.strip().splitlines()[-1]
        assert instructions[1:] == ["Add the same line at the end of what spares relay hosts, or who has authenticated"]
        for one in re.split(r"(?m)^(?=\w)", others[0])[1:]:
            path.write_text(text := put(text, one, f"{{}}\n  {line}"))
    return path


def put(text: str, old: str, new: str) -> str:
    """Put a text in place of a statement, which is found whatever its white space is."""
    found = re.findall(r"\s+".join(map(re.escape, old.split())), text)
    assert len(found) == 1, (old, text)
    return text.replace(found[0], new.replace("{}", found[0], 1) + "\n")


def test_followed_word_for_word_all_mail_stays_and_a_granted_client_relays(machine: Machine) -> None:
    clients = (STRANGER, GRANTED, RELAY_HOST, "127.0.0.1")
    before, files = said(machine, *clients), machine.tree()
    assert before[STRANGER, "anna@example.net", REMOTE].startswith("550")
    with pytest.raises(ConfigError, match="an ACL of your own, and it is left alone") as told:
        machine.enable("hostlist")
    assert machine.tree() == files
    assert said(machine, GRANTED) == {key: reply for key, reply in before.items() if key[0] == GRANTED}

    path = followed(str(told.value))
    if not machine.site.handwritten.exists():
        machine.regenerate()
    assert said(machine, *clients) == before, "while popauthd's file is not there, nothing changes"

    files = machine.tree()
    assert machine.enable("hostlist")
    assert said(machine, *clients) == before, "nobody is granted"
    assert path.read_bytes() == files[str(path)][1]
    assert not machine.enable("hostlist")
    listed = machine.site.run_dir / "relay-hosts"
    listed.write_text(f"{GRANTED}: {int(time.time()) + 3600}\n")
    listed.chmod(0o644)
    after = said(machine, *clients)
    granted = {(GRANTED, sender, REMOTE): "250" for sender in ("anna@example.net", "anna@example.org", "")}
    granted[GRANTED, "anna@example.org", HERE] = "250"  # whoever is granted need not log in
    granted[GRANTED, BAD, REMOTE] = "550"  # what the ACL denies later is denied
    assert {key: after[key][:3] for key in granted} == granted
    assert {key: reply for key, reply in after.items() if key not in granted} == {
        key: reply for key, reply in before.items() if key not in granted
    }

    listed.chmod(0o600)
    assert said(machine, *clients) == before, "a fault closes the relay only"
    assert machine.disable()
    assert machine.tree() == files
    assert said(machine, *clients) == before
