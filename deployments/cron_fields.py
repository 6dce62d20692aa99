"""What the five fields of a `cron_expression` mean: minute, hour, day, month, weekday, as APScheduler 3 read them.

It is not cron: weekdays count from Monday = 0, and a date must match the day *and* the weekday.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from errors import SuiteError

FIELDS = ("minute", "hour", "day", "month", "weekday")
BOUNDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = {"month": dict(zip(MONTHS, range(1, 13), strict=True)), "weekday": dict(zip(WEEKDAYS, range(7), strict=True))}
# The week of the month that counts from its end is -1, as in an RRule.
ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": -1}
# The weekday of 29 February has come round after at most 40 years, also over a century without a leap day.
YEARS_UNTIL_NEVER = 40

_ORDINAL_AND_WEEKDAY = re.compile(rf"\b({'|'.join(ORDINALS)}) +(?=[a-z])", re.IGNORECASE)
_NUMBERS = re.compile(r"(?P<all>\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>\d+))?", re.ASCII)
# Whatever follows a name or `last` was not looked at.
_NAMES = re.compile(r"(?P<first>[a-z]+)(?:-(?P<last>[a-z]+))?", re.IGNORECASE)
_POSITION = re.compile(rf"(?P<ordinal>{'|'.join(ORDINALS)})_+(?P<weekday>\w+)", re.IGNORECASE)


class TriggerRefused(SuiteError):
    """A row's trigger means nothing, or nothing that a Prefect schedule can say."""


@dataclass(frozen=True, slots=True)
class DayField:
    """Which days of a month match: by number, by being the last, by a weekday's place in the month."""

    numbers: frozenset[int]
    has_last: bool = False
    positions: frozenset[tuple[int, int]] = frozenset()

    @property
    def is_plain(self) -> bool:
        """Whether numbers say it all."""
        return not self.has_last and not self.positions

    def days_of(self, year: int, month: int) -> frozenset[int]:
        """Give the days of a month that match."""
        return _days_of(self, year, month)


@dataclass(frozen=True, slots=True)
class CronFields:
    """The times of a day, and the days, on which a cron row fires, in local time; the second is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    day: DayField
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def is_every_day(self) -> bool:
        """Whether every date matches."""
        return self.day.numbers == _all("day") and self.months == _all("month") and self.weekdays == _all("weekday")

    @property
    def is_every_hour(self) -> bool:
        """Whether every hour of a matching date matches."""
        return self.hours == _all("hour")

    def matches_date(self, day: date) -> bool:
        """Tell whether there are fire times on a date."""
        return (
            day.month in self.months
            and day.weekday() in self.weekdays
            and day.day in self.day.days_of(day.year, day.month)
        )

    def dates(self, start: date, end: date) -> Iterator[date]:
        """Give the dates that match, from `start` to `end`, both included."""
        day = start
        while day <= end:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self.matches_date(day):
                yield day
            day += timedelta(days=1)


def parse_cron(expression: str) -> CronFields:
    """Read a `cron_expression`.

    Args:
        expression: Five fields: minute, hour, day, month, weekday. A field is a list of numbers, ranges, steps and
            names; the day also takes `last`, `2nd fri` and `last fri`.

    Returns:
        What matches.

    Raises:
        TriggerRefused: A field is missing, is not of this form or out of its bounds, or no date ever matches.
    """
    spaced = re.sub(r" *, *", ",", " ".join(expression.split()))
    values = _ORDINAL_AND_WEEKDAY.sub(_join_position, spaced).split()
    if len(values) != len(FIELDS):
        raise TriggerRefused(
            f"cron_expression {expression!r} has {len(values)} fields, it must have five: "
            "minute, hour, day, month, weekday"
        )
    texts = dict(zip(FIELDS, values, strict=True))
    fields = CronFields(
        minutes=_parse_numbers("minute", texts["minute"]),
        hours=_parse_numbers("hour", texts["hour"]),
        day=_parse_day(texts["day"]),
        months=_parse_numbers("month", texts["month"]),
        weekdays=_parse_numbers("weekday", texts["weekday"]),
    )
    start = date(2000, 1, 1)
    if next(fields.dates(start, start.replace(year=start.year + YEARS_UNTIL_NEVER)), None) is None:
        raise TriggerRefused(f"cron_expression {expression!r} never fires: no date has such a day, month and weekday")
    return fields


def _join_position(match: re.Match[str]) -> str:
    following = match.string[match.end() : match.end() + 3].lower()
    return f"{match[1]}_" if following in WEEKDAYS else match[0]


def _parse_day(text: str) -> DayField:
    numbers: set[int] = set()
    positions: set[tuple[int, int]] = set()
    has_last = False
    for item in text.split(","):
        if match := _POSITION.match(item):
            weekday = match["weekday"].lower()
            if weekday not in WEEKDAYS:
                raise TriggerRefused(f"day {item.replace('_', ' ')!r}: {weekday!r} is none of {', '.join(WEEKDAYS)}")
            positions.add((ORDINALS[match["ordinal"].lower()], WEEKDAYS.index(weekday)))
        elif item.lower().startswith("last"):
            has_last = True
        else:
            numbers |= _parse_item("day", item)
    return DayField(frozenset(numbers), has_last, frozenset(positions))


def _parse_numbers(field: str, text: str) -> frozenset[int]:
    return frozenset[int]().union(*(_parse_item(field, item) for item in text.split(",")))


def _parse_item(field: str, item: str) -> frozenset[int]:
    low, high = BOUNDS[field]
    if match := _NUMBERS.fullmatch(item):
        step = None if match["step"] is None else int(match["step"])
        if match["all"] == "*":
            first, last = low, high
        else:
            first = int(match["first"])
            last = int(match["last"]) if match["last"] else (first if step is None else high)
    elif (match := _NAMES.match(item)) and field in NAMES:
        step = None
        first = _number_of(field, match["first"])
        last = first if match["last"] is None else _number_of(field, match["last"])
    else:
        raise TriggerRefused(f"{field} {item!r} is not a number, a range, a step or a name that this field takes")
    if not low <= first <= last <= high:
        raise TriggerRefused(f"{field} {item!r} is not within {low}-{high}, lowest first")
    # A range of which the highest is 0 was taken to reach to the end of the field when its step was checked.
    if step is not None and not 0 < step <= ((last or high) - first):
        raise TriggerRefused(f"{field} {item!r}: the step is 0 or larger than the range")
    return frozenset(range(first, last + 1, step or 1))


def _number_of(field: str, name: str) -> int:
    numbers = NAMES[field]
    if name.lower() not in numbers:
        raise TriggerRefused(f"{field} {name!r} is none of {', '.join(numbers)}")
    return numbers[name.lower()]


@lru_cache(maxsize=4096)
def _days_of(field: DayField, year: int, month: int) -> frozenset[int]:
    first_weekday, length = monthrange(year, month)
    days = {day for day in field.numbers if day <= length}
    if field.has_last:
        days.add(length)
    for ordinal, weekday in field.positions:
        first = (weekday - first_weekday) % 7 + 1
        day = first + 7 * (ordinal - 1) if ordinal > 0 else first + (length - first) // 7 * 7
        if day <= length:
            days.add(day)
    return frozenset(days)


@lru_cache
def _all(field: str) -> frozenset[int]:
    low, high = BOUNDS[field]
    return frozenset(range(low, high + 1))
