"""Mail logs for measurements: seeded, of realistic mixes, with the truth about them.

    python3 -m tests.bench.generate FILE [FILE...] [--lines N] [--mix real] [--framing syslog|iso|dovecot-file]
        [--seed N] [--users N] [--addresses N] [--ipv6 SHARE] [--tls SHARE] [--odd-every N]
        [--seconds N] [--end EPOCH] [--truth FILE]

Several files are several servers with the same clients: each gets its share of the lines. The mixes (MIXES) say how
many lines of a hundred are logins, session ends and other lines. A session's end has the id and the user of a login
before it in the same file; most sessions are short, some last, and some are open at the end. An odd line is one of
three, in turn: a login with its elements in another order, a login that names its cipher, and a failure whose user
name quotes a login. All three are for the strict grammar.

The truth is of the logs alone, without any limits: the latest login of each address and user, the sessions that are
still open, and how many lines of each kind there are. Stamps are in the local time of this machine.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import add
from pathlib import Path

CHUNK = 2000  # lines made at once; a short session ends in the chunk after
SHORT = 0.7  # of the session ends, those that end a session of the chunk before
POP3 = 4  # one client of so many
OTHER_DOMAIN = 10  # one user of so many is of example.net, the others are of example.org
POOL = 5000  # different texts of each kind that are neither logins nor ends
SESSION_BYTES = 12  # 16 letters, as Dovecot makes them for IPv4
SYSLOG, ISO, DOVECOT_FILE = "syslog", "iso", "dovecot-file"
STAMPS = {SYSLOG: "%b %e %H:%M:%S", ISO: "%Y-%m-%dT%H:%M:%S", DOVECOT_FILE: "%b %d %H:%M:%S"}

# Lines of a hundred. failure: a wrong password, or none. dovecot: what else Dovecot says.
MIXES: dict[str, dict[str, float]] = {
    "real": {"login": 25, "end": 24, "failure": 5, "dovecot": 10, "exim": 18, "postfix": 10, "sshd": 5, "cron": 3},
    "quiet": {"login": 5, "end": 4.8, "failure": 2, "dovecot": 10, "exim": 40, "postfix": 30, "sshd": 6, "cron": 2.2},
    "endless": {"login": 25, "failure": 25, "dovecot": 25, "exim": 25},  # no session ever ends
    "no logins": {"failure": 2, "dovecot": 12, "exim": 44, "postfix": 32, "sshd": 7, "cron": 3},
}
# What else a log has. {level} is Dovecot's in its own file, {number} below 100,000, {byte} below 250.
FORMS = {
    "failure": (
        "imap-login: {level}Disconnected: Aborted login by logging out (auth failed, 1 attempts in 3 secs): "
        "user=<{user}>, method=PLAIN, rip=203.0.113.{byte}, lip=198.51.100.5, session=<{session}>",
        "pop3-login: {level}Disconnected: Connection closed (auth failed, 2 attempts in 9 secs): "
        "user=<{user}>, method=PLAIN, rip=203.0.113.{byte}, lip=198.51.100.5, TLS, session=<{session}>",
        "imap-login: {level}Disconnected: Inactivity (no auth attempts in 180 secs): "
        "user=<>, rip=203.0.113.{byte}, lip=198.51.100.5, TLS handshaking, session=<{session}>",
    ),
    "dovecot": (
        "lmtp({user})<{number}><{session}>: {level}sieve: msgid=<{number}@example.com>: stored mail",
        "lmtp({user})<{number}><{session}>: {level}save: box=INBOX, uid={byte}, size={number}",
        "imap({user})<{number}><{session}>: {level}expunge: box=Trash, uid={byte}, size={number}",
    ),
    "exim": (
        "exim[812]: 1tEx{byte}-00{number}-Ab <= s@example.com H=mx.example.com [198.51.100.{byte}] P=esmtps S={number}",
        'exim[812]: 1tEx{byte}-00{number}-Ab => {user} R=virtual T=lmtp C="250 2.0.0 <{user}> {session} Saved"',
        "exim[812]: 1tEx{byte}-00{number}-Ab Completed QT={byte}s",
    ),
    "postfix": (
        "postfix/smtpd[{number}]: connect from unknown[203.0.113.{byte}]",
        "postfix/qmgr[4711]: 4Xf{number}: from=<sender@example.com>, size={number}, nrcpt=1 (queue active)",
        "postfix/smtp[{number}]: 4Xf{number}: to=<friend@example.com>, relay=mx.example.com[192.0.2.{byte}]:25, "
        "delay=0.5, dsn=2.0.0, status=sent (250 ok)",
    ),
    "sshd": ("sshd[{number}]: Failed password for invalid user admin from 203.0.113.{byte} port {number} ssh2",),
    "cron": ("CRON[{number}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",),
}
OF_DOVECOT = ("failure", "dovecot")
ENDS = {
    "imap": "Logged out in=815 out=4711 deleted=0 expunged=0 trashed=0 hdr_count=1 hdr_bytes=42",
    "pop3": "Logged out top=0/0, retr=1/4711, del=0/9, size=47110",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What logs are wanted. lines: of all together. seconds: from the first line to `end`, which is now if 0."""

    lines: int = 5_000_000
    mix: str = "real"
    framing: str = SYSLOG
    seed: int = 1
    users: int = 195_000
    addresses: int = 195_000
    ipv6: float = 0.1
    tls: float = 0.8
    odd_every: int = 0
    seconds: int = 600
    end: int = 0


@dataclass(slots=True)
class Truth:
    """What the logs say; a pair is an address and a user.

    logins: each pair's latest login. secured: the pairs that log in under TLS, which they do always or never.
    open: the sessions that have not ended. lines: how many there are of each kind.
    """

    logins: dict[tuple[str, str], int] = field(default_factory=dict)
    secured: set[tuple[str, str]] = field(default_factory=set)
    open: dict[str, tuple[str, str]] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> str:
        """The same as one object; a login is [address, user, time, whether under TLS]."""
        logins = [[*pair, at, pair in self.secured] for pair, at in sorted(self.logins.items())]
        return json.dumps({"logins": logins, "open": self.open, "lines": self.lines})


def user(number: int) -> str:
    """The name of a user."""
    return f"user{number}@example.{'org' if number % OTHER_DOMAIN else 'net'}"


def _address(number: int, six: bool) -> str:
    if six:
        return f"2001:db8:{1 + (number >> 12):x}:{1 + (number & 0xFFF):x}::1"
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Clients:
    """Who logs in from where: as many pairs as there are addresses or users, whichever are more."""

    def __init__(self, recipe: Recipe) -> None:
        dice = random.Random(recipe.seed)
        self.numbers = range(max(recipe.users, recipe.addresses))
        addresses = [_address(one, dice.random() < recipe.ipv6) for one in range(recipe.addresses)]
        self.pairs = [(addresses[one % recipe.addresses], user(one % recipe.users)) for one in self.numbers]
        self.secured = [dice.random() < recipe.tls for _ in self.numbers]
        self.services = ["imap" if one % POP3 else "pop3" for one in self.numbers]
        own = recipe.framing == DOVECOT_FILE
        self.before, self.level = ("", "Info: ") if own else ("dovecot: ", "")
        # Of a login, what stands before the process number, and what stands between it and the session.
        self.heads = [
            f"{self.before}{service}-login: {self.level}Login: user=<{who}>, method=PLAIN, rip={where}, "
            "lip=198.51.100.5, mpid="
            for service, (where, who) in zip(self.services, self.pairs, strict=True)
        ]
        self.tails = [", TLS, session=<" if tls else ", session=<" for tls in self.secured]


def make(recipe: Recipe, *paths: Path) -> Truth:
    """Write the logs. Returns the truth of all together."""
    clients, truth, end = Clients(recipe), Truth(), recipe.end or int(time.time())
    for number, path in enumerate(paths):
        _Log(recipe, clients, truth, number).write(path, (recipe.lines + number) // len(paths), end)
    truth.secured = {pair for pair, tls in zip(clients.pairs, clients.secured, strict=True) if tls}
    truth.secured &= truth.logins.keys()
    return truth


class _Log:
    """One file. Its lines are made CHUNK at a time: all texts of a kind at once, which are then put in order."""

    def __init__(self, recipe: Recipe, clients: Clients, truth: Truth, number: int) -> None:
        self._recipe, self._clients, self._truth = recipe, clients, truth
        self._dice = random.Random(f"{recipe.seed} {number}")
        own = recipe.framing == DOVECOT_FILE
        self._host = "" if own else f"mx{number + 1} "
        self._fresh: list[tuple[str, int]] = []  # the sessions of the chunk before: id and client
        self._lasting: list[tuple[str, int]] = []  # the older ones that are open
        self._odd_ones = 0
        mix = MIXES[recipe.mix]
        # Dovecot's own file has no lines of other programs: Dovecot says more instead.
        self._kinds = ["dovecot" if own and kind in FORMS else kind for kind in mix]
        self._until = list(itertools.accumulate(mix.values()))
        self._pools = {kind: [self._filled(kind) for _ in range(POOL)] for kind in self._kinds if kind in FORMS}

    def write(self, path: Path, lines: int, end: int) -> None:
        """Write the file. Its lines are spread evenly over the time."""
        begin, span, odd_every = end - self._recipe.seconds, self._recipe.seconds * 1_000_000, self._recipe.odd_every
        with path.open("w", encoding="ascii") as file:
            for first in range(0, lines, CHUNK):
                numbers = range(first, min(lines, first + CHUNK))
                places = [one * span // lines for one in numbers]  # microseconds after the begin
                at = [begin + place // 1_000_000 for place in places]
                kinds = self._dice.choices(self._kinds, cum_weights=self._until, k=len(numbers))
                if odd_every:
                    turns = range(-(first + 1) % odd_every, len(numbers), odd_every)
                    kinds[turns.start :: odd_every] = ["odd"] * len(turns)
                file.writelines(map(add, self._stamps(at, places), self._texts(kinds, at)))

    def _stamps(self, at: list[int], places: list[int]) -> Iterable[str]:
        """All that stands before the program."""
        framing = self._recipe.framing
        seconds = {second: time.localtime(second) for second in at}
        begins = {second: time.strftime(STAMPS[framing], local) for second, local in seconds.items()}
        if framing != ISO:
            return [f"{begins[second]} {self._host}" for second in at]
        # As rsyslog writes it in Debian: `2026-11-23T21:00:00.123456+00:00`.
        zones = {second: time.strftime("%z", local) for second, local in seconds.items()}
        ends = {second: f"{zone[:3]}:{zone[3:]} {self._host}" for second, zone in zones.items()}
        return [
            f"{begins[second]}.{place % 1_000_000:06d}{ends[second]}" for second, place in zip(at, places, strict=True)
        ]

    def _texts(self, kinds: list[str], at: list[int]) -> Iterable[str]:
        """The rest of each line, with its line feed."""
        while kinds.count("end") > len(self._fresh) + len(self._lasting):
            kinds[kinds.index("end")] = "dovecot" if "dovecot" in self._pools else "failure"
        numbers = Counter(kinds)
        self._truth.lines.update(numbers)
        streams = {kind: iter(self._dice.choices(pool, k=numbers[kind])) for kind, pool in self._pools.items()}
        # A session never ends in the chunk it began in: else its end might stand before its login.
        streams["end"] = iter(self._ends(numbers["end"]))
        streams["odd"] = iter(self._odd([second for second, kind in zip(at, kinds, strict=True) if kind == "odd"]))
        logins = [second for second, kind in zip(at, kinds, strict=True) if kind == "login"]
        streams["login"] = iter(self._logins(logins))
        return map(next, map(streams.__getitem__, kinds))

    def _filled(self, kind: str) -> str:
        dice, clients = self._dice, self._clients
        text = dice.choice(FORMS[kind]).format(
            level=clients.level,
            user=user(dice.randrange(self._recipe.users)),
            number=dice.randrange(10000, 100_000),
            byte=dice.randrange(1, 250),
            session=self._sessions(1)[0],
        )
        return f"{clients.before if kind in OF_DOVECOT else ''}{text}\n"

    def _sessions(self, number: int) -> list[str]:
        text = base64.b64encode(self._dice.randbytes(SESSION_BYTES * number)).decode()
        width = SESSION_BYTES * 4 // 3
        return [text[place : place + width] for place in range(0, len(text), width)]

    def _enter(self, who: Sequence[int], at: Sequence[int], sessions: Sequence[str]) -> None:
        """Note logins, in the order of their time; another file may have a later one of the same pair."""
        pairs = [self._clients.pairs[one] for one in who]
        logins = self._truth.logins
        logins.update(zip(pairs, map(max, at, [logins.get(pair, 0) for pair in pairs]), strict=True))
        self._truth.open.update(zip(sessions, pairs, strict=True))
        self._fresh += zip(sessions, who, strict=True)

    def _logins(self, at: list[int]) -> list[str]:
        who, sessions = self._dice.choices(self._clients.numbers, k=len(at)), self._sessions(len(at))
        self._enter(who, at, sessions)
        heads, tails, process = self._clients.heads, self._clients.tails, self._dice.randrange(1000, 4_000_000)
        return [
            f"{heads[one]}{number}{tails[one]}{session}>\n"
            for number, (one, session) in enumerate(zip(who, sessions, strict=True), process)
        ]

    def _odd(self, at: list[int]) -> list[str]:
        clients, found = self._clients, []
        who, sessions = self._dice.choices(clients.numbers, k=len(at)), self._sessions(len(at))
        for second, one, session in zip(at, who, sessions, strict=True):
            address, name = clients.pairs[one]
            tls = ", TLS" if clients.secured[one] else ""
            turn, self._odd_ones = self._odd_ones % 3, self._odd_ones + 1
            if turn == 2:
                text = (
                    "Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 secs): "
                    f"user=<imap-login: Login: user={name}, rip={address}>, method=PLAIN, rip=203.0.113.9"
                )
            else:
                self._enter([one], [second], [session])
                self._truth.lines["odd login"] += 1
                text = (
                    f"Login: user=<{name}>, rip={address}, lip=198.51.100.5, mpid=42, method=PLAIN{tls}"
                    if turn == 0
                    else f"Login: user=<{name}>, method=PLAIN, rip={address}, lip=198.51.100.5, mpid=42{tls}, "
                    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
                )
            found.append(f"{clients.before}imap-login: {clients.level}{text}, session=<{session}>\n")
        return found

    def _ends(self, number: int) -> list[str]:
        """End that many of the open sessions, most of them of the chunk before."""
        dice, fresh, lasting, clients = self._dice, self._fresh, self._lasting, self._clients
        dice.shuffle(fresh)
        ended = [fresh.pop() for _ in range(min(len(fresh), max(round(number * SHORT), number - len(lasting))))]
        while len(ended) < number:
            chosen = dice.randrange(len(lasting))
            lasting[chosen], lasting[-1] = lasting[-1], lasting[chosen]
            ended.append(lasting.pop())
        lasting += fresh
        fresh.clear()
        dice.shuffle(ended)
        for session, _one in ended:
            del self._truth.open[session]
        return [
            f"{clients.before}{(service := clients.services[one])}({clients.pairs[one][1]})<{one + 1000}><{session}>: "
            f"{clients.level}Disconnected: {ENDS[service]}\n"
            for session, one in ended
        ]


def main() -> None:
    """Write the logs, and say what is in them."""
    usual = Recipe()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+")
    parser.add_argument("--mix", choices=MIXES, default=usual.mix)
    parser.add_argument("--framing", choices=STAMPS, default=usual.framing)
    for name in ("lines", "seed", "users", "addresses", "odd_every", "seconds", "end"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(usual, name))
    for name in ("ipv6", "tls"):
        parser.add_argument(f"--{name}", metavar="SHARE", type=float, default=getattr(usual, name))
    parser.add_argument("--truth", metavar="FILE", type=Path, help="write the truth there, as one line of JSON")
    given = vars(parser.parse_args())
    files, truth_file = given.pop("files"), given.pop("truth")
    began = time.perf_counter()
    truth = make(Recipe(**given), *files)
    took, size = time.perf_counter() - began, sum(file.stat().st_size for file in files)
    counted = ", ".join(f"{number} {kind}" for kind, number in sorted(truth.lines.items()) if number)
    print(f"{given['lines']} lines, {size / 1e6:.0f} MB in {took:.1f} s: {counted}")
    addresses = len({address for address, _user in truth.logins})
    print(f"{addresses} addresses, {len(truth.logins)} of address and user; {len(truth.open)} sessions stay open")
    if truth_file is not None:
        truth_file.write_text(truth.as_json() + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
