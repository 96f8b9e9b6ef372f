"""The table of checks, in the order in which they are made, and what each needs.

A check whose need is not well is skipped and says so: so one fault is one FAIL. What was granted is revoked
whatever happens in between.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from popauthd.doctor import daemons, dovecot, end_to_end, exim, permissions, push, running_exim
from popauthd.doctor.context import OK, Paths, Result, Verdict, Visit, fail, skip
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
    Check("exim-user", permissions.exim_user, ("config", "exim")),
    Check("run-dir", permissions.run_dir, ("exim-user",)),
    Check("map", permissions.relay_map, ("run-dir",)),
    Check("socket", permissions.lookup_socket, ("run-dir", "responder")),
    Check("host-list", permissions.host_list, ("run-dir",)),
    Check("readlookup", permissions.readlookup, ("map",)),
    Check("acl", exim.acl, ("config", "exim")),
    Check("reloaded", running_exim.reloaded, ("acl",)),
    Check("stranger", end_to_end.stranger, ("acl", "watcher")),
)
GRANT = Check("grant", end_to_end.grant, ("watcher",))
GRANTED = (
    Check("grant-socket", end_to_end.socket_yes, ("grant", "socket", "map")),
    Check("grant-readlookup", end_to_end.readlookup_yes, ("grant", "readlookup")),
    Check("grant-hostlist", end_to_end.host_list_yes, ("grant", "host-list")),
    Check("relay", end_to_end.relay, ("grant", "acl", "stranger")),
)
REVOKED = (Check("refused", end_to_end.refused, ("revoke",)),)
CHECKS = (*STANDING, GRANT, *GRANTED, *REVOKED)


def examine(config_path: str | None, paths: Paths) -> Generator[Result, None, None]:
    """Every check's results, one by one as they are known."""
    visit = Visit(config_path, paths)
    with end_to_end.no_way_out():
        yield from _each(visit, STANDING)
        try:
            yield from _each(visit, (GRANT, *GRANTED))
        finally:
            with end_to_end.undisturbed():
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
        verdict = end_to_end.revoke(visit) if visit.granting else skip("nothing was granted")
    except Exception as error:  # that it may not be revoked is what must be said
        verdict = _broken(error)
    return _kept(visit, "revoke", verdict)


def _kept(visit: Visit, word: str, verdict: Verdict) -> Result:
    result = Result(word, verdict.state, safe(verdict.seen, CUT), safe(verdict.advice, CUT))
    visit.results.append(result)
    return result
