"""Small POP3 servers of one plain sentence each: teapop, tpop3d, gnu-pop3d, cucipop.

teapop: the first bracket is the server's own address, the last the client's.
tpop3d: a login is what `fork_child` says; `finished session` carries no id, and is ignored.
gnu-pop3d: the pop3d of GNU mailutils logs no address, and grants nothing.
cucipop: one line, at the end of a session: user, address, and counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from popauthd.formats.row import Format
from popauthd.formats.sentence import ADDRESS, HOST, USER, Sentence, carries

_TEAPOP = Sentence(
    "teapop",
    re.compile(
        rb"Successful login for "
        + USER
        + rb" \[(?P<lip>[0-9A-Fa-f:.]{2,45})\] from (?:"
        + HOST
        + rb" )?\["
        + ADDRESS
        + rb"\]"
    ),
    re.compile(rb"Successful "),
    carries(rb"successful login for "),
)
_TPOP3D = Sentence(
    "tpop3d",
    re.compile(
        rb"fork_child: \[[0-9]{1,6}\]"
        + ADDRESS
        + rb"(?:/"
        + HOST
        + rb")?: began session for `"
        + USER
        + rb"' with [a-z0-9_-]{1,32}; child PID is [0-9]{1,10}"
    ),
    re.compile(rb"fork_child: [^\n]{0,500}began session"),
    carries(rb"fork_child: \[[0-9]{1,6}\][^\n]{0,500}began session for "),
)
_GNU = Sentence(
    "gnu-pop3d",
    re.compile(rb"User " + USER + rb" logged in with mailbox [^\x00-\x20\x7f'`\"\[\]]{1,255} from " + ADDRESS),
    re.compile(rb"User [^ ]{0,255} logged in with mailbox [^ ]{0,255} from "),
    carries(rb"user [^\n]{0,255} logged in with mailbox [^\n]{0,255} from "),
)
_CUCIPOP = Sentence(
    "cucipop",
    re.compile(
        rb"" + USER + rb" " + ADDRESS + rb" [0-9]{1,10}, [0-9]{1,10} \([0-9]{1,12}\), [0-9]{1,10} \([0-9]{1,12}\)"
    ),
    re.compile(rb"[^ ]{1,255} [^ ]{1,255} [0-9]{1,10}, [0-9]{1,10} \([0-9]{1,12}\), "),
    carries(rb" [0-9a-f:.]{2,45} [0-9]{1,10}, [0-9]{1,10} \([0-9]{1,12}\), [0-9]{1,10} \("),
)


def _row(sentence: Sentence, trigger: bytes, since: str, source: str) -> Format:
    looks: Callable[[bytes], bool] = sentence.looks
    name = sentence.name
    return Format(name, name, (name,), sentence.read, (trigger,), looks, since, f"{source}; samples only")


_OLDER = "pop-before-smtp's pattern; no server source seen"
ROWS = (
    _row(_TEAPOP, b"successful ", "teapop 0.3", "jediblair/teapop teapop/pop_auth.c, contrib/popauther3.pl"),
    _row(_TPOP3D, b"began session", "tpop3d 1.4", "colinmkeith/tpop3d netloop.c, connection.c"),
    _row(_GNU, b" logged in with mailbox ", "gnu-pop3d 0.9", _OLDER),
    _row(_CUCIPOP, b"), ", "cucipop 1.31", _OLDER),
)
