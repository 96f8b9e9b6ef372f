"""solid-pop3d: `connect from 198.51.100.7`, then `user alice authenticated`.

With --enable-logextend (Debian's) it is one line, `user alice authenticated - 198.51.100.7`.
"""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries
from popauthd.formats.two_lines import TwoLines

LINES = TwoLines(
    re.compile(rb"connect from " + ADDRESS),
    re.compile(rb"(?:mapped )?user " + USER + rb" authenticated(?: through APOP)?"),
    Sentence(
        "solid-pop3d",
        re.compile(rb"(?:mapped )?user " + USER + rb" authenticated(?: through APOP)? - " + ADDRESS),
        re.compile(rb"(?:mapped )?user [^\n]{0,500} authenticated"),
        carries(rb"user [^ \n]{0,255} authenticated"),
    ),
)
ROWS = (
    LINES.row(
        ("spop3d", "solid-pop3d"),
        (b"connect from ", b" authenticated"),
        "solid-pop3d 0.15",
        "solid-pop3d's strings; fail2ban's samples; samples only",
    ),
)
