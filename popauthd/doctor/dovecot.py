"""The check of Dovecot: does it write what popauthd reads, judged as `popauthctl dovecot status` judges it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from popauthd.doctor.context import Verdict, Visit, fail, ok, skip
from popauthd.dovecotcheck import Finding, machine
from popauthd.dovecotcheck.check import judged
from popauthd.errors import SourceError

LOST = ("source", "follows", "push")  # by what these warn of, logins are not seen at all
# That a log is syslog, which others can write: where nobody else has an account, somebody may have decided for it, and
# a doctor who is never content is not heard.
DECIDED = ("source", "forgeable")
MORE = "popauthctl dovecot status"


def dovecot(visit: Visit) -> Iterator[Verdict]:
    """Whether its logins reach popauthd, and nobody can forge one."""
    counted = any("dovecot" in source.formats for source in visit.config.sources)
    if visit.config.sources and not counted and not visit.config.pushed:
        yield skip("no [[source]] counts Dovecot's logins")
        return
    try:
        configuration = machine.dovecot(visit.paths.doveconf or None)
    except SourceError as error:
        yield _unread(error)
        return
    findings = judged(visit.config, configuration)
    grave = [finding for finding in findings if _grave(finding)]
    for finding in grave:
        yield fail(f"{finding.check}: {finding.seen}", finding.advice or f"see {MORE}")
    if not grave:
        warnings = sum(finding.severity in ("warning", "danger") for finding in findings)
        more = f", with {warnings} warning{'s' * (warnings != 1)}: {MORE}" if warnings else ""
        yield ok(f"version {'.'.join(map(str, configuration.version))}, its logins reach popauthd{more}")


def _grave(finding: Finding) -> bool:
    if finding.severity == "danger":
        return finding.check not in DECIDED
    return finding.severity == "warning" and finding.check in LOST


def _unread(error: SourceError) -> Verdict:
    if isinstance(error.__cause__, FileNotFoundError):
        return skip(str(error))
    if os.geteuid() != 0:
        return skip(f"{error}; run this as root")
    return fail(str(error), f"repair it until `{MORE}` is content")
