"""A person's day: from naive times of the site to points in time, first in, last out, hours.

Decided once, for the two nights a year when clocks change:

- A time that occurs twice is its first occurrence; the end of a pair is the second one if the first would lie before
  the pair's begin.
- A time that does not occur, because the clock jumped over it, is read on the clock that was not put forward: 00:30 in
  a night without the hour from 0 to 1 is half an hour after the jump.

A pair belongs to the local day on which it begins, whole, also when it ends on the next one. Times are kept to the
second.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

# What the application's column `working_hours` holds.
MOST_HOURS = Decimal("99.99")
# Days whose distance to UTC is kept at hand: four years of two sites.
DAYS_KEPT = 3_000


class Pair(NamedTuple):
    """Naive times of the site; `left` is empty while the person is there."""

    came: datetime
    left: datetime | None


class Attendance(NamedTuple):
    """What is known of a person's day; times are UTC."""

    came: datetime | None
    left: datetime | None
    hours: Decimal | None


class AttendanceUnusable(ValueError):
    """What a source tells of a day contradicts itself or cannot be stored; the text says why."""


def to_utc(local: datetime, zone: tzinfo) -> datetime:
    """Give the point in time of a naive time of the site, to the second."""
    if (day := _day_without_change(local.date(), zone)) is None:
        return local.replace(microsecond=0, tzinfo=zone).astimezone(UTC)
    # A zone's own arithmetic takes ten times as long, which is half of what a sync of many lines computes.
    midnight, in_utc = day
    at = in_utc + (local - midnight)
    return at if not at.microsecond else at.replace(microsecond=0)


def local_day(at: datetime, zone: tzinfo) -> date:
    """Give the site's day of a point in time."""
    return at.astimezone(zone).date()


def day_bounds(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """Give the first moment of a day of the site and that of the next, in UTC; 23, 24 or 25 hours apart."""
    midnight = datetime(day.year, day.month, day.day)
    return to_utc(midnight, zone), to_utc(midnight + timedelta(days=1), zone)


def attendance_of(pairs: Iterable[Pair], zone: tzinfo) -> Attendance:
    """Put the pairs of one person's day together: first in, last out, the sum of the pairs' hours.

    Args:
        pairs: At least one; all begin on the same local day.
        zone: The site's time zone.

    Returns:
        The day; without a `left` and hours if no pair has an end.

    Raises:
        AttendanceUnusable: A pair ends before it begins, or the hours are more than the application can hold.
    """
    came, left, seconds = None, None, 0
    for pair in pairs:
        begin, end = _to_span(pair, zone)
        came = begin if came is None else min(came, begin)
        if end is not None:
            left = end if left is None else max(left, end)
            seconds += int((end - begin).total_seconds())
    return Attendance(came, left, None if left is None else to_hours(seconds))


@lru_cache(DAYS_KEPT)
def _day_without_change(day: date, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """Give a day's first moment, naive and in UTC; None if the clock is changed on that day, or at its ends."""
    begin = datetime.combine(day, time.min, zone)
    end = datetime.combine(day, time.max.replace(fold=1), zone)
    if begin.utcoffset() != end.utcoffset():
        return None
    return begin.replace(tzinfo=None), begin.astimezone(UTC)


def to_hours(seconds: int) -> Decimal:
    """Give seconds as hours with two digits, halves rounded up.

    Raises:
        AttendanceUnusable: They are more than the application can hold.
    """
    hours = Decimal((seconds * 100 + 1800) // 3600).scaleb(-2)
    if hours > MOST_HOURS:
        raise AttendanceUnusable("more hours than a day's row can hold")
    return hours


def _to_span(pair: Pair, zone: tzinfo) -> tuple[datetime, datetime | None]:
    begin = to_utc(pair.came, zone)
    if pair.left is None:
        return begin, None
    end = to_utc(pair.left, zone)
    if end < begin:
        end = to_utc(pair.left.replace(fold=1), zone)
    if end < begin:
        raise AttendanceUnusable("left before coming")
    return begin, end
