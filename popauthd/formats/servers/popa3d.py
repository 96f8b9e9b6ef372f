"""popa3d: `Session from 198.51.100.7`, then `Authentication passed for alice`.

With a patch from pop-before-smtp it is one line, `Authentication passed for alice -- [198.51.100.7]`. The line of a
failed login begins with other words, and its user comes after them.

A user whose name ends in ` -- [ADDRESS]` could make his line look like the patched one. So a line is refused if it
names another address than the first line of its process did.
LIMIT: if that first line is missing, the line counts by itself. No system user has a blank in his name.
"""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries
from popauthd.formats.two_lines import TwoLines

LINES = TwoLines(
    re.compile(rb"Session from " + ADDRESS),
    re.compile(rb"Authentication passed for " + USER),
    Sentence(
        "popa3d",
        re.compile(rb"Authentication passed for " + USER + rb" -- \[" + ADDRESS + rb"\]"),
        re.compile(rb"Authentication passed|Session from "),
        carries(rb"authentication passed for "),
    ),
)
ROWS = (
    LINES.row(
        ("popa3d",),
        (b"session from ", b"authentication passed"),
        "popa3d 0.4 to 1.0",
        "popa3d's strings; pop-before-smtp contrib/popa3d for the patched line; samples only",
    ),
)
