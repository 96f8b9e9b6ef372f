"""popauthd.cli.line_answers: many lines answered at once are answered as each alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.cli.line_answers import LINE_CHARACTERS, Answer, Kind, Teller, Words, answer_of, in_object
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login, Refusal
from popauthd.policy.decide import decide
from popauthd.policy.limits import Limits
from popauthd.policy.user_list import parse
from popauthd.text import safe
from tests.support.corpus_samples import NOW
from tests.support.dovecot_lines import END, LINE
from tests.support.hostile_lines import READINGS, lines, thorough
from tests.support.policy import default_limits, nets

ADDRESSES = (
    *(b"192.0.2.10", b"192.0.2.77", b"203.0.113.9", b"127.0.0.1", b"198.51.100.5", b"2001:DB8::7", b"2001:db8:0:1::9"),
    *(b"::ffff:192.0.2.10", b"::1", b"192.0.2.999", b"224.0.0.1"),
)
USERS = (b"alice", b"J\xc3\xbcrgen", b"\xff\xfe", b"eve@example.org", b"", b"x" * 90, b"a\x1b[31m", b"a<b")
LIMITS = {
    "no settings": default_limits(),
    "many settings": default_limits(
        ipv6_prefix=64,
        require_tls=True,
        never=nets("192.0.2.64/26"),
        always=nets("203.0.113.0/24"),
        lifetime_by_network=((nets("192.0.2.8/29")[0], 60),),
        denied=parse("eve@example.org\n"),
    ),
}
FAILURE = (
    b"Nov 23 21:00:00 imap-login: Info: Disconnected: Connection closed (auth failed, 2 attempts in 9 secs): "
    b"user=<alice@example.org>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5, TLS, session=<aKTnLvhgIrN/AAAB>"
)
OTHER = (b"Nov 23 21:00:00 lmtp(alice)<7><x>: Info: saved mail", b"", b"\xff\x00", b"Nov 23 21:00:00 a: " + b"y" * 400)


def some_line(dice: random.Random) -> bytes:
    """A line as Dovecot writes it, or near it."""
    line = dice.choice((LINE, LINE, LINE, END, FAILURE, dice.choice(OTHER)))
    line = line.replace(b"21:00:00", b"%02d:%02d:00" % (dice.choice((20, 21)), dice.choice((0, 0, 0, 1, 5, 45, 59))))
    line = line.replace(b"192.0.2.10", dice.choice(ADDRESSES)).replace(b"alice@example.org", dice.choice(USERS))
    if dice.random() < 0.2:
        line = line.replace(b", TLS", b"")
    if dice.random() < 0.1:  # a line feed within makes two of it
        line = line.replace(b"@", b"\n").replace(b", lip=198.51.100.5", b"")
    return line + b", x" * 100 if dice.random() < 0.05 else line


def one_by_one(reading: Options, limits: Limits, text: bytes, seen: Counter[Kind], *, in_json: bool) -> Iterator[str]:
    """What is said of each line, by the reference."""
    reader, words = Recogniser(reading), Words()
    for number, raw in enumerate(text.split(b"\n")[:-1], 1):
        event = reader.line(raw, NOW)
        said = answer_of(decide(event, limits, NOW) if isinstance(event, Login) else event)
        if isinstance(event, Refusal) and not event.format:
            said = said._replace(head=reader.head_name(raw) or None)
        seen[said[:2]] += 1
        if in_json:
            yield f'{{"line": {number}, {in_object(said)}'
        else:
            shown = safe(raw.decode("utf-8", "backslashreplace"), LINE_CHARACTERS)
            yield f"{number}: {words.of(said)}\n  | {shown}"


def in_blocks(
    reading: Options, limits: Limits, blocks: list[bytes], seen: Counter[Kind], *, in_json: bool
) -> list[str]:
    """What is said of the lines of some blocks."""
    teller = Teller(Recogniser(reading), limits, NOW, seen, in_json=in_json)
    return [said for block in blocks for said in teller.told(block)]


Said = tuple[list[str], list[tuple[Kind, int]], Counter[Kind]]  # the answers; in the summary's order, and all numbers


def both(reading: Options, limits: Limits, blocks: list[bytes], *, in_json: bool) -> tuple[Said, Said]:
    """What is said of the lines of some blocks: of each alone, and of many at once."""
    alone, together = Counter[Kind](), Counter[Kind]()
    first = [*one_by_one(reading, limits, b"".join(blocks), alone, in_json=in_json)]
    second = in_blocks(reading, limits, blocks, together, in_json=in_json)
    refused = [[row for row in seen.most_common() if row[0][0] == "refused"] for seen in (alone, together)]
    return (first, refused[0], alone), (second, refused[1], together)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_many_lines_are_answered_as_each_alone(limits: Limits) -> None:
    reasons: set[str] = set()
    for seed in range(40):
        dice = random.Random(seed)
        blocks = [b"".join(some_line(dice) + b"\n" for _ in range(dice.choice((1, 7, 60)))) for _ in range(3)]
        for in_json in (False, True):
            alone, together = both(Options("dovecot-file", timezone="UTC"), limits, blocks, in_json=in_json)
            assert together == alone
        reasons |= {reason for _verdict, reason in alone[2]}
    assert reasons >= {"login", "session-end", "failure", "other", "empty", "expired", "future", "loopback"}


@pytest.mark.parametrize("reading", READINGS, ids=str)
@thorough
@given(st.lists(st.lists(lines, min_size=1, max_size=6), min_size=1, max_size=3))
def test_hostile_lines_are_answered_as_each_alone(reading: Options, some: list[list[bytes]]) -> None:
    blocks = [b"".join(raw + b"\n" for raw in block) for block in some]
    for in_json in (False, True):
        alone, together = both(reading, LIMITS["many settings"], blocks, in_json=in_json)
        assert together == alone


def test_a_line_that_is_not_whole_has_a_number_too() -> None:
    seen: Counter[Kind] = Counter()
    reading = Options("dovecot-file", timezone="UTC")
    said = in_blocks(reading, LIMITS["no settings"], [END + b"\n", b"Nov \x1b"], seen, in_json=False)
    assert said[1] == "2: ignored unfinished\n  | Nov \\x1b"
    assert seen == {("session-end", "session-end"): 1, ("ignored", "unfinished"): 1}


def test_times_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("popauthd.cli.line_answers.REMEMBERED", 3)
    words = Words()
    said = [words.of(Answer("grant", "login", expires_at=NOW + number)) for number in range(9)]
    assert said == [Words().of(Answer("grant", "login", expires_at=NOW + number)) for number in range(9)]
    assert len(words._times) <= 3


def test_the_head_of_a_line_before_the_framing_is_known_is_told_as_alone() -> None:
    journal = b'{"__REALTIME_TIMESTAMP": "1795467600000000", "MESSAGE": "imap-login: Login: user=<a>, rip=192.0.2.1"}'
    blocks = [b"user=<" + LINE + b"\n" + journal + b"\n" + LINE + b"\n"]
    alone, together = both(Options("auto", timezone="UTC"), LIMITS["no settings"], blocks, in_json=False)
    assert together == alone
    assert alone[2] == {("refused", "undecided"): 1, ("refused", "untrusted"): 1, ("refused", "bad-record"): 1}
