"""Lines of Dovecot that several tests read."""

from __future__ import annotations

import base64
import json
import re
from ipaddress import ip_address
from typing import Any

from popauthd.model import Login
from tests.support.corpus_samples import CORPUS

Case = dict[str, Any]  # a row of the adversarial corpus
SAMPLES = CORPUS / "dovecot.txt"
LINE = (
    b"Nov 23 21:00:00 imap-login: Info: Login: user=<alice@example.org>, method=PLAIN,"
    b" rip=192.0.2.10, lip=198.51.100.5, mpid=4242, TLS, session=<aKTnLvhgIrN/AAAB>"
)
END = b"Nov 23 21:00:00 imap(alice)<4242><aKTn>: Info: Disconnected: Logged out in=8"
OTHER_HOST = b"Nov 23 21:00:00 imap2 dovecot: " + LINE[16:].replace(b"Info: ", b"")


def raw(case: Case) -> bytes:
    """The bytes of a case's line."""
    if case.get("line_b64") is not None:
        return base64.b64decode(case["line_b64"])
    if case.get("line_repeat") is not None:
        long = case["line_repeat"]
        byte = long["byte"].encode() if isinstance(long["byte"], str) else bytes([long["byte"]])
        return byte * int(long["count"]) + str(long.get("then", "")).encode()
    return str(case["line"]).encode()


def defensible(line: bytes, login: Login) -> bool:
    """Whether a login can honestly be read in this line: one message, one rip, outside the user's brackets."""
    text = json.loads(line) if line[:1] == b"{" else line
    if isinstance(text, dict):
        inner = text.get("MESSAGE", text.get("log", ""))
        text = (
            bytes(inner) if isinstance(inner, list) else str(inner).removesuffix("\n").encode("utf-8", "surrogatepass")
        )
    if re.match(rb"imap-login: [0-9]|pop3-login: [0-9]", text):
        whole = text.decode("utf-8", "backslashreplace")
        return whole.endswith(f" Info: Login: {login.user} [{login.address}]")
    for word in (b"-login: Login: ", b"-login: Info: Login: ", b"-login: Logged in: ", b"-login: Info: Logged in: "):
        head, found, message = text.partition(word)
        if (
            found
            and b"<" not in re.sub(rb"^<[0-9]{1,3}>(?:1 )?|<[a-z0-9]+\.[a-z0-9]+> ", b"", head)
            and b"ogin" not in head
        ):
            before, opening, rest = message.partition(b"user=<")
            user, closing, after = rest.partition(b">")
            outside = (before + after).split(b", ")
            rips = [part for part in outside if part.lower().startswith(b"rip=")]
            return (
                bool(opening and closing and user)
                and b"<" not in user
                and not {0, 13} & set(user)
                and [rip.replace(b'"', b"") for rip in rips] == [b"rip=" + login.address.encode()]
                and b"method=ANONYMOUS" not in outside
                and sum(part.startswith(b"session=<") for part in outside) <= 1
                and ip_address(login.address) is not None
                and login.user == user.decode("utf-8", "backslashreplace")
            )
    return False
