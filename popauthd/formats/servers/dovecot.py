"""The grammar of Dovecot's login, proxy and session-end messages (1.x to 2.4, and 0.99's login).

A login is taken only if the whole message has the right form: `imap-login: Login: ` or
`pop3-login: Logged in: `, then elements joined by `, ` up to the end. They are read by name, each at
most once. An attacker chooses the user name of a failed login, so a message that could be read in two
ways is refused: the user must not contain angle brackets (they end it), there must be one rip, and
nothing may be left over. The words themselves are in dovecot_wording.py.

Source: Dovecot src/login-common (login-settings.c, client-common.c) at 1.1 to 2.4.4; seen on 2.3.19
and 2.4.1.

LIMIT: Dovecot 2.3 with an empty auth_username_chars lets a user name write a whole log line, byte for byte as Dovecot
writes it. Reading the text cannot show this; the check of the configuration must.
LIMIT: with imap_id_log, Dovecot 2.3 and a syslog daemon that cuts messages below 900 bytes, a client can write such a
line too.
LIMIT: if login_log_format_elements has no method=%m, an ANONYMOUS login looks like any other.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from popauthd.formats import dovecot_wording as wording
from popauthd.formats.framing import Frame
from popauthd.formats.headers import LEVEL
from popauthd.formats.sentence import as_text, is_address
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

NAME, OLD_NAME = "dovecot", "dovecot-0.99"

# Dovecot sends a message longer than PIPE_BUF (4096 on Linux) to its log process in pieces, each with the header of a
# line (failures.c). With imap_id_log, a client of 2.3 that has not logged in can choose the text of whole pieces, and
# one of them can look exactly like a login. A real login is never that long. syslog daemons cut such a piece, like
# every message, at 1024 bytes or more.
PIECE_BYTES = 4000
CUT_PIECE_BYTES = 900  # in syslog, without the header
LAST_WITHIN = 512  # a message as long as this may have been cut; if it ends with rip, the address may be cut

# A cheap test: read() returns something that matters only if the line has one of the triggers in it, in lower case, or
# a session's end as it is written. `in: ` ends all the words of a success.
_RIP = wording.begin(wording.RIP)
TRIGGERS = (_RIP, b"in: ")
ENDING = re.compile(rb">: (?:Info: )?(?:%b)" % wording.ENDED)

_LOW_SUCCESS = wording.SUCCESS.lower()
# The ordinary failure of 1.x, `Aborted login: user=<alice>, ..`, is none.
_SUCCESS = re.compile(
    rb"%b(?<!aborted login: )[a-z_]+=|%b(?:info: )?%b" % (_LOW_SUCCESS, wording.LOGIN_PROCESS, _LOW_SUCCESS)
)
_PROCESS = re.compile(
    rb"(?P<service>%b|managesieve|submission)%b(?:(?P<level>%b): )?" % (wording.SERVICE, wording.LOGIN_PROCESS, LEVEL)
)
_WORD = re.compile(wording.SUCCESS)
_SINCE_2_4 = wording.WORDS[1] + b": "
_REPEATED = re.compile(rb"message repeated [0-9]+ times: \[")
# After the reason come the statistics, as configured.
_END = re.compile(
    rb"(?P<service>%b)(?:-hibernate)?" % wording.SERVICE
    + wording.end_head(rb"(?P<user>[^<>\x00-\x1f\x7f]*)", rb"(?P<session>%b)" % wording.SESSION_VALUE)
    + rb"(?P<level>Info: )?(?:%b)[^\x00\r\n]*" % wording.ENDED
)
# How the messages of a login process begin that are not about a success.
_FAILURES = (
    b"Disconnected",
    b"Aborted login",
    b"Login aborted",
    b"Login failed",
    b"Internal login failure",
    b"Authentication response too large",
    b"Connection kicked",
    b"Login with referral",
    b"Maximum number of connections",
    b"haproxy: ",
    b"proxy(",
    b"proxy: ",
    b"Proxy: ",
    b"ID sent: ",
    b"Connection closed",
    b"Logged out",
)
_PROTOCOLS = {b"imap": "imap", b"pop3": "pop3"}


def looks_like_login(low: bytes) -> bool:
    """Whether a line, given in lower case, has the text of a login anywhere in it."""
    return looks_like_success(low) or (_RIP in low and wording.begin(wording.USER) in low)


def looks_like_success(low: bytes) -> bool:
    """Whether a text, given in lower case, has the words of a successful login in it."""
    return _SUCCESS.search(low) is not None


def read(frame: Frame, at: int, rip_last: bool = False) -> Event | None:
    """The event of a message of Dovecot, or None if it says nothing that matters. Never raises.

    rip_last: whether the elements of a login end with rip, as Dovecot is configured.
    """
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
    said = message[word.end() :]
    if word[0] == _SINCE_2_4:
        said = said.removesuffix(wording.JOIN)  # 2.4.1 leaves it where the last element is left out (client-common.c)
    elements = elements_of(said)
    if elements is None:
        return Refusal("bad-elements", at, format=NAME)
    protocol = _PROTOCOLS.get(found["service"])
    if protocol is None:
        return Ignored("other-service", NAME)
    return login_of(elements, protocol, at, whole=len(text) < LAST_WITHIN, rip_last=rip_last)


def may_be_a_piece(frame: Frame) -> bool:
    """Whether a message is so long that it may be a piece of a longer one."""
    return len(frame.text) >= (CUT_PIECE_BYTES if frame.host else PIECE_BYTES)


def _other_process(text: bytes, level: bytes | None, levelled: bool, at: int) -> Event | None:
    if looks_like_login(text.lower()):
        return Refusal("repeated" if _REPEATED.match(text) else "wrong-process", at, format=NAME)
    end = _END.fullmatch(text)
    if end is None or level is not None or (levelled and end["level"] is None):
        return None
    return SessionEnd(at, end["session"].decode(), as_text(end["user"]), _PROTOCOLS[end["service"]], NAME)


def _no_success(service: bytes, message: bytes, level: bytes | None, at: int) -> Event:
    """The event of a login process's message that does not begin like a success."""
    low = message.lower()
    if level in (None, b"Info") and message.startswith(b"proxy(") and b": started proxying " in low:
        return Refusal("proxy-line", at, format=NAME)
    if _SUCCESS.search(low) or low.count(_RIP) > 1:
        return Refusal("hostile-failure", at, format=NAME)
    if message.startswith(_FAILURES) or level not in (None, b"Info"):
        return Ignored("failure", NAME)
    if _RIP in low and service in _PROTOCOLS:
        return Refusal("unknown-message", at, format=NAME)
    return Ignored("other", NAME)


_JA3 = rb"[0-9]{1,5}(?:,[0-9-]{0,1200}){4}"  # ssl_ja3: numbers that the client's TLS library chose
_HEX = rb"[0-9a-f]{32,128}"  # ssl_ja3_hash, and the fingerprints of a client's certificate
# %c; Dovecot 2.4 really writes "TSL" in one case.
_SECURED = rb'%b|(?:%b(?: handshaking)?|TSL)(?::[^",<>=\x00-\x1f\x7f]{1,500})?' % (wording.SECURED, wording.TLS)
# What these variables give may stand without a name too, or in quotes: nobody can choose it as he likes. A proxy in
# front that ended TLS gives `(proxied)` for the cipher.
_BARE = rb'(?P<quote>")?(?:(?P<secured>%b)|(?P<cipher>%b|\(proxied\))|(?P<ja3>%b)|(?P<hex>%b))(?(quote)")' % (
    _SECURED,
    wording.CIPHER,
    _JA3,
    _HEX,
)
_ELEMENT = re.compile(
    rb"(?:%b"
    % wording.element(wording.USER, rb"(?P<user>%b*)" % wording.USER_BYTE)
    + rb'|(?P<key>[a-z][a-z0-9_]{0,31})=(?:<(?P<inside>[^<>,\x00-\x20\x7f]*)>|"(?P<quoted>%b|[^"<>,=\x00-\x1f\x7f]*)"'
    rb"|(?P<value>%b|%b|%b|[^<>,=\x00-\x20\x7f]*))"
    rb"|%b)(?P<more>%b|\Z)" % (_JA3, _SECURED, wording.CIPHER, _JA3, _BARE, wording.JOIN)
)


class Elements(NamedTuple):
    """The elements of a login by name, in the order of the line. user: b"" if the line names none."""

    user: bytes
    named: dict[str, bytes]


def elements_of(text: bytes) -> Elements | None:
    """The elements of a login, or None if they cannot be read in exactly one way."""
    named: dict[str, bytes] = {}
    place, more = 0, wording.JOIN
    while more:
        found = _ELEMENT.match(text, place)
        if found is None:
            return None
        user, key, inside, quoted, value, _quote, secured, cipher, ja3, hexadecimal, more = found.groups()
        if key:
            name, content = key.decode(), inside or quoted or value or b""
            if name == wording.USER:  # without brackets, the end of the user is not certain
                return None
        elif user is not None:
            name, content = wording.USER, user
        elif secured:
            name, content = "secured", secured
        else:
            name, content = ("cipher", cipher) if cipher else ("ja3", ja3) if ja3 else ("hex", hexadecimal)
        if name in named:
            return None
        named[name] = content
        place = found.end()
    return Elements(named.get(wording.USER, b""), named)


_AFTER_RIP = {wording.LIP, wording.MPID, wording.SESSION}  # where login_log_format_elements is the default
_FORMS = {
    wording.METHOD: re.compile(wording.METHOD_VALUE),
    wording.MPID: re.compile(wording.PROCESS_ID),
    wording.SESSION: re.compile(wording.SESSION_VALUE),
}


def login_of(elements: Elements, protocol: str, at: int, *, whole: bool, rip_last: bool) -> Event:
    """A login from its elements, or a refusal.

    whole: the line is too short to have been cut. rip_last: rip is the last element as Dovecot is configured.
    """
    named = elements.named
    user = as_text(elements.user)
    if not user:
        return Refusal("no-user", at, format=NAME)
    rip = named.get(wording.RIP)
    if rip is None:
        return Refusal("no-address", at, user=user, format=NAME)
    if any(name in named and not form.fullmatch(named[name]) for name, form in _FORMS.items()):
        return Refusal("bad-elements", at, user=user, format=NAME)
    if not is_address(rip) or (wording.LIP in named and not is_address(named[wording.LIP])):
        return Refusal("bad-address", at, user=user, format=NAME)
    client = rip.decode()
    if named.get(wording.METHOD) == wording.ANONYMOUS:
        return Refusal("anonymous", at, client, user, NAME)
    # By default other elements follow rip. A line that ends with rip was probably cut, perhaps within the address.
    if next(reversed(named)) == wording.RIP and not (whole and (rip_last or _AFTER_RIP & named.keys())):
        return Refusal("torn", at, "", user, NAME)
    return Login(
        at,
        client,
        user,
        protocol,
        named.get(wording.METHOD, b"").decode(),
        named.get("secured", b"").startswith(b"T"),
        named.get(wording.SESSION, b"").decode(),
        named.get(wording.LIP, b"").decode(),
        NAME,
    )


_OLD_LOGIN = re.compile(
    rb"(?P<service>%b)%b%b: " % (wording.SERVICE, wording.LOGIN_PROCESS, wording.WORDS[0])
    + rb"(?P<user>[^\[\]<>\x00-\x20\x7f]{1,255}) \[(?P<rip>[0-9A-Fa-f:.]{2,45})\]"
)


def read_old(frame: Frame, at: int) -> Event | None:
    """A login of Dovecot 0.99, `Login: alice [192.0.2.1]`; its other messages are ignored."""
    text = frame.text
    found = _OLD_LOGIN.fullmatch(text)
    if found is None or frame.level != b"Info":
        word = _PROCESS.match(text)
        if looks_like_login(text.lower()) or (word and _WORD.match(text, word.end())):
            return Refusal("bad-elements", at, format=OLD_NAME)
        return None
    user = as_text(found["user"])
    if not is_address(found["rip"]):
        return Refusal("bad-address", at, user=user, format=OLD_NAME)
    return Login(at, found["rip"].decode(), user, _PROTOCOLS[found["service"]], format=OLD_NAME)
