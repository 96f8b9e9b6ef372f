"""Sequences for a Machine: at random, or short ones with a name; played, and a failing one made shorter."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.happenings import HAPPENINGS
from tests.faults.machine import Machine, Step
from tests.faults.material import ADDRESSES, DAMAGE, RULES, USERS
from tests.faults.readers import Faulty, Wrong

STEPS_A_SEQUENCE = (12, 24)
KINDS = ("tls imap PLAIN",) * 4 + ("plain imap PLAIN", "tls pop3 PLAIN", "tls imap LOGIN")
AHEAD = (0, 0, 0, 0, 60, 100, -30, -300, -2000, 600)
LEAPS = (-86400 * 30, -86400, -7200, -3600, -600, -90, -5, 5, 90, 600, 3600, 86400, 86400 * 30)


def _login(dice: random.Random) -> Step:
    return (
        "login", dice.choice(ADDRESSES), dice.choice(USERS), dice.choice(AHEAD), dice.choice(KINDS), dice.randrange(2)
    )  # fmt: skip


def _revoke(dice: random.Random) -> Step:
    kind = dice.choice(("address", "address", "user", "all"))
    return ("revoke", kind, dice.choice({"address": ADDRESSES, "user": USERS, "all": ("",)}[kind]))


def _corrupt(dice: random.Random) -> Step:
    what = dice.choice(("state/books.mdb",) * 3 + ("run/relay.mdb", "state/books.mdb-lock", "run/relay.mdb-lock"))
    return ("corrupt", what, dice.choice([how for how in DAMAGE if how != "torn"]))


CHOICES: tuple[tuple[int, Callable[[random.Random], Step]], ...] = (
    (30, _login),
    (3, lambda dice: ("crowd", dice.choice(ADDRESSES), dice.choice((2, 5)))),
    (6, lambda dice: ("end", dice.choice(ADDRESSES))),
    (14, _revoke),
    (6, lambda dice: ("grant", dice.choice(ADDRESSES), dice.choice((60, 900, 86400, 604800)))),
    (8, lambda dice: ("start",)),
    (4, lambda dice: ("stop",)),
    (4, lambda dice: ("stop while starting",)),
    (6, lambda dice: ("kill", dice.choice(("watch", "watch", "respond")))),
    (9, lambda dice: ("step", dice.choice(LEAPS))),
    (9, lambda dice: ("suspend", dice.choice((30, 200, 500, 890, 920, 4000, 30000)))),
    (5, lambda dice: ("boot", dice.choice((0, 0, *LEAPS)))),
    (7, lambda dice: ("configure", dice.randrange(len(RULES)))),
    (6, lambda dice: ("rotate", dice.choice(("create", "copytruncate", "gz")))),
    (7, _corrupt),
    (2, lambda dice: ("corrupt", "state/revocations.jsonl", "torn")),
    (2, lambda dice: ("second", dice.choice(("same", "other books")))),
    (8, lambda dice: ("hurry",)),
)


def sequence(seed: int) -> list[Step]:
    """The steps of a seed. It begins with a running popauthd whose log has told of the end of a session."""
    dice = random.Random(seed)
    makers = [maker for weight, maker in CHOICES for _ in range(weight)]
    steps = [dice.choice(makers)(dice) for _ in range(dice.randint(*STEPS_A_SEQUENCE))]
    return [*opening(dice.randrange(len(RULES))), *steps, ("start",)]


def opening(rules: int) -> list[Step]:
    """How a sequence begins."""
    beginning: list[Step] = [("configure", rules), ("start",)]
    if RULES[rules].hold_at_most:
        beginning += [("login", ADDRESSES[-1], "elsa", 0, "tls imap PLAIN", 1), ("end", ADDRESSES[-1])]
    return beginning


def played(steps: Sequence[Step], *, mounting: bool) -> Wrong | None:
    """Play a sequence on a machine of its own; what was wrong first, or None."""
    if not mounting:
        steps = [step for step in steps if step[0] != "boot"]
    with tempfile.TemporaryDirectory(prefix="popauthd-campaign-") as name:
        machine = Machine(Path(name) / "machine", mounting=mounting)
        try:
            machine.play(list(steps), HAPPENINGS)
        except Faulty as faulty:
            return faulty.wrong._replace(said=f"{faulty.wrong.said} ({machine.last_words()})")
        finally:
            machine.close()
    return None


def shortened(steps: Sequence[Step], wrong: Wrong, *, mounting: bool) -> tuple[list[Step], Wrong]:
    """A shorter sequence with the same kind of fault: the steps after it cut off, then one by one left out."""
    kept = list(steps[: wrong.step + 1])
    for index in reversed(range(len(kept) - 1)):
        shorter = kept[:index] + kept[index + 1 :]
        again = played(shorter, mounting=mounting)
        if again is not None and again.kind == wrong.kind:
            kept, wrong = shorter[: again.step + 1], again
    return kept, wrong
