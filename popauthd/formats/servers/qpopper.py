"""Qpopper: `(v4.0.5) POP login by user "alice" at (client.example) 198.51.100.7 [pop_log.c:244]`.

Qpopper writes it only with `set log-login = true`. At the end of a session it writes statistics
(`Stats: alice 0 0 3 1200 client.example 198.51.100.7`). They are a format of their own, known only from an older tool.
"""

from __future__ import annotations

import re

from popauthd.formats.row import Format
from popauthd.formats.sentence import ADDRESS, HOST, USER, Sentence, carries

_looks, _looks_stats = carries(rb"pop login by user"), carries(rb"stats: ")

SENTENCE = Sentence(
    "qpopper",
    re.compile(
        rb"\(v[0-9][0-9a-z.]{0,15}\) POP login by user \""
        + USER
        + rb"\" at \("
        + HOST
        + rb"\) "
        + ADDRESS
        + rb"(?: \[[a-z_]{1,32}\.c:[0-9]{1,5}\])?"
    ),
    re.compile(rb"\(v[^ ]{0,16}\) POP login by user"),
    _looks,
)
STATS = Sentence(
    "qpopper-stats",
    re.compile(rb"Stats: " + USER + rb"(?: [0-9]{1,10}){4} " + HOST + rb" " + ADDRESS),
    re.compile(rb"Stats: "),
    _looks_stats,
)

ROWS = (
    Format(
        name="qpopper",
        part_of="qpopper",
        programs=("qpopper", "popper", "in.qpopper", "in.popper"),
        read=SENTENCE.read,
        triggers=(b"pop login by user",),
        looks_like_login=_looks,
        since="Qpopper 4.0 with log-login",
        source="Qpopper 4.0 popper/pop_log.c; pop-before-smtp for its own file; samples only",
        own="qpopper",
    ),
    Format(
        name="qpopper-stats",
        part_of="qpopper-stats",
        programs=("qpopper", "popper", "in.qpopper", "in.popper"),
        read=STATS.read,
        triggers=(b"stats: ",),
        looks_like_login=_looks_stats,
        since="Qpopper 2.x with -s",
        source="pop-before-smtp's pattern; no server source seen; samples only",
    ),
)
