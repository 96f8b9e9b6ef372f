"""gnu-pop3d: one plain sentence. The pop3d of GNU mailutils logs no address, so its logins grant nothing."""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries, row_of

SENTENCE = Sentence(
    "gnu-pop3d",
    re.compile(rb"User " + USER + rb" logged in with mailbox [^\x00-\x20\x7f'`\"\[\]]{1,255} from " + ADDRESS),
    re.compile(rb"User [^ ]{0,255} logged in with mailbox [^ ]{0,255} from "),
    carries(rb"user [^\n]{0,255} logged in with mailbox [^\n]{0,255} from "),
)
_SOURCE = "pop-before-smtp's pattern; no server source seen"
ROWS = (row_of(SENTENCE, b" logged in with mailbox ", "gnu-pop3d 0.9", _SOURCE),)
