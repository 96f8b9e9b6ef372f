"""cucipop: one line at the end of a session, with user, address and counts."""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries, row_of

SENTENCE = Sentence(
    "cucipop",
    re.compile(
        rb"" + USER + rb" " + ADDRESS + rb" [0-9]{1,10}, [0-9]{1,10} \([0-9]{1,12}\), [0-9]{1,10} \([0-9]{1,12}\)"
    ),
    re.compile(rb"[^ ]{1,255} [^ ]{1,255} [0-9]{1,10}, [0-9]{1,10} \([0-9]{1,12}\), "),
    carries(rb" [0-9a-f:.]{2,45} [0-9]{1,10}, [0-9]{1,10} \([0-9]{1,12}\), [0-9]{1,10} \("),
)
ROWS = (row_of(SENTENCE, b"), ", "cucipop 1.31", "pop-before-smtp's pattern; no server source seen"),)
