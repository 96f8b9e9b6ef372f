"""What proves that strangers do not relay: only a refusal of relaying does; an open relay is seen for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.errors import ConfigError
from popauthd.eximsetup.commands import Envelope, Exim
from popauthd.eximsetup.relaying import prove
from tests.servers.exim import REFUSAL, REMOTE, USER, stock
from tests.servers.place import Place, lend
from tests.support.exim_machine import Machine, machine_in

pytestmark = pytest.mark.system

CONFIG = """
spool_directory = {root}/spool
log_file_path = {root}/log/%slog
keep_environment =
primary_hostname = mail.example.org
host_lookup =
tls_advertise_hosts =
domainlist local_domains = example.org
domainlist relay_to_domains = {backup}
domainlist others = open.example.net : *.wild.example.net
hostlist relay_from_hosts = 127.0.0.1
acl_smtp_rcpt = acl_rcpt
begin acl
friends:
  accept hosts = +relay_from_hosts
acl_rcpt:
{acl}
begin routers
onwards:
  driver = manualroute
  {onwards}
  transport = remote
  self = send
here:
  driver = accept
  domains = +local_domains
  local_parts = postmaster : root
  transport = hole
begin transports
remote:
  driver = smtp
hole:
  driver = appendfile
  file = /dev/null
"""
NOT_FOR_STRANGERS = "  deny !domains = +local_domains\n       !hosts = +relay_from_hosts\n  accept"
CONDITION = "  deny condition = yes\n       message = {}\n  accept"
VERIFIED = "  accept verify = recipient\n  deny message = relay not permitted"
NAMED = "domains = open.example.net\n  route_list = * 127.0.0.1"
NOWHERE = "domains = nowhere\n  route_list = * 127.0.0.1"
RELAY = "  require message = {}\n          domains = +local_domains : +relay_to_domains\n  accept"
ROUTABLE = "  accept hosts = +relay_from_hosts\n  require verify = recipient\n  accept"
PROVEN, OPEN, UNPROVEN = "refused", "open", "unproven"
CASES: list[tuple[str, str, str, str]] = [
    ("relaying is refused", RELAY.format("relay not permitted"), NOWHERE, PROVEN),
    ("in another language", RELAY.format("Hier nicht"), NOWHERE, PROVEN),
    ("a domain of ours is routed elsewhere", RELAY.format("no"), NAMED.replace("open.", "backup."), PROVEN),
    ("the sender is verified first", "  require verify = sender\n" + RELAY.format("no"), NOWHERE, PROVEN),
    (
        "a deny of strangers",
        "  deny !domains = +local_domains\n       !hosts = +relay_from_hosts\n  accept",
        NOWHERE,
        PROVEN,
    ),
    ("by another ACL", "  deny !domains = +local_domains\n       !acl = friends\n  accept", NOWHERE, PROVEN),
    ("nothing is accepted", "  accept domains = +local_domains", NOWHERE, PROVEN),
    (
        "a condition with words for it",
        "  deny condition = yes\n       message = no relaying\n  accept",
        NOWHERE,
        PROVEN,
    ),
    ("a condition without", CONDITION.format("no"), NOWHERE, UNPROVEN),
    ("what can be routed is accepted", ROUTABLE, NOWHERE, UNPROVEN),
    (
        "in the words of a refusal of relaying",
        "  require message = relay not permitted\n          verify = recipient\n  accept",
        NOWHERE,
        UNPROVEN,
    ),
    (
        "what can be routed, else nothing",
        "  accept verify = recipient\n  deny message = relay not permitted",
        NOWHERE,
        UNPROVEN,
    ),
    ("these addresses are refused", "  deny hosts = 192.0.2.0/24\n  accept", NOWHERE, UNPROVEN),
    ("this sender is refused", "  deny senders = : *@example.net : *@mail.example.org\n  accept", NOWHERE, OPEN),
    ("come again later", "  defer message = greylisted", NOWHERE, UNPROVEN),
    ("a router's domain", ROUTABLE, NAMED, OPEN),
    ("a router's list", ROUTABLE, NAMED.replace("open.example.net", "+others"), OPEN),
    ("a router's wildcard", ROUTABLE, NAMED.replace("open.example.net", "*.wild.example.net"), OPEN),
    ("a router's file", ROUTABLE, NAMED.replace("open.example.net", "lsearch;{root}/domains"), OPEN),
    ("a router's routes", ROUTABLE, "route_list = open.example.net 127.0.0.1", OPEN),
    ("everything is accepted", "  accept", NOWHERE, OPEN),
    ("for senders of ours", "  accept senders = *@example.org\n" + RELAY.format("relay not permitted"), NOWHERE, OPEN),
    ("for every domain", RELAY.format("no").replace("+local_domains", "*"), NOWHERE, OPEN),
]


@pytest.fixture(scope="module")
def binary() -> Iterator[Path]:
    with Place() as place:
        for name in ("log", "spool"):
            place.directory(name, owner=USER)
        (place.root / "domains").write_text("open.example.net: 1\n")
        yield lend(stock("light"), place.root / "exim4")


@pytest.mark.parametrize(("acl", "onwards", "found"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_only_a_refusal_of_relaying_proves_that_strangers_do_not_relay(
    binary: Path, acl: str, onwards: str, found: str
) -> None:
    config = binary.with_name("config")
    text = CONFIG.replace("{acl}", acl).replace("{onwards}", onwards).replace("{root}", str(binary.parent))
    config.write_text(text.replace("{backup}", "backup.example.net"))
    (proof,) = prove(Exim(binary, config), ["192.0.2.77"])
    seen = OPEN if proof.open_to else UNPROVEN if proof.why else PROVEN
    assert seen == found, proof
    if seen == PROVEN:
        assert proof.refusal.startswith("550 ")
        assert proof.statement is not None
        assert proof.statement.refuses_relaying(proof.refusal)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Place() as place:
        yield machine_in(place, split=True)


def relays_what_it_can_route(machine: Machine, *, router: bool) -> None:
    conf_d = machine.site.confdir / "conf.d"
    acl = "acl_check_rcpt:\n  accept hosts = +relay_from_hosts\n  require verify = recipient\n  accept\n"
    (conf_d / "acl/30_exim4-config_check_rcpt").write_text(acl)
    if router:
        text = "routable:\n  driver = manualroute\n  domains = open.example.net\n  transport = remote_smtp\n"
        (conf_d / "router/050_routable").write_text(f"{text}  route_list = * 127.0.0.1\n  self = send\n")
    machine.regenerate()


def test_a_site_that_relays_what_it_can_route_is_refused_and_not_changed(machine: Machine) -> None:
    relays_what_it_can_route(machine, router=True)
    before = machine.tree()
    with pytest.raises(ConfigError, match=r"already relays for strangers \(192\.0\.2\.77\).*open\.example\.net"):
        machine.enable()
    assert machine.tree() == before


def test_where_nothing_can_be_proven_it_says_so_and_changes_nothing(machine: Machine) -> None:
    relays_what_it_can_route(machine, router=False)
    before = machine.tree()
    with pytest.raises(ConfigError, match=r"could not be proven: .*cannot be routed from here.*Try where"):
        machine.enable()
    assert machine.tree() == before


def granted_relays(machine: Machine, sender: str, to: str = REMOTE) -> str:
    listed = machine.site.run_dir / "relay-hosts"
    listed.parent.mkdir(exist_ok=True)
    listed.write_text("192.0.2.10: 4000000000\n")
    listed.chmod(0o644)
    envelope = Envelope("client.example.net", sender, to)
    return Exim(machine.site.exim, machine.site.config).reply_to_rcpt("192.0.2.10", envelope)


def test_a_granted_client_passes_what_debian_demands_of_relay_hosts(machine: Machine) -> None:
    (machine.site.confdir / "conf.d/main/000_own").write_text("CHECK_RCPT_VERIFY_SENDER = 1\n")
    (machine.site.confdir / "local_sender_callout").write_text("*@example.net\n")
    machine.regenerate()
    assert machine.enable("hostlist")
    exim = Exim(machine.site.exim, machine.site.config)
    demanded = {
        ("anna@unroutable.example.com", REMOTE): "550 Sender verification failed",
        ("", "/etc/passwd@example.com"): "550 restricted characters in address",
        ("", REMOTE): "250 Accepted",
    }
    for (sender, to), reply in demanded.items():
        assert exim.reply_to_rcpt("198.51.100.9", Envelope("client.example.net", sender, to)) == reply, "a relay host"
        assert granted_relays(machine, sender, to) == reply


def test_the_site_s_own_words_for_a_refusal_are_known(machine: Machine) -> None:
    acl = machine.site.confdir / "conf.d/acl/30_exim4-config_check_rcpt"
    acl.write_text(acl.read_text().replace("relay not permitted", "Weiterleitung {nur} für [Kunden]"))
    machine.regenerate()
    assert machine.enable("hostlist")
    assert granted_relays(machine, "anna@example.net").startswith("250")
    assert machine.says() == f"550 {REFUSAL}"
    assert not machine.enable("hostlist")


@pytest.mark.parametrize(
    "text", ["Bitte erst Mail abrufen (15 Min.)", "Sans accès: $ \\ {} \"'%#", "Сначала получите почту"]
)
def test_the_refusal_is_the_administrator_s(machine: Machine, text: str) -> None:
    assert machine.enable("hostlist", text=text)
    assert machine.says() == f"550 {text}"
    assert granted_relays(machine, "anna@example.net").startswith("250")
    assert not machine.enable("hostlist", text=text)


def test_the_macro_of_before_is_told_where_the_text_is_now(machine: Machine) -> None:
    (machine.site.confdir / "conf.d/main/000_own").write_text("POPAUTHD_REFUSAL = an old text\n")
    machine.regenerate()
    assert machine.enable()
    assert machine.says() == f"550 {REFUSAL}"
    assert "sets POPAUTHD_REFUSAL, which is not read any more: put the text into popauthd.toml" in "\n".join(
        machine.said
    )
