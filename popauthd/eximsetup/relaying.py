"""Whether a configuration of Exim lets a stranger relay, and the proof that it does not: by sessions; nothing is sent.

A recipient may be refused for many reasons, such as a domain that cannot be routed here today, so that a refusal alone
proves nothing. The trace of the session says which condition it was. Senders and recipients are such that this very
server routes: its own domain, well-known ones, and those that its routers name.

LIMIT: what an ACL says to other senders, local parts and names of the client is not seen.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from popauthd.as_user import read_plain
from popauthd.eximsetup import trace
from popauthd.eximsetup.commands import Envelope, Exim
from popauthd.text import safe

REMOTE = "somebody@example.com"
HELO = "client.example.net"
SENDER = "popauthd-trial@example.net"
# example.com cannot be routed where its MX record is known: it takes no mail (RFC 7505). These two can.
WELL_KNOWN = ("example.com", "debian.org", "iana.org")
AT_MOST = 12  # domains of routers
AT_ONCE = 8  # recipients of one message: Debian's ACL refuses who has too many bad ones
SESSION = 40  # recipients of one session: Exim ends one with too many commands between messages
FILE_BYTES = 1 << 20
OWN = 2  # domains of this server, as senders
DEEP = 5  # lists in lists
_FIRST = 2  # the replies before it are those to the connection and EHLO
_DOMAIN = re.compile(r"(?:\*?\.)?((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*)", re.IGNORECASE)
_NAMES_DOMAINS = re.compile(r"(?m)^[ \t]*(?:domains|route_list)[ \t]*=[ \t]*(.*(?:\\\n.*)*)")
_LIST = re.compile(r"(?m)^[ \t]*domainlist[ \t]+(\w+)[ \t]*=[ \t]*(.*(?:\\\n.*)*)")
_FILE = re.compile(r"\blsearch\*?@?;(/[^\s:;}\"]+)")


class Proof(NamedTuple):
    """What was found of a client without a grant.

    open_to: what it may send, "" for nothing. why: why nothing is proven, "" if it is. refusal: how Exim refuses
    relaying, and by which statement; "" if no session shows it. envelopes: of the sessions that do.
    """

    client: str
    open_to: str = ""
    why: str = ""
    refusal: str = ""
    statement: trace.Statement | None = None
    envelopes: tuple[Envelope, ...] = ()


def prove(exim: Exim, clients: Sequence[str]) -> list[Proof]:
    """What Exim says to clients without a grant. Raises ConfigError if no session can be played."""
    config = exim.must("-bP", "config")
    senders, elsewhere = _senders(exim, config), recipients(config)
    return [
        _proof(exim, client, [Envelope(HELO, one, to) for one in senders for to in elsewhere]) for client in clients
    ]


def _proof(exim: Exim, client: str, envelopes: Sequence[Envelope]) -> Proof:
    found: list[tuple[Envelope, str, trace.Statement]] = []
    doubts: dict[str, str] = {}
    unroutable: dict[str, str] = {}
    ours: dict[str, bool] = {}

    senders = list(dict.fromkeys(envelope.sender for envelope in envelopes))

    def for_this_server(to: str) -> bool:
        if to not in ours:
            ours[to] = _for_this_server(exim, client, senders, to)
        return ours[to]

    for envelope, reply, statement in _played(exim, client, envelopes):
        to = envelope.recipient
        said = f"{to} from {envelope.sender or '<>'}: {safe(reply, 120)!r}"
        if reply.startswith("2"):
            if not for_this_server(to):
                return Proof(client, open_to=said)
        elif reply.startswith("5") and statement and statement.refuses_relaying(reply):
            found.append((envelope, reply, statement))
        elif statement and statement.cannot_verify_recipient():
            unroutable[to] = f"{said}, as it cannot be routed from here"
        else:
            doubts[to] = said + (f", by {statement.words()}" if statement else "")
    proven = {envelope.recipient for envelope, _reply, _statement in found}
    for to, said in doubts.items():
        if to not in proven and not for_this_server(to):
            return Proof(client, why=said)
    if not found:
        return Proof(client, why=next(iter(unroutable.values()), "no recipient elsewhere was found"))
    envelope, reply, statement = found[0]
    return Proof(client, "", "", reply, statement, tuple(envelope for envelope, _reply, _statement in found))


def _senders(exim: Exim, config: str) -> list[str]:
    """Senders of which this server takes at least one, whatever it verifies: its own, a bounce's, one elsewhere."""
    domains = [exim.must("-bP", "qualify_domain").partition("=")[2].strip()]
    domains += [
        domain for name, text in _LIST.findall(config) if name == "local_domains" for domain in _plain(_words(text))
    ]
    own = [f"postmaster@{domain}" for domain in dict.fromkeys(domains)]
    return [*own[:OWN], "", SENDER]


def recipients(config: str) -> list[str]:
    """Recipients elsewhere: well-known domains, and those that routers name. config: of `exim -bP config`."""
    routers = re.split(r"(?m)^begin ", config.partition("\nbegin routers")[2])[0]
    lists = dict(_LIST.findall(config))
    named: dict[str, None] = {}
    for text in _NAMES_DOMAINS.findall(routers):
        named.update(dict.fromkeys(_domains(text, lists, depth=0)))
    others = [f"somebody@{domain}" for domain in named if domain not in WELL_KNOWN]
    return [REMOTE, *(f"somebody@{domain}" for domain in WELL_KNOWN[1:]), *others[:AT_MOST]]


def _domains(text: str, lists: dict[str, str], depth: int) -> Iterator[str]:
    """The domains of a list, in its named lists and its files too; of a wildcard one that it fits."""
    for path in _FILE.findall(text):
        with contextlib.suppress(OSError):
            keys = re.findall(r"(?m)^[ \t]*\"?([^\s:#\"]+)", read_plain(path, FILE_BYTES).decode("utf-8", "replace"))
            yield from _plain(keys[:AT_MOST])
    for name in re.findall(r"(?<![!\w] )(?<![!\w])\+(\w+)", text):
        if depth < DEEP and name in lists:
            yield from _domains(lists[name], lists, depth + 1)
    yield from _plain(_words(text))


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s:;<\"\\]+", text) if word]


def _plain(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if found := _DOMAIN.fullmatch(word):
            yield found[1].lower() if word[0] not in "*." else f"popauthd-trial.{found[1].lower()}"


def _played(
    exim: Exim, client: str, envelopes: Sequence[Envelope]
) -> Iterator[tuple[Envelope, str, trace.Statement | None]]:
    """Each envelope with Exim's reply, and with the statement that refused it."""
    for first in range(0, len(envelopes), SESSION):
        part = envelopes[first : first + SESSION]
        commands: list[str] = []
        asked: dict[int, Envelope] = {}  # by the number of the command
        for number, one in enumerate(part):
            if number % AT_ONCE == 0 or one.sender != part[number - 1].sender:
                commands += ["RSET"] * bool(commands) + [f"MAIL FROM:<{one.sender}>"]
            asked[len(commands)] = one
            commands.append(f"RCPT TO:<{one.recipient}>")
        session = exim.session(client, HELO, commands)
        replies = session.replies[_FIRST:]
        refused = [replies[number] for number in asked if _by_an_acl(replies[number])]
        told = trace.refusals(session.trace)
        statements = iter(told if len(told) == len(refused) else [None] * len(refused))
        for number, one in asked.items():
            yield one, replies[number], next(statements) if _by_an_acl(replies[number]) else None


def _by_an_acl(reply: str) -> bool:
    """Whether a recipient was refused or deferred by an ACL. 503: the sender before it was."""
    return reply[0] in "45" and not reply.startswith("503")


def _for_this_server(exim: Exim, client: str, senders: Sequence[str], to: str) -> bool:
    """Whether an ACL names the recipient's domain: the server's own, or one that it is a backup for."""
    commands = [word for sender in senders for word in ("RSET", f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>")]
    return trace.named(exim.session(client, HELO, commands[1:]).trace, to.partition("@")[2])
