"""The headers that can stand before the message: one row each, and the framing that each belongs to.

Every pattern is anchored, made of bytes, and without nested repetition of the same characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from popauthd.formats import timestamps

DOVECOT_FILE, SYSLOG, JOURNAL, AUTO = "dovecot-file", "syslog", "journal", "auto"
QPOPPER_FILE, ZIMBRA_FILE, NGINX_FILE, STALWART_FILE = "qpopper-file", "zimbra-file", "nginx-file", "stalwart-file"
FRAMINGS = (DOVECOT_FILE, SYSLOG, JOURNAL, QPOPPER_FILE, ZIMBRA_FILE, NGINX_FILE, STALWART_FILE, AUTO)
OWNERS = {QPOPPER_FILE: "qpopper", ZIMBRA_FILE: "zimbra", NGINX_FILE: "nginx", STALWART_FILE: "stalwart"}
LAYOUTS = {NGINX_FILE: "%Y/%m/%d %H:%M:%S"}  # where the stamps of a framing are not the usual two

HOST = rb"[A-Za-z0-9_.:-]{0,254}[A-Za-z0-9_.-]"  # never ends like a tag, or an own file looks like syslog
PROGRAM = rb"[A-Za-z0-9_./@-]{1,128}"
LEVEL = rb"Debug|Info|Warning|Error|Fatal|Panic"  # DOV src/lib/failures.c, failure_log_type_prefixes
_TAG = rb"(?P<program>" + PROGRAM + rb")(?:\[(?P<pid>[0-9]{1,10})\])?: "
_MONTH = rb"(?P<stamp>" + timestamps.MONTH_STAMP + rb") "
_ISO = rb"(?P<stamp>" + timestamps.ISO_STAMP + rb") "
_HOST = rb"(?P<host>" + HOST + rb") "
_SD_NAME = rb"[!#-<>-\\^-~]{1,32}"  # RFC 5424 6.3: printable, but = ] and the quote
_SD = rb"(?:-|(?:\[" + _SD_NAME + rb"(?: " + _SD_NAME + rb'="(?:[^"\\\]]|\\.)*")*\])+)'


@dataclass(frozen=True, slots=True)
class Shape:
    """head: the pattern up to the message; OWN in it stands for the stamps the source has.

    own_format: `own` of the FORMATS rows whose own file this is, "" where a program name decides.
    levelled: the message must begin `service: Info: `, as in Dovecot's own 2.x file.
    """

    name: str
    framing: str
    head: bytes
    source: str
    own_format: str = ""
    levelled: bool = False


SHAPES = (
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
        rb"(?P<tai>@[0-9a-f]{24}) ",
        "fail2ban's tests/files/logs/dovecot (multilog)",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "rfc3164",
        SYSLOG,
        _MONTH + _HOST + _TAG + rb"(?!\[ID )",
        "RFC 3164; rsyslog's traditional file format",
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
    Shape("iso", SYSLOG, _ISO + _HOST + _TAG, "rsyslog's default since Debian 12; seen on docker-mailserver"),
    Shape(
        "rfc5424",
        SYSLOG,
        rb"(?:<(?:[0-9]{1,2}|1[0-8][0-9]|19[01])>1 )?"
        + _ISO
        + _HOST
        + rb"(?P<program>"
        + PROGRAM
        + rb") (?:-|(?P<pid>[0-9]{1,10})) (?:-|[!-~]{1,32}) "
        + _SD
        + rb" (?:\xef\xbb\xbf)?",
        "RFC 5424; SSHGuard's tests.txt has it without PRI",
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
