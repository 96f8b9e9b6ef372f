"""tpop3d: a login is a line of `fork_child`. `finished session` has no session id, and is ignored."""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, HOST, USER, Sentence, carries, row_of

SENTENCE = Sentence(
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
ROWS = (row_of(SENTENCE, b"began session", "tpop3d 1.4", "colinmkeith/tpop3d netloop.c, connection.c"),)
