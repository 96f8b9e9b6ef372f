"""User names that a server may have cut before it logged them. Pure.

Dovecot writes a name of more than 80 bytes as its beginning and `...`, together 77 to 80 bytes: a character of
UTF-8 is never cut in two, and takes up to four bytes. Control characters and bytes that are no UTF-8 become question
marks before, one for one. Source: str_sanitize in src/lib/str-sanitize.c, 80 in src/login-common/client-common.c;
seen on 2.3.19. Two users can have one such name, and its domain may be missing: it names nobody.

Dovecot 1.x cuts a character in two. Our text shows each byte of it as `\\xNN`, so the text is longer: no upper bound.

LIMIT: Dovecot 2.0 to 2.2 cut a name that has both control characters and others than ASCII at any length.
LIMIT: where login_log_format_elements itself shortens the name (`%.20u`), nothing in the line tells.
"""

from __future__ import annotations

MARK = "..."
SHORTEST = 77  # bytes, with the mark


def may_be_cut(user: str) -> bool:
    """Whether a user name, as a log line tells it, may be the beginning of a longer one. Never raises.

    A name that is that long and really ends in three dots cannot be told from one that was cut.
    """
    return user.endswith(MARK) and len(user.encode("utf-8", "surrogatepass")) >= SHORTEST
