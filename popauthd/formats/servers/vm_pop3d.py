"""vm-pop3d: `Connect from 198.51.100.7`, then `User alice logged in`.

Newer versions write one line, `User 'alice' logged in from 198.51.100.7`, DirectAdmin's with `, nmsgs=3` at its end.
"""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries
from popauthd.formats.two_lines import TwoLines

LINES = TwoLines(
    re.compile(rb"Connect from " + ADDRESS),
    re.compile(rb"User " + USER + rb" logged in"),
    Sentence(
        "vm-pop3d",
        re.compile(rb"User '" + USER + rb"' logged in from " + ADDRESS + rb"(?:, nmsgs=[0-9]{1,10})?"),
        re.compile(rb"User '?[^ ]{0,255} logged in"),
        carries(rb"user [^ \n]{0,255} logged in"),
    ),
)
ROWS = (
    LINES.row(
        ("vm-pop3d",),
        (b"connect from ", b" logged in"),
        "vm-pop3d 1.1",
        "pop-before-smtp's patterns; no server source seen; samples only",
    ),
)
