"""How the lines of one source are read, and what in it makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass

from popauthd.formats import headers, journal_fields
from popauthd.formats.row import Format
from popauthd.formats.servers import FORMATS


@dataclass(frozen=True, slots=True)
class Options:
    """How the lines of one source are read.

    framing: one of headers.FRAMINGS; "auto" decides at the first line that tells. proxy_lines: whether a
    Dovecot proxy's line counts.
    timezone: for stamps without a zone; an IANA name, "" for the machine's. timestamp: Dovecot's
    log_timestamp, "" for the defaults. hostnames: syslog hosts to accept, () for any.
    programs: Dovecot's syslog identifiers. unit, executable: what a journal record's trusted fields
    must be; unit "" where no systemd runs.
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


def check(options: Options) -> None:
    """Raise ValueError on names that are not known and on names that no line can have."""
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
    """The formats by syslog identifier. prefixed: only those that stand behind a prefix and a slash."""
    programs: dict[bytes, tuple[Format, ...]] = {}
    for row in rows:
        if prefixed and not row.prefixed:
            continue
        for name in options.programs if row.renamed and row.programs else row.programs:
            programs[name.encode()] = (*programs.get(name.encode(), ()), row)
    return programs
