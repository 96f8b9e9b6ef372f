"""popauthd.cluster.frames: what watcher and link say comes over as it was."""

from __future__ import annotations

from popauthd.cluster.events import Hello, PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.cluster.frames import events_told, incoming_told, line, read_events, read_incoming, read_line
from popauthd.cluster.traffic import Heard, Incoming

EVENTS: list[PeerEvent] = [
    PeerLogin("192.0.2.10", "~a", 5, 6, "imap", "PLAIN", True),
    PeerGrant("192.0.2.10", 5, 6),
    PeerRevocation(5, "2001:db8::/64", ""),
    Hello(wants_all=True, version="1.0"),
]


def test_events_come_over_as_they_were_and_a_line_is_one_line() -> None:
    text = line("send", events_told(EVENTS))
    assert text.count(b"\n") == 1
    what, rest = read_line(text)
    assert (what, read_events(rest[0])) == ("send", EVENTS)


def test_what_was_read_comes_over_as_it_was() -> None:
    heard = tuple(Heard(event, "b", "f" * 16, "5-0", 10, -20, beside=True) for event in EVENTS)
    incoming = Incoming(heard, "5-0 7", {"forged": 2}, "lost\nall", caught_up=True, offset_ms=-5)
    _what, rest = read_line(line("heard", incoming_told(incoming)))
    assert read_incoming(rest[0]) == incoming
