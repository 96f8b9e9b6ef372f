"""Cyrus (imapd, pop3d): `login: client.example [192.0.2.7] alice plaintext+TLS User logged in`.

The client's host name, from reverse DNS, stands in front of the address. A name that could contain an address in
brackets is refused (as in CVE-2013-7177). Failures begin `badlogin: `.

From 3.13.1 on a login is an event made of pairs, `event=login.good r.clienthost="client.example [192.0.2.7]" ..`. The
keys are read by name, each at most once; values are quoted and escaped (lib/logfmt.c), so no value can end early.

A login whose password Cyrus did not check never grants (`imapd -N`, for a proxy in front that has checked it): the old
form has `nopassword` for its mechanism, the event `login.nopassword=1`. The same goes for an anonymous one.

A service counts by its name: imap, imaps, pop3, pop3s, or one that `services` of the source names. The name is the
site's own choice, in cyrus.conf.

LIMIT: SESSIONID is not used to hold a session: by default Cyrus logs no session end that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Known, Outcome
from popauthd.formats.sentence import ADDRESS, HOST, PROTOCOLS, USER, Sentence, as_text, carries, login
from popauthd.model import Ignored, Refusal

_SERVICES = {**PROTOCOLS, b"imapd": "imap", b"pop3d": "pop3"}
_OTHERS = (b"lmtp", b"sieve", b"managesieve", b"timsieved", b"mupdate", b"nntp", b"nntps", b"http", b"https", b"httpd")
_MECHANISM = rb"(?P<method>[A-Za-z0-9_-]{1,20})(?P<tls>\+TLS)?"
_looks = carries(rb"user logged in", rb"(?<!bad)login: ")

NO_PASSWORD = b"NOPASSWORD"

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


def read_sentence(frame: Frame, at: int, services: Mapping[bytes, str] = _SERVICES) -> Outcome:
    """A login in the old form. services: the protocol that each service is for."""
    found = SENTENCE.whole.fullmatch(frame.text)
    if found is not None and found["method"].upper() == NO_PASSWORD:
        return Refusal("no-password", at, user=as_text(found["user"]), format=SENTENCE.name)
    return replace(SENTENCE, protocols=services).read(frame, at)


EVENT = "cyrus-event"
_looks_event = carries(rb"login\.good")
_PAIR = re.compile(
    rb'(?P<key>[a-z][a-z.]{0,31})=(?:"(?P<quoted>(?:[^"\\\x00-\x1f\x7f]|\\["\\nrt]|\\x\{[0-9a-f]{2}\})*)"'
    rb'|(?P<bare>[^\x00-\x20\x7f-\xff"=\\]+))( |\Z)'
)
# sessionid: 3.13.1. login.password stands in anonymous logins only.
_KEYS = {
    *("event", "sessionid", "r.sessionid", "r.tid", "r.clienthost", "u.username", "login.mech", "login.tls"),
    *("login.magic", "login.nopassword", "login.anonymous", "login.password", "login.scheme", "pop.subfolder"),
}
NULL = b"~null~"
_CLIENT = re.compile(rb"(?:" + HOST + rb" )?\[" + ADDRESS + rb"\]")
_NAME = re.compile(USER)
_ESCAPED = re.compile(rb"\\x\{([0-9a-f]{2})\}")


def read_event(frame: Frame, at: int, services: Mapping[bytes, str] = _SERVICES) -> Outcome:
    """A login in the newest form. services: the protocol that each service is for."""
    if not frame.text.startswith(b"event=login.good"):
        return Refusal("hostile-failure", at, format=EVENT) if _looks_event(frame.text.lower()) else None
    pairs = _pairs(frame.text)
    if pairs is None or pairs.get("event") != b"login.good":
        return Refusal("bad-elements", at, format=EVENT)
    if pairs.keys() & {"login.anonymous", "login.password"}:
        return Refusal("anonymous", at, user="anonymous", format=EVENT)
    client = _CLIENT.fullmatch(pairs.get("r.clienthost", b""))
    user = _NAME.fullmatch(_plain(pairs.get("u.username", NULL)))
    protocol = services.get(frame.program.rpartition(b"/")[2])
    if client is None or user is None or user["user"] == NULL:
        return Refusal("bad-elements", at, format=EVENT)
    if pairs.get("login.nopassword", b"0") != b"0":
        return Refusal("no-password", at, user=as_text(user["user"]), format=EVENT)
    if protocol is None:
        return Ignored("other-service", EVENT)
    tls = pairs.get("login.tls", b"0") == b"1"
    part = {"rip": client["rip"], "user": user["user"], "method": pairs.get("login.mech", b""), "tls": b"1" * tls}
    return login(EVENT, part, protocol, at)


def _plain(value: bytes) -> bytes:
    """A user's name without the escapes of bytes outside of ASCII; a name with others is refused."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), value)


def _pairs(text: bytes) -> dict[str, bytes] | None:
    """The pairs by key; None if a key is unknown or there twice, or if anything else is in the text."""
    pairs: dict[str, bytes] = {}
    place, more = 0, b" "
    while more:
        found = _PAIR.match(text, place)
        if found is None:
            return None
        key, quoted, bare, more = found.groups()
        if key.decode() in pairs or key.decode() not in _KEYS:
            return None
        pairs[key.decode()] = bare if quoted is None else quoted
        place = found.end()
    return pairs


_PROGRAMS = tuple(name.decode() for name in (*_SERVICES, *_OTHERS))


def _adapted(row: Format, known: Known) -> Format:
    services = {**known.services, **_SERVICES}
    read = read_event if row.name == EVENT else read_sentence
    programs = tuple(dict.fromkeys((*row.programs, *(name.decode() for name in services))))
    return replace(row, programs=programs, read=partial(read, services=services))


ROWS = (
    Format(
        name="cyrus",
        part_of="cyrus",
        programs=_PROGRAMS,
        read=read_sentence,
        triggers=(b"login: ", b"user logged in"),
        looks_like_login=_looks,
        since="Cyrus IMAP 2.2 to 3.12",
        source="cyrus-imapd imap/imapd.c, imap/pop3d.c; lines of 3.6.1 as samples only, no test runs it",
        prefixed=True,
        adapted=_adapted,
    ),
    Format(
        name=EVENT,
        part_of="cyrus",
        programs=_PROGRAMS,
        read=read_event,
        triggers=(b"login.good",),
        looks_like_login=_looks_event,
        since="Cyrus IMAP 3.13.1 and later",
        source="cyrus-imapd imap/loginlog.c, lib/logfmt.c, doc/logfmt-keys; samples only",
        prefixed=True,
        adapted=_adapted,
    ),
)
