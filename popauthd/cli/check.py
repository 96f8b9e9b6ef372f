"""check: may an address relay, asked of the map as Exim asks, and why; also of all addresses of a network or a user."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from popauthd import address
from popauthd.cli.common import GREEN, RED, PrivateError, ask_books, coloured, map_has, settings
from popauthd.cli.explain import barred_text, failure, reasons
from popauthd.cli.facts import Asked, FailedFact, KnownAddress, KnownOf, failed_logins, read, tell
from popauthd.cli.relay_nets import EXIM_SETTINGS, relay_net
from popauthd.config.limits import limits
from popauthd.errors import StoreError, UsageError
from popauthd.policy.address_facts import never_reason
from popauthd.policy.user_list import lower
from popauthd.text import length_of_time, safe, stamp

if TYPE_CHECKING:
    from popauthd.config import Config

MAY, MAY_NOT, TROUBLE = 0, 1, 2
WHAT = "an address, a network such as 192.0.2.0/24, or a user"
LINE = 400  # characters


def _check_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="ADDRESS|NETWORK|USER", nargs="*", help=f"{WHAT}; several may be given")
    parser.add_argument("--user", metavar="USER", action="append", default=[], help="a user whose name looks otherwise")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    parser.set_defaults(run=check, trouble=TROUBLE)


ARGUMENTS = {"check": _check_arguments}


def check(options: argparse.Namespace) -> int:
    """Ask the map as Exim does, and the books and the watcher for the reasons.

    Exit 0 if everything that was asked for may relay, 1 if not, 2 if it cannot be told. Of a network or a user it is
    enough that one address may.
    """
    asked = [_asked(text) for text in options.what] + [Asked("user", user) for user in options.user]
    if not asked:
        raise UsageError(f"say what to check: {WHAT}")
    now = int(time.time())
    inquiry = Inquiry(settings(options), asked, now)
    found = [inquiry.about(one) for one in asked]
    if options.json:
        import json

        print(json.dumps([as_json(one, now) for one in found], indent=1))
    else:
        lines = [line for one in found for line in as_text(one, now, told=inquiry.trouble is None)]
        lines += [f"  {safe(note, LINE)}" for note in inquiry.notes]
        print("\n".join(lines))
    if inquiry.trouble is not None:
        raise inquiry.trouble
    return MAY if all(one.may for one in found) else MAY_NOT


def _asked(text: str) -> Asked:
    """What a word of the command line means. Raises UsageError for what can only be an address, and is none."""
    if canonical := address.canonical(text):
        return Asked("address", canonical)
    if not (":" in text or "/" in text or text.strip("0123456789.") == ""):
        return Asked("user", text)
    try:
        return Asked("network", str(address.network(text)))
    except ValueError as error:
        raise UsageError(f"{safe(text)} is not an IPv4 or IPv6 address or network; for a user: --user") from error


class Answer(NamedTuple):
    """What is said of one address. until: 0 if it may not relay. reasons: a line each. facts: None if unknown."""

    address: str
    until: int
    reasons: tuple[str, ...]
    facts: KnownAddress | None


class Answers(NamedTuple):
    """What is said of one thing that was asked for. known: how many addresses the books know of it."""

    asked: Asked
    known: int
    addresses: tuple[Answer, ...]
    failed: tuple[FailedFact, ...]

    @property
    def may(self) -> bool:
        """Whether it may relay: the address, or one of the addresses."""
        return any(one.until for one in self.addresses)


class Inquiry:
    """Asks books, map and watcher once for everything, and answers.

    notes: what could not be asked. trouble: why the map could not, or None.

    Raises StoreError where the books must be read and cannot be: only they know the addresses of a user.
    """

    def __init__(self, loaded: Config, asked: Sequence[Asked], now: int) -> None:
        self._loaded = loaded
        self._now = now
        self._limits = limits(loaded)
        self._known: dict[Asked, KnownOf] = {}
        self._failed: list[FailedFact] = []
        self.notes: list[str] = []
        self.trouble: StoreError | None = None
        private = self._ask_books(asked)
        texts = [text for one in asked for text in self._addresses(one)]
        self._until = self._ask_map(texts)
        if not private and (not texts or not all(text in self._until for text in texts)):
            self._failed, untold = failed_logins(loaded, asked)
            self.notes += [untold] if untold else []

    def _ask_books(self, asked: Sequence[Asked]) -> bool:
        """Ask the books; True if they are private to us, who then get the bare answer."""
        try:
            own, known = read(ask_books(self._loaded, lambda books: tell(books, asked)))
        except StoreError as error:
            if any(one.kind != "address" for one in asked):
                raise
            if isinstance(error, PrivateError):
                return True
            self.notes.append(f"why cannot be told: {error}")
            return False
        self._known = dict(zip(asked, known, strict=True))
        self._limits = replace(self._limits, own_addresses=(*self._limits.own_addresses, *own))
        return False

    def _ask_map(self, texts: Sequence[str]) -> dict[str, int]:
        """Until when each address may relay that may."""
        try:
            # of a /64 that is granted as a whole, its first address
            found = map_has(self._loaded, [text.partition("/")[0] for text in texts])
        except StoreError as error:
            self.trouble = error
            return {}
        return {text: until for text, until in zip(texts, found, strict=True) if until > self._now}

    def _addresses(self, asked: Asked) -> Sequence[str]:
        if asked.kind == "address":
            return [asked.text]
        return [one.address for one in self._known[asked].addresses]

    def about(self, asked: Asked) -> Answers:
        """What is said of one thing."""
        facts = self._known.get(asked, KnownOf(0, ()))
        known = {one.address: one for one in facts.addresses}
        found = tuple(
            Answer(text, self._until.get(text, 0), tuple(self._reasons(text, known.get(text))), known.get(text))
            for text in self._addresses(asked)
        )
        return Answers(asked, facts.known, found, tuple(one for one in self._failed if _is_about(one, asked)))

    def _reasons(self, text: str, facts: KnownAddress | None) -> Iterator[str]:
        may = text in self._until
        client = address.parse(text)
        barred = ""
        if client is not None and not may:
            barred = never_reason(client, self._limits)
            if net := relay_net(client):
                yield f"Exim lets it relay without popauthd: {net} is in dc_relay_nets ({EXIM_SETTINGS})"
        books_say = facts.published if facts is not None and facts.published > self._now else 0
        if books_say and not may and self.trouble is None:
            yield self._unpublished(books_say)
            may = True  # nothing else stands against it
        elif self._loaded.dry_run:
            yield "dry_run is set in the configuration: nothing is published, no address may relay"
        if facts is not None:
            yield from reasons(facts, self._failed, self._now, may=may, barred=barred, loaded=self._loaded)
        elif barred:
            yield barred_text(barred, client, self._loaded)

    def _unpublished(self, until: int) -> str:
        left = length_of_time(until - self._now)
        if self._loaded.dry_run:
            return f"dry run (`dry_run`): nothing is published; without it the answer is yes, for {left} more"
        return (
            f"its login grants it for {left} more, but that is not published: is `dry_run` in force, or does the "
            "watcher stand still? Look with: popauthctl status"
        )


def _is_about(one: FailedFact, asked: Asked) -> bool:
    client, net = address.parse(one.address), asked.network
    if net is None:
        return lower(one.user) == lower(asked.text)
    return client is not None and address.inside(client, (net,))


def as_text(found: Answers, now: int, *, told: bool) -> Iterator[str]:
    """The lines of one answer. told: the map has answered."""
    asked, indent = found.asked, ""
    if asked.kind != "address":
        indent = "  "
        may = sum(1 for one in found.addresses if one.until)
        word = coloured("yes", GREEN) if may else coloured("no", RED)
        nobody = "nobody of that name is known" if asked.kind == "user" else "nobody is known there"
        if not found.known:
            yield f"{safe(asked.text)}: {word}; {nobody}: no login is remembered"
        else:
            yield f"{safe(asked.text)}: {word}, {may} of {len(found.addresses)} addresses may relay"
        if found.known > len(found.addresses):
            yield f"  shown are the {len(found.addresses)} latest of {found.known} addresses"
    for one in found.addresses:
        word = coloured("yes", GREEN) if one.until else coloured("no", RED) if told else "not known"
        more = f", for {length_of_time(one.until - now)} more (until {stamp(one.until)})" if one.until else ""
        yield f"{indent}{one.address}: {word}{more}"
        for line in one.reasons:
            yield f"{indent}  {safe(line, LINE)}"
    shown = {one.address for one in found.addresses}
    for failed in found.failed:
        if failed.address not in shown:
            yield f"  {safe(failure(failed, now), LINE)}"


def as_json(found: Answers, now: int) -> dict[str, Any]:
    """The JSON object of one answer."""
    return {
        "asked": found.asked.text,
        "kind": found.asked.kind,
        "may_relay": found.may,
        "known_addresses": found.known,
        "addresses": [
            {
                "address": one.address,
                "may_relay": bool(one.until),
                "expires_at": one.until or None,
                "seconds_left": one.until - now if one.until else 0,
                "logins": [row._asdict() for row in one.facts.logins] if one.facts is not None else [],
                "reasons": list(one.reasons),
            }
            for one in found.addresses
        ],
        "failed": [one._asdict() for one in found.failed],
    }
