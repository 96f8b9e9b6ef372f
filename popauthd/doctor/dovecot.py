"""The check of Dovecot: does it write what popauthd reads, judged as `popauthctl dovecot status` judges it."""

from __future__ import annotations

import os

from popauthd.config import Config
from popauthd.doctor.verdicts import Verdict, Verdicts, fail, ok, skip
from popauthd.dovecotcheck import Finding, machine
from popauthd.dovecotcheck.check import evidence, judged
from popauthd.errors import SourceError
from popauthd.status import Status

# That a log is syslog, which others can write: where nobody else has an account, somebody may have decided for it, and
# a doctor who is never content is not heard.
DECIDED = ("source", "forgeable")
MORE = "popauthctl dovecot status"
NOT_COUNTED = "no [[source]] counts Dovecot's logins"


def dovecot(config: Config, doveconf: str, status: Status | None = None) -> Verdicts:
    """Whether its logins reach popauthd, and nobody can forge one.

    doveconf: a file with the output of `doveconf -n`, "" to ask it. status: the running watcher's, None without one.
    """
    if not counts(config):
        yield skip(NOT_COUNTED)
        return
    try:
        configuration = machine.dovecot(doveconf or None)
    except SourceError as error:
        yield _unread(error)
        return
    seen = evidence(config, status)
    findings = judged(config, configuration, seen)
    grave = [finding for finding in findings if _grave(finding)]
    for finding in grave:
        yield fail(f"{finding.check}: {finding.seen}", finding.advice or f"see {MORE}")
    if not grave:
        warnings = sum(finding.severity in ("warning", "danger") for finding in findings)
        more = f", with {warnings} warning{'s' * (warnings != 1)}: {MORE}" if warnings else ""
        version = ".".join(map(str, configuration.version))
        proof = f"{'its logins reach popauthd' if seen.lately else 'set up as popauthd needs it'}; {seen.words}"
        if config.pushed and not config.sources:
            proof = "set up to tell popauthd of its logins"
        yield ok(f"version {version}, {proof}{more}")


def counts(config: Config) -> bool:
    """Whether logins of Dovecot's grant anything."""
    counted = any("dovecot" in source.formats for source in config.sources)
    return counted or not config.sources or bool(config.pushed)


def _grave(finding: Finding) -> bool:
    return finding.fault or (finding.severity == "danger" and finding.check not in DECIDED)


def _unread(error: SourceError) -> Verdict:
    if isinstance(error.__cause__, FileNotFoundError):
        return skip(str(error))
    if os.geteuid() != 0:
        return skip(f"{error}; run this as root")
    return fail(str(error), f"repair it until `{MORE}` is content")
