"""When a cron row fires around a change of the clocks, as APScheduler 3 had it.

Away from such changes it fires whenever the local time matches. Around them APScheduler searched field by field, moving
by real time from one field to the next: a time that the clocks skip may come an hour later or not at all, one that they
repeat comes twice, and a search that steps over a change can land an hour past midnight and miss what was before it.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from deployments.cron_fields import CronFields

LEVELS = ("year", "month", "day", "weekday", "hour", "minute", "second")
DAY, WEEKDAY = LEVELS.index("day"), LEVELS.index("weekday")
LOWEST = {"year": 1970, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}
HIGHEST = {"year": 9999, "month": 12, "hour": 23, "minute": 59, "second": 59}
FIRST_SECOND = frozenset({0})


def fire_times(fields: CronFields, zone: ZoneInfo, start: datetime) -> Iterator[datetime]:
    """Give the fire times of a cron row, without end.

    Args:
        fields: What the row means.
        zone: The time zone that its fields are local to.
        start: No fire time is earlier.

    Yields:
        Times in UTC.
    """
    while True:
        found = _next_fire_time(fields, _ceil(start.astimezone(zone))).astimezone(UTC)
        yield found
        start = found + timedelta(microseconds=1)


@lru_cache(maxsize=512)
def clock_changes(zone: ZoneInfo, first_year: int, last_year: int) -> tuple[datetime, ...]:
    """Give the instants, in UTC, at which a zone's offset changes, found to the second.

    Args:
        zone: The time zone.
        first_year: From the begin of this year.
        last_year: To the end of this year.
    """
    changes = []
    before = datetime(first_year, 1, 1, tzinfo=UTC)
    end = datetime(last_year + 1, 1, 1, tzinfo=UTC)
    # Some zones suspend daylight saving for the weeks of Ramadan.
    step = timedelta(days=7)
    while before < end:
        after = before + step
        if _offset(zone, before) != _offset(zone, after):
            changes.append(_find_change(zone, before, after))
        before = after
    return tuple(changes)


def _find_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=1) // 2)
        if _offset(zone, middle) == _offset(zone, before):
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def _next_fire_time(fields: CronFields, moment: datetime) -> datetime:
    """Search from the year down to the second; where a field has no value left, the next higher one grows."""
    level = 0
    while level < len(LEVELS):
        name = LEVELS[level]
        value = moment.weekday() if level == WEEKDAY else getattr(moment, name)
        following = min((each for each in _matching(fields, name, moment) if each >= value), default=None)
        if following == value:
            level += 1
        elif level == WEEKDAY:
            moment, level = _grow(moment, DAY)
        elif following is None:
            moment, level = _grow(moment, level - 1)
        else:
            moment = _set(moment, level, following)
            level += 1
    return moment


def _matching(fields: CronFields, name: str, moment: datetime) -> frozenset[int]:
    matching = {
        "year": lambda: frozenset({moment.year}),
        "month": lambda: fields.months,
        "day": lambda: fields.day.days_of(moment.year, moment.month),
        "weekday": lambda: fields.weekdays,
        "hour": lambda: fields.hours,
        "minute": lambda: fields.minutes,
        "second": lambda: FIRST_SECOND,
    }
    return matching[name]()


def _grow(moment: datetime, level: int) -> tuple[datetime, int]:
    """Add one to a field, or to the next higher one that can grow; moves by as much real time as the clocks differ."""
    while level == WEEKDAY or getattr(moment, LEVELS[level]) == _highest(moment, LEVELS[level]):
        level -= 1
    wall = moment.replace(tzinfo=None)
    target = _set(wall, level, getattr(wall, LEVELS[level]) + 1)
    return (moment.astimezone(UTC) + (target - wall)).astimezone(moment.tzinfo), level


def _highest(moment: datetime, name: str) -> int:
    return monthrange(moment.year, moment.month)[1] if name == "day" else HIGHEST[name]


def _set(moment: datetime, level: int, value: int) -> datetime:
    """Set a field, and those below it to their lowest values."""
    lowest = {name: LOWEST[name] for name in LEVELS[level + 1 :] if name != "weekday"}
    values: dict[str, Any] = {LEVELS[level]: value, **lowest}
    return moment.replace(**values)


def _ceil(moment: datetime) -> datetime:
    if not moment.microsecond:
        return moment
    return (moment.astimezone(UTC) + timedelta(microseconds=1_000_000 - moment.microsecond)).astimezone(moment.tzinfo)
