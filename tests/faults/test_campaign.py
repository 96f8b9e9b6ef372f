"""Whatever happens to popauthd, in whatever order: what was revoked, has run out or was never granted does not relay.

A few random sequences in the usual run, and short ones with a name. POPAUTHD_SEQUENCES sets how many random ones,
POPAUTHD_SEED the first seed (it is printed). One that fails is printed with its steps, made shorter, and can be
played again by its seed alone. The campaign of a release, two at a time, 20 minutes:

    POPAUTHD_SEQUENCES=200 sh tests/run.sh -s tests/faults/test_campaign.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.campaign import opening, played, sequence, shortened
from tests.faults.clocks import may_mount
from tests.faults.machine import Step
from tests.faults.material import ADDRESSES, RULES
from tests.faults.readers import Wrong

SEQUENCES = int(os.environ.get("POPAUTHD_SEQUENCES", "2"))
SEED = int(os.environ.get("POPAUTHD_SEED", str(time.time_ns() % 1_000_000)))
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
    seeds = range(SEED, SEED + SEQUENCES)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda seed: played(sequence(seed), mounting=mounting), seeds))
    told = []
    for seed, wrong in zip(seeds, found, strict=True):
        if wrong is not None:
            steps, short = shortened(sequence(seed), wrong, mounting=mounting)
            told.append(f"seed {seed}: {wrong}\nshorter: {short}\n" + "\n".join(f"    {step}" for step in steps))
    assert not told, "\n".join(told)
