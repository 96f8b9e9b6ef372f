"""Reads what `exim -bh` tells on the side: which statement of which ACL refused a recipient, and by which condition.

Exim 4.94 and later names each statement with its file and line; a nested ACL is a space deeper. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

IMPLICIT = "the end of the ACL"  # where Exim denies if no statement has decided
_SAID = re.compile(r">>>( +)(\S.*)")
_PROCESSING = re.compile(r'processing "(\w+)" \((.*) (\d+)\)')
_CHECK = re.compile(r"check (!?) ?([a-z_]+)\s*=\s*(.*)")
_ACL = re.compile(r'using ACL "(.*)"')
_MATCHED = re.compile(r' in ".*"\? yes \(matched "(.*?)"(?: - cached)?\)')
_VERIFY_BEGINS, _VERIFY_ENDS = re.compile(r">>>\s+>>>>>>"), "----------- end verify"
_REJECTED = re.compile(r"^LOG: .*\brejected RCPT ")
# Beside the domain, such a condition of a "deny" asks who the client is; any other could be what refuses.
_STANDING = {"hosts", "authenticated", "acl"}
_RECIPIENT = {"domains", "recipients"}
_BY_WORDS = "condition"
WORDS = re.compile(r"(?i)\brelay")


class Check(NamedTuple):
    """A condition that was looked at. denied: whether it asks for the contrary."""

    name: str
    denied: bool
    value: str


class Statement(NamedTuple):
    """A statement of an ACL, and what was looked at in it. verb: IMPLICIT if none decided, at the end of the ACL.

    unverified: whether an "accept" before it failed by verification alone: it may accept what can be routed.
    """

    acl: str
    verb: str
    file: str
    line: int
    checks: tuple[Check, ...] = ()
    unverified: bool = False

    def words(self) -> str:
        """What it is, for an administrator."""
        if self.verb == IMPLICIT:
            return f"{self.verb} {self.acl}"
        last = self.checks[-1:] if self.verb not in ("deny", "drop") else self.checks
        asked = ", ".join(f"{'!' * one.denied}{one.name} = {one.value}" for one in last)
        return f'"{self.verb}" of {self.acl or "an inline ACL"}' + (f" ({asked})" if asked else "")

    def refuses_relaying(self, reply: str) -> bool:
        """Whether it refuses because of where the mail goes and who the client is, and for nothing else."""
        if self.unverified:
            return False
        if self.verb in ("deny", "drop"):
            kinds = [self._kind(check, negative=True) for check in self.checks]
        else:  # one condition of a "require", or behind "endpass", that did not hold
            kinds = [self._kind(check, negative=False) for check in self.checks[-1:]]
        if not kinds:  # whoever comes here is refused
            return True
        if not set(kinds) <= {"standing", "recipient", _BY_WORDS}:
            return False
        return _BY_WORDS not in kinds or WORDS.search(reply) is not None

    def cannot_verify_recipient(self) -> bool:
        """Whether it refuses an address that cannot be routed, so that it tells nothing of one that can."""
        last = self.checks[-1:] if self.verb not in ("deny", "drop") else self.checks
        return self.unverified or any(one.name == "verify" and one.value.startswith("recipient") for one in last)

    @staticmethod
    def _kind(check: Check, *, negative: bool) -> str:
        outside = check.denied != check.value.startswith("!")
        if check.name in _RECIPIENT and outside == negative:
            return "recipient"
        if check.name in _STANDING and outside == negative:
            return "standing"
        return _BY_WORDS if check.name == _BY_WORDS else "other"


def refusals(trace: str) -> list[Statement | None]:
    """The statement behind each recipient that was refused or deferred, in order; None where Exim does not say."""
    found: list[Statement | None] = []
    lines: list[str] = []
    for line in _without_routing(trace):
        if _REJECTED.match(line):
            found.append(_decisive(lines))
            lines = []
        else:
            lines.append(line)
    return found


def named(trace: str, domain: str) -> bool:
    """Whether an ACL names a recipient's domain, by itself, by a wildcard of it or in a file: not all domains alike."""
    for line in _without_routing(trace):
        item = _MATCHED.search(line)
        if item and f"{domain} in " in line and _names(item[1], domain):
            return True
    return False


def _names(item: str, domain: str) -> bool:
    return item == domain or ";" in item or item.startswith("@") or ("." in item[2:] and item.startswith("*."))


def _without_routing(trace: str) -> list[str]:
    """The lines without what the routers say of an address that is verified."""
    kept, routing = [], False
    for line in trace.splitlines():
        routing = (routing or bool(_VERIFY_BEGINS.match(line))) and _VERIFY_ENDS not in line
        if not routing:
            kept.append(line)
    return kept


def _decisive(lines: Sequence[str]) -> Statement | None:
    at: dict[int, Statement] = {}  # by depth
    names: dict[int, str] = {}
    unverified = False
    for line in lines:
        if not (said := _SAID.fullmatch(line)):
            continue
        depth, text = len(said[1]), said[2]
        if acl := _ACL.fullmatch(text):
            names[depth] = acl[1]
        elif now := _PROCESSING.fullmatch(text):
            at = {deep: one for deep, one in at.items() if deep < depth}
            at[depth] = Statement(names.get(depth, ""), now[1], now[2], int(now[3]))
        elif (check := _CHECK.fullmatch(text)) and depth in at:
            one = Check(check[2], check[1] == "!", check[3])
            at[depth] = at[depth]._replace(checks=(*at[depth].checks, one))
        elif text.startswith("accept: condition test failed") and depth in at:
            unverified = unverified or any(check.name == "verify" for check in at[depth].checks[-1:])
        elif text.startswith("end of ") and text.endswith(": implicit DENY") and depth in at:
            at[depth] = Statement(names.get(depth, ""), IMPLICIT, at[depth].file, at[depth].line)
    depth = 1
    while (found := at.get(depth)) and found.verb in ("accept", "require") and depth + 1 in at:
        if [check.name for check in found.checks[-1:]] != ["acl"]:
            break
        depth += 1
    return found and found._replace(unverified=unverified)
