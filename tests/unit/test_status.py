"""popauthd.status: what the watcher tells of itself has the keys that scripts read, and comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from popauthd.cli.status import lines
from popauthd.conditions import CONDITIONS, Standing
from popauthd.model import SharedAddress
from popauthd.status import (
    ClusterStatus,
    ConfigurationStatus,
    FileStatus,
    JournalStatus,
    PeerStatus,
    PushStatus,
    SourceStatus,
    Status,
    from_json,
    to_json,
)

NOW = 1_795_467_600
LOG = FileStatus("/var/log/mail.log", "present", "", "/var/log/mail.log.1", 300, 70, NOW - 1, None, 1, 2)
JOURNAL = JournalStatus("journal", "present", "", 5, NOW - 5, NOW - 1, None, 3)
STATUS = Status(
    version="1.0", pid=7, now=NOW, degraded="", dry_run=False, addresses=2, held=1,
    shared=(SharedAddress("192.0.2.10", NOW - 60, NOW + 60, 30),),
    sources=(SourceStatus(LOG.path, LOG, NOW - 30, NOW - 20), SourceStatus("journal", JOURNAL)),
    pushed=(PushStatus("post-login", "/run/popauthd/push.sock"),),
    today={"lines": 9, "refused.torn": 1}, notes=("2026-11-23T21:00:00+0000 told",),
    conditions=(Standing("log-missing", "/var/log/mail.log", "gone", NOW - 60),),
    configuration=ConfigurationStatus("/etc/popauthd/popauthd.toml", "5f1e", NOW - 90),
    cluster=ClusterStatus("a", "1-0 5", 3, 1, "", "no answer", (PeerStatus("b", NOW - 4, 12, -30, "1.0"),)),
)  # fmt: skip
# What `popauthctl status --json` printed in 0.1.0, and prints.
PRINTED: dict[str, Any] = {
    "version": "1.0", "pid": 7, "now": NOW, "degraded": "", "dry_run": False, "addresses": 2, "held": 1,
    "shared": [{"address": "192.0.2.10", "since": NOW - 60, "until": NOW + 60, "users": 30}],
    "sources": [
        {
            "name": "/var/log/mail.log", "path": "/var/log/mail.log", "status": "present", "why": "",
            "reading": "/var/log/mail.log.1", "offset": 300, "behind_bytes": 70, "last_read_at": NOW - 1,
            "at_end_at": None, "old_files": 1, "long_lines": 2, "last_login_at": NOW - 30,
            "last_dovecot_line_at": NOW - 20,
        },
        {
            "name": "journal", "path": "journal", "status": "present", "why": "", "behind_seconds": 5,
            "last_record_at": NOW - 5, "last_read_at": NOW - 1, "at_end_at": None, "dropped_messages": 3,
            "last_login_at": None, "last_dovecot_line_at": None,
        },
    ],
    "pushed": [{"name": "post-login", "where": "/run/popauthd/push.sock"}],
    "today": {"lines": 9, "refused.torn": 1},
    "notes": ["2026-11-23T21:00:00+0000 told"],
    "conditions": [
        {
            "word": "log-missing", "severity": "degraded", "about": "/var/log/mail.log", "evidence": "gone",
            "since": NOW - 60, "advice": CONDITIONS["log-missing"].advice,
        },
    ],
    "configuration": {"path": "/etc/popauthd/popauthd.toml", "digest": "5f1e", "since": NOW - 90},
    "cluster": {
        "node": "a", "place": "1-0 5", "unsent": 3, "gaps": 1, "reading": "", "sending": "no answer",
        "peers": [{"node": "b", "seen_at": NOW - 4, "lag_ms": 12, "skew_ms": -30, "version": "1.0"}],
    },
}  # fmt: skip


def test_the_keys_are_those_that_scripts_read_in_their_order() -> None:
    assert json.dumps(to_json(STATUS)) == json.dumps(PRINTED)


def test_a_status_comes_back_as_it_was() -> None:
    assert from_json(json.loads(json.dumps(to_json(STATUS)))) == STATUS


BAD: list[tuple[str, dict[str, Any]]] = [
    ("text for a number", {"addresses": "two"}),
    ("a truth for a number", {"pid": True}),
    ("a number for a truth", {"dry_run": 0}),
    ("a number for text", {"degraded": 5}),
    ("a number that cannot be", {"now": 1 << 63}),
    ("a source that is a number", {"sources": [5]}),
    ("a source without a name", {"sources": [{**PRINTED["sources"][0], "name": None}]}),
    ("a source that reads a number", {"sources": [{**PRINTED["sources"][0], "reading": 5}]}),
    ("a journal without its path", {"sources": [{"name": "journal"}]}),
    ("no list of sources", {"sources": {}}),
    ("an address without its users", {"shared": [{"address": "192.0.2.10", "since": 0, "until": 0}]}),
    ("a push source without a place", {"pushed": [{"name": "post-login"}]}),
    ("a counter that is text", {"today": {"lines": "9"}}),
    ("counters in a list", {"today": []}),
    ("a note that is a number", {"notes": [5]}),
    ("no notes", {"notes": None}),
    ("a configuration that is text", {"configuration": "/etc/popauthd/popauthd.toml"}),
    ("a cluster that is text", {"cluster": "a"}),
    ("a peer without its clock", {"cluster": {**PRINTED["cluster"], "peers": [{"node": "b"}]}}),
    ("a configuration without its digest", {"configuration": {"path": "/x", "since": 0}}),
]


@pytest.mark.parametrize("change", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_not_in_good_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" is not | are not | is neither "):
        from_json({**PRINTED, **change})


def test_people_are_told_what_each_counter_counts() -> None:
    shown = list(lines(STATUS))
    assert shown[shown.index("today:") + 1 :] == [
        "  lines 9: A line of a log was read.",
        "  refused.torn 1: The login's line ends too early, or is so long that it may be a piece of a longer line: "
        "the address or the user may have been cut.",
    ]


def test_how_far_a_source_is_behind_is_told_in_its_own_unit() -> None:
    assert [(state.behind, state.behind_text) for state in (LOG, JOURNAL)] == [(70, "70 bytes"), (5, "5 s")]
