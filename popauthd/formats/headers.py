"""The headers that can stand before a message: a row for each, with the framing that it belongs to.

Every pattern is anchored, made of bytes, and without nested repetition of the same characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from popauthd.formats import timestamps

DOVECOT_FILE, SYSLOG, JOURNAL, AUTO = "dovecot-file", "syslog", "journal", "auto"
QPOPPER_FILE, ZIMBRA_FILE, NGINX_FILE, STALWART_FILE = "qpopper-file", "zimbra-file", "nginx-file", "stalwart-file"
FRAMINGS = (DOVECOT_FILE, SYSLOG, JOURNAL, QPOPPER_FILE, ZIMBRA_FILE, NGINX_FILE, STALWART_FILE, AUTO)
OWNERS = {QPOPPER_FILE: "qpopper", ZIMBRA_FILE: "zimbra", NGINX_FILE: "nginx", STALWART_FILE: "stalwart"}
OWN_FILES = frozenset({DOVECOT_FILE, *OWNERS})  # a file that one server writes alone
CALLED = {  # what an administrator calls the head of a framing
    DOVECOT_FILE: "that of Dovecot's own file",
    SYSLOG: "that of syslog",
    JOURNAL: "a journal record",
    QPOPPER_FILE: "that of Qpopper's own file",
    ZIMBRA_FILE: "that of Zimbra's mailbox.log",
    NGINX_FILE: "that of nginx's error log",
    STALWART_FILE: "that of Stalwart's log file",
}
LAYOUTS = {NGINX_FILE: "%Y/%m/%d %H:%M:%S"}  # where the stamps of a framing are not the usual two

HOST = rb"[A-Za-z0-9_.:-]{0,254}[A-Za-z0-9_.-]"  # never ends like a tag, or an own file looks like syslog
PROGRAM = rb"[A-Za-z0-9_./@-]{1,128}"
LEVEL = rb"Debug|Info|Warning|Error|Fatal|Panic"  # DOV src/lib/failures.c, failure_log_type_prefixes
_TAG = rb"(?P<program>" + PROGRAM + rb")(?:\[(?P<pid>[0-9]{1,10})\])?: "
_FRACTION = rb"(?:\.[0-9]{1,9})?"
_MONTH = rb"(?P<stamp>" + timestamps.MONTH_STAMP + rb")" + _FRACTION + rb" "
_ISO = rb"(?P<stamp>" + timestamps.ISO_STAMP + rb") "
_HOST = rb"(?P<host>" + HOST + rb") "
_PRI = rb"<(?:[0-9]{1,2}|1[0-8][0-9]|19[01])>"
_WEEKDAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) "
_FACILITY = (
    rb"(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|security|ftp|ntp|local[0-7])\."
    rb"(?:debug|info|notice|warn(?:ing)?|err(?:or)?|crit|alert|emerg|panic) "
)
# Some daemons write the level of a message, with or without its facility, between host and program.
_LEVEL = rb"(?:" + _FACILITY + rb"|(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT|ALERT|EMERG|PANIC) )"
# The stamp that a log service sets before a line, from a clock that can be trusted like syslog's. The line may have a
# stamp of its own, which is not read then.
_SERVED = rb"(?P<served>" + timestamps.ISO_STAMP + rb") "
_CRI = rb"std(?:out|err) F "  # F: a full line; a piece of one (P) is never read
_SVLOGD = rb"(?P<utc>[0-9]{4}-[0-9]{2}-[0-9]{2}[T_][0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{5}) "
_SD_NAME = rb"[!#-<>-\\^-~]{1,32}"  # RFC 5424 6.3: printable, but = ] and the quote
_SD = rb"(?:-|(?:\[" + _SD_NAME + rb"(?: " + _SD_NAME + rb'="(?:[^"\\\]]|\\.)*")*\])+)'


@dataclass(frozen=True, slots=True)
class Shape:
    """One header.

    head: the pattern of all that stands before the message. OWN in it stands for the pattern of the source's stamps.
    The time is its group `stamp`, `tai` (TAI64N), `served` (of a log service), `utc` (svlogd's), or `stamp` and `year`.
    own_format: the `own` of the FORMATS rows that are read in this server's own file; "" where the program decides.
    levelled: the message must begin with `service: Info: `, as in the own file of Dovecot 2.x.
    """

    name: str
    framing: str
    head: bytes
    source: str
    own_format: str = ""
    levelled: bool = False


SHAPES = (
    Shape(
        "dovecot-served",
        DOVECOT_FILE,
        _SERVED + rb"(?:" + _CRI + rb"(?:(?:OWN) )?| ?(?:OWN) | )(?=[a-z])",
        "s6-log T, tai64nlocal, docker logs -t, Kubernetes CRI, before Dovecot's own stamp or instead of it",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "svlogd",
        DOVECOT_FILE,
        _SVLOGD + rb"(?:(?:OWN) )?(?=[a-z])",
        "svlogd -tt and -ttt, in UTC (runit's svlogd(8))",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "dovecot-1.x",
        DOVECOT_FILE,
        rb"(?:dovecot: )?(?P<stamp>OWN) (?P<level>" + LEVEL + rb"): ",
        "Wazuh 0085-dovecot_decoders.xml",
        own_format="dovecot",
    ),
    Shape(
        "dovecot-2.x",
        DOVECOT_FILE,
        rb"(?P<stamp>OWN) ",
        "Dovecot src/lib/failures.h, seen on 2.3.19 and 2.4.1",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "dovecot-0.99",
        DOVECOT_FILE,
        rb"(?P<service>(?:imap|pop3)-login): (?P<stamp>OWN) (?P<level>" + LEVEL + rb"): ",
        "pop-before-smtp's 'older Dovecot'; no server source seen",
        own_format="dovecot-0.99",
    ),
    Shape(
        "tai64n",
        DOVECOT_FILE,
        rb"(?P<tai>@[0-9a-f]{24}) (?:(?:OWN) (?=[a-z]))?",
        "fail2ban's tests/files/logs/dovecot (multilog)",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "rfc3164",
        SYSLOG,
        _MONTH + _HOST + _TAG + rb"(?!\[ID )",
        "RFC 3164; rsyslog's traditional file format; journalctl -o short, short-precise",
    ),
    Shape(
        "solaris",
        SYSLOG,
        _MONTH + _HOST + _TAG + rb"\[ID [0-9]{1,10} [a-z0-9]+\.[a-z]+\] ",
        "fail2ban's common.conf, __daemon_extra_re",
    ),
    Shape(
        "bsd-verbose",
        SYSLOG,
        _MONTH + rb"<[a-z0-9]{1,10}\.[a-z0-9]{1,10}> " + _HOST + _TAG,
        "fail2ban's common.conf, __bsd_syslog_verbose",
    ),
    Shape(
        "iso",
        SYSLOG,
        rb"(?:" + _PRI + rb")?" + _ISO + _HOST + _TAG,
        "rsyslog's default since Debian 12; with a PRI its RSYSLOG_ForwardFormat; seen on docker-mailserver",
    ),
    Shape(
        "rfc5424",
        SYSLOG,
        rb"(?:"
        + _PRI
        + rb"1 )?"
        + _ISO
        + _HOST
        + rb"(?P<program>"
        + PROGRAM
        + rb") (?:-|(?P<pid>[0-9]{1,10})) (?:-|[!-~]{1,32}) "
        + _SD
        + rb" (?:\xef\xbb\xbf)?",
        "RFC 5424; SSHGuard's tests.txt has it without PRI",
    ),
    Shape("levelled", SYSLOG, _MONTH + _HOST + _LEVEL + _TAG, "BusyBox's syslogd (Alpine)"),
    Shape(
        "iso-levelled",
        SYSLOG,
        rb"(?:" + _PRI + rb")?" + _ISO + _HOST + _LEVEL + _TAG,
        "rsyslog's templates with %syslogseverity-text%",
    ),
    Shape(
        "journalctl-full",
        SYSLOG,
        _WEEKDAY + rb"(?P<stamp>" + timestamps.ZONED_STAMP + rb") " + _HOST + _TAG,
        "journalctl -o short-full",
    ),
    Shape(
        "logread",
        SYSLOG,
        _WEEKDAY + _MONTH + rb"(?P<year>[0-9]{4}) (?:\[[0-9]{1,12}\.[0-9]{3}\] )?" + _FACILITY + _TAG,
        "OpenWrt's logread, also with -t",
    ),
    Shape(
        "syslog-served",
        SYSLOG,
        _SERVED + rb"(?:" + _CRI + rb")?(?:" + timestamps.ANY_STAMP + rb") " + _HOST + _TAG,
        "a container's syslog in Kubernetes CRI or docker logs -t",
    ),
    Shape(
        "qpopper",
        QPOPPER_FILE,
        rb"(?P<stamp>" + timestamps.MONTH_STAMP + rb") \[popper\] ",
        "pop-before-smtp's configuration; no server source seen",
        own_format="qpopper",
    ),
    Shape(
        "zimbra",
        ZIMBRA_FILE,
        rb"(?:" + timestamps.MONTH_STAMP + rb" " + _HOST + rb"mailboxlog )?"
        rb"(?P<stamp>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3}) ",
        "Zimbra's log4j.properties; as its users forward it",
        own_format="zimbra",
    ),
    Shape(
        "nginx",
        NGINX_FILE,
        rb"(?P<stamp>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) ",
        "nginx src/core/ngx_log.c",
        own_format="nginx",
    ),
    Shape(
        "stalwart",
        STALWART_FILE,
        rb"(?P<stamp>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z) ",
        "stalwartlabs/stalwart crates/trc/src/serializers/text.rs",
        own_format="stalwart",
    ),
)
