"""How Dovecot will write a login and the end of a session, judged by the recogniser itself: with samples filled in.

The settings are filled as the Dovecot of that version does it (`variables`): an element whose variables are all empty
or not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from popauthd.dovecotcheck import variables
from popauthd.dovecotcheck.doveconf import Configuration
from popauthd.dovecotcheck.variables import METHOD, RIP, SESSION
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.servers.dovecot import elements_of
from popauthd.model import Event, Login, SessionEnd

NOW = 1_795_467_600
# Each element that popauthd needs, as 2.3 and as 2.4 writes it by default.
SPELLINGS = {
    "user": ("user=<%u>", "user=<%{user}>"),
    "rip": ("rip=%r", "rip=%{remote_ip}"),
    "method": ("method=%m", "method=%{mechanism}"),
    "session": ("session=<%{session}>", "session=<%{session}>"),
}


def missing(configuration: Configuration, elements: str) -> list[str]:
    """Which of the elements that popauthd needs this Dovecot does not write as they must be."""
    found: dict[str, str] = {}
    for _word, text in _written(configuration, elements, _values(configuration)):
        if read := elements_of(text.encode()):
            found |= {name: value.decode() for name, value in read.named.items()}
    there = {
        "user": bool(found.get("user")),
        "rip": found.get("rip") == RIP,
        "method": found.get("method") == METHOD,
        "session": found.get("session") == SESSION,
    }
    return [name for name in SPELLINGS if not there[name]]


def unread(configuration: Configuration, elements: str) -> list[str]:
    """The elements that the recogniser does not read, each for itself."""
    written = _written(configuration, elements, _values(configuration))
    return [word for word, text in written if elements_of(text.encode()) is None]


def spelling(name: str, *, old: bool) -> str:
    """How an element is written in Dovecot's configuration."""
    before, since = SPELLINGS[name]
    return before if old else since


def sample(configuration: Configuration, elements: str, *, rip_last: bool = False) -> Event:
    """What the recogniser says of a login written in this configuration's format with these elements.

    Of one with TLS and one without, the one that is not taken. rip_last: the setting of the source.
    """
    both = (_values(configuration), _plain(configuration))
    events = [_login(configuration, elements, values, rip_last=rip_last) for values in both]
    return next((event for event in events if not is_taken(event)), events[0])


def is_taken(event: Event) -> bool:
    """Whether the sample is a login with the address that it is from."""
    return isinstance(event, Login) and event.address == RIP


def _login(configuration: Configuration, elements: str, values: Mapping[str, str], *, rip_last: bool) -> Event:
    written = [text for _word, text in _written(configuration, elements, values)]
    joined = ", ".join(written)
    last = elements.split(" ")[-1:]
    # 2.4.1 leaves the comma where the last element is left out (client-common.c).
    if written and not configuration.old and [word for word, _text in _written(configuration, last[0], values)] != last:
        joined += ", "
    said = {"message": "Login" if configuration.old else "Logged in", "elements": joined}
    ours = {"s": joined, "$": said["message"]} if configuration.old else said
    text = variables.expand(configuration.value("login_log_format"), ours, old=configuration.old)
    return _read(f"imap-login: Info: {text or ''}", rip_last=rip_last)


def ends(configuration: Configuration, prefix: str) -> bool:
    """Whether the end of a session, written with this mail_log_prefix, says which session it was."""
    values = variables.OLD_MAIL if configuration.old else variables.NEW_MAIL
    text = variables.expand(prefix, values, old=configuration.old)
    event = None if text is None else _read(f"{text}Info: Disconnected: Logged out in=12 out=525")
    return isinstance(event, SessionEnd) and event.session == SESSION


def _read(text: str, *, rip_last: bool = False) -> Event:
    reader = Recogniser(Options(framing="dovecot-file", formats=("dovecot",), timezone="UTC", rip_last=rip_last))
    return reader.line(f"Nov 23 21:00:00 {text}".encode(), NOW)


def _values(configuration: Configuration) -> Mapping[str, str]:
    return variables.OLD if configuration.old else variables.NEW


def _plain(configuration: Configuration) -> Mapping[str, str]:
    known = _values(configuration)
    return {**known, **{name: "" for name in variables.PLAIN if name in known}}


def _written(configuration: Configuration, elements: str, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each element with its text, but for those that Dovecot leaves out."""
    nothing = dict.fromkeys(values, "")
    for word in elements.split(" "):
        text = variables.expand(word, values, old=configuration.old)
        if text is not None and text != variables.expand(word, nothing, old=configuration.old):
            yield word, text
