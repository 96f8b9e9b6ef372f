"""What doctor prints beside its checks: what was not looked at, and the last line."""

from __future__ import annotations

import pytest

from popauthd.cli.doctor import skipped, summary
from popauthd.doctor import FAIL, OK, SKIP, WARN, Result

WELL = Result("clock", OK, "it is now")
BROKEN = Result("watcher", FAIL, "it does not answer", "start it")
REST = [Result(name, SKIP, "needs watcher, which is not well", because="watcher") for name in ("grant", "relay")]
PLAIN = [Result(name, SKIP, "run this as root") for name in ("acl", "programs", "acl")]
WARNED = Result("programs", WARN, "Exim runs on", "restart it")

LINES = [
    ("all well", [WELL, WELL], "all 1 checks are well"),
    ("a fault", [WELL, BROKEN], "1 of 2 checks failed: watcher. First: watcher: it does not answer; start it"),
    (
        "a fault and what it hides",
        [WARNED, BROKEN, Result("exim", FAIL, "no Exim", "install it"), *REST],
        "2 of 5 checks failed: watcher, exim, 1 warned: programs, 2 could not be looked at. First: watcher:"
        " it does not answer; start it",
    ),
    ("a warning", [WELL, WARNED], "none of 2 checks failed, 1 warned: programs"),
    ("not all was seen", [WELL, *PLAIN], "none of 3 checks failed, 2 could not be looked at"),
]


@pytest.mark.parametrize(("results", "said"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_the_last_line_tells_it_all(results: list[Result], said: str) -> None:
    assert summary(results) == said


def test_what_was_not_looked_at_is_a_line_for_each_reason() -> None:
    assert list(skipped([BROKEN, *REST, WELL, *PLAIN])) == [
        "skip not looked at because of watcher: grant, relay",
        "skip not looked at: acl, programs (run this as root)",
    ]
