"""popauthd.formats.heads: refused lines that hold a login behind an unknown head, and lines that only quote one."""

from __future__ import annotations

from collections import Counter

import pytest

from popauthd.formats.heads import LONGEST
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from tests.support.journals import TRUSTED

NOW = 1_795_467_600
TEXT = "Login: user=<a>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5, mpid=4242, TLS, session=<aKTnLvhgIrN/AAAB>"
LOGIN = f"imap-login: {TEXT}"
STAMP = "Nov 23 21:00:00"
SYSLOG = Options(framing="syslog", hostnames=("mail",))
OWN = Options(framing="dovecot-file")
AUTO = Options()


def heads(options: Options, *lines: str) -> tuple[Counter[str], dict[str, bytes]]:
    """The numbers, and the lines that are kept, of one block."""
    reader = Recogniser(options)
    reader.block("".join(f"{line}\n" for line in lines).encode(), NOW)
    return reader.heads, reader.refused


HELD = [
    ("another program", SYSLOG, f"{STAMP} mail dovecot-mailcow[812]: {LOGIN}", "other-program"),
    ("an instance", SYSLOG, f"{STAMP} mail dovecot-internal[812]: {LOGIN}", "other-program"),
    ("a container", SYSLOG, f"{STAMP} mail 3c1f0e2d4b5a[812]: {LOGIN}", "other-program"),
    ("another host", SYSLOG, f"{STAMP} mx9 dovecot: {LOGIN}", "other-host"),
    ("another process", SYSLOG, f"{STAMP} mail dovecot: lmtp-login: {TEXT}", "wrong-process"),
    ("a tag twice", SYSLOG, f"{STAMP} mail dovecot: dovecot[7]: {LOGIN}", "wrong-process"),
    ("another form of the elements", SYSLOG, f"{STAMP} mail mydovecot: imap-login: Login: user=<a>", "other-program"),
    ("a level", SYSLOG, f"{STAMP} mail sonic dovecot: {LOGIN}", "unframed"),
    ("a priority", SYSLOG, f"<22>{STAMP} mail dovecot: {LOGIN}", "raw-pri"),
    ("another stamp", SYSLOG, f"2026/11/23 21:00:00 mail dovecot: {LOGIN}", "bad-stamp"),
    ("a day that is none", SYSLOG, f"Nov 33 21:00:00 mail dovecot: {LOGIN}", "bad-stamp"),
    ("an hour that is none", SYSLOG, f"Nov 23 27:00:00 mail dovecot: {LOGIN}", "bad-stamp"),
    ("compose", AUTO, f"dovecot-1  | {LOGIN}", "undecided"),
    ("no stamp", AUTO, f"dovecot: {LOGIN}", "undecided"),
    ("no head at all", AUTO, LOGIN, "undecided"),
    ("no stamp in Dovecot's own file", OWN, f"imap-login: Info: {TEXT}", "unframed"),
    ("a priority in Dovecot's own file", OWN, f"<22>{STAMP} imap-login: Info: {TEXT}", "raw-pri"),
]


@pytest.mark.parametrize(("options", "line", "reason"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
def test_a_line_that_holds_a_login_behind_its_head_is_counted_and_kept(
    options: Options, line: str, reason: str
) -> None:
    assert heads(options, line, line) == ({reason: 2}, {reason: line.encode()})


ELSEWHERE = "from 203.0.113.5 port 2"
QUOTED = [
    ("sshd", f"{STAMP} mail sshd[7]: Invalid user {LOGIN} {ELSEWHERE}", "other-program"),
    ("at the end", f"{STAMP} mail exim[7]: rejected EHLO: syntactically invalid argument(s): {LOGIN}", "other-program"),
    ("the head too", f"{STAMP} mail exim[7]: H=({STAMP} mail dovecot: {LOGIN}", "other-program"),
    ("on another host", f"{STAMP} mx9 dovecot: imap-login: Aborted login: user=<{LOGIN}>, rip=192.0.2.1", "other-host"),
    ("a message id", f"{STAMP} mail dovecot: lmtp(a)<7><x>: sieve: msgid=<{LOGIN}>: stored mail", "wrong-process"),
    ("passdb", f"{STAMP} mail dovecot: auth: Info: passwd({LOGIN},203.0.113.5): unknown user", "wrong-process"),
    ("at the end of another process", f"{STAMP} mail dovecot: lmtp(7): Error: cannot parse {LOGIN}", "wrong-process"),
    ("far too long", f"{STAMP} mail mydovecot: {LOGIN}{'x' * LONGEST}", "other-program"),
]


@pytest.mark.parametrize(("line", "reason"), [row[1:] for row in QUOTED], ids=[row[0] for row in QUOTED])
def test_a_line_that_only_quotes_a_login_is_refused_and_not_counted(line: str, reason: str) -> None:
    assert Recogniser(SYSLOG).line(line.encode(), NOW).reason == reason  # type: ignore[union-attr]
    assert heads(SYSLOG, line) == ({}, {})


def test_the_first_line_that_holds_a_login_is_kept_behind_one_that_quotes_it() -> None:
    held = f"{STAMP} mail mydovecot: {LOGIN}"
    found, kept = heads(SYSLOG, QUOTED[0][1], held, held.replace("user=<a>", "user=<b>"))
    assert (found, kept) == ({"other-program": 2}, {"other-program": held.encode()})


def test_a_login_in_another_server_s_form_is_counted() -> None:
    line = f"{STAMP} mail courier-x: LOGIN, user=a, ip=[::ffff:192.0.2.10], port=[1], protocol=IMAP"
    popa3d = f"{STAMP} mail popa3d-x[7]: Authentication passed for a"
    options = Options(framing="syslog", formats=("dovecot", "popa3d", "courier"))
    assert heads(options, line, popa3d)[0]["other-program"] >= 1


def test_untrusted_records_count_where_their_message_is_a_login() -> None:
    reader = Recogniser(Options(framing="journal"))
    forged: dict[str, object] = {
        **TRUSTED, "_EXE": "/usr/bin/logger", "__REALTIME_TIMESTAMP": str(NOW * 10**6), "MESSAGE": LOGIN
    }  # fmt: skip
    quoting = {**forged, "MESSAGE": f"imap-login: Aborted login: user=<{LOGIN}>, rip=192.0.2.1"}
    reader.records([quoting, forged, forged])
    assert (reader.heads, reader.refused) == ({"untrusted": 2}, {"untrusted": LOGIN.encode()})
