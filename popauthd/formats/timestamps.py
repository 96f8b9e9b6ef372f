"""Time stamps of log lines: bytes to epoch seconds.

Reads the two stamps that Dovecot and syslog write by default (`Nov 23 21:00:00`, without a year, and
ISO 8601, with or without fraction and offset), any `log_timestamp` made of numbers and `%b`, and
TAI64N labels. A stamp may name its zone by an abbreviation, which must be UTC or the one in force in
the source's zone. A stamp of a time that does not exist (hour 25, 30 February, the hour that daylight
saving leaves out) is None; it is never moved to a time nearby. Second 60 is refused: POSIX clocks do
not show it and RFC 5424 forbids it.

A stamp without a year is read in the newest year in which it is at most a day ahead of the clock. So a
line that is stamped an hour ahead is read as from the future (and refused by policy), and a line of
last December as of last December. A stamp without a zone is read in the zone given, or in the
machine's. For an hour that happens twice see `Stamps.read`.

LIMIT: the C library reads the machine's zone when the process starts. If the zone is changed later, a
restart is needed.
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
_UTC = {"UTC", "Etc/UTC"}  # known also where Debian's package tzdata is not installed
_LAST_OF_32_BITS = (1 << 31) - 1
LEEWAY = 120  # seconds: a line no older than this counts as written just now
REMEMBERED = 4096  # minutes kept before the cache is emptied

MONTH_STAMP = rb"[A-Z][a-z]{2} [ 0-9]?[0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}"
ISO_STAMP = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    rb"(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
ZONED_STAMP = (  # journalctl names the zone by its abbreviation
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:[A-Z]{3,5}|[+-][0-9]{2}(?:[0-9]{2})?)"
)
ANY_STAMP = rb"(?:" + MONTH_STAMP + rb"|" + ISO_STAMP + rb")"

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_FIRST_YEAR, _LAST_YEAR = 1970, 2200  # the C library may refuse times outside these years
_LEAP_REACH = 9  # 29 February can be eight years back (1896 to 1904, 2096 to 2104)


class Moment(NamedTuple):
    """What one wall-clock time in one year can mean.

    It has no reading in the hour that daylight saving leaves out, and two in the hour that happens twice.
    """

    about: int  # epoch seconds: the first reading, or the place where it would be
    readings: tuple[int, ...]


class Fields(NamedTuple):
    """The numbers of a stamp, not yet checked.

    year, offset: None if the stamp has no year, or no offset. zone: the abbreviation of its zone, "" if it has none.
    """

    year: int | None
    month: int
    day: int
    hour: int
    minute: int
    second: int
    offset: int | None
    zone: str = ""


class Stamps:
    """Reads the stamps of one source. It keeps a cache of minutes, so it belongs to one thread."""

    def __init__(self, timezone: str = "", layout: str = "") -> None:
        """timezone: an IANA name, "" for the machine's. layout: a log_timestamp, "" for the defaults.

        Raises ValueError, with a message for the administrator, if either is not known.
        """
        self._zone = _zone(timezone)
        self._layout = _layout(layout) if layout else None
        self.pattern = self._layout[0] if self._layout else ANY_STAMP
        self._moments: dict[bytes, tuple[Moment, ...]] = {}
        self._year_from = self._year_to = 0

    def read(self, stamp: bytes, now: int, written_after: int | None = None) -> int | None:
        """The time of a stamp that matches `pattern`, in epoch seconds, or None if there is no such time.

        written_after: a time after which the line was written, if one is known. In an hour that happens
        twice it decides between the two readings. Without it, a reading within the last two minutes is
        taken, as the line was probably just written; otherwise the EARLIER reading is taken. It expires
        earlier, so reading an old log never lengthens a grant.
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
        """Empty the cache, because the year of the wall clock has changed."""
        year = _utc(now).year
        self._year_from = calendar.timegm((year, 1, 1, 0, 0, 0))
        self._year_to = calendar.timegm((year + 1, 1, 1, 0, 0, 0))
        self._moments.clear()

    def _learn(self, key: bytes) -> tuple[Moment, ...]:
        """The moments that a stamp can mean, newest first. If all of them lie ahead, `read` takes the last."""
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
        # Only the offset of a day before or of a day after can be in force here. A reading is valid if the
        # offset in force at that time is the one it was made with. (mktime with tm_isdst would miss hours that
        # happen twice for another reason than daylight saving.) If the stamp names a zone it must be the one in force.
        before, after = self._zone(as_utc - DAY)[0], self._zone(as_utc + DAY)[0]
        readings = []
        for offset in sorted({before, after}, reverse=True):
            there, name = self._zone(as_utc - offset)
            if there == offset and fields.zone in ("", name):
                readings.append(as_utc - offset)
        return Moment(readings[0] if readings else as_utc - before, tuple(readings))


def _choose(readings: list[int], now: int, written_after: int | None) -> int | None:
    """Choose between the readings (ascending) of an hour that happens twice; None if there is no reading."""
    past = [reading for reading in readings if reading <= now + LEEWAY]
    if not past:
        return readings[0] if readings else None
    if written_after is not None:
        return next((reading for reading in past if reading >= written_after - LEEWAY), past[0])
    return past[-1] if now - past[-1] <= LEEWAY else past[0]


def _zone(name: str) -> Callable[[int], tuple[int, str]]:
    """A function that gives the zone's offset from UTC in seconds and its abbreviation, for a time in epoch seconds."""
    if not name:
        return _zone_here
    if name in _UTC:
        return lambda _at: (0, "UTC")
    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"timezone {name!r} is not known here: give an IANA name such as Europe/Berlin (Debian's"
            " package tzdata has them), or leave it empty for this machine's zone"
        ) from error

    def there(at: int) -> tuple[int, str]:
        local = _utc(at).astimezone(zone)
        delta = local.utcoffset()
        return 0 if delta is None else int(delta.total_seconds()), local.tzname() or ""

    return there


def _utc(at: int) -> datetime.datetime:
    """The same as gmtime gives, but also after January 2038 on a machine whose time_t has 32 bits."""
    return _EPOCH + datetime.timedelta(seconds=at)


def _zone_here(at: int) -> tuple[int, str]:
    try:
        local = time.localtime(at)
    except OverflowError:  # later than this machine's clock can show: policy refuses it as from the future
        local = time.localtime(_LAST_OF_32_BITS)
    return local.tm_gmtoff, local.tm_zone


_MONTH_MINUTE = re.compile(rb"([A-Z][a-z]{2}) ([ 0-9]?[0-9]) ([0-9]{2}):([0-9]{2})")
_ISO_MINUTE = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2})(?:(Z|[+-][0-9]{2}:?[0-9]{2})| ([A-Z+-][A-Z0-9]{2,4}))?"
)


def _default_fields(minute: bytes) -> Fields | None:
    """The fields of a stamp without its seconds, in one of the two default forms."""
    if found := _MONTH_MINUTE.fullmatch(minute):
        month = _MONTHS.get(found[1])
        if month is None:
            return None
        return Fields(None, month, int(found[2]), int(found[3]), int(found[4]), 0, None)
    if found := _ISO_MINUTE.fullmatch(minute):
        year, month, day, hour, mins = (int(found[group]) for group in range(1, 6))
        zone = (found[7] or b"").decode()
        try:
            return Fields(year, month, day, hour, mins, 0, 0 if zone == "UTC" else zone_offset(found[6]), zone)
        except ValueError:
            return None
    return None


def with_year(stamp: bytes, year: bytes) -> bytes:
    """A stamp without a year, `Nov 23 21:00:00`, and its year as a stamp in ISO 8601."""
    return b"%b-%02d-%02d %b" % (year, _MONTHS.get(stamp[:3], 0), int(stamp[3:-9]), stamp[-8:])


def zone_offset(text: bytes | None) -> int | None:
    """Seconds east of UTC for `Z`, `+01:00` or `+0100`; None if `text` is None.

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


# The parts of a log_timestamp: the letter of strftime, the pattern, the field that it gives ("" for none).
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
    """The pattern of a log_timestamp, without blanks at its end, and the function that reads a match of it."""
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
