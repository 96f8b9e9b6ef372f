"""Puts what is known of an address into words: what the administrator must say to the user who calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from popauthd.address import Address, Network, inside, parse
from popauthd.cli.facts import FailedFact, KnownAddress, LoginFact
from popauthd.reasons import FAILED, LOGINS, REFUSED
from popauthd.text import ago, length_of_time, safe, stamp

if TYPE_CHECKING:
    from popauthd.config import Config


def barred_text(reason: str, client: Address | None, loaded: Config) -> str:
    """Why an address may never be granted, with the network of the configuration that says so, if one does."""
    networks: tuple[Network, ...] = {
        "never": loaded.never,
        "proxy": loaded.proxies,
        "own-address": loaded.own_addresses,
    }.get(reason, ())
    where = next((f" ({net})" for net in networks if client is not None and inside(client, (net,))), "")
    return f"it may never relay by address: {reason}. {LOGINS[reason]}{where}"


def reasons(
    facts: KnownAddress, failed: Iterable[FailedFact], now: int, *, may: bool, barred: str, loaded: Config
) -> Iterator[str]:
    """Lines of what the books and the watcher know of one address, the most important first.

    may: nothing needs to be done. barred: the word why it may never relay, or "".
    """
    if barred:
        yield barred_text(barred, parse(facts.address), loaded)
    for row in facts.logins:
        yield login(row, now)
    if facts.shared:
        since, users = facts.shared
        yield f"shared-address since {stamp(since)}: {users} users. {LOGINS['shared-address']}"
    latest = max((row.login_at for row in facts.logins), default=0)
    newer = [one for one in failed if one.address == facts.address and one.at >= latest]
    for one in newer:
        yield failure(one, now)
    if barred or may:
        pass
    elif newer:
        yield ADVICE[newer[0].why]
    elif not facts.logins:
        yield "no login from this address is remembered; has its user fetched mail, and from this address?"
    elif not facts.shared:
        yield "to relay again: fetch mail from this address, then send"
    if facts.refused:
        at, user, reason = facts.refused
        by = f" by {safe(user)}" if user else ""
        yield f"last refused login: {stamp(at)}{by}: {reason}. {REFUSED.get(reason, '')}"


ADVICE = {
    "password": "to relay: correct the user name or the password in the mail program, fetch mail, then send",
    "no-tls": "to relay: switch on TLS (SSL) for incoming mail in the mail program, fetch mail, then send",
    "disabled": "to relay: enable the user in the mail server; then he must fetch mail",
    "expired": "to relay: set a new password for the user; then he must fetch mail",
}


def login(row: LoginFact, now: int) -> str:
    """One remembered login as a line."""
    who = f"login by {safe(row.user)}" if row.user else "granted by hand"
    if row.revoked_at:
        state = f"revoked {ago(now - row.revoked_at)}"
    elif row.expires_at <= now:
        state = f"expired {ago(now - row.expires_at)}"
    else:
        state = f"{length_of_time(row.expires_at - now)} left"
    session = ", a session is open" if row.held else ""
    through = f", through {row.through}" if row.through else ""
    return f"{stamp(row.login_at)} {who} ({row.format}): {state}{session}{through}"


def failure(one: FailedFact, now: int) -> str:
    """A failed login as a line."""
    who = f" by {safe(one.user)}" if one.user else ""
    times = f", {one.times} times within the last hour" if one.times > 1 else ""
    return f"login failed {ago(now - one.at)}{who} from {safe(one.address)}: {FAILED[one.why]}{times}"
