"""popauthd.policy.plain: many logins at once are judged as `decide` judges each."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from popauthd.address import Network, canonical, keys, network
from popauthd.model import Grant, Login, Refusal
from popauthd.policy import plain
from popauthd.policy.decide import decide
from popauthd.policy.limits import Limits
from popauthd.policy.plain import PlainJudge
from popauthd.policy.user_list import parse
from tests.support.policy import NOW, default_limits

ADDRESSES = (
    *("192.0.2.0", "192.0.2.9", "192.0.2.10", "192.0.2.255", "192.0.3.0", "0.0.0.1", "127.0.0.1", "169.254.7.7"),
    *("198.51.100.5", "203.0.113.9", "223.255.255.255", "224.0.0.1", "255.255.255.254", "255.255.255.255"),
    *("2001:db8::1", "2001:DB8::0001", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:0:1:ffff::", "2001:db8:1::1"),
    *("::ffff:192.0.2.10", "::ffff:127.0.0.1", "::1", "::192.0.2.1", "fe80::1", "ff02::1", "2001:db8:0:2::9"),
)
NETWORKS = (
    *("192.0.2.0/24", "192.0.2.10", "192.0.2.8/29", "192.0.2.255", "0.0.0.0/0", "203.0.113.0/24", "224.0.0.0/3"),
    *("2001:db8::/64", "2001:db8::/32", "2001:db8::2", "2001:db8:0:1::/120", "2001:db8:0:2::/64", "::/0"),
)
USERS = ("alice", "Bob@example.org", "zoë", "eve", "x" * 73 + "...", "x" * 77, "y" * 200, "")
LISTS = (None, None, parse("alice\n@example.org\n"), parse("*\n!alice\n"))
AGOS = (*[0, 1, 5] * 5, -121, -120, -1, 59, 60, 899, 900, 901, 3600, 90_000)


def some_limits(dice: random.Random) -> Limits:
    def nets(at_most: int) -> tuple[Network, ...]:
        return tuple(network(text) for text in dice.sample(NETWORKS[: dice.choice((4, 13))], dice.randrange(at_most)))

    return default_limits(
        ipv6_prefix=dice.choice((64, 128)),
        require_tls=dice.random() < 0.3,
        protocols=dice.choice((("imap", "pop3"), ("imap", "pop3"), ("pop3",))),
        refuse_mechanisms=dice.choice(((), (), ("PLAIN",), ("LOGIN",))),
        grant_loopback=dice.random() < 0.3,
        never=nets(2) if dice.random() < 0.3 else (),
        proxies=nets(2) if dice.random() < 0.3 else (),
        own_addresses=nets(2) if dice.random() < 0.3 else (),
        always=nets(3),
        lifetime_by_network=tuple((net, dice.choice((60, 3600))) for net in nets(3)),
        users=dice.choice(LISTS),
        denied=dice.choice(LISTS),
    )


def some_login(dice: random.Random) -> Login:
    return Login(
        NOW - dice.choice(AGOS),
        dice.choice(ADDRESSES),
        dice.choice(USERS),
        dice.choice(("imap", "pop3")),
        dice.choice((*["PLAIN"] * 9, "login", "", "ANONYMOUS", " anonymous")),
        dice.random() < 0.7,
        local_address=dice.choice((*ADDRESSES, "", "no address", "198.51.100.5")),
        format="dovecot",
    )


def all_judged(judge: PlainJudge, logins: list[Login]) -> plain.Plain:
    """What the judge says of these logins."""
    asked = [(one.protocol, one.method, one.tls, one.local_address.encode()) for one in logins]
    columns = (
        [one.at for one in logins],
        [one.address.encode() for one in logins],
        [one.user.encode() for one in logins],
    )
    return judge.judge(*columns, asked, NOW)


def judged(judge: PlainJudge, logins: list[Login]) -> list[tuple[str, int] | None]:
    """The key and the lifetime of each login; None for one that is not plain."""
    found = all_judged(judge, logins)
    assert found.kind == [f"{one.protocol} {one.method} {one.tls}".encode() for one in logins]
    assert found.left == [number for number, key in enumerate(found.granted) if not key]
    pairs = zip(found.granted, found.lifetime_seconds, strict=True)
    return [(key.decode(), lifetime) if key else None for key, lifetime in pairs]


def kind_of(protocol: str, method: str, tls: bool) -> bytes:
    return f"{protocol} {method} {tls}".encode()


def apart(login: Login) -> bool:
    """Whether client and server surely share no address and no /64: what may share one is left to `decide`."""
    client, server = canonical(login.address), canonical(login.local_address)
    return client is not None and (server is None or not {*keys(client)} & {*keys(server)})


def decided(login: Login, limits: Limits) -> tuple[str, int] | None:
    """The same by `decide`, and what may be left to it."""
    verdict = decide(login, limits, NOW)
    if not isinstance(verdict, Grant) or verdict.ahead_seconds or len(login.user.encode()) > 76:
        return None
    return verdict.address, verdict.expires_at - verdict.login_at


@pytest.mark.parametrize("first", range(4))
def test_whatever_is_judged_plain_is_what_decide_says(first: int) -> None:
    grants = 0
    for seed in range(first * 1000, first * 1000 + 100):
        dice = random.Random(seed)
        limits = some_limits(dice)
        logins = [some_login(dice) for _ in range(60)]
        for login, found in zip(logins, judged(PlainJudge(limits, kind_of), logins), strict=True):
            expected = decided(login, limits)
            assert found in (None, expected), (seed, login)
            assert found == expected or not apart(login), (seed, login)
            grants += found is not None
    assert grants > 300


def test_a_login_that_has_run_out_is_told_apart_where_nothing_else_is_against_it() -> None:
    told = missed = 0
    for seed in range(100):
        dice = random.Random(seed)
        limits = some_limits(dice)
        logins = [some_login(dice) for _ in range(60)]
        verdicts = [decide(login, limits, NOW) for login in logins]
        expired = dict(all_judged(PlainJudge(limits, kind_of), logins).expired)
        for number, client in expired.items():
            login = logins[number]
            assert verdicts[number] == Refusal("expired", login.at, client.decode(), login.user, "dovecot"), login
        said = {number for number, verdict in enumerate(verdicts) if getattr(verdict, "reason", "") == "expired"}
        told += len(expired)
        missed += len([n for n in said - expired.keys() if apart(logins[n]) and len(logins[n].user.encode()) <= 76])
    assert told > 100
    assert missed == 0


def test_a_login_from_the_address_that_it_came_in_on_is_left_to_decide() -> None:
    login = Login(NOW, "192.0.2.10", "alice", "imap", local_address="::ffff:192.0.2.10")
    assert judged(PlainJudge(default_limits(), kind_of), [login]) == [None]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "REMEMBERED", 3)
    monkeypatch.setattr(plain, "KINDS", 3)
    judge = PlainJudge(default_limits(users=parse("@example.org\n")), kind_of)
    one = Login(NOW, "2001:db8::1", "alice@example.org", "imap")
    logins = [replace(one, address=f"2001:db8::{n:x}", user=f"u{n}@example.org", method=f"M{n}") for n in range(1, 10)]
    assert judged(judge, logins) == [(login.address, 900) for login in logins]
    assert max(map(len, (judge._six, judge._asks, judge._users or ()))) <= 3
