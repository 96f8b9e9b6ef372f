"""popa3d: `Session from 198.51.100.7`, then `Authentication passed for alice`.

With a patch of pop-before-smtp's it is one line, `Authentication passed for alice -- [198.51.100.7]`. What a failed
login says begins otherwise, and its user stands behind its first word.

A user of popa3d could call himself as the patched line goes on, ` -- [ADDRESS]`: a line that names another address than
the first line of its process did is refused.
LIMIT: where that first line is missing, it counts by itself; no system user has a blank in his name.
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
