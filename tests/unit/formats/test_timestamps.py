"""popauthd.formats.timestamps: years, zones, hours that happen twice or not at all, forms."""

from __future__ import annotations

import calendar
import sys
import time
import tracemalloc
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.formats.timestamps import DAY, Stamps, tai64n


def at(text: str) -> int:
    """Epoch seconds of ISO 8601; UTC where no offset is given."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test set the machine's zone."""
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def in_zone(local: pytest.MonkeyPatch, zone: str, machine: bool) -> Stamps:
    """A reader for the zone: as the machine's own, or as one that is named."""
    if not machine:
        return Stamps(zone)
    local.setenv("TZ", zone)
    time.tzset()
    return Stamps()


BERLIN = "Europe/Berlin"
READ = [
    ("space padded day", "UTC", "Nov  3 21:00:00", "2026-11-03T21:00:05", None, "2026-11-03T21:00:00"),
    ("zero padded day", "UTC", "Nov 03 21:00:00", "2026-11-03T21:00:05", None, "2026-11-03T21:00:00"),
    ("unpadded day", "UTC", "Nov 3 21:00:00", "2026-11-03T21:00:05", None, "2026-11-03T21:00:00"),
    ("last year, on 1 January", "UTC", "Dec 31 23:59:58", "2027-01-01T00:00:05", None, "2026-12-31T23:59:58"),
    ("next year, the clock slow", "UTC", "Jan  1 00:00:01", "2026-12-31T23:59:59", None, "2027-01-01T00:00:01"),
    ("an hour ahead is the future", "UTC", "Nov 23 22:00:00", "2026-11-23T21:00:10", None, "2026-11-23T22:00:00"),
    ("three days ahead is last year", "UTC", "Nov 26 21:00:00", "2026-11-23T21:00:10", None, "2025-11-26T21:00:00"),
    ("a day ahead is the future", "UTC", "Nov 24 21:00:10", "2026-11-23T21:00:10", None, "2026-11-24T21:00:10"),
    ("more than a day ahead is last year", "UTC", "Nov 24 21:00:11", "2026-11-23T21:00:10", None,
     "2025-11-24T21:00:11"),
    ("hour 23", "UTC", "Nov 23 23:59:59", "2026-11-23T23:59:59", None, "2026-11-23T23:59:59"),
    ("offset of 23:59", "UTC", "2026-11-23T00:00:00+23:59", "2026-11-23T21:00:10", None, "2026-11-22T00:01:00"),
    ("offset of 60 minutes", "UTC", "2026-11-23T00:00:00+00:60", "2026-11-23T21:00:10", None, None),
    ("the first year", "UTC", "1971-01-01T00:00:00Z", "2026-11-23T21:00:10", None, "1971-01-01T00:00:00"),
    ("before the first year", "UTC", "1970-12-31T23:59:59Z", "2026-11-23T21:00:10", None, None),
    ("the last year", "UTC", "2199-12-31T23:59:59Z", "2026-11-23T21:00:10", None, "2199-12-31T23:59:59"),
    ("after the last year", "UTC", "2200-01-01T00:00:00Z", "2026-11-23T21:00:10", None, None),
    ("fold, two minutes ago", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:33:00", None, "2026-10-25T01:31:00"),
    ("fold, longer ago", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:33:01", None, "2026-10-25T00:31:00"),
    ("fold, two minutes ahead", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:29:00", None, "2026-10-25T01:31:00"),
    ("fold, further ahead", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:28:59", None, "2026-10-25T00:31:00"),
    ("fold, written two minutes later", BERLIN, "Oct 25 02:31:00", "2026-10-25T02:40:00", "2026-10-25T00:33:00",
     "2026-10-25T00:31:00"),
    ("fold, written more than two minutes later", BERLIN, "Oct 25 02:31:00", "2026-10-25T02:40:00",
     "2026-10-25T00:33:01", "2026-10-25T01:31:00"),
    ("leap day", "UTC", "Feb 29 12:00:00", "2028-02-29T12:00:05", None, "2028-02-29T12:00:00"),
    ("leap day, a year later", "UTC", "Feb 29 12:00:00", "2029-03-01T00:00:05", None, "2028-02-29T12:00:00"),
    ("leap day, over a century", "UTC", "Feb 29 12:00:00", "2103-03-01T00:00:05", None, "2096-02-29T12:00:00"),
    ("summer", BERLIN, "Jul  1 12:00:00", "2026-07-01T10:00:05", None, "2026-07-01T10:00:00"),
    ("winter", BERLIN, "Nov 23 22:00:00", "2026-11-23T21:00:05", None, "2026-11-23T21:00:00"),
    ("new year in a zone ahead", BERLIN, "Jan  1 00:30:00", "2026-12-31T23:30:05", None, "2026-12-31T23:30:00"),
    ("fold, live, second pass", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:31:05", None, "2026-10-25T01:31:00"),
    ("fold, live, first pass", BERLIN, "Oct 25 02:31:00", "2026-10-25T00:31:05", None, "2026-10-25T00:31:00"),
    ("fold, catching up", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:40:00", None, "2026-10-25T00:31:00"),
    ("fold, written later", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:40:00", "2026-10-25T01:30:00",
     "2026-10-25T01:31:00"),
    ("fold, written in the first pass", BERLIN, "Oct 25 02:31:00", "2026-10-25T01:40:00", "2026-10-25T00:20:00",
     "2026-10-25T00:31:00"),
    ("fold, written later than either", BERLIN, "Oct 25 02:31:00", "2026-10-25T02:40:00", "2026-10-25T02:30:00",
     "2026-10-25T00:31:00"),
    ("fold, both ahead", BERLIN, "Oct 25 02:31:00", "2026-10-24T23:00:00", None, "2026-10-25T00:31:00"),
    ("fold without daylight saving", "Europe/Moscow", "2014-10-26 01:30:00", "2014-10-26T12:00:00", None,
     "2014-10-25T21:30:00"),
    ("just before the gap", BERLIN, "Mar 29 01:59:59", "2026-03-29T01:00:12", None, "2026-03-29T00:59:59"),
    ("just after the gap", BERLIN, "Mar 29 03:00:10", "2026-03-29T01:00:12", None, "2026-03-29T01:00:10"),
    ("in the gap", BERLIN, "Mar 29 02:30:00", "2026-03-29T01:00:12", None, None),
    ("in the gap of a year ago", BERLIN, "Mar 29 02:30:00", "2026-06-01T00:00:00", None, None),
    ("half an hour of daylight saving", "Australia/Lord_Howe", "Apr  5 01:45:00", "2026-04-04T20:00:00", None,
     "2026-04-04T14:45:00"),
    ("a day that was left out", "Pacific/Apia", "2011-12-30 12:00:00", "2012-01-01T00:00:00", None, None),
    ("ISO", "UTC", "2026-11-23T21:00:00Z", "2026-11-23T21:00:10", None, "2026-11-23T21:00:00"),
    ("ISO, fraction and offset", BERLIN, "2026-11-23T22:00:00.999999+01:00", "2026-11-23T21:00:10", None,
     "2026-11-23T21:00:00"),
    ("ISO, offset without colon", BERLIN, "2026-11-23 15:30:00.5-0530", "2026-11-23T21:00:10", None,
     "2026-11-23T21:00:00"),
    ("ISO, comma", "UTC", "2026-11-23T21:00:00,123Z", "2026-11-23T21:00:10", None, "2026-11-23T21:00:00"),
    ("ISO without zone", BERLIN, "2026-11-23 22:00:00", "2026-11-23T21:00:10", None, "2026-11-23T21:00:00"),
    ("ISO far ahead stays there", "UTC", "2030-11-23T21:00:00Z", "2026-11-23T21:00:10", None, "2030-11-23T21:00:00"),
    ("hour 24", "UTC", "Nov 23 24:00:00", "2026-11-23T21:00:10", None, None),
    ("minute 60", "UTC", "Nov 23 20:60:00", "2026-11-23T21:00:10", None, None),
    ("second 60", "UTC", "Nov 23 20:59:60", "2026-11-23T21:00:10", None, None),
    ("day 0", "UTC", "Nov 00 20:59:00", "2026-11-23T21:00:10", None, None),
    ("30 February", "UTC", "Feb 30 20:59:00", "2026-11-23T21:00:10", None, None),
    ("no month", "UTC", "Nev 23 20:59:00", "2026-11-23T21:00:10", None, None),
    ("month 13", "UTC", "2026-13-01T00:00:00Z", "2026-11-23T21:00:10", None, None),
    ("29 February of no leap year", "UTC", "2026-02-29T00:00:00Z", "2026-11-23T21:00:10", None, None),
    ("offset of 24 hours", "UTC", "2026-11-23T00:00:00+24:00", "2026-11-23T21:00:10", None, None),
    ("year 9999", "UTC", "9999-11-23T00:00:00", "2026-11-23T21:00:10", None, None),
    ("year 0000", "UTC", "0000-11-23T00:00:00", "2026-11-23T21:00:10", None, None),
]  # fmt: skip


@pytest.mark.parametrize("machine", [True, False], ids=["machine's zone", "named zone"])
@pytest.mark.parametrize(
    ("zone", "stamp", "now", "written_after", "time_of_it"), [row[1:] for row in READ], ids=[row[0] for row in READ]
)
def test_a_stamp_is_read_as(
    local: pytest.MonkeyPatch,
    zone: str,
    stamp: str,
    now: str,
    written_after: str | None,
    time_of_it: str | None,
    machine: bool,
) -> None:
    stamps = in_zone(local, zone, machine)
    after = None if written_after is None else at(written_after)
    expected = None if time_of_it is None else at(time_of_it)
    for _ in range(2):  # the second time from the cache
        assert stamps.read(stamp.encode(), at(now), after) == expected


def test_the_cache_does_not_keep_the_year_of_a_stamp() -> None:
    stamps = Stamps("UTC")
    assert stamps.read(b"Dec 31 12:00:00", at("2026-12-31T12:00:05")) == at("2026-12-31T12:00:00")
    assert stamps.read(b"Dec 31 12:00:00", at("2027-12-31T12:00:05")) == at("2027-12-31T12:00:00")
    assert stamps.read(b"Dec 31 12:00:00", at("2027-12-01T12:00:05")) == at("2026-12-31T12:00:00")


def test_a_reader_that_runs_for_years_reads_each_by_its_own_clock() -> None:
    stamps = Stamps("UTC")
    for year in (2026, 2027, 2028, 2027):
        turn = at(f"{year}-01-01T00:00:00")
        for now in (turn, turn + 1, turn + 40 * DAY, turn + 364 * DAY):
            for before in (0, 1, DAY, 200 * DAY, -1, -3600):
                stamp = time.strftime("%b %d %H:%M:%S", time.gmtime(now - before)).encode()
                assert stamps.read(stamp, now) == now - before, (year, now, before)
        last = at(f"{year}-12-31T23:59:59")
        assert stamps.read(b"Jan  1 00:00:01", last) == last + 2
        assert stamps.read(b"Dec 31 23:59:59", last) == last


def test_a_long_log_does_not_fill_the_memory() -> None:
    stamps = Stamps("UTC")
    first = at("2026-01-01T00:00:00")
    tracemalloc.start()
    try:
        for minute in range(20_000):  # 10 MB if each were kept
            stamps.read(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first + 60 * minute)).encode(), first)
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()


def test_more_minutes_than_are_remembered_are_still_read() -> None:
    stamps = Stamps("UTC")
    first = at("2026-11-20T00:00:00")
    for minute in range(5000):
        stamp = time.strftime("%b %d %H:%M:%S", time.gmtime(first + 60 * minute)).encode()
        assert stamps.read(stamp, at("2026-11-23T21:00:00")) == first + 60 * minute


@given(
    st.sampled_from(["UTC", BERLIN, "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca"]),
    st.integers(at("2005-01-01"), at("2037-12-01")),
    st.integers(0, 300 * DAY),
    st.booleans(),
)
def test_a_stamp_never_reads_as_later_than_it_was_written(zone: str, written: int, delay: int, iso: bool) -> None:
    """Whatever the zone does: the reading is the true one, or one that expires earlier."""
    from zoneinfo import ZoneInfo

    form = "%Y-%m-%d %H:%M:%S" if iso else "%b %e %H:%M:%S"
    stamp = datetime.fromtimestamp(written, ZoneInfo(zone)).strftime(form).encode()
    found = Stamps(zone).read(stamp, written + delay)
    assert found is not None
    assert written - 3 * 3600 <= found <= written or delay <= 120
    if delay <= 120:
        assert abs(found - written) in (0, 1800, 3600, 7200)


LAYOUTS = [
    ("Dovecot's default", "%b %d %H:%M:%S ", "Nov 23 21:00:00", "2026-11-23T21:00:00"),
    ("year first", "%Y-%m-%d %H:%M:%S", "2026-11-23 21:00:00", "2026-11-23T21:00:00"),
    ("short forms and zone", "%FT%T%z ", "2026-11-23T22:00:00+0100", "2026-11-23T21:00:00"),
    ("microseconds", "%F %T.%{usecs} ", "2026-11-23 21:00:00.123456", "2026-11-23T21:00:00"),
    ("epoch", "%s ", "1795467600", "2026-11-23T21:00:00"),
    ("brackets, weekday, %", "[%a %e %h %Y %R:%S] 100%%", "[Mon 23 Nov 2026 21:00:00] 100%", "2026-11-23T21:00:00"),
    ("no year", "%d.%m. %H.%M.%S", "23.11. 21.00.00", "2026-11-23T21:00:00"),
    ("not the form", "%Y-%m-%d %H:%M:%S", "Nov 23 21:00:00", None),
    ("month 13", "%Y-%m-%d %H:%M:%S", "2026-13-23 21:00:00", None),
    ("no month", "%b %d %H:%M:%S", "Nev 23 21:00:00", None),
    ("offset too large", "%F %T%z", "2026-11-23 21:00:00+9900", None),
    ("epoch too large", "%s", "99999999999", None),
]


@pytest.mark.parametrize(
    ("layout", "stamp", "time_of_it"), [row[1:] for row in LAYOUTS], ids=[row[0] for row in LAYOUTS]
)
def test_a_log_timestamp_is_read_as(layout: str, stamp: str, time_of_it: str | None) -> None:
    found = Stamps("UTC", layout).read(stamp.encode(), at("2026-11-23T21:00:10"))
    assert found == (None if time_of_it is None else at(time_of_it))


WRONG = [
    ("unknown directive", "%b %d %Q", "%Q cannot be read"),
    ("lonely percent", "%b %d %T %", "% cannot be read"),
    ("no month", "%d %T", "the month is missing"),
    ("no second", "%b %d %R", "the second is missing"),
    ("two days", "%b %d %e %T", "the day is there twice"),
]


@pytest.mark.parametrize(("layout", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_log_timestamp_that_cannot_be_read_is_told(layout: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Stamps("UTC", layout)


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "Europe", "/etc/localtime", "x\0y", "x" * 300])
def test_a_zone_that_is_not_known_is_told(zone: str) -> None:
    with pytest.raises(ValueError, match="is not known here"):
        Stamps(zone)


def test_a_tai64n_label_is_read_as_multilog_writes_it() -> None:
    assert tai64n(b"@400000004c91b044077a9e94") == 0x4C91B044 - 10
    assert tai64n(b"@400000004c91b044077a9e9") is None
    assert tai64n(b"@400000004C91B044077A9E94") is None
    assert tai64n(b"@ffffffffffffffffffffffff") is None
    assert tai64n(b"x@400000004c91b044077a9e94") is None
    assert tai64n(b"@%016x00000000" % ((1 << 62) + 10)) == 0
    assert tai64n(b"@%016x00000000" % ((1 << 62) + 9)) is None
    assert tai64n(b"@%016x00000000" % ((1 << 62) + 10 + (1 << 34))) is None
    assert tai64n(b"@%016x00000000" % ((1 << 62) + 9 + (1 << 34))) == (1 << 34) - 1
    assert tai64n(b"@000000000000000000000000") is None


def test_the_machines_zone_and_the_named_one_agree(local: pytest.MonkeyPatch) -> None:
    machine, named = in_zone(local, BERLIN, True), Stamps(BERLIN)
    now = at("2026-12-31T23:00:00")
    for hour in range(365 * 24):
        moment = calendar.timegm((2026, 1, 1, 0, 30, 0)) + 3600 * hour
        stamp = time.strftime("%b %d %H:%M:%S", time.gmtime(moment)).encode()
        assert machine.read(stamp, now) == named.read(stamp, now)


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC"])
def test_utc_needs_no_tzdata(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        with pytest.raises(ValueError, match="package tzdata"):
            Stamps("Europe/Berlin")
        assert Stamps(zone).read(b"2026-11-23 21:00:00", at("2026-11-23T21:00:10")) == at("2026-11-23T21:00:00")
    finally:
        zoneinfo.reset_tzpath()
