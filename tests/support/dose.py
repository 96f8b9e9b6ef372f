"""How much of a campaign is played, and from which seed: as the environment says, else little and always the same."""

from __future__ import annotations

import os
import secrets


def dose(name: str, usual: int) -> int:
    """How much: POPAUTHD_<name>, or as much as every run of the tests plays."""
    return int(os.environ.get(f"POPAUTHD_{name}", usual))


def first_seed(usual: int) -> int:
    """The seed: POPAUTHD_SEED; a new one each time for POPAUTHD_SEED=random; else the one of every run of the tests.

    Whoever uses it names it when something fails.
    """
    told = os.environ.get("POPAUTHD_SEED", str(usual))
    return secrets.randbelow(1_000_000) if told == "random" else int(told)
