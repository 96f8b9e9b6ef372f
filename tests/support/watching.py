"""A watcher's parts put together as the daemon does it, with the clock in the test's hand."""

from __future__ import annotations

from collections.abc import Callable

from popauthd.model import Login
from popauthd.policy.limits import Limits
from popauthd.store.books import Books
from popauthd.store.publisher import Publisher
from popauthd.watch.clock_steps import ClockSteps
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.ledger import Ledger
from popauthd.watch.limits_in_force import LimitsInForce
from popauthd.watch.notes import Notes
from popauthd.watch.watcher import Watcher


def housekeeping_of(
    books: Books, publisher: Publisher, limits: Limits, offset: Callable[[], int], history_seconds: int = 86400
) -> tuple[Ledger, Housekeeping]:
    """The ledger and its housekeeping. offset: the wall clock minus the boot clock."""
    ledger, notes = Ledger(books, publisher), Notes()
    clock, in_force = ClockSteps(ledger, offset), LimitsInForce(ledger, limits, notes)
    return ledger, Housekeeping(ledger, clock, in_force, notes, history_seconds=history_seconds)


def told(watcher: Watcher, login: Login, source: str) -> bool:
    """Hand in a login as Dovecot does itself; whether it is published."""
    return not watcher.intake.take([login], source, watcher.now()).refused
