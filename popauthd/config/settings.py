"""Every setting is said here, and only here: its name, type, key, limits, default and one sentence.

Config, ClusterConfig and SourceConfig are what the program uses. SETTINGS, CLUSTER_SETTINGS and SOURCE_SETTINGS are the
same settings as rows, in the same order: the reader of the file, `config show` and the manual use them. `Config()` has
all defaults.
Lengths of time are whole seconds inside (`..._seconds`) unless the field says `..._ms`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TypeVar

from popauthd.address import Network
from popauthd.config.engine_url import EngineUrl, read_url
from popauthd.config.values import (
    absolute_path,
    absolute_path_or_none,
    between,
    boolean,
    choice,
    engine_url,
    lifetimes,
    mechanisms,
    milliseconds,
    networks,
    node_name,
    number,
    one_of,
    services,
    smtp_text,
    some_of,
    stream_name,
    text,
    texts,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `field` is the name inside; `default` is written as in the file and read like it."""

    field: str
    key: str
    read: Callable[[object], object]
    default: object
    sentence: str


def setting(key: str, read: Callable[[object], T], default: object, sentence: str) -> T:
    """A field of a dataclass that is a setting. The type checker sees the type of what `read` returns."""
    row = {"key": key, "read": read, "default": default, "sentence": sentence}
    return field(default=read(default), metadata=row)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `cluster`: the [cluster] table, None without one. `sources`: the [[source]] tables."""

    # fmt: off
    lifetime_seconds: int = setting(
        "lifetime", between("1s", "7d"), "15m",
        "How long after a login its address may relay, counted from the login's own time in the log.",
    )
    lifetime_by_network: tuple[tuple[Network, int], ...] = setting(
        "lifetime_by_network", lifetimes, {},
        "Another lifetime for logins from some networks, such as { \"10.0.0.0/8\" = \"1h\" }; the narrowest that "
        "fits counts.",
    )
    future_seconds: int = setting(
        "future", between("0s", "1h"), "2m",
        "A login further in the future than this is refused: a clock or a time zone is wrong.",
    )
    never: tuple[Network, ...] = setting(
        "never", networks, [],
        "Networks that are never granted: load balancers, proxies, webmail servers, container bridges.",
    )
    own_addresses: tuple[Network, ...] = setting(
        "own_addresses", networks, [],
        "This server's own addresses as its clients see them (behind NAT); the one a login came in on "
        "is known without being listed.",
    )
    proxies: tuple[Network, ...] = setting(
        "proxies", networks, [],
        "Known proxies, carrier gateways and webmail servers that many users share: never granted, counted by "
        "themselves.",
    )
    always: tuple[Network, ...] = setting(
        "always", networks, [],
        "Networks whose logins grant whatever protocols, require_tls, mechanisms, users or shared_users say; "
        "`never` still wins.",
    )
    protocols: tuple[str, ...] = setting(
        "protocols", some_of("pop3", "imap"), ["pop3", "imap"],
        "The protocols whose logins grant.",
    )
    require_tls: bool = setting(
        "require_tls", boolean, False,
        "Grant only logins that the log says came under TLS.",
    )
    refuse_mechanisms: tuple[str, ...] = setting(
        "refuse_mechanisms", mechanisms, [],
        "SASL mechanisms whose logins grant nothing, such as \"LOGIN\"; ANONYMOUS never does.",
    )
    users_file: str = setting(
        "users_file", absolute_path_or_none, "",
        "Only these users' logins grant: a file of user names, @domains and ! exceptions, one a line, read again "
        "when it changes.",
    )
    deny_users: str = setting(
        "deny_users", absolute_path_or_none, "",
        "These users' logins grant nothing: a file like users_file.",
    )
    shared_users: int = setting(
        "shared_users", number(0, 1_000_000), 25,
        "More different users than this from one address within the lifetime: it is a shared address, and no "
        "longer granted; 0 for any number.",
    )
    ipv6_prefix: int = setting(
        "ipv6_prefix", one_of(64, 128), 128,
        "Grant an IPv6 client's address (128), or its whole /64, for clients that change their address within it.",
    )
    hold_sessions: bool = setting(
        "hold_sessions", boolean, True,
        "While a session that began with a login stays open, its address stays allowed; false for the plain rule.",
    )
    hold_at_most_seconds: int = setting(
        "hold_at_most", between("1s", "7d"), "12h",
        "How long after its login an open session may keep its address allowed.",
    )
    ask_doveadm: bool = setting(
        "ask_doveadm", boolean, False,
        "Ask `doveadm who` now and then which sessions are still open, for closing lines that were lost; needs "
        "the right to run it.",
    )
    dry_run: bool = setting(
        "dry_run", boolean, False,
        "Do and count everything, but publish nothing: no address may relay.",
    )
    post_login: bool = setting(
        "post_login", boolean, False,
        "Listen on run_dir/push.sock for Dovecot's post-login script, which tells of logins without any log.",
    )
    push_users: tuple[str, ...] = setting(
        "push_users", texts, [],
        "The system users, beside root and the watcher's own, that may tell of logins on run_dir/push.sock.",
    )
    auth_policy_listen: str = setting(
        "auth_policy_listen", text, "",
        "Loopback address and port, such as \"127.0.0.1:4001\", to listen on as Dovecot's auth policy server; "
        "empty for none.",
    )
    auth_policy_secret_file: str = setting(
        "auth_policy_secret_file", absolute_path_or_none, "",
        "A private file with the secret that Dovecot sends to the auth policy server.",
    )
    grant_loopback: bool = setting(
        "grant_loopback", boolean, False,
        "For the demo and tests only: let 127.0.0.0/8 and ::1 be granted.",
    )
    hold_no_ms: int = setting(
        "hold_no", milliseconds("1500ms"), "100ms",
        "How long responder and readlookup hold a 'no' and look at the map again, for a client that sends right after "
        "its login.",
    )
    host_list: bool = setting(
        "host_list", boolean, True,
        "Write the generated host list (run_dir/relay-hosts) that Exim can read with iplsearch.",
    )
    log_grants: str = setting(
        "log_grants", choice("all", "summary", "none"), "all",
        "What the log tells of grants: each with its user, up to 100 in a second, and the number of the rest; their "
        "number alone; or nothing.",
    )
    history_seconds: int = setting(
        "history", between("0s", "90d"), "1d",
        "How long an expired login is remembered, so that `popauthctl check` can explain a refusal.",
    )
    refusal: str = setting(
        "refusal", smtp_text, "",
        "What Exim tells a client that may not relay, in any language; empty: check mail, then send within the "
        "lifetime. Put in by `popauthctl exim enable`.",
    )
    group: str = setting(
        "group", text, "Debian-exim",
        "The group that may read the map, the host list and ask the socket: the group Exim runs as.",
    )
    run_dir: str = setting(
        "run_dir", absolute_path, "/run/popauthd",
        "Where the relay map, the host list and the sockets live; may be lost at boot without harm.",
    )
    state_dir: str = setting(
        "state_dir", absolute_path, "/var/lib/popauthd",
        "Where the books live: logins, revocations and the place in each log. Private.",
    )
    # fmt: on
    cluster: ClusterConfig | None = None
    sources: tuple[SourceConfig, ...] = ()

    @property
    def pushed(self) -> bool:
        """Whether Dovecot itself tells of logins, in one way or both."""
        return self.post_login or bool(self.auth_policy_listen)

    @property
    def map_path(self) -> str:
        """The relay map, an LMDB file."""
        return f"{self.run_dir}/relay.mdb"

    @property
    def lookup_path(self) -> str:
        """The responder's socket."""
        return f"{self.run_dir}/lookup.sock"

    @property
    def configured_path(self) -> str:
        """What the watcher writes when it has read its configuration: the responder then reads it again too.

        It holds hold_no in milliseconds, for readlookup.
        """
        return f"{self.run_dir}/configured"

    @property
    def watch_lock_path(self) -> str:
        """What the watcher holds while it runs in run_dir."""
        return f"{self.run_dir}/watch.lock"

    @property
    def respond_lock_path(self) -> str:
        """What the responder holds while it runs in run_dir."""
        return f"{self.run_dir}/respond.lock"

    @property
    def control_path(self) -> str:
        """The watcher's control socket."""
        return f"{self.run_dir}/control.sock"

    @property
    def push_path(self) -> str:
        """The socket where Dovecot's post-login script tells of logins."""
        return f"{self.run_dir}/push.sock"

    @property
    def host_list_path(self) -> str:
        """The generated host list."""
        return f"{self.run_dir}/relay-hosts"

    @property
    def books_path(self) -> str:
        """The books, a private LMDB file."""
        return f"{self.state_dir}/books.mdb"


NEEDS_RESTART = ("group", "run_dir", "state_dir", "[cluster]")  # a reload cannot put another value in force


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The [cluster] table: this node is one of several. `url` is never "" in one that was read."""

    # fmt: off
    url: str = setting(
        "url", engine_url, "",
        "Where Redis or Valkey is: redis://[USER@]HOST:PORT/DB, rediss:// with TLS, unix:///SOCKET?db=DB, or "
        "redis+sentinel://HOST:PORT,HOST:PORT/NAME?db=DB.",
    )
    node: str = setting(
        "node", node_name, "",
        "This node's name, which no other node has; empty means this machine's host name.",
    )
    key_file: str = setting(
        "key_file", absolute_path, "/etc/popauthd/cluster.key",
        "The private file with the key that all nodes share; `popauthctl cluster init` makes it.",
    )
    stream: str = setting(
        "stream", stream_name, "popauthd:{grants}",
        "The name of the stream in Redis; the same on all nodes.",
    )
    password_file: str = setting(
        "password_file", absolute_path_or_none, "",
        "A private file with the password for Redis, one line; empty for none.",
    )
    sentinel_password_file: str = setting(
        "sentinel_password_file", absolute_path_or_none, "",
        "A private file with the password for the Sentinels, one line; empty for none.",
    )
    tls_ca_file: str = setting(
        "tls_ca_file", absolute_path_or_none, "",
        "With TLS: who signed the server's certificate (PEM); empty means whoever this machine trusts.",
    )
    tls_cert_file: str = setting(
        "tls_cert_file", absolute_path_or_none, "",
        "With TLS: this node's own certificate (PEM), for a server that asks for one.",
    )
    tls_key_file: str = setting(
        "tls_key_file", absolute_path_or_none, "",
        "With TLS: the private key of tls_cert_file (PEM).",
    )
    # fmt: on

    @property
    def engine(self) -> EngineUrl:
        """The parts of the URL."""
        return read_url(self.url)

    @property
    def private_files(self) -> tuple[str, ...]:
        """Files with a secret in them."""
        named = (self.key_file, self.password_file, self.sentinel_password_file, self.tls_key_file)
        return tuple(filter(None, named))


FRAMING = choice("auto", "dovecot-file", "syslog", "qpopper-file", "zimbra-file", "nginx-file", "stalwart-file")


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One [[source]] table."""

    # fmt: off
    type: str = setting(
        "type", choice("file", "journal"), "file",
        "What kind of source this is: a log file, or the systemd journal (needs python3-systemd).",
    )
    path: str = setting(
        "path", absolute_path_or_none, "",
        "The log file to follow; its rotated siblings are found by themselves. For the journal: a directory of "
        "journal files, if not the machine's own.",
    )
    framing: str = setting(
        "framing", FRAMING, "auto",
        "What stands before the message: syslog (`syslog`), or a server's own file (`dovecot-file`, `qpopper-file`, "
        "`zimbra-file`, `nginx-file`, `stalwart-file`); auto decides once from the first lines.",
    )
    timezone: str = setting(
        "timezone", text, "",
        "The time zone of stamps that name none, such as \"Europe/Berlin\"; empty means this machine's.",
    )
    timestamp: str = setting(
        "timestamp", text, "",
        "Dovecot's log_timestamp where it was changed; empty accepts its default and YYYY-MM-DD HH:MM:SS.",
    )
    hostnames: tuple[str, ...] = setting(
        "hostnames", texts, [],
        "Syslog: the host names whose lines count; empty means any. Name them when other hosts log here too.",
    )
    programs: tuple[str, ...] = setting(
        "programs", texts, ["dovecot"],
        "Syslog and journal: Dovecot's instance_name, the program name its lines carry; in syslog also the tag of a "
        "container whose output counts.",
    )
    formats: tuple[str, ...] = setting(
        "formats", texts, ["dovecot"],
        "The servers whose logins count in this log; each one is one more kind of line that can grant.",
    )
    proxy_lines: bool = setting(
        "proxy_lines", boolean, False,
        "Whether a Dovecot proxy's line about a login it passed on counts like a login.",
    )
    rip_last: bool = setting(
        "rip_last", boolean, False,
        "Whether Dovecot's login_log_format_elements ends with rip (`popauthctl dovecot status` says so); else a login "
        "that ends with its address counts as cut.",
    )
    services: tuple[tuple[str, str], ...] = setting(
        "services", services, {},
        "More services whose logins count, such as { imapmail = \"imap\", 10110 = \"pop3\" }: names from Cyrus's "
        "cyrus.conf, and ports of nginx.",
    )
    # fmt: on

    @property
    def name(self) -> str:
        """What the source is called in logs, status and books."""
        return self.path or self.type


def _rows(settings: type[Config] | type[ClusterConfig] | type[SourceConfig]) -> tuple[Setting, ...]:
    return tuple(Setting(one.name, **one.metadata) for one in fields(settings) if one.metadata)


SETTINGS = _rows(Config)
CLUSTER_SETTINGS = _rows(ClusterConfig)
SOURCE_SETTINGS = _rows(SourceConfig)
