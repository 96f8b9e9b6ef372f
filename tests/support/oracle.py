"""A second opinion on every format: which address a line may grant, by splitting it by hand, without a pattern.

Written from the samples, not from the grammars, and looser than they are about what does not matter
(stamps, lengths, letters): the fuzz asks only that no login is found where this finds none.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

Found = tuple[bytes, bytes] | None  # user, address
DAYS = {b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"}
BAD_IN_USER = set(b" \"'`(),:;<=>[\\]{|}") | set(range(32)) | {127}


class Line(NamedTuple):
    """A line without its head."""

    host: bytes
    program: bytes
    pid: bytes
    text: bytes


def take(words: list[bytes], count: int) -> list[bytes]:
    return words[count:] if len(words) >= count else []


def syslog(line: bytes) -> Line | None:
    """The parts of a syslog line of any shape."""
    line = line.partition(b">")[2].removeprefix(b"1 ") if line[:1] == b"<" else line
    words = line.split(b" ")
    if len(words) > 3 and words[1] in {b"stdout", b"stderr"} and words[2] == b"F":  # a container engine's
        return syslog(b" ".join(words[3:]))
    if words[0] in DAYS:
        return _of_day(words)
    if line[:1].isalpha():
        words = [word for word in words[:4] if word] + words[4:]
        words = take(words, 3)
    elif b"T" in words[0]:
        words = take(words, 1)
    else:
        words = take(words, 2)
    if words and words[0][:1] == b"<":
        words = take(words, 1)
    if len(words) < 2:
        return None
    host, tag = words[0], words[1]
    if len(words) > 2 and not tag.endswith(b":") and words[2].endswith(b":"):  # a level
        tag = words.pop(2)
    if tag.endswith(b":"):
        text = b" ".join(words[2:])
        name, _, pid = tag[:-1].partition(b"[")
        if text.startswith(b"[ID "):
            text = text.partition(b"] ")[2]
        return Line(host, name, pid.rstrip(b"]"), text)
    return _rfc5424(host, words[1:])


def _of_day(words: list[bytes]) -> Line | None:
    """Of journalctl, which names the zone, or of OpenWrt, which has the year behind the time and a level for a host."""
    if words[1][:1].isdigit():
        return syslog(b" ".join([b"T" + words[2], *words[4:]])) if len(words) > 5 else None
    rest = [word for word in words[:7] if word] + words[7:]
    return syslog(b" ".join([b"T", b"nohost", *rest[6:]])) if len(rest) > 7 and b"." in rest[5] else None


def _rfc5424(host: bytes, words: list[bytes]) -> Line | None:
    """program, pid, message id, structured data, text; the data is taken to end at the last `] `."""
    if len(words) < 5:
        return None
    rest = b" ".join(words[3:])
    text = rest[2:] if rest.startswith(b"- ") else rest.rpartition(b"] ")[2]
    return Line(host, words[0], words[1].replace(b"-", b""), text.removeprefix(b"\xef\xbb\xbf"))


def found(user: bytes, address: bytes) -> Found:
    """The pair, if both can be what they say."""
    if not user or BAD_IN_USER & set(user) or user.lower() == b"anonymous" or not is_address(address):
        return None
    return user, address


def is_address(text: bytes) -> bool:
    try:
        ip_address(text.decode("ascii"))
    except ValueError:
        return False
    return b"%" not in text


def bracketed(word: bytes) -> bytes:
    return word[1:-1] if word[:1] == b"[" and word[-1:] == b"]" else b""


def host_and_address(text: bytes) -> bytes:
    """`name [ip]` or `[ip]`: the address, or nothing."""
    name, _, last = text.rpartition(b" ")
    return b"" if {*b' []()"='} & set(name) else bracketed(last)


def courier(line: Line) -> Found:
    wrapper, _, text = line.text.rpartition(b"INFO: LOGIN, ")
    came = bracketed(wrapper.partition(b" connect from @ ")[2])
    text = b"LOGIN, " + text if wrapper and came else line.text
    parts = text.removeprefix(b"INFO: ").split(b", ")
    if came and len(parts) > 2 and parts[2] != b"ip=[" + came + b"]":
        return None
    if len(parts) < 3 or parts[0] != b"LOGIN" or not parts[1].startswith(b"user=") or parts[2][:3] != b"ip=":
        return None
    if any(not part.startswith((b"port=[", b"protocol=", b"stls=1")) for part in parts[3:]):
        return None
    return found(parts[1][5:], bracketed(parts[2][3:]))


def cyrus(line: Line) -> Found:
    words = line.text.split(b" ")
    if line.program.rpartition(b"/")[2] not in {b"imap", b"imaps", b"imapd", b"pop3", b"pop3s", b"pop3d"}:
        return None
    if words[0] == b"event=login.good":
        return _cyrus_event(line.text)
    if words[-1].startswith(b"SESSIONID=<"):
        words.pop()
    if (
        words[0] != b"login:"
        or words[-3:] != [b"User", b"logged", b"in"]
        or words[-4].lower() in {b"anonymous", b"nopassword", b"nopassword+tls"}
    ):
        return None
    return found(words[-5], host_and_address(b" ".join(words[1:-5]))) if len(words) > 6 else None


def _cyrus_event(text: bytes) -> Found:
    quoted = text.split(b'"')
    outside = b"".join(quoted[::2]).split(b" ")
    keys = [pair.partition(b"=")[0] for pair in outside]
    if len(keys) != len(set(keys)) or b"login.mech=anonymous" in text.lower() or b"login.anonymous" in keys:
        return None
    if b"login.nopassword" in keys and b"login.nopassword=0" not in outside:
        return None
    user = next((pair.partition(b"=")[2] for pair in outside if pair.startswith(b"u.username=")), b"")
    clients = [
        value for before, value in zip(quoted[::2], quoted[1::2], strict=False) if before.endswith(b"r.clienthost=")
    ]
    if not user:
        user = next((v for b, v in zip(quoted[::2], quoted[1::2], strict=False) if b.endswith(b"u.username=")), b"")
    bare = [pair.partition(b"=")[2] for pair in outside if pair.startswith(b"r.clienthost=[")]
    both = clients + bare
    return found(user, host_and_address(both[0])) if len(both) == 1 else None


def uw(line: Line) -> Found:
    word, _, rest = line.text.partition(b" user=")
    user, _, rest = rest.partition(b" host=")
    if word not in {b"Login", b"Authenticated", b"APOP", b"Auth", b"Admin Login"}:
        return None
    host, closing, tail = rest.partition(b"]")
    if tail and not tail.startswith((b" mech=", b" nmsgs=", b" no mailbox")):
        return None
    return found(user, host_and_address(host + closing)) if len(host + closing) < 80 and b"host=" not in tail else None


def qpopper(line: Line) -> Found:
    version, _, rest = line.text.partition(b') POP login by user "')
    user, _, rest = rest.partition(b'" at (')
    host, _, address = rest.partition(b") ")
    address, _, source = address.partition(b" [")
    if not version.startswith(b"(v") or {*b' ()"'} & set(host) or (source and not source.endswith(b"]")):
        return None
    return found(user, address)


def qpopper_stats(line: Line) -> Found:
    words = line.text.split(b" ")
    if len(words) != 8 or words[0] != b"Stats:" or not all(word.isdigit() for word in words[2:6]):
        return None
    return found(words[1], words[7])


def popa3d(line: Line) -> Found:
    user, dashes, address = line.text.partition(b" -- ")
    said = user.startswith(b"Authentication passed for ") and dashes
    return found(user[26:], bracketed(address)) if said else None


def solid(line: Line) -> Found:
    words = line.text.removeprefix(b"mapped ").replace(b" through APOP", b"", 1).split(b" ")
    if len(words) != 5 or words[0] != b"user" or words[2:4] != [b"authenticated", b"-"]:
        return None
    return found(words[1], words[4])


def vm(line: Line) -> Found:
    text, _, count = line.text.partition(b", nmsgs=")
    words = text.split(b" ")
    if len(words) != 6 or words[0] != b"User" or words[2:5] != [b"logged", b"in", b"from"] or b" " in count:
        return None
    return found(words[1][1:-1], words[5]) if words[1][:1] == words[1][-1:] == b"'" else None


def teapop(line: Line) -> Found:
    words = line.text.split(b" ")
    if words[:3] != [b"Successful", b"login", b"for"] or len(words) < 7 or words[5] != b"from":
        return None
    return found(words[3], host_and_address(b" ".join(words[6:]))) if is_address(bracketed(words[4])) else None


def tpop3d(line: Line) -> Found:
    head, _, rest = line.text.partition(b": began session for `")
    user, _, how = rest.partition(b"' with ")
    where, _, client = head.partition(b"]")
    if not where.startswith(b"fork_child: [") or b"; child PID is " not in how or b"'" in how:
        return None
    return found(user, client.partition(b"/")[0])


def gnu(line: Line) -> Found:
    words = line.text.split(b" ")
    if len(words) != 9 or words[0] != b"User" or words[2:6] != [b"logged", b"in", b"with", b"mailbox"]:
        return None
    return found(words[1], words[8]) if words[7] == b"from" else None


def cucipop(line: Line) -> Found:
    words = line.text.split(b" ")
    return found(words[0], words[1]) if len(words) == 7 and words[2].endswith(b",") else None


def perdition(line: Line) -> Found:
    text = line.text
    if not text.startswith(b"Auth:") or not text.endswith(b' status="ok"') or text.count(b"->") != 1:
        return None
    client = text[5:].lstrip().partition(b"->")[0]
    key = b'authentication_id="' if b"client-secure=" in text else b' user="'
    user = text.partition(key)[2].partition(b'"')[0]
    quotes = text.count(b'"')
    fits = quotes in (6, 8)
    return found(user, client.rpartition(b":")[0] or client) if fits else None


def vpopmail(line: Line) -> Found:
    words = line.text.split(b" ")
    if words[:2] == [b"vchkpw:", b"login"]:
        return found(bracketed(words[2]), words[4]) if len(words) == 5 and words[3] == b"from" else None
    if words[0] not in {b"vchkpw-pop3:", b"vchkpw-pop3s:", b"vchkpw-imap:", b"vchkpw-imaps:"}:
        return None
    if words[1][:1] == b"(":
        del words[1]
    user, _, address = words[-1].partition(b":")
    return found(user, address) if words[1:-1] == [b"login", b"success"] else None


def zimbra(line: Line) -> Found:
    head, _, said = line.text.partition(b"] [")
    context, _, said = said.partition(b"] ")
    service, _, rest = said.partition(b" - user ")
    user, _, _how = rest.partition(b" authenticated, mechanism=")
    if not head.startswith(b"INFO") or service not in {b"imap", b"pop"} or context.lower().count(b"oip=") != 1:
        return None
    pairs = context.split(b";")
    position = next((n for n, pair in enumerate(pairs) if pair.startswith(b"oip=")), 0)
    known = (b"name=", b"aname=", b"mid=", b"ip=")
    return found(user, pairs[position][4:]) if all(pair.startswith(known) for pair in pairs[:position]) else None


def nginx(line: Line) -> Found:
    head, _, rest = line.text.partition(b" client logged in, client: ")
    client, _, rest = rest.partition(b", server: ")
    server, _, rest = rest.partition(b', login: "')
    user, _, upstream = rest.partition(b'", upstream: ')
    if not head.startswith(b"[info] ") or server.rpartition(b":")[2] not in {b"110", b"143", b"993", b"995"}:
        return None
    return found(user, client.removesuffix(b" using starttls")) if upstream and b'"' not in upstream else None


def stalwart(line: Line) -> Found:
    word, _, rest = line.text.partition(b" (auth.success) ")
    outside = b"".join(rest.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    values = dict(pair.partition(b" = ")[::2] for pair in outside.split(b", "))
    names = rest.split(b'accountName = "')
    if word != b"INFO Authentication successful" or outside.count(b"remoteIp = ") != 1 or len(names) < 2:
        return None
    if values.get(b"localPort", b"110") not in {b"110", b"143", b"993", b"995"}:
        return None
    return (b"", values[b"remoteIp"]) if is_address(values.get(b"remoteIp", b"")) else None


SERVERS: dict[str, Callable[[Line], Found]] = {
    "courier": courier,
    "cyrus": cyrus,
    "uw": uw,
    "qpopper": qpopper,
    "qpopper-stats": qpopper_stats,
    "popa3d": popa3d,
    "solid-pop3d": solid,
    "vm-pop3d": vm,
    "teapop": teapop,
    "tpop3d": tpop3d,
    "gnu-pop3d": gnu,
    "cucipop": cucipop,
    "perdition": perdition,
    "vpopmail": vpopmail,
    "zimbra": zimbra,
    "nginx": nginx,
    "stalwart": stalwart,
}
