"""Dovecot's configuration read and judged: the output of doveconf -n of both languages, one trouble at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from popauthd.config import SourceConfig, plain_source
from popauthd.dovecotcheck import CHECKS, Configuration, Finding, Journal, World, judge, read
from popauthd.dovecotcheck.doveconf import Line

LOG = "/var/log/dovecot-info.log"
OLD = "# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\n# OS: Linux\n"
NEW = "# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\n# OS: Linux\ndovecot_config_version = 2.4.1\n"
FILE = f"info_log_path = {LOG}\n"
FOLLOWED = World((plain_source(path=LOG),))
JOURNAL = World((plain_source(type="journal"),), journal=Journal(here=True, burst=0))
SYSLOG = World((plain_source(path="/var/log/mail.log"),), journal=Journal(here=True))


def configuration(text: str) -> Configuration:
    found = read(text)
    assert found is not None
    return found


def judged(text: str, world: World = FOLLOWED) -> dict[str, Finding]:
    """The worst finding of each check that is not content."""
    order = ["ok", "note", "warning", "danger"]
    found = sorted(judge(configuration(text), world), key=lambda one: order.index(one.severity))
    return {finding.check: finding for finding in found if finding.severity != "ok"}


def stamped(layout: str) -> World:
    return World((plain_source(path=LOG, timestamp=layout),))


@pytest.mark.parametrize("head", [OLD, NEW], ids=["2.3", "2.4"])
@pytest.mark.parametrize(
    ("text", "world"),
    [(FILE, FOLLOWED), ("", JOURNAL), (f"log_path = {LOG}\n", FOLLOWED)],
    ids=["file", "journal", "log"],
)
def test_a_plain_installation_is_fine_and_every_check_says_so(head: str, text: str, world: World) -> None:
    assert judged(head + text, world) == {}
    assert {finding.check for finding in judge(configuration(head + text), world)} == set(CHECKS)


CUT = "login_log_format_elements = user=<{user}> method={method} rip={rip} lip={lip} session=<%{{session}}>\n"
V23 = {"user": "%u", "method": "%m", "rip": "%r", "lip": "%l"}
V24 = {"user": "%{user}", "method": "%{mechanism}", "rip": "%{remote_ip}", "lip": "%{local_ip}"}


@pytest.mark.parametrize(("head", "names"), [(OLD, V23), (NEW, V24)], ids=["2.3", "2.4"])
def test_elements_may_be_left_out_and_reordered(head: str, names: dict[str, str]) -> None:
    assert judged(head + FILE + CUT.format(**names)) == {}
    turned = "rip={rip} session=<%{{session}}> user=<{user}> method={method}".format(**names)
    assert judged(f"{head}{FILE}login_log_format_elements = {turned}\n") == {}


def test_an_address_at_the_end_of_the_line_could_be_cut_and_is_told() -> None:
    found = judged(f"{OLD}{FILE}{ELEMENTS} = user=<%u> method=%m session=<%{{session}}> rip=%r\n", FOLLOWED)
    assert found == {}
    found = judged(f"{OLD}{FILE}{ELEMENTS} = user=<%u> method=%m rip=%r\n", FOLLOWED)
    assert "torn" in found[ELEMENTS].seen


@pytest.mark.parametrize(("head", "names"), [(OLD, V23), (NEW, V24)], ids=["2.3", "2.4"])
@pytest.mark.parametrize(
    ("lost", "severity"), [("user", "warning"), ("rip", "warning"), ("method", "warning"), ("session", "note")]
)
def test_an_element_that_is_missing_is_named_as_this_dovecot_writes_it(
    head: str, names: dict[str, str], lost: str, severity: str
) -> None:
    words = [word for word in CUT.format(**names).partition(" = ")[2].split() if not word.startswith(f"{lost}=")]
    found = judged(f"{head}{FILE}login_log_format_elements = {' '.join(words)}\n")["login_log_format_elements"]
    assert found.severity == severity
    assert found.advice.startswith(f"add {lost}=")
    assert found.advice.partition("=")[2].strip("<>") == {**names, "session": "%{session}"}[lost]


CHARS = "auth_username_chars"
ELEMENTS = "login_log_format_elements"
TROUBLES = [
    ("2.3, any user name", OLD + FILE + f"{CHARS} = \n", FOLLOWED, {CHARS: "danger"}),
    ("2.4, any user name", NEW + FILE + f"{CHARS} = \n", FOLLOWED, {CHARS: "note"}),
    (
        "2.3, any user name, no log",
        OLD + f"{CHARS} = \n",
        World(auth_policy="127.0.0.1:4001"),
        {CHARS: "warning", "source": "note", "push": "warning"},
    ),
    ("a control character", OLD + FILE + f"{CHARS} = abc\x01\n", FOLLOWED, {CHARS: "danger"}),
    ("brackets", OLD + FILE + f"{CHARS} = abc<>\n", FOLLOWED, {CHARS: "warning"}),
    ("syslog is followed", OLD, SYSLOG, {"forgeable": "danger"}),
    ("syslog is followed, a file is written", OLD + FILE, SYSLOG, {"forgeable": "danger", "follows": "warning"}),
    ("no journal", OLD, World(), {"source": "danger", "follows": "warning"}),
    ("nothing is followed", OLD, World(journal=Journal(here=True)), {"follows": "warning"}),
    (
        "a terminal",
        NEW + "log_path = /dev/stderr\n",
        FOLLOWED,
        {"source": "warning", "follows": "warning", "forgeable": "danger"},
    ),
    (
        "the log is open",
        NEW + FILE,
        replace(FOLLOWED, loose={LOG: "can be written by everybody"}),
        {"log-file": "danger"},
    ),
    ("journald drops", NEW, replace(JOURNAL, journal=Journal(here=True)), {"rate-limit": "warning"}),
    ("balancers", NEW + FILE + "haproxy_trusted_networks = 192.0.2.1 2001:db8::1\n", FOLLOWED, {"proxy": "note"}),
    ("a network of balancers", NEW + FILE + "haproxy_trusted_networks = 10.0.0.0/8\n", FOLLOWED, {"proxy": "danger"}),
    ("trusted networks", OLD + FILE + "login_trusted_networks = 192.0.2.1, 0.0.0.0/0\n", FOLLOWED, {"proxy": "danger"}),
    ("2.3, a proxy", OLD + FILE + "passdb {\n  args = proxy=y host=192.0.2.1\n}\n", FOLLOWED, {"proxy": "warning"}),
    (
        "2.3, a proxy by fields",
        OLD + FILE + "passdb {\n  default_fields = a=b proxy\n}\n",
        FOLLOWED,
        {"proxy": "warning"},
    ),
    ("2.3, no proxy", OLD + FILE + "passdb {\n  args = proxy=n nologin=y\n}\n", FOLLOWED, {}),
    (
        "2.4, a proxy",
        NEW + FILE + "passdb static {\n  fields {\n    proxy = y\n  }\n}\n",
        FOLLOWED,
        {"proxy": "warning"},
    ),
    ("2.4, no proxy", NEW + FILE + "passdb static {\n  fields {\n    proxy = no\n  }\n}\n", FOLLOWED, {}),
    ("anonymous", NEW + FILE + "auth_mechanisms = plain anonymous\n", FOLLOWED, {"auth_mechanisms": "warning"}),
    (
        "anonymous in a block, 2.4",
        NEW + FILE + "auth_mechanisms {\n  plain = yes\n  anonymous = yes\n}\n",
        FOLLOWED,
        {"auth_mechanisms": "warning"},
    ),
    ("anonymous taken out, 2.4", NEW + FILE + "auth_mechanisms {\n  anonymous = no\n}\n", FOLLOWED, {}),
    (
        "anonymous, and not told",
        OLD + FILE + f"auth_mechanisms = ANONYMOUS\n{ELEMENTS} = user=<%u> rip=%r session=<%{{session}}>\n",
        FOLLOWED,
        {"auth_mechanisms": "warning", ELEMENTS: "danger"},
    ),
    (
        "some clients without rip",
        OLD + FILE + f"remote 192.0.2.0/24 {{\n  {ELEMENTS} = user=<%u> method=%m session=<%{{session}}>\n}}\n",
        FOLLOWED,
        {ELEMENTS: "warning"},
    ),
    (
        "a format of their own",
        NEW + FILE + "login_log_format = %{elements} %{message}\n",
        FOLLOWED,
        {ELEMENTS: "warning"},
    ),
    ("a bare session", OLD + FILE + 'mail_log_prefix = "%s(%u): "\n', FOLLOWED, {"mail_log_prefix": "note"}),
    (
        "a bare session, not held",
        OLD + FILE + 'mail_log_prefix = "%s(%u): "\n',
        replace(FOLLOWED, hold_sessions=False),
        {},
    ),
    (
        "a session of one protocol",
        NEW + FILE + 'protocol imap {\n  mail_log_prefix = "x: "\n}\n',
        FOLLOWED,
        {"mail_log_prefix": "warning"},
    ),
    ("a stamp that is known", OLD + FILE + 'log_timestamp = "%Y-%m-%d %H:%M:%S "\n', FOLLOWED, {}),
    ("a stamp that is not", OLD + FILE + 'log_timestamp = "%d %b %Y %T "\n', FOLLOWED, {"log_timestamp": "warning"}),
    ("a stamp that is given", OLD + FILE + 'log_timestamp = "%d %b %Y %T "\n', stamped("%d %b %Y %T"), {}),
    ("the default, and another given", OLD + FILE, stamped("%d %b %Y %T"), {"log_timestamp": "warning"}),
    ("a stamp that nobody can read", OLD + FILE + 'log_timestamp = "%c "\n', FOLLOWED, {"log_timestamp": "warning"}),
    ("another name", OLD + "instance_name = post\n", JOURNAL, {"instance_name": "warning"}),
    ("another name, its own file", OLD + FILE + "instance_name = post\n", FOLLOWED, {}),
]


@pytest.mark.parametrize(("text", "world", "expected"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES])
def test_a_trouble_is_found_and_nothing_else(text: str, world: World, expected: dict[str, str]) -> None:
    found = judged(text, world)
    assert {check: finding.severity for check, finding in found.items()} == expected
    assert all(finding.advice for finding in found.values() if finding.severity == "danger")


def test_another_instance_name_that_counts_is_fine() -> None:
    ours: SourceConfig = replace(plain_source(type="journal"), programs=("post",))
    assert judged(OLD + "instance_name = post\n", replace(JOURNAL, sources=(ours,))) == {}


def test_blocks_and_quotes_are_read() -> None:
    text = OLD + 'a = "x \\"y\\" "\nservice imap-login {\n  inet_listener imap {\n    haproxy = yes\n  }\n}\nb =\n'
    assert configuration(text).lines == (
        Line((), "a", 'x "y" '),
        Line(("service imap-login", "inet_listener imap"), "haproxy", "yes"),
        Line((), "b", ""),
    )


@pytest.mark.parametrize(
    "text", ["", "a = b\n", OLD + "a {\n", OLD + "}\n", "# 2.x: y\n", "\0", "doveconf: Fatal: x\n"]
)
def test_what_is_not_doveconfs_output_is_told(text: str) -> None:
    assert read(text) is None


def test_text_from_outside_cannot_turn_a_terminal() -> None:
    keys = ("info_log_path", "instance_name", CHARS, "log_timestamp", "haproxy_trusted_networks")
    hostile = "".join(f"{key} = /x\x1b[2J\u202e%c\n" for key in keys)
    for finding in judge(configuration(OLD + hostile), SYSLOG):
        assert (finding.seen + finding.advice).isprintable()
