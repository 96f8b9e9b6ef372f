"""Every setting is one row: key, kind, default, one sentence. Config, `config show` and the manual read these rows.

Lengths of time are whole seconds inside (`..._seconds`) unless the field says `..._ms`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from popauthd.config.values import (
    between,
    boolean,
    choice,
    lifetimes,
    mechanisms,
    milliseconds,
    networks,
    number,
    one_of,
    path,
    some_of,
    text,
    texts,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `field` is the name inside; `default` is written as in the file and read like it."""

    key: str
    field: str
    read: Callable[[object], object]
    default: object
    sentence: str


SETTINGS = (
    Setting(
        "lifetime", "lifetime_seconds", between("1s", "7d"), "15m",
        "How long after a login its address may relay, counted from the login's own time in the log.",
    ),
    Setting(
        "lifetime_by_network", "lifetime_by_network", lifetimes, {},
        "Another lifetime for logins from some networks, such as { \"10.0.0.0/8\" = \"1h\" }; the narrowest that "
        "fits counts.",
    ),
    Setting(
        "future", "future_seconds", between("0s", "1h"), "2m",
        "A login further in the future than this is refused: a clock or a time zone is wrong.",
    ),
    Setting(
        "never", "never", networks, [],
        "Networks that are never granted: load balancers, proxies, webmail servers, container bridges.",
    ),
    Setting(
        "own_addresses", "own_addresses", networks, [],
        "This server's own addresses as its clients see them (behind NAT); the one a login came in on "
        "is known without being listed.",
    ),
    Setting(
        "proxies", "proxies", networks, [],
        "Known proxies, carrier gateways and webmail servers that many users share: never granted, counted by "
        "themselves.",
    ),
    Setting(
        "always", "always", networks, [],
        "Networks whose logins grant whatever protocols, require_tls, mechanisms, users or shared_users say; "
        "`never` still wins.",
    ),
    Setting(
        "protocols", "protocols", some_of("pop3", "imap"), ["pop3", "imap"],
        "The protocols whose logins grant.",
    ),
    Setting(
        "require_tls", "require_tls", boolean, False,
        "Grant only logins that the log says came under TLS.",
    ),
    Setting(
        "refuse_mechanisms", "refuse_mechanisms", mechanisms, [],
        "SASL mechanisms whose logins grant nothing, such as \"LOGIN\"; ANONYMOUS never does.",
    ),
    Setting(
        "users_file", "users_file", path, "",
        "Only these users' logins grant: a file of user names, @domains and ! exceptions, one a line, read again "
        "when it changes.",
    ),
    Setting(
        "deny_users", "deny_users", path, "",
        "These users' logins grant nothing: a file like users_file.",
    ),
    Setting(
        "shared_users", "shared_users", number(0, 1_000_000), 25,
        "More different users than this from one address within the lifetime: it is a shared address, and no "
        "longer granted; 0 for any number.",
    ),
    Setting(
        "ipv6_prefix", "ipv6_prefix", one_of(64, 128), 128,
        "Grant an IPv6 client's address (128), or its whole /64, for clients that change their address within it.",
    ),
    Setting(
        "hold_sessions", "hold_sessions", boolean, True,
        "While a session that began with a login stays open, its address stays allowed; false for the plain rule.",
    ),
    Setting(
        "hold_at_most", "hold_at_most_seconds", between("1s", "7d"), "12h",
        "How long after its login an open session may keep its address allowed.",
    ),
    Setting(
        "ask_doveadm", "ask_doveadm", boolean, False,
        "Ask `doveadm who` now and then which sessions are still open, for closing lines that were lost; needs "
        "the right to run it.",
    ),
    Setting(
        "dry_run", "dry_run", boolean, False,
        "Do and count everything, but publish nothing: no address may relay.",
    ),
    Setting(
        "post_login", "post_login", boolean, False,
        "Listen on run_dir/push.sock for Dovecot's post-login script, which tells of logins without any log.",
    ),
    Setting(
        "push_users", "push_users", texts, [],
        "The system users, beside root and the watcher's own, that may tell of logins on run_dir/push.sock.",
    ),
    Setting(
        "auth_policy_listen", "auth_policy_listen", text, "",
        "Loopback address and port, such as \"127.0.0.1:4001\", to listen on as Dovecot's auth policy server; "
        "empty for none.",
    ),
    Setting(
        "auth_policy_secret_file", "auth_policy_secret_file", path, "",
        "A private file with the secret that Dovecot sends to the auth policy server.",
    ),
    Setting(
        "grant_loopback", "grant_loopback", boolean, False,
        "For the demo and tests only: let 127.0.0.0/8 and ::1 be granted.",
    ),
    Setting(
        "hold_no", "hold_no_ms", milliseconds("1500ms"), "100ms",
        "How long a 'no' is held while the map is looked at again, for a client that sends right after its login.",
    ),
    Setting(
        "host_list", "host_list", boolean, True,
        "Write the generated host list (run_dir/relay-hosts) that Exim can read with iplsearch.",
    ),
    Setting(
        "history", "history_seconds", between("0s", "90d"), "1d",
        "How long an expired login is remembered, so that `popauthctl check` can explain a refusal.",
    ),
    Setting(
        "group", "group", text, "Debian-exim",
        "The group that may read the map, the host list and ask the socket: the group Exim runs as.",
    ),
    Setting(
        "run_dir", "run_dir", path, "/run/popauthd",
        "Where the relay map, the host list and the sockets live; may be lost at boot without harm.",
    ),
    Setting(
        "state_dir", "state_dir", path, "/var/lib/popauthd",
        "Where the books live: logins, revocations and the place in each log. Private.",
    ),
)  # fmt: skip

FRAMING = choice("auto", "dovecot-file", "syslog", "qpopper-file", "zimbra-file", "nginx-file", "stalwart-file")

SOURCE_SETTINGS = (
    Setting(
        "type", "type", choice("file", "journal"), "file",
        "What kind of source this is: a log file, or the systemd journal (needs python3-systemd).",
    ),
    Setting(
        "path", "path", path, "",
        "The log file to follow; its rotated siblings are found by themselves. For the journal: a directory of "
        "journal files, if not the machine's own.",
    ),
    Setting(
        "framing", "framing", FRAMING, "auto",
        "What stands before the message: syslog (`syslog`), or a server's own file (`dovecot-file`, `qpopper-file`, "
        "`zimbra-file`, `nginx-file`, `stalwart-file`); auto decides once from the first lines.",
    ),
    Setting(
        "timezone", "timezone", text, "",
        "The time zone of stamps that name none, such as \"Europe/Berlin\"; empty means this machine's.",
    ),
    Setting(
        "timestamp", "timestamp", text, "",
        "Dovecot's log_timestamp where it was changed; empty accepts its default and YYYY-MM-DD HH:MM:SS.",
    ),
    Setting(
        "hostnames", "hostnames", texts, [],
        "Syslog: the host names whose lines count; empty means any. Name them when other hosts log here too.",
    ),
    Setting(
        "programs", "programs", texts, ["dovecot"],
        "Syslog and journal: Dovecot's instance_name, the program name its lines carry.",
    ),
    Setting(
        "formats", "formats", texts, ["dovecot"],
        "The servers whose logins count in this log; a wider net is a bigger hole.",
    ),
    Setting(
        "proxy_lines", "proxy_lines", boolean, False,
        "Whether a Dovecot proxy's line about a login it passed on counts like a login.",
    ),
)  # fmt: skip
