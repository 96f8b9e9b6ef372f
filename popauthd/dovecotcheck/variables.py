"""The variables of Dovecot's settings, in both of its languages, filled with what they stand for in a sample login.

2.3 has letters with modifiers (`%Lu`) and names (`%{rip}`), 2.4 has names with filters (`%{user | lower}`). What
Dovecot does not know is not expanded: 2.3 writes UNSUPPORTED_VARIABLE_x, 2.4 keeps `%u` as it stands and fails on an
unknown name.

Source: Dovecot src/login-common/client-common.c, src/lib-storage/mail-storage-service.c and src/lib/var-expand.c at
2.3.19.1 and 2.3.21; src/lib-var-expand at 2.4.1; seen on 2.3.19.1 and 2.4.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

RIP, LIP, METHOD, SESSION = "192.0.2.10", "198.51.100.5", "PLAIN", "aKTnLvhgIrN/AAAB"
_USER, _NAME, _DOMAIN = "joe@example.org", "joe", "example.org"
_PORT, _PEER, _PID = "995", "50123", "4242"
_BOTH = {
    "user": _USER,
    "auth_user": _USER,
    "original_user": _USER,
    "mechanism": METHOD,
    "local_ip": LIP,
    "remote_ip": RIP,
    "local_port": _PORT,
    "remote_port": _PEER,
    "real_local_ip": LIP,
    "real_local_port": _PORT,
    "real_remote_port": _PEER,
    "mail_pid": _PID,
    "session": SESSION,
    "listener": "pop3s",
    "local_name": "mail.example.org",
    "home": "/",
    "secured": "TLS",
    "ssl_security": "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)",
}
OLD: Mapping[str, str] = {
    **_BOTH,
    "real_remote_ip": RIP,
    "username": _NAME,
    "domain": _DOMAIN,
    "service": "pop3",
    "rip": RIP,
    "lip": LIP,
    "rport": _PEER,
    "lport": _PORT,
    "real_rip": RIP,
    "real_lip": LIP,
    "real_rport": _PEER,
    "real_lport": _PORT,
    "mech": METHOD,
    "orig_user": _USER,
    "orig_username": _NAME,
    "orig_domain": _DOMAIN,
    "original_username": _NAME,
    "original_domain": _DOMAIN,
    "auth_username": _NAME,
    "auth_domain": _DOMAIN,
    "pid": _PID,
    "uid": "8",
    "gid": "8",
    "hostname": "mx1",
}
NEW: Mapping[str, str] = {
    **_BOTH,
    "real_remote_ip": LIP,  # 2.4.1 gives its own address here, later ones the client's
    "protocol": "pop3",
    "ssl_ja3": "771,4866-4867-4865,11-10-35-22-23-13-43-45-51,29-23-30-25-24,0-1-2",
    "ssl_ja3_hash": "e7d705a3286e19ea42f587b344ee6865",
}
_NEW_ALONE = {"message", "elements", "protocol", "process:pid", "ssl_ja3", "ssl_ja3_hash", "master_user"}
# Of a mailbox's process, for mail_log_prefix.
OLD_MAIL: Mapping[str, str] = {**OLD, "service": "pop3"}
NEW_MAIL: Mapping[str, str] = {**NEW, "service": "pop3", "hostname": "mx1", "master_user": "", "process:pid": _PID}
LETTERS = {
    "u": "user",
    "n": "username",
    "d": "domain",
    "s": "service",
    "h": "home",
    "l": "lip",
    "r": "rip",
    "p": "pid",
    "i": "uid",
    "m": "mech",
    "a": "lport",
    "b": "rport",
    "c": "secured",
    "k": "ssl_security",
    "e": "mail_pid",
}
# Empty where the client speaks no TLS; a process has no HOME as Debian starts it.
PLAIN = ("secured", "ssl_security", "ssl_ja3", "ssl_ja3_hash", "local_name", "home")
_HASHED = "5eb63bbbe01eeed093cb22bb8f5acdc3"
_OLD = re.compile(r"%(?P<cut>-?[0-9]*(?:\.-?[0-9]*)?)(?P<change>[LUEXRHNMDT]*)(?:\{(?P<name>[^}]*)\}|(?P<letter>.))")
_NEW = re.compile(r"%\{(?P<name>[^{}]*)\}")
_CHANGES: Mapping[str, Callable[[str], str]] = {"L": str.lower, "U": str.upper, "E": str, "D": str, "T": str.strip}
_FILTERS: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "username": lambda text: text.partition("@")[0],
    "domain": lambda text: text.partition("@")[2],
    "default": str,
    "text": str,
    "ldap_dn": str,
}
# Names with a colon whose values nobody can know, in both languages.
_GIVEN = ("passdb", "userdb", "env", "process", "system", "dovecot", "event", "date", "time")


def expand(text: str, values: Mapping[str, str], *, old: bool) -> str | None:
    """The text with each variable's value; None if Dovecot fails on it (2.4 alone does)."""
    try:
        return (_OLD if old else _NEW).sub(lambda found: (_old if old else _new)(found, values), text)
    except KeyError:
        return None


def _old(found: re.Match[str], values: Mapping[str, str]) -> str:
    if found["letter"] == "%":
        return "%"
    letter = found["letter"] or ""
    name = found["name"] or (letter if letter in values else LETTERS.get(letter, letter))
    if name not in values:
        return "x" if ":" in name or ";" in name else f"UNSUPPORTED_VARIABLE_{name}"
    value = values[name]
    for letter in found["change"]:
        value = _CHANGES[letter](value) if letter in _CHANGES else _HASHED
    offset, dot, width = found["cut"].partition(".")
    offset, width = (offset, width) if dot else ("", offset.lstrip("-"))
    value = value[int(offset) if offset.strip("-") else 0 :]
    return value[: int(width)] if width.strip("-0") else value


def _new(found: re.Match[str], values: Mapping[str, str]) -> str:
    name, *filters = (word.strip() for word in found["name"].split("|"))
    if name in values:
        value = values[name]
    elif name.partition(":")[0] in _GIVEN and ":" in name:
        value = "x"
    else:
        raise KeyError(name)
    for one in filters:
        word = one.partition("(")[0].strip()
        value = _FILTERS[word](value) if word in _FILTERS else _HASHED
    return value


def foreign(text: str, *, old: bool) -> list[str]:
    """The variables in a text that only the other language has, as they are written there."""
    return list(dict.fromkeys(_foreign(text, old=old)))


def _foreign(text: str, *, old: bool) -> Iterator[str]:
    for found in _OLD.finditer(text):
        name, letter = found["name"], found["letter"]
        base = (name or "").partition("|")[0].strip()
        if old:
            theirs = name is not None and ("|" in name or (base not in OLD and base in _NEW_ALONE))
        elif name is None:
            theirs = letter == "$" or letter in LETTERS
        else:
            theirs = base in OLD and base not in NEW_MAIL
        if theirs:
            yield found[0]
