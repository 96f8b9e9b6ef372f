"""The table of checks, in the order in which they are made, and what each needs.

A check whose need is not well is skipped and says so: so one fault is one FAIL. What was granted is revoked
whatever happens in between.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from popauthd.doctor import daemons, dovecot, exim, proof, push, reloaded, rights
from popauthd.doctor.visit import OK, Paths, Result, Verdict, Visit, fail, skip
from popauthd.text import safe

CUT = 400


class Check(NamedTuple):
    """One row. needs: the checks that must be well for this one to mean anything."""

    word: str
    run: Callable[[Visit], Iterator[Verdict]]
    needs: tuple[str, ...] = ()


STANDING = (
    Check("clock", daemons.clock),
    Check("config", daemons.configuration),
    Check("watcher", daemons.watcher, ("config",)),
    Check("responder", daemons.responder, ("config",)),
    Check("sources", daemons.sources, ("watcher",)),
    Check("stamps", daemons.stamps, ("watcher",)),
    Check("dovecot", dovecot.dovecot, ("config",)),
    Check("push", push.push, ("watcher",)),
    Check("exim", exim.installed),
    Check("exim-user", rights.exim_user, ("config", "exim")),
    Check("run-dir", rights.run_dir, ("exim-user",)),
    Check("map", rights.relay_map, ("run-dir",)),
    Check("socket", rights.lookup_socket, ("run-dir", "responder")),
    Check("host-list", rights.host_list, ("run-dir",)),
    Check("readlookup", rights.readlookup, ("map",)),
    Check("acl", exim.acl, ("config", "exim")),
    Check("reloaded", reloaded.reloaded, ("acl",)),
    Check("stranger", proof.stranger, ("acl", "watcher")),
)
GRANT = Check("grant", proof.grant, ("watcher",))
GRANTED = (
    Check("grant-socket", proof.socket_yes, ("grant", "socket", "map")),
    Check("grant-readlookup", proof.readlookup_yes, ("grant", "readlookup")),
    Check("grant-hostlist", proof.host_list_yes, ("grant", "host-list")),
    Check("relay", proof.relay, ("grant", "acl", "stranger")),
)
REVOKED = (Check("refused", proof.refused, ("revoke",)),)
CHECKS = (*STANDING, GRANT, *GRANTED, *REVOKED)


def examine(config_path: str | None, paths: Paths) -> Generator[Result, None, None]:
    """Every check's results, one by one as they are known."""
    visit = Visit(config_path, paths)
    with proof.no_way_out():
        yield from _each(visit, STANDING)
        try:
            yield from _each(visit, (GRANT, *GRANTED))
        finally:
            with proof.undisturbed():
                taken_back = _take_back(visit)
        yield taken_back
        yield from _each(visit, REVOKED)


def _each(visit: Visit, checks: Iterable[Check]) -> Iterator[Result]:
    for check in checks:
        unwell = next((need for need in check.needs if visit.state_of(need) != OK), None)
        verdicts = [skip(f"needs {unwell}, which is not well")] if unwell else check.run(visit)
        try:
            for verdict in verdicts:
                yield _kept(visit, check.word, verdict)
        except OSError as error:  # the world is in the way of looking
            yield _kept(visit, check.word, fail(f"cannot be looked at: {error}", "run this as root"))
        except Exception as error:  # whatever it met, the other checks are still worth making
            yield _kept(visit, check.word, _broken(error))


def _broken(error: Exception) -> Verdict:
    """What is said of a check that met what it does not know."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
    return fail(f"this check itself failed: {said}", "please report it, with this line")


def _take_back(visit: Visit) -> Result:
    """Revoke what may have been granted: also when the answer to the grant never came."""
    try:
        verdict = proof.revoke(visit) if visit.granting else skip("nothing was granted")
    except Exception as error:  # that it may not be revoked is what must be said
        verdict = _broken(error)
    return _kept(visit, "revoke", verdict)


def _kept(visit: Visit, word: str, verdict: Verdict) -> Result:
    result = Result(word, verdict.state, safe(verdict.seen, CUT), safe(verdict.advice, CUT))
    visit.results.append(result)
    return result
