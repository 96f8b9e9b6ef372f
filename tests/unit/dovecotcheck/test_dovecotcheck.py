"""Dovecot's configuration read and judged: the output of doveconf -n of both languages, one trouble at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from popauthd.config import SourceConfig
from popauthd.dovecotcheck import CHECKS, Finding, Journal, Seen, World, judge, read, variables
from popauthd.dovecotcheck.doveconf import Line
from tests.support.doveconf_texts import FILE, FOLLOWED, LOG, NEW, OLD, configuration

NOW = 1_795_467_600
LOCAL5 = "syslog_facility = local5\n"
JOURNAL = World((SourceConfig(type="journal"),), journal=Journal(here=True, burst=0))
SYSLOG = World((SourceConfig(path="/var/log/mail.log"),), journal=Journal(here=True))


def judged(text: str, world: World = FOLLOWED) -> dict[str, Finding]:
    """The worst finding of each check that is not content."""
    order = ["ok", "note", "warning", "danger"]
    found = sorted(judge(configuration(text), world), key=lambda one: order.index(one.severity))
    return {finding.check: finding for finding in found if finding.severity != "ok"}


def stamped(layout: str) -> World:
    return World((SourceConfig(path=LOG, timestamp=layout),))


def seen(world: World, line_at: int) -> World:
    return replace(world, seen=Seen(True, line_at, NOW))


@pytest.mark.parametrize("head", [OLD, NEW], ids=["2.3", "2.4"])
@pytest.mark.parametrize(
    ("text", "world"),
    [(FILE, FOLLOWED), ("", JOURNAL), (f"log_path = {LOG}\n", FOLLOWED)],
    ids=["file", "journal", "log"],
)
def test_a_plain_installation_is_fine_and_every_check_says_so(head: str, text: str, world: World) -> None:
    assert judged(head + text, world) == {}
    assert {finding.check for finding in judge(configuration(head + text), world)} == set(CHECKS)


@pytest.mark.parametrize("release", ["debian-12", "debian-13"])
def test_an_untouched_debian_gets_no_warning(release: str) -> None:
    """What doveconf -n says where dovecot-imapd and dovecot-pop3d were installed, and nothing else was done."""
    text = (Path(__file__).parent / "untouched" / f"{release}.txt").read_text()
    found = judged(text, replace(JOURNAL, journal=Journal(here=True)))
    assert {check: finding.severity for check, finding in found.items()} == {"rate-limit": "note"}


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
    assert found[ELEMENTS].advice.startswith("in the [[source]] set rip_last = true")


RIP_LAST = World((SourceConfig(path=LOG, rip_last=True),))


def test_rip_last_is_right_only_where_the_elements_end_with_the_address() -> None:
    found = judged(f"{OLD}{FILE}{ELEMENTS} = user=<%u> method=%m rip=%r\n", RIP_LAST)
    assert {check: finding.severity for check, finding in found.items()} == {ELEMENTS: "note"}  # no session
    for text in (OLD + FILE, f"{NEW}{FILE}{CUT.format(**V24)}"):
        found = judged(text, RIP_LAST)
        assert (found[ELEMENTS].severity, found[ELEMENTS].advice) == ("danger", "take rip_last out of the [[source]]")


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
    ("journald may drop", NEW, replace(JOURNAL, journal=Journal(here=True)), {"rate-limit": "note"}),
    (
        "journald has dropped",
        NEW,
        replace(JOURNAL, journal=Journal(here=True), seen=Seen(True, NOW - 60, NOW, dropped=7)),
        {"rate-limit": "warning"},
    ),
    ("no time", NEW + FILE + "log_timestamp = \n", FOLLOWED, {"log_timestamp": "warning"}),
    (
        "no time, and a timestamp of ours",
        NEW + FILE + "log_timestamp =\n",
        stamped("%F %T"),
        {"log_timestamp": "warning"},
    ),
    ("single trusted hosts", OLD + FILE + "login_trusted_networks = 192.0.2.80\n", FOLLOWED, {"proxy": "note"}),
    (
        "trusted networks in a block, 2.4",
        NEW + FILE + "login_trusted_networks {\n  192.0.2.0/23 = yes\n}\n",
        FOLLOWED,
        {"proxy": "danger"},
    ),
    ("another facility, the journal", OLD + LOCAL5, JOURNAL, {}),
    ("another facility, a file", OLD + LOCAL5, SYSLOG, {"follows": "warning", "forgeable": "danger"}),
    ("another facility, seen", OLD + LOCAL5, seen(SYSLOG, NOW - 60), {"forgeable": "danger"}),
    (
        "another facility, long ago",
        OLD + LOCAL5,
        seen(SYSLOG, NOW - 90_000),
        {"follows": "warning", "forgeable": "danger"},
    ),
    ("nothing seen yet", OLD + FILE, seen(FOLLOWED, 0), {"follows": "note"}),
    ("seen", OLD + FILE, seen(FOLLOWED, NOW - 60), {}),
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


PROTOCOLS = "protocols = imap pop3\n"
CASES = [
    ("an empty log_timestamp", f"log_path = {LOG}\nlog_timestamp = \n", FOLLOWED, "log_timestamp",
     "carry no time", "take log_timestamp out"),
    ("a webmail", FILE + "login_trusted_networks = 192.0.2.80\n", FOLLOWED, "proxy",
     "under never has no effect", "take a webmail's host out of login_trusted_networks, then list it under never"),
    ("another facility", LOCAL5, SYSLOG, "follows", "local5", "follow the file that it names"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "world", "check", "said", "advice"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_what_is_said_is_true_and_what_is_advised_helps(
    text: str, world: World, check: str, said: str, advice: str
) -> None:
    found = judged(OLD + PROTOCOLS + text, world)[check]
    assert said in found.seen
    assert advice in found.advice
    assert "timestamp =" not in found.advice


def test_a_dovecot_that_logs_to_a_terminal_is_not_told_about_syslog() -> None:
    """Mailu's container."""
    elements = "user=<%u> method=%m rip=%r rport=%b lip=%l lport=%a mpid=%e %c"
    text = f"log_path = /dev/stderr\nlogin_log_format_elements = {elements}\n"
    findings = judge(configuration(OLD + PROTOCOLS + text), FOLLOWED)
    assert not [finding for finding in findings if "syslog" in finding.seen + finding.advice]
    assert [finding.severity for finding in findings if finding.check == ELEMENTS] == ["note"]  # no session


# Every variable that Dovecot's documentation names for a login. LIMIT: a ja3 text has commas in it.
DOCUMENTED = {
    OLD: [f"%{{{name}}}" for name in variables.OLD] + [f"%{letter}" for letter in variables.LETTERS]
    + ["%Lu", "%{passdb:nologin}", "%{env:TZ}", "%{hostname}", "%5u", "%Xr", "%{md5:user}", "%%"],
    NEW: [f"%{{{name}}}" for name in variables.NEW if name != "ssl_ja3"]
    + ["%{user|lower}", "%{passdb:nologin}", "%{process:pid}", "%{system:hostname}", "%{user|sha256}"],
}  # fmt: skip


@pytest.mark.parametrize("place", ["{base} {more}", "{more} {base}"], ids=["behind", "before"])
@pytest.mark.parametrize("head", [OLD, NEW], ids=["2.3", "2.4"])
def test_any_documented_variable_may_stand_among_the_elements(head: str, place: str) -> None:
    base = configuration(head).value(ELEMENTS)
    for variable in DOCUMENTED[head]:
        text = place.format(base=base, more=f"more={variable}")
        assert judged(f"{head}{FILE}{ELEMENTS} = {text}\n") == {}, variable


def test_2_3_knows_long_names_and_the_other_users_as_well() -> None:
    for user in ("user", "username", "orig_user", "auth_user"):
        for rip in ("%{rip}", "%{remote_ip}", "%r"):
            text = f"user=<%{{{user}}}> method=%{{mechanism}} rip={rip} session=<%{{session}}>"
            assert judged(f"{OLD}{FILE}{ELEMENTS} = {text}\n") == {}, text


def test_a_variable_without_a_name_that_is_not_read_is_named() -> None:
    base = configuration(OLD).value(ELEMENTS)
    found = judged(f"{OLD}{FILE}{ELEMENTS} = {base} %b\n")[ELEMENTS]
    assert found.fault
    assert found.advice == "popauthd does not read %b: give it a name, as in x=%b, or take it out"


V23_ELEMENTS = configuration(OLD).value(ELEMENTS)
V24_ELEMENTS = configuration(NEW).value(ELEMENTS)
V23_ON_V24 = [
    ("all", f"{ELEMENTS} = {V23_ELEMENTS}", ELEMENTS),
    ("%u", f"{ELEMENTS} = {V24_ELEMENTS.replace('%{user}', '%u')}", ELEMENTS),
    ("%Lu", f"{ELEMENTS} = {V24_ELEMENTS.replace('%{user}', '%Lu')}", ELEMENTS),
    ("%r", f"{ELEMENTS} = {V24_ELEMENTS.replace('%{remote_ip}', '%r')}", ELEMENTS),
    ("%{rip}", f"{ELEMENTS} = {V24_ELEMENTS.replace('%{remote_ip}', '%{rip}')}", ELEMENTS),
    ("%m", f"{ELEMENTS} = {V24_ELEMENTS.replace('%{mechanism}', '%m')}", ELEMENTS),
    ("%{mech}", f"{ELEMENTS} = {V24_ELEMENTS.replace('%{mechanism}', '%{mech}')}", ELEMENTS),
    ("login_log_format", "login_log_format = %$: %s", ELEMENTS),
    ("mail_log_prefix", 'mail_log_prefix = "%s(%u)<%{pid}><%{session}>: "', "mail_log_prefix"),
    ("mail_log_prefix, letters", 'mail_log_prefix = "%s(%u)<%{process:pid}><%{session}>: "', "mail_log_prefix"),
]


@pytest.mark.parametrize(("line", "check"), [row[1:] for row in V23_ON_V24], ids=[row[0] for row in V23_ON_V24])
def test_what_2_3_understood_is_a_fault_on_2_4(line: str, check: str) -> None:
    found = judged(f"{NEW}{FILE}{line}\n")
    assert list(found) == [check]
    assert (found[check].severity, found[check].fault) == ("warning", True)
    assert "the language of Dovecot 2.3" in found[check].seen
    assert "popauthd-2.4.conf takes the place of popauthd-2.3.conf" in found[check].advice


def test_what_2_4_leaves_out_beside_what_is_needed_is_a_note() -> None:
    found = judged(f"{NEW}{FILE}{ELEMENTS} = lport=%a {V24_ELEMENTS}\n")[ELEMENTS]
    assert (found.severity, found.fault) == ("note", False)


V24_ON_V23 = [
    (f"{ELEMENTS} = {V24_ELEMENTS.replace('%{user}', '%{user|lower}')}", ELEMENTS),
    ("login_log_format = %{message}: %{elements}", ELEMENTS),
    ('mail_log_prefix = "%{service}(%{user})<%{process:pid}><%{session}>: "', "mail_log_prefix"),
]


@pytest.mark.parametrize(("line", "check"), V24_ON_V23)
def test_what_only_2_4_understands_is_a_fault_on_2_3(line: str, check: str) -> None:
    found = judged(f"{OLD}{FILE}{line}\n")
    assert list(found) == [check]
    assert found[check].fault
    assert "popauthd-2.3.conf takes the place of popauthd-2.4.conf" in found[check].advice


@pytest.mark.parametrize(("head", "line"), [(OLD, V24_ELEMENTS), (OLD, V23_ELEMENTS), (NEW, V24_ELEMENTS)])
def test_the_default_of_2_4_is_read_by_2_3_as_well(head: str, line: str) -> None:
    assert judged(f"{head}{FILE}{ELEMENTS} = {line}\n") == {}


def test_a_rip_that_is_not_the_clients_is_told() -> None:
    found = judged(f"{NEW}{FILE}{ELEMENTS} = {V24_ELEMENTS.replace('%{remote_ip}', '%{real_remote_ip}')}\n")
    assert found[ELEMENTS].advice == "add rip=%{remote_ip}"


def test_another_instance_name_that_counts_is_fine() -> None:
    ours: SourceConfig = replace(SourceConfig(type="journal"), programs=("post",))
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
