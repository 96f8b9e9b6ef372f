"""What one run of the doctor knows: paths, what the checks found out so far, and their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from popauthd.as_user import Account
from popauthd.config import Config

OK, FAIL, SKIP = "ok", "FAIL", "skip"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where Exim is; config "" for its own. doveconf: a file with the output of `doveconf -n`, "" to ask it."""

    exim: str = "/usr/sbin/exim4"
    exim_config: str = ""
    readlookup: str = "/usr/lib/popauthd/readlookup"
    doveconf: str = ""
    exim_acl: str = "/etc/popauthd/exim-acl"


class Verdict(NamedTuple):
    """What a check says; advice only where something is to be done."""

    state: str
    seen: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the doctor. state: "ok", "FAIL" or "skip"."""

    check: str
    state: str
    seen: str
    advice: str = ""


@dataclass(slots=True)
class Visit:
    """One run. Each check may add to it what those that need it go on with."""

    config_path: str | None
    paths: Paths
    loaded: Config | None = None
    exim_user: Account | None = None
    status: dict[str, Any] = field(default_factory=dict)
    way: str = ""
    address: str = ""
    granting: bool = False
    expires_at: int = 0
    results: list[Result] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """The configuration; only for checks that need `config`."""
        assert self.loaded is not None
        return self.loaded

    @property
    def user(self) -> Account:
        """Exim's user; only for checks that need `exim-user`."""
        assert self.exim_user is not None
        return self.exim_user

    def state_of(self, check: str) -> str:
        """The worst state that a check has had, "" if it has not run."""
        states = {result.state for result in self.results if result.check == check}
        return next((state for state in (FAIL, SKIP, OK) if state in states), "")


def ok(seen: str) -> Verdict:
    """All is well."""
    return Verdict(OK, seen)


def fail(seen: str, advice: str) -> Verdict:
    """Something is wrong."""
    return Verdict(FAIL, seen, advice)


def skip(why: str) -> Verdict:
    """Not looked at."""
    return Verdict(SKIP, why)
