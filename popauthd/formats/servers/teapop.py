"""teapop: one plain sentence. The first bracket is the server's own address, the last the client's."""

from __future__ import annotations

import re

from popauthd.formats.sentence import ADDRESS, HOST, USER, Sentence, carries, row_of

SENTENCE = Sentence(
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
ROWS = (row_of(SENTENCE, b"successful ", "teapop 0.3", "jediblair/teapop teapop/pop_auth.c, contrib/popauther3.pl"),)
