"""Decides whether a login grants, for how long and for which key; and whether a grant still stands. Pure.

The clock is an argument. What is asked, and in which order, is in order.py.
"""

from __future__ import annotations

from popauthd.model import Grant, Login, Refusal
from popauthd.policy.address_facts import facts_of, key
from popauthd.policy.limits import Limits
from popauthd.policy.order import RULES, against


def decide(login: Login, limits: Limits, now: int) -> Grant | Refusal:
    """Turn a login into a grant, or say why not.

    now: epoch seconds; compared with login.at, which comes from a log and may lie.
    The grant runs from login.at, so reading a line twice changes nothing; from now if the stamp lies ahead of
    the clock, as it may by `future_seconds`. "expired" is said only of a login that nothing else is against.
    Never raises.
    """
    facts, here = facts_of(login.address, limits), login.local_address
    from_here = bool(here) and facts_of(here, limits).address == facts.address
    reason = against(login, facts, limits, now, from_here=from_here)
    if reason:
        return Refusal(reason, login.at, facts.address, login.user, login.format)
    return grant_to(login, key(facts, here, limits), min(login.at, now), facts.lifetime_seconds)


def grant_to(login: Login, granted: str, login_at: int, lifetime_seconds: int) -> Grant:
    """The grant of a key to a login whose effective time is `login_at`."""
    return Grant(
        granted,
        login.user,
        login_at,
        login_at + lifetime_seconds,
        login.format,
        login.at - login_at,
        login.protocol,
        login.method,
        login.tls,
    )


def line_grants(login: Login, limits: Limits) -> bool:
    """Whether what a login's line told of it, besides its user, grants by these limits; see `user_grants`."""
    return not any(rule.refuses(login, limits) for rule in RULES if not rule.of_user)


def user_grants(user: str, limits: Limits) -> bool:
    """Whether a user's logins grant by these limits."""
    login = Login(0, "", user, "")
    return not any(rule.refuses(login, limits) for rule in RULES if rule.of_user)
