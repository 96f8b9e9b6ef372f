"""How Dovecot will write a login, judged by the recogniser itself: the configured elements filled with samples.

Variables are those of 2.3 (`%r`, `%{rip}`) and 2.4 (`%{remote_ip}`); one that is not known becomes `x`.
"""

from __future__ import annotations

import re

from popauthd.dovecotcheck.doveconf import Configuration
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Event

RIP, LIP, NOW = "192.0.2.10", "198.51.100.5", 1_795_467_600
_LONG = {
    "user": "joe@example.org",
    "rip": RIP,
    "remote_ip": RIP,
    "lip": LIP,
    "local_ip": LIP,
    "mech": "PLAIN",
    "mechanism": "PLAIN",
    "session": "aKTnLvhgIrN/AAAB",
    "mail_pid": "4242",
    "secured": "TLS",
    "service": "imap-login",
    "protocol": "imap",
}
_SHORT = {
    "u": "user",
    "n": "user",
    "r": "rip",
    "l": "lip",
    "m": "mech",
    "e": "mail_pid",
    "c": "secured",
    "s": "service",
}
_VARIABLE = re.compile(r"%(?:\{([^}]*)\}|L?(.))")
# Each element that popauthd needs: the 2.3 spelling, the 2.4 spelling, and what may stand in its place.
SPELLINGS: dict[str, tuple[str, str, re.Pattern[str]]] = {
    "user": ("user=<%u>", "user=<%{user}>", re.compile(r"user=<%(?:L?[un]|\{user[^}]*\})>")),
    "rip": ("rip=%r", "rip=%{remote_ip}", re.compile(r"rip=<?(?:%r|%\{(?:rip|remote_ip)\})>?")),
    "method": ("method=%m", "method=%{mechanism}", re.compile(r"method=<?(?:%m|%\{mech(?:anism)?\})>?")),
    "session": ("session=<%{session}>", "session=<%{session}>", re.compile(r"session=<?%\{session\}>?")),
}


def missing(elements: str) -> list[str]:
    """Which of the elements that popauthd needs are not there as they must be."""
    words = elements.split()
    return [name for name, (_old, _new, form) in SPELLINGS.items() if not any(map(form.fullmatch, words))]


def spelling(name: str, *, old: bool) -> str:
    """How an element is written in Dovecot's configuration."""
    before, since, _form = SPELLINGS[name]
    return before if old else since


def sample(configuration: Configuration, elements: str) -> Event:
    """What the recogniser says of a login written in this configuration's format with these elements."""
    words = filter(None, (_filled(word) for word in elements.split()))
    ours = {"message": "Login" if configuration.old else "Logged in", "elements": ", ".join(words)}
    layout = configuration.value("login_log_format").replace("%$", "%{message}").replace("%s", "%{elements}")
    text = _VARIABLE.sub(lambda found: ours.get(found[1] or "", _value(found)), layout)
    line = f"Nov 23 21:00:00 imap-login: Info: {text}"
    reader = Recogniser(Options(framing="dovecot-file", formats=("dovecot",), timezone="UTC"))
    return reader.line(line.encode(), NOW)


def _filled(text: str) -> str:
    return _VARIABLE.sub(_value, text)


def _value(found: re.Match[str]) -> str:
    name = (found[1] or _SHORT.get(found[2] or "", "")).split("|")[0].strip()
    return "%" if found[2] == "%" else _LONG.get(name, "x")
