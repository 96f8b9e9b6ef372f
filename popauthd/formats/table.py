"""The FORMATS table: one row for each server whose logins can be read.

To add a server: a file with its grammar (`read`, the TRIGGERS that read() cannot do without, and
`looks_like_login`), a row here, and sample lines in tests/corpus. A grammar gets the message after
the head (see framing.py) and knows nothing of heads, times or policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from popauthd.formats import dovecot
from popauthd.model import Event

Grammar = Callable[[bytes, bytes | None, bool, int], Event | None]


@dataclass(frozen=True, slots=True)
class Format:
    """One way of saying that somebody logged in.

    part_of: the name an administrator gives for it (several rows may belong to one server).
    programs: the syslog identifiers; empty if it is never in syslog. renamed: Reading.programs
    replaces them. read: text, the head's level, whether the text must carry it, time -> event.
    triggers: in lower case; without one of them in a line, read() gives nothing that matters.
    looks_like_login: whether a line in lower case carries a login's text, wherever it stands.
    """

    name: str
    part_of: str
    programs: tuple[str, ...]
    read: Grammar
    triggers: tuple[bytes, ...]
    looks_like_login: Callable[[bytes], bool]
    since: str
    source: str
    renamed: bool = False


FORMATS = (
    Format(
        name=dovecot.NAME,
        part_of="dovecot",
        programs=("dovecot",),
        read=dovecot.read,
        triggers=dovecot.TRIGGERS,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 1.0 to 2.4",
        source="dovecot/core src/login-common/login-settings.c, client-common.c; seen on 2.3.19.1 and 2.4.1",
        renamed=True,  # instance_name is the syslog identifier
    ),
    Format(
        name=dovecot.OLD_NAME,
        part_of="dovecot",
        programs=(),
        read=dovecot.read_old,
        triggers=dovecot.TRIGGERS,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 0.99",
        source="pop-before-smtp's configuration; wiki2.dovecot.org HowTo/PopBSMTPAndDovecot; no server source seen",
    ),
)
