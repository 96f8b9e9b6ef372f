"""Whatever happens to popauthd, in whatever order: what was revoked, has run out or was never granted does not relay.

A few random sequences in the usual run, always the same ones, and short ones with a name. POPAUTHD_SEQUENCES sets how
many random ones, POPAUTHD_SEED the first seed, or "random". One that fails is told with its seed and its steps, made
shorter, and can be played again by its seed alone. The campaign of a release, two at a time, 20 minutes:

    POPAUTHD_SEED=random POPAUTHD_SEQUENCES=200 sh tests/run.sh -s tests/faults/test_campaign.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from watchdog.events import FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

from tests.faults.campaign import opening, played, sequence, shortened
from tests.faults.clocks import may_mount
from tests.faults.happenings import HAPPENINGS
from tests.faults.machine import Machine, Step
from tests.faults.material import ADDRESSES, RULES
from tests.faults.readers import Wrong
from tests.support.dose import dose, first_seed

SEQUENCES = dose("SEQUENCES", 2)
SEED = first_seed(5001)
AT_ONCE = 2
A, B, C = ADDRESSES[:3]
TLS, PLAIN = "tls imap PLAIN", "plain imap PLAIN"
HOLDING = next(number for number, rules in enumerate(RULES) if rules.hold_at_most and not rules.never)
SHARED = next(number for number, rules in enumerate(RULES) if rules.shared_users < 25)
WITH_TLS = next(number for number, rules in enumerate(RULES) if rules.require_tls)
SHORTER = next(number for number, rules in enumerate(RULES) if rules.lifetime < 900)
SHORTER_HOLD = next(number for number, rules in enumerate(RULES) if rules.lifetime < 900 and rules.hold_at_most)

SHORT: tuple[tuple[str, list[Step]], ...] = (
    ("logins stamped ahead are revoked by address, by user, and with everybody although a session is open", [
        *opening(HOLDING), ("login", A, "anna", 100), ("revoke", "address", A), ("login", A, "bert@example.org", 110),
        ("login", B, "bert@example.org"), ("revoke", "user", "bert@example.org"), ("login", C, "carla", 100, TLS, 1),
        ("revoke", "all", ""), ("suspend", 1000)]),
    ("revoked, granted for days, revoked, all within a second", [
        *opening(0),
        *(hurried for address in (A, B, C) for step in (
            ("revoke", "address", address), ("grant", address, 604800), ("revoke", "address", address))
          for hurried in (("hurry",), step)),
        ("start",)]),
    ("killed as soon as a revocation is answered", [
        *opening(0),
        *(step for address in (A, B) for step in (
            ("login", address, "anna"), ("hurry",), ("revoke", "address", address), ("kill", "watch"), ("start",)))]),
    ("stopping while starting keeps revocations", [
        *opening(0), ("login", A, "anna"), ("login", B, "bert@example.org"), ("revoke", "address", A),
        ("revoke", "user", "bert@example.org"), ("stop while starting",), ("start",)]),
    ("books that are damaged in any way keep revocations", [
        *opening(0), ("login", A, "anna"), ("login", B, "carla"), ("revoke", "address", A),
        *(("corrupt", "state/books.mdb", how) for how in ("zero", "half", "random", "gone", "empty", "head"))]),
    ("a map that is damaged in any way is made anew", [
        *opening(0), ("login", A, "anna"), ("login", B, "carla"), ("revoke", "address", A),
        *(("corrupt", "run/relay.mdb", how) for how in ("zero", "half", "random", "gone", "empty", "head"))]),
    ("a second run with the same books", [*opening(0), ("login", A, "anna"), ("second", "same")]),
    ("a second run with other books", [*opening(0), ("login", A, "anna"), ("second", "other books")]),
    ("a boot with the clock two hours behind, and an expired login", [
        *opening(0), ("login", A, "anna"), ("suspend", 1000), ("login", B, "anna"), ("boot", -7200), ("suspend", 920)]),
    ("a boot with the clock a month behind", [
        *opening(0), ("login", A, "anna"), ("grant", B, 86400), ("boot", -86400 * 30), ("step", 86400 * 30)]),
    ("a crowd whose logins are late and whose sessions are open", [
        *opening(SHARED), ("stop",), ("crowd", A, 5), ("suspend", 1000), ("start",)]),
    ("tighter limits", [
        *opening(0), ("login", A, "anna"), ("login", B, "carla", 0, PLAIN), ("suspend", 400), ("configure", WITH_TLS),
        ("configure", SHORTER)]),
    ("tighter limits of an open session", [
        *opening(HOLDING), ("login", A, "anna", 0, TLS, 1), ("suspend", 4000), ("configure", SHORTER_HOLD)]),
    ("steps back and ahead while it runs and while it does not", [
        *opening(0), ("login", A, "anna"), ("step", -3600), ("login", B, "carla"), ("stop",), ("step", -600),
        ("start",), ("step", 3600), ("step", -3600), ("suspend", 900)]),
    ("revoked while the clock is a month behind, and read again when it is right", [
        *opening(0), ("login", A, "anna"), ("login", B, "carla"), ("step", -86400 * 30), ("revoke", "address", A),
        ("revoke", "user", "carla"), ("step", 86400 * 30), ("corrupt", "state/books.mdb", "gone")]),
    ("everybody is revoked, the clock goes back a day, and new books are made before it is right and after", [
        *opening(0), ("login", A, "anna"), ("revoke", "all", ""), ("step", -86400), ("login", B, "carla"),
        ("corrupt", "state/books.mdb", "gone"), ("login", C, "carla"), ("step", 86400),
        ("corrupt", "state/books.mdb", "gone")]),
    ("a revoked line is read again after the clock was set back", [
        *opening(0), ("login", A, "anna"), ("revoke", "address", A), ("step", -600), ("suspend", 590),
        ("corrupt", "state/books.mdb", "gone")]),
)  # fmt: skip


@pytest.fixture(scope="module")
def mounting() -> bool:
    """Whether machines can be booted here; where root may not mount, the rest is tried."""
    able = may_mount()
    assert able or os.environ.get("POPAUTHD_CI", "no") != "yes"
    if not able:
        print("boots are left out: mounting is not allowed here")
    return able


@pytest.fixture(scope="module")
def plays(request: pytest.FixtureRequest, mounting: bool) -> Iterator[dict[str, Future[Wrong | None]]]:
    """The short sequences that were chosen, two at a time: most of their time is waiting."""
    chosen = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(played, steps, mounting=mounting) for name, steps in SHORT if name in chosen}


@pytest.mark.parametrize("name", [name for name, _steps in SHORT])
def test_nobody_relays_who_must_not(name: str, plays: dict[str, Future[Wrong | None]]) -> None:
    assert plays[name].result() is None


@pytest.mark.slow
def test_nobody_relays_who_must_not_whatever_happened(mounting: bool) -> None:
    print(f"seeds from {SEED} on, {SEQUENCES} sequences")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(pool.map(lambda number: _told(number, mounting=mounting), range(SEED, SEED + SEQUENCES)))
    assert not any(wrong), f"seeds from {SEED} on, {SEQUENCES} sequences\n" + "\n".join(filter(None, wrong))


def _told(number: int, *, mounting: bool) -> str:
    """Play the sequence of a seed; what was wrong, with the shortest steps that do the same, or ""."""
    steps = sequence(number)
    try:
        wrong = played(steps, mounting=mounting)
        if wrong is None:
            return ""
        kept, short = shortened(steps, wrong, mounting=mounting)
    except Exception as error:  # whatever failed, the seed must be told
        return f"seed {number}: {type(error).__name__}: {error}"
    return f"seed {number}: {wrong}\nshorter: {short}\n" + "\n".join(f"    {step}" for step in kept)


def test_the_clocks_of_an_idle_machine_are_nothing_that_happens_to_its_log(tmp_path: Path, mounting: bool) -> None:
    """Otherwise each look at the clock is an event for the watcher, and each event a look at the clock."""
    machine = Machine(tmp_path / "machine", mounting=mounting)
    observer = InotifyObserver()  # type: ignore[no-untyped-call]
    seen = Seen()
    try:
        machine.play([*opening(0)], HAPPENINGS)
        observer.start()  # type: ignore[no-untyped-call]
        observer.schedule(seen, str(machine.log.path.parent))  # type: ignore[no-untyped-call]
        (tmp_path / "machine" / "begun").write_text("")
        time.sleep(2)
        assert 0 < len(seen.events) < 200
    finally:
        observer.stop()  # type: ignore[no-untyped-call]
        observer.join()
        machine.close()


class Seen(FileSystemEventHandler):
    """Keeps what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[object] = []

    def on_any_event(self, event: object) -> None:
        self.events.append(event)
