"""The grammar of Dovecot's login, proxy and session-end messages (1.x to 2.4, and 0.99's login).

A login is taken only if the whole message holds: `imap-login: Login: ` or `pop3-login: Logged in: `,
then elements joined by `, ` up to the end, read by name, each at most once. The attacker writes the
user name of a failed login, so a message that holds in two ways is refused: no brackets in the user
(brackets are what ends it), nothing unparsed, one rip.

Source: Dovecot src/login-common (login-settings.c, client-common.c) at 1.1 to 2.4.4; seen on 2.3.19
and 2.4.1.

LIMIT: Dovecot 2.3 with an empty auth_username_chars lets a user name write a whole log line, byte
for byte as Dovecot writes it. No reader of text can tell; the configuration check must.
LIMIT: with imap_id_log, Dovecot 2.3 and a syslog daemon that cuts messages below 900 bytes, a client can do so too.
LIMIT: where login_log_format_elements has no method=%m, an ANONYMOUS login cannot be told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from popauthd import address
from popauthd.formats.framing import Frame
from popauthd.formats.headers import LEVEL
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

NAME, OLD_NAME = "dovecot", "dovecot-0.99"

# Dovecot sends what is longer than PIPE_BUF (4096 on Linux) to its log process in pieces, each with the head of a line
# (failures.c). With imap_id_log a client of 2.3 who has not logged in writes whole pieces: one can be a login, byte for
# byte. A real login is never that long. syslog daemons cut such a piece, as every message, at 1024 bytes and more.
PIECE_BYTES = 4000
CUT_PIECE_BYTES = 900  # in syslog, the head not counted
LAST_WITHIN = 512  # a line that ends with rip may end in a part of an address

# Cheap test, on the line in lower case: read() gives something that matters only if one of these is there.
TRIGGERS = (
    b"rip=",
    b"login: ",
    b"logged in: ",
    b"disconnected",
    b"logged out",
    b"connection closed",
    b"server shutting",
)

_SUCCESS = re.compile(rb"log(?:in|ged in): [a-z_]+=|-login: (?:info: )?log(?:in|ged in): ")
_PROCESS = re.compile(rb"(?P<service>imap|pop3|managesieve|submission)-login: (?:(?P<level>" + LEVEL + rb"): )?")
_WORD = re.compile(rb"(?:Login|Logged in): ")
_REPEATED = re.compile(rb"message repeated [0-9]+ times: \[")
# 2.4 and late 2.3 say `Disconnected: ` and the reason, early 2.3 the reason alone (client_destroy and
# client_disconnect in src/imap, src/pop3, src/imap-hibernate); then come the statistics, as configured.
_END = re.compile(
    rb"(?P<service>imap|pop3)(?:-hibernate)?\((?P<user>[^<>\x00-\x1f\x7f]*)\)<[0-9]{1,10}>"
    rb"<(?P<session>[A-Za-z0-9+/:._@-]{1,255})>: (?P<level>Info: )?"
    rb"(?:Disconnected: |Disconnected for inactivity|Logged out |Connection closed|Server shutting down\.)[^\x00\r\n]*"
)
# Beginnings of what a login process says about anything but a success.
_FAILURES = (
    b"Disconnected",
    b"Aborted login",
    b"Login aborted",
    b"Login failed",
    b"Internal login failure",
    b"Maximum number of connections",
    b"haproxy: ",
    b"proxy(",
    b"proxy: ",
    b"ID sent: ",
    b"Connection closed",
    b"Logged out",
)
_PROTOCOLS = {b"imap": "imap", b"pop3": "pop3"}


def looks_like_login(low: bytes) -> bool:
    """Whether a line, in lower case, carries the text of a login anywhere."""
    return looks_like_success(low) or (b"rip=" in low and b"user=<" in low)


def looks_like_success(low: bytes) -> bool:
    """Whether a text, in lower case, carries the words of a successful login."""
    return _SUCCESS.search(low) is not None


def read(frame: Frame, at: int) -> Event | None:
    """What a message of Dovecot says, or None if nothing that matters. Never raises."""
    text, level, levelled = frame.text, frame.level, frame.levelled
    found = _PROCESS.match(text)
    if found is None:
        return _other_process(text, level, levelled, at)
    given = found["level"] if level is None else level
    message = text[found.end() :]
    word = _WORD.match(message)
    if word is None:
        return _no_success(found["service"], message, given, at)
    if given not in (None, b"Info") or (given is None and levelled) or (level and found["level"]):
        return Refusal("no-level", at, format=NAME)
    if may_be_a_piece(frame):
        return Refusal("torn", at, format=NAME)
    elements = elements_of(message[word.end() :])
    if elements is None:
        return Refusal("bad-elements", at, format=NAME)
    protocol = _PROTOCOLS.get(found["service"])
    if protocol is None:
        return Ignored("other-service", NAME)
    return login_of(elements, protocol, at, whole=len(text) < LAST_WITHIN)


def may_be_a_piece(frame: Frame) -> bool:
    """Whether a message is as long as a piece of a longer one."""
    return len(frame.text) >= (CUT_PIECE_BYTES if frame.host else PIECE_BYTES)


def _other_process(text: bytes, level: bytes | None, levelled: bool, at: int) -> Event | None:
    if looks_like_login(text.lower()):
        return Refusal("repeated" if _REPEATED.match(text) else "wrong-process", at, format=NAME)
    end = _END.fullmatch(text)
    if end is None or level is not None or (levelled and end["level"] is None):
        return None
    return SessionEnd(at, end["session"].decode(), _text(end["user"]), _PROTOCOLS[end["service"]], NAME)


def _no_success(service: bytes, message: bytes, level: bytes | None, at: int) -> Event:
    """A login process's message that does not begin as a success does."""
    low = message.lower()
    if level in (None, b"Info") and message.startswith(b"proxy(") and b": started proxying " in low:
        return Refusal("proxy-line", at, format=NAME)
    if _SUCCESS.search(low) or low.count(b"rip=") > 1:
        return Refusal("hostile-failure", at, format=NAME)
    if message.startswith(_FAILURES) or level not in (None, b"Info"):
        return Ignored("failure", NAME)
    if b"rip=" in low and service in _PROTOCOLS:
        return Refusal("unknown-message", at, format=NAME)
    return Ignored("other", NAME)


_SESSION = rb"[A-Za-z0-9+/:._@-]{1,255}"
_METHOD = rb"[A-Z0-9_-]{1,20}"  # RFC 4422 3.1
_CIPHER = rb"(?:TLS|SSL)v[0-9.]{1,5} with cipher [A-Za-z0-9_-]{1,64} \([0-9]{1,4}/[0-9]{1,4} bits\)"
_BARE = (  # %c and %k: neither has a name. "TSL" is what 2.4's source says for one case.
    rb"(?P<secured>secured|(?:TLS(?: handshaking)?|TSL)(?::[^,<>=\x00-\x1f\x7f]{1,500})?)|(?P<cipher>" + _CIPHER + rb")"
)
# A NUL stands for a hole that a crash left, and can join two lines; a CR never comes from Dovecot.
_USER = rb"[^<>\x00\r\n]*"
_ELEMENT = re.compile(
    rb"(?:user=<(?P<user>" + _USER + rb")>"
    rb"|(?P<key>[a-z][a-z0-9_]{0,31})=(?:<(?P<inside>[^<>,\x00-\x20\x7f]*)>|(?P<value>"
    + _CIPHER
    + rb"|[^<>,=\x00-\x20\x7f]*))"
    rb"|" + _BARE + rb")(?P<more>, |\Z)"
)


class Elements(NamedTuple):
    """The elements of a login by name, in the order of the line; b"" for a user that is not there."""

    user: bytes
    named: dict[str, bytes]


def elements_of(text: bytes) -> Elements | None:
    """The elements of a login, or None if they cannot be read in exactly one way."""
    named: dict[str, bytes] = {}
    place, more = 0, b", "
    while more:
        found = _ELEMENT.match(text, place)
        if found is None:
            return None
        user, key, inside, value, secured, cipher, more = found.groups()
        if key:
            name, content = key.decode(), inside if value is None else value
            if name == "user":  # without its brackets, nobody can tell where it ends
                return None
        elif user is not None:
            name, content = "user", user
        else:
            name, content = ("secured", secured) if secured else ("cipher", cipher)
        if name in named:
            return None
        named[name] = content
        place = found.end()
    return Elements(named.get("user", b""), named)


_FORMS = {
    "method": re.compile(_METHOD),
    "mpid": re.compile(rb"[0-9]{1,10}"),
    "session": re.compile(_SESSION),
}


def login_of(elements: Elements, protocol: str, at: int, *, whole: bool) -> Event:
    """The login that the elements tell, or why they tell none. whole: the line is too short to have been cut."""
    named = elements.named
    user = _text(elements.user)
    if not user:
        return Refusal("no-user", at, format=NAME)
    rip = named.get("rip")
    if rip is None:
        return Refusal("no-address", at, user=user, format=NAME)
    if any(name in named and not form.fullmatch(named[name]) for name, form in _FORMS.items()):
        return Refusal("bad-elements", at, user=user, format=NAME)
    if not _is_address(rip) or ("lip" in named and not _is_address(named["lip"])):
        return Refusal("bad-address", at, user=user, format=NAME)
    client = rip.decode()
    if named.get("method") == b"ANONYMOUS":
        return Refusal("anonymous", at, client, user, NAME)
    # By default lip, mpid and session follow rip: a line that ends with rip was cut, and the address may be too.
    if next(reversed(named)) == "rip" and not (whole and {"lip", "mpid", "session"} & named.keys()):
        return Refusal("torn", at, "", user, NAME)
    return Login(
        at,
        client,
        user,
        protocol,
        named.get("method", b"").decode(),
        named.get("secured", b"").startswith(b"T"),
        named.get("session", b"").decode(),
        named.get("lip", b"").decode(),
        NAME,
    )


def _is_address(text: bytes) -> bool:
    return text.isascii() and address.parse(text.decode()) is not None


def _text(user: bytes) -> str:
    return user.decode("utf-8", "backslashreplace")


_OLD_LOGIN = re.compile(
    rb"(?P<service>imap|pop3)-login: Login: (?P<user>[^\[\]<>\x00-\x20\x7f]{1,255}) \[(?P<rip>[0-9A-Fa-f:.]{2,45})\]"
)


def read_old(frame: Frame, at: int) -> Event | None:
    """A login of Dovecot 0.99, `Login: alice [192.0.2.1]`; everything else of it is ignored."""
    text = frame.text
    found = _OLD_LOGIN.fullmatch(text)
    if found is None or frame.level != b"Info":
        word = _PROCESS.match(text)
        if looks_like_login(text.lower()) or (word and _WORD.match(text, word.end())):
            return Refusal("bad-elements", at, format=OLD_NAME)
        return None
    user = _text(found["user"])
    if not _is_address(found["rip"]):
        return Refusal("bad-address", at, user=user, format=OLD_NAME)
    return Login(at, found["rip"].decode(), user, _PROTOCOLS[found["service"]], format=OLD_NAME)
