"""Time stamps of log lines: bytes to epoch seconds.

Reads the two stamps that Dovecot and syslog write by default (`Nov 23 21:00:00`, without a year, and
ISO 8601, with or without fraction and offset), any `log_timestamp` made of numbers and `%b`, and
TAI64N labels. A stamp that names no moment (hour 25, 30 February, the hour that daylight saving
leaves out) is None, never a neighbour of it. Second 60 is refused: POSIX clocks do not show it and
RFC 5424 forbids it.

No year: the newest year in which the stamp is at most a day ahead, so that a line of an hour ahead is
seen as from the future (and refused by policy), and one of last December as of last December.
No zone: the zone given, or the machine's. An hour that happens twice: see `Stamps.read`.

LIMIT: the machine's zone is read by the C library when the process starts; a zone changed later is
seen after a restart.
"""

from __future__ import annotations

import calendar
import datetime
import re
import time
import zoneinfo
from collections.abc import Callable
from typing import NamedTuple

DAY = 86400
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LAST_OF_32_BITS = (1 << 31) - 1
LEEWAY = 120  # seconds: a line no older than this counts as written just now
REMEMBERED = 4096  # minutes kept before the cache is emptied

MONTH_STAMP = rb"[A-Z][a-z]{2} [ 0-9]?[0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}"
ISO_STAMP = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    rb"(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
ANY_STAMP = rb"(?:" + MONTH_STAMP + rb"|" + ISO_STAMP + rb")"

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_FIRST_YEAR, _LAST_YEAR = 1970, 2200  # outside, a stamp is nonsense and the C library may refuse it
_LEAP_REACH = 9  # 29 February can be eight years back (1896 to 1904, 2096 to 2104)


class Moment(NamedTuple):
    """The readings of one wall-clock time in one year: none in the gap of DST, two in its fold."""

    about: int  # epoch seconds: the first reading, or where it would be
    readings: tuple[int, ...]


class Fields(NamedTuple):
    """The numbers of a stamp, not yet checked. year None: not written. offset None: no zone written."""

    year: int | None
    month: int
    day: int
    hour: int
    minute: int
    second: int
    offset: int | None


class Stamps:
    """Reads the stamps of one source. Holds a cache by minute, so it belongs to one thread."""

    def __init__(self, timezone: str = "", layout: str = "") -> None:
        """timezone: an IANA name, "" for the machine's. layout: a log_timestamp, "" for the defaults.

        Raises ValueError, with a message for the administrator, when either is not known.
        """
        self._offset = _zone(timezone)
        self._layout = _layout(layout) if layout else None
        self.pattern = self._layout[0] if self._layout else ANY_STAMP
        self._moments: dict[bytes, tuple[Moment, ...]] = {}
        self._year_from = self._year_to = 0

    def read(self, stamp: bytes, now: int, written_after: int | None = None) -> int | None:
        """The time of a stamp that matches `pattern`, in epoch seconds, or None if there is no such time.

        written_after: when given, the line is known to have been written after that time. In an hour
        that happens twice this picks the reading; without it a reading of the last two minutes is
        taken as a line just written, and otherwise the EARLIER one: it expires earlier, so that
        catching up never lengthens a grant.
        """
        if not self._year_from <= now < self._year_to:
            self._turn_year(now)
        if self._layout is not None:
            key, second = stamp, 0
        elif stamp[:1].isdigit():
            key = stamp[:16] + stamp[19:].lstrip(b".,0123456789")
            second = int(stamp[17:19])
        else:
            key, second = stamp[:-3], int(stamp[-2:])
        moments = self._moments.get(key)
        if moments is None:
            moments = self._learn(key)
        if not moments or second > 59:
            return None
        for moment in moments:
            if moment.about + second <= now + DAY:
                break
        if len(moment.readings) == 1:
            return moment.readings[0] + second
        return _choose([reading + second for reading in moment.readings], now, written_after)

    def _turn_year(self, now: int) -> None:
        """Forget what was learnt with another year as the present one."""
        year = _utc(now).year
        self._year_from = calendar.timegm((year, 1, 1, 0, 0, 0))
        self._year_to = calendar.timegm((year + 1, 1, 1, 0, 0, 0))
        self._moments.clear()

    def _learn(self, key: bytes) -> tuple[Moment, ...]:
        """The moments a stamp can mean, newest first; only the last may lie any distance ahead."""
        if len(self._moments) >= REMEMBERED:
            self._moments.clear()
        fields = self._layout[1](key) if self._layout else _default_fields(key)
        moments: list[Moment] = []
        if fields is not None and fields.hour <= 23 and fields.minute <= 59 and fields.second <= 59:
            this_year = _utc(self._year_from).year
            years = range(this_year + 1, this_year - _LEAP_REACH, -1)
            for year in years if fields.year is None else (fields.year,):
                moment = self._moment(year, fields)
                if moment is not None:
                    moments.append(moment)
        self._moments[key] = tuple(moments)
        return self._moments[key]

    def _moment(self, year: int, fields: Fields) -> Moment | None:
        try:
            datetime.date(year, fields.month, fields.day)
        except ValueError:
            return None
        if not _FIRST_YEAR < year < _LAST_YEAR:
            return None
        as_utc = calendar.timegm((year, fields.month, fields.day, fields.hour, fields.minute, fields.second))
        if fields.offset is not None:
            return Moment(as_utc - fields.offset, (as_utc - fields.offset,))
        # The offsets a day before and a day after are the two that can hold here; a reading is one
        # whose own offset agrees. (mktime with tm_isdst misses folds that are not daylight saving.)
        before, after = self._offset(as_utc - DAY), self._offset(as_utc + DAY)
        readings = sorted(as_utc - o for o in {before, after} if self._offset(as_utc - o) == o)
        return Moment(readings[0] if readings else as_utc - before, tuple(readings))


def _choose(readings: list[int], now: int, written_after: int | None) -> int | None:
    """Which of the readings of an hour that happens twice (ascending); None if there is none."""
    past = [reading for reading in readings if reading <= now + LEEWAY]
    if not past:
        return readings[0] if readings else None
    if written_after is not None:
        return next((reading for reading in past if reading >= written_after - LEEWAY), past[0])
    return past[-1] if now - past[-1] <= LEEWAY else past[0]


def _zone(name: str) -> Callable[[int], int]:
    """A function from epoch seconds to the zone's offset from UTC in seconds."""
    if not name:
        return _offset_here
    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"timezone {name!r} is not known here: give an IANA name such as Europe/Berlin (Debian's"
            " package tzdata has them), or leave it empty for this machine's zone"
        ) from error

    def offset(at: int) -> int:
        delta = _utc(at).astimezone(zone).utcoffset()
        return 0 if delta is None else int(delta.total_seconds())

    return offset


def _utc(at: int) -> datetime.datetime:
    """What gmtime and fromtimestamp give, but without a 32-bit time_t, which ends in January 2038."""
    return _EPOCH + datetime.timedelta(seconds=at)


def _offset_here(at: int) -> int:
    try:
        return time.localtime(at).tm_gmtoff
    except OverflowError:  # it lies ahead of all that this machine's clock can say, and is refused as the future
        return time.localtime(_LAST_OF_32_BITS).tm_gmtoff


_MONTH_MINUTE = re.compile(rb"([A-Z][a-z]{2}) ([ 0-9]?[0-9]) ([0-9]{2}):([0-9]{2})")
_ISO_MINUTE = re.compile(rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2})(Z|[+-][0-9]{2}:?[0-9]{2})?")


def _default_fields(minute: bytes) -> Fields | None:
    """The fields of a stamp without its seconds, in one of the two default forms."""
    if found := _MONTH_MINUTE.fullmatch(minute):
        month = _MONTHS.get(found[1])
        if month is None:
            return None
        return Fields(None, month, int(found[2]), int(found[3]), int(found[4]), 0, None)
    if found := _ISO_MINUTE.fullmatch(minute):
        year, month, day, hour, mins = (int(found[group]) for group in range(1, 6))
        try:
            return Fields(year, month, day, hour, mins, 0, zone_offset(found[6]))
        except ValueError:
            return None
    return None


def zone_offset(text: bytes | None) -> int | None:
    """Seconds east of UTC for `Z`, `+01:00`, `+0100`; None for None.

    Raises ValueError on an hour above 23 or a minute above 59.
    """
    if text is None:
        return None
    if text == b"Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset from UTC")
    seconds = hours * 3600 + minutes * 60
    return -seconds if text[:1] == b"-" else seconds


# What a log_timestamp may be made of: strftime's letter, the pattern, the field it fills ("" for none).
_DIRECTIVES: dict[str, tuple[bytes, str]] = {
    "Y": (rb"[0-9]{4}", "year"),
    "m": (rb"[0-9]{2}", "month"),
    "b": (rb"[A-Z][a-z]{2}", "month"),
    "h": (rb"[A-Z][a-z]{2}", "month"),
    "d": (rb"[0-9]{2}", "day"),
    "e": (rb"[ 0-9][0-9]", "day"),
    "H": (rb"[0-9]{2}", "hour"),
    "M": (rb"[0-9]{2}", "minute"),
    "S": (rb"[0-9]{2}", "second"),
    "z": (rb"[+-][0-9]{4}", "zone"),
    "s": (rb"[0-9]{1,11}", "epoch"),
    "a": (rb"[A-Z][a-z]{2}", ""),
    "%": (rb"%", ""),
    "{usecs}": (rb"[0-9]{6}", ""),  # Dovecot's own, src/lib/failures.c
}
_SHORT = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M"}
_NEEDED = ("month", "day", "hour", "minute", "second")

FieldsOf = Callable[[bytes], Fields | None]


def _layout(text: str) -> tuple[bytes, FieldsOf]:
    """The pattern of a log_timestamp (blanks at its end left out), and what reads a match of it."""
    for short, full in _SHORT.items():
        text = text.replace(short, full)
    plain, named, fields = [], [], set()
    for literal, directive in re.findall(r"([^%]+)|%(\{usecs\}|.|\Z)", text.rstrip(" "), re.DOTALL):
        if literal:
            piece, field = re.escape(literal.encode()), ""
        elif directive in _DIRECTIVES:
            piece, field = _DIRECTIVES[directive]
        else:
            raise ValueError(
                f"timestamp: %{directive} cannot be read; use"
                f" {' '.join('%' + known for known in (*_DIRECTIVES, 'F', 'T', 'R'))}"
            )
        if field in fields:
            raise ValueError(f"timestamp: the {field} is there twice")
        fields.update({field} - {""})
        plain.append(piece)
        named.append(b"(?P<%s>%s)" % (field.encode(), piece) if field else piece)
    missing = [name for name in _NEEDED if name not in fields]
    if missing and "epoch" not in fields:
        raise ValueError(f"timestamp: the {missing[0]} is missing (needed: month, day, %H, %M, %S, or %s)")
    pattern = re.compile(b"".join(named))
    return b"(?:" + b"".join(plain) + b")", lambda stamp: _layout_fields(pattern, stamp)


def _layout_fields(pattern: re.Pattern[bytes], stamp: bytes) -> Fields | None:
    found = pattern.fullmatch(stamp)
    if found is None:
        return None
    part = found.groupdict()
    if "epoch" in part:
        return Fields(*_utc(int(part["epoch"])).timetuple()[:6], 0)
    month = part["month"]
    number = int(month) if month.isdigit() else _MONTHS.get(month)
    if number is None:
        return None
    day, hour, minute, second = (int(part[name]) for name in _NEEDED[1:])
    try:
        zone = zone_offset(part.get("zone"))
    except ValueError:
        return None
    return Fields(int(part["year"]) if "year" in part else None, number, day, hour, minute, second, zone)


def tai64n(label: bytes) -> int | None:
    """The time of a TAI64N label (`@` and 24 hexadecimal digits, in lower case), or None.

    multilog and svlogd write Unix time plus 2**62 plus 10 (daemontools' tai_now, undone by tai64nlocal).
    LIMIT: s6-log adds the leap seconds too; its labels are read 27 seconds late.
    """
    if not re.fullmatch(rb"@[0-9a-f]{24}", label):
        return None
    seconds = int(label[1:17], 16) - (1 << 62) - 10
    return seconds if 0 <= seconds < 1 << 34 else None
