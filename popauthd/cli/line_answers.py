"""What `popauthctl recognise` says of each line: the verdict that the daemon would give, in words or as JSON.

Many lines are answered at once: the logins of the common form are judged in columns (policy/plain.py), as the watcher
judges them. What is said is the same as of each line alone.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from popauthd.cli.common import GREEN, RED, coloured
from popauthd.formats.columns import Ends, Logins
from popauthd.formats.headers import AUTO
from popauthd.formats.numbered import OTHER
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.sentence import as_text
from popauthd.formats.servers import dovecot
from popauthd.model import Event, Grant, Ignored, Login, Refusal, SessionEnd
from popauthd.policy.decide import decide
from popauthd.policy.limits import Limits
from popauthd.policy.plain import PlainJudge
from popauthd.text import safe, stamp

LINE_CHARACTERS = 300  # of a line that are shown
HEAD_CUT = 200
REMEMBERED = 4096  # times as they are written
VERDICTS = {"grant": "would grant", "refused": "refused", "session-end": "session ends", "ignored": "ignored"}
COLOURS = {"grant": GREEN, "refused": RED}
_SAID_ALREADY = ("login", "session-end")  # reasons that tell nothing beside their verdict
_PLAIN_BYTES = bytes(range(0x20, 0x7F)) + b"\n"

Kind = tuple[str, str]  # verdict and reason


class Answer(NamedTuple):
    """What is said of one line; with its number, the fields of the JSON object.

    head: what stands before a message that is not read.
    """

    verdict: str
    reason: str
    address: str | None = None
    expires_at: int | None = None
    user: str | None = None
    format: str | None = None
    head: str | None = None


class Teller:
    """Says what the daemon would do with each line, and counts it in `seen`, in the order of the log."""

    def __init__(self, reader: Recogniser, limit: Limits, now: int, seen: Counter[Kind], *, in_json: bool) -> None:
        self._reader, self._limit, self._now, self._seen = reader, limit, now, seen
        self._judge = PlainJudge(limit, lambda _protocol, _method, _tls: b"")
        self._in_json = in_json
        self._say = in_object if in_json else Words().of
        self._numbers = itertools.count(1)
        self._nothing = self._say(Answer("ignored", OTHER.reason))

    def told(self, block: bytes) -> Iterator[str]:
        """The answers for whole lines, or for the one that is not whole."""
        if not block.endswith(b"\n"):
            return self._written([(0, Answer("ignored", "unfinished"))], 1, block + b"\n")
        answers: list[tuple[int, Answer]] = []
        lines = at = 0
        while self._reader.framing == AUTO and at < len(block):  # what is said of a line depends on the lines before it
            end = block.index(b"\n", at) + 1
            lines += self._answer(block[at:end], lines, answers)
            at = end
        lines += self._answer(block[at:], lines, answers)
        return self._written(answers, lines, block)

    def _answer(self, block: bytes, first: int, answers: list[tuple[int, Answer]]) -> int:
        """Add the answers for the lines of a block, the number of the first being `first`. How many lines there are."""
        found = self._reader.numbered(block, self._now)
        raws = block.split(b"\n") if found.others else []
        answers += ((first + line, self._of_event(event, raws[line])) for line, event in found.others.items())
        answers += zip(map(first.__add__, found.ends.place), _of_ends(found.ends), strict=True)
        answers += zip(map(first.__add__, found.logins.place), self._of_logins(found.logins), strict=True)
        return found.lines

    def _written(self, answers: list[tuple[int, Answer]], lines: int, block: bytes) -> Iterator[str]:
        """All answers with their numbers and, in text, each with its line below it, safe for a terminal.

        answers: with the line, from 0 on; a line that has none is OTHER.
        """
        first: dict[Kind, int] = {}
        numbers: Counter[Kind] = Counter()
        said = [self._nothing] * lines
        for line, answer in answers:
            kind = answer[:2]
            numbers[kind] += 1
            if line < first.get(kind, lines):
                first[kind] = line
            said[line] = self._say(answer)
        for kind in sorted(first, key=first.__getitem__):  # of equal numbers, the summary has the first seen first
            self._seen[kind] += numbers[kind]
        if lines > len(answers):
            self._seen["ignored", OTHER.reason] += lines - len(answers)
        if self._in_json:
            return map('{{"line": {1}, {0}'.format, said, self._numbers)
        return map("{2}: {0}\n  | {1}".format, said, shown(block), self._numbers)

    def _of_event(self, event: Event, raw: bytes) -> Answer:
        given = answer_of(decide(event, self._limit, self._now) if isinstance(event, Login) else event)
        if isinstance(event, Refusal) and not event.format:
            return given._replace(head=self._reader.head_name(raw) or None)
        return given

    def _of_logins(self, logins: Logins) -> list[Answer]:
        """The answer for each login of the common form."""
        users = list(map(as_text, logins.user))
        written = logins.user if all(map(bytes.isascii, logins.user)) else [
            user.encode("utf-8", "backslashreplace") for user in users
        ]  # fmt: skip
        asked = zip(logins.protocol, logins.method, logins.tls, logins.local, strict=True)
        found = self._judge.judge(logins.at, logins.address, written, asked, self._now)
        granted = zip(found.granted, logins.at, found.lifetime_seconds, users, strict=True)
        answers = [
            Answer("grant", "login", key.decode(), at + lifetime, user, dovecot.NAME)
            for key, at, lifetime, user in granted
        ]
        expired = {number: address.decode() for number, address in found.expired}
        events = list(logins.events()) if len(expired) < len(found.left) else []
        for number in found.left:
            if number in expired:
                answers[number] = Answer("refused", "expired", expired[number], None, users[number], dovecot.NAME)
            else:
                answers[number] = self._of_event(events[number], b"")
        return answers


def _of_ends(ends: Ends) -> Iterable[Answer]:
    said = Answer("session-end", "session-end", format=dovecot.NAME)
    return (said._replace(user=as_text(user)) for user in ends.user)


def answer_of(verdict: Grant | Refusal | SessionEnd | Ignored) -> Answer:
    """One verdict as what is printed."""
    match verdict:
        case Grant():
            return Answer("grant", "login", verdict.address, verdict.expires_at, verdict.user, verdict.format or None)
        case Refusal():
            who = verdict.user or None
            return Answer("refused", verdict.reason, verdict.address or None, None, who, verdict.format or None)
        case SessionEnd():
            return Answer("session-end", "session-end", user=verdict.user, format=verdict.format or None)
        case _:
            client, user = (failed.address, failed.user) if (failed := verdict.failed) else (None, None)
            return Answer("ignored", verdict.reason, client, None, user or None, verdict.format or None)


def in_object(given: Answer) -> str:
    """An answer as a JSON object, without its opening brace: the number of the line comes first."""
    return json.dumps(given._asdict())[1:]


class Words:
    """Puts answers into words that are safe for a terminal."""

    def __init__(self) -> None:
        self._verdicts = {verdict: coloured(verdict, COLOURS.get(verdict, "")) for verdict in VERDICTS}
        self._times: dict[int, str] = {}

    def of(self, given: Answer) -> str:
        """The words of an answer."""
        verdict, reason, address, expires_at, user, name, head = given
        text = self._verdicts[verdict]
        if reason not in _SAID_ALREADY:
            text += f" {reason}"
        if address is not None:
            text += f" address={safe(address)}"
        if user is not None:
            text += f" user={safe(user)}"
        if name is not None:
            text += f" format={safe(name)}"
        if head is not None:
            text += f" head={safe(head, HEAD_CUT)}"
        if expires_at is not None:
            text += f" until {self._times.get(expires_at) or self._learn(expires_at)}"
        return text

    def _learn(self, at: int) -> str:
        if len(self._times) >= REMEMBERED:
            self._times.clear()
        self._times[at] = text = stamp(at)
        return text


def shown(block: bytes) -> list[str]:
    """Whole lines, safe for a terminal and cut."""
    if block.translate(None, _PLAIN_BYTES):
        raws = block.split(b"\n")[:-1]
        return [safe(raw.decode("utf-8", "backslashreplace"), LINE_CHARACTERS) for raw in raws]
    lines = block.decode("ascii").split("\n")[:-1]
    return [line if len(line) <= LINE_CHARACTERS else f"{line[:LINE_CHARACTERS]}..." for line in lines]
