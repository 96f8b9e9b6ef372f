"""Cyrus (imapd, pop3d): `login: client.example [192.0.2.7] alice plaintext+TLS User logged in`.

The client's host is what reverse DNS says, in front of the address: a name with anything in it that
could stand for an address is refused (CVE-2013-7177 is the precedent). Failures begin `badlogin: `.

LIMIT: SESSIONID is not taken for a session: by default Cyrus logs no end that carries it.
LIMIT: the order of the newest form's keys (`event=login.good`) is not confirmed; they are read by name.
"""

from __future__ import annotations

import re

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.formats.sentence import ADDRESS, HOST, PROTOCOLS, USER, Sentence, carries, login
from popauthd.model import Ignored, Refusal

_SERVICES = {**PROTOCOLS, b"imapd": "imap", b"pop3d": "pop3"}
_OTHERS = (b"lmtp", b"sieve", b"managesieve", b"timsieved", b"mupdate", b"nntp", b"nntps", b"http", b"https", b"httpd")
_MECHANISM = rb"(?P<method>[A-Za-z0-9_-]{1,20})(?P<tls>\+TLS)?"
_looks = carries(rb"user logged in", rb"(?<!bad)login: ")

SENTENCE = Sentence(
    "cyrus",
    re.compile(
        rb"login: (?:" + HOST + rb" )?\[" + ADDRESS + rb"\] " + USER + rb" " + _MECHANISM + rb" User logged in"
        rb"(?: SESSIONID=<[A-Za-z0-9_.:-]{1,200}>)?"
    ),
    re.compile(rb"login: "),
    _looks,
    _SERVICES,
)

EVENT = "cyrus-event"
_looks_event = carries(rb"login\.good")
_PAIR = re.compile(
    rb'(?P<key>[a-z][a-z0-9_.]{0,31})=(?:"(?P<quoted>[^"\\\x00-\x1f\x7f]*)"|(?P<bare>[^\x00-\x20\x7f"=]*))( |\Z)'
)
_KNOWN = {"event", "s.id", "r.clienthost", "r.tunneled", "u.username", "login.mech", "login.tls", "login.magicplus"}
_CLIENT = re.compile(rb"(?:" + HOST + rb" )?\[" + ADDRESS + rb"\]")
_NAME = re.compile(USER)


def read_event(frame: Frame, at: int) -> Outcome:
    """A login in the newest form, key=value."""
    if not frame.text.startswith(b"event=login.good"):
        return Refusal("hostile-failure", at, format=EVENT) if _looks_event(frame.text.lower()) else None
    pairs = _pairs(frame.text)
    if pairs is None or pairs.get("event") != b"login.good":
        return Refusal("bad-elements", at, format=EVENT)
    client = _CLIENT.fullmatch(pairs.get("r.clienthost", b""))
    user = _NAME.fullmatch(pairs.get("u.username", b""))
    protocol = _SERVICES.get(frame.program.rpartition(b"/")[2])
    if client is None or user is None:
        return Refusal("bad-elements", at, format=EVENT)
    if protocol is None:
        return Ignored("other-service", EVENT)
    tls = pairs.get("login.tls", b"0") == b"1"
    part = {"rip": client["rip"], "user": user["user"], "method": pairs.get("login.mech", b""), "tls": b"1" * tls}
    return login(EVENT, part, protocol, at)


def _pairs(text: bytes) -> dict[str, bytes] | None:
    """The pairs by key; None if one is unknown or there twice, or anything is left over."""
    pairs: dict[str, bytes] = {}
    place, more = 0, b" "
    while more:
        found = _PAIR.match(text, place)
        if found is None:
            return None
        key, quoted, bare, more = found.groups()
        if key.decode() in pairs or key.decode() not in _KNOWN:
            return None
        pairs[key.decode()] = bare if quoted is None else quoted
        place = found.end()
    return pairs


_PROGRAMS = tuple(name.decode() for name in (*_SERVICES, *_OTHERS))

ROWS = (
    Format(
        name="cyrus",
        part_of="cyrus",
        programs=_PROGRAMS,
        read=SENTENCE.read,
        triggers=(b"login: ", b"user logged in"),
        looks_like_login=_looks,
        since="Cyrus IMAP 2.2 to 3.8",
        source="cyrus-imapd imap/imapd.c, imap/pop3d.c; lines of 3.6.1 as samples only, no test runs it",
        prefixed=True,
    ),
    Format(
        name=EVENT,
        part_of="cyrus",
        programs=_PROGRAMS,
        read=read_event,
        triggers=(b"login.good",),
        looks_like_login=_looks_event,
        since="Cyrus IMAP after 3.12",
        source="cyrus-imapd imap/loginlog.c; samples only, the keys' order is not confirmed",
        prefixed=True,
    ),
)
