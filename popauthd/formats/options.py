"""How the lines of one source are read, and which options are not valid."""

from __future__ import annotations

import re
from dataclasses import dataclass

from popauthd.formats import headers, journal_fields
from popauthd.formats.row import Format
from popauthd.formats.servers import FORMATS


@dataclass(frozen=True, slots=True)
class Options:
    """How the lines of one source are read.

    framing: one of headers.FRAMINGS; "auto" takes the framing of the first line that fits exactly one.
    formats: the servers whose logins count. proxy_lines: whether the lines of a Dovecot proxy count.
    timezone: for time stamps without a zone: an IANA name, or "" for the machine's zone. timestamp: Dovecot's
    log_timestamp; "" for the defaults. hostnames: the syslog hosts to accept; () for any.
    programs: Dovecot's syslog identifiers. unit, executable: the values that the trusted fields of a journal record
    must have; unit is "" where systemd does not run. services, rip_last: see row.Known; services as pairs.
    """

    framing: str = headers.AUTO
    formats: tuple[str, ...] = ("dovecot",)
    proxy_lines: bool = False
    timezone: str = ""
    timestamp: str = ""
    hostnames: tuple[str, ...] = ()
    programs: tuple[str, ...] = ("dovecot",)
    unit: str = journal_fields.UNIT
    executable: str = journal_fields.LOG_PROCESS
    services: tuple[tuple[str, str], ...] = ()
    rip_last: bool = False


def check(options: Options) -> None:
    """Raise ValueError for a name that is not known, and for a name that cannot stand in any line."""
    named = {row.part_of for row in FORMATS}
    if options.framing not in headers.FRAMINGS:
        raise ValueError(f"framing {options.framing!r} is not known; use {', '.join(headers.FRAMINGS)}")
    for name in options.formats:
        if name not in named:
            raise ValueError(f"format {name!r} is not known; use {', '.join(sorted(named))}")
    if options.framing == headers.JOURNAL and set(options.formats) != {"dovecot"}:
        raise ValueError("the journal can be read for dovecot alone; let syslog write a file for other formats")
    if not options.formats:
        raise ValueError("formats is empty: no line could be a login; leave it out for dovecot")
    if not options.programs:
        raise ValueError("programs is empty: no line could be a login; leave it out for dovecot")
    for key, names, form in (
        ("programs", options.programs, headers.PROGRAM),
        ("hostnames", options.hostnames, headers.HOST),
    ):
        for name in names:
            if not re.fullmatch(form, name.encode("utf-8", "replace")):
                raise ValueError(f"{key}: {name!r} cannot stand in a syslog line")


def by_program(rows: list[Format], options: Options, *, prefixed: bool) -> dict[bytes, tuple[Format, ...]]:
    """The formats by syslog identifier. prefixed: only the formats whose program may have a prefix and a slash."""
    programs: dict[bytes, tuple[Format, ...]] = {}
    for row in rows:
        if prefixed and not row.prefixed:
            continue
        for name in options.programs if row.renamed and row.programs else row.programs:
            programs[name.encode()] = (*programs.get(name.encode(), ()), row)
    return programs
