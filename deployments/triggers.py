"""From a row's trigger to the Prefect schedules that fire when APScheduler 3 fired it.

A cron row becomes a cron schedule where Prefect's cron says the same. It does not where a day is `last` or `2nd fri`,
or where the clocks change at one of the row's times: such a row becomes an RRule without the times that APScheduler
left out, and a second schedule with the times that it had twice or shifted. These exceptions are listed some years
ahead and renewed with each year.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import ceil
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from deployments.cron_fields import BOUNDS, CronFields, DayField, TriggerRefused, parse_cron
from deployments.fire_times import clock_changes, fire_times
from deployments.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule

# So far ahead the exceptions reach: this many fire times, within these numbers of years.
FIRES_AHEAD = 520
LEAST_YEARS, MOST_YEARS = 2, 45
# Prefect's RRules know no daylight saving after it: dateutil reads no later changes of the clocks.
LAST_YEAR = 2037
# Prefect takes 6,500 characters of RRule; an exception has 16.
MOST_EXCEPTIONS = 350
# Prefect walks through an RRule from its first date each time: one that fires more often begins with the month.
FIRES_PER_YEAR_FROM_JANUARY = 20_000
# Longer than any change of the clocks.
AROUND_A_CHANGE = timedelta(hours=2)
DAYS_OF_RRULE = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
SHORTEST_SERIES = 3
# Prefect writes this line before rules without one.
DTSTART = "DTSTART:20200101T000000"
FEWEST_DAYS = 28
NO_INSTANT = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Trigger:
    """The columns of a `scheduled_job` row that say when it fires.

    Args:
        job_type: `interval` or `cron`.
        interval: The row's `interval_days`, `interval_hours`, `interval_minutes` and `interval_seconds`.
        cron_expression: The row's.
        created_at: When the row was made: intervals count from there.
    """

    job_type: str
    interval: tuple[int | None, int | None, int | None, int | None]
    cron_expression: str | None
    created_at: datetime


def translate(trigger: Trigger, timezone: str, today: date) -> tuple[Schedule, ...]:
    """Give the Prefect schedules that fire as APScheduler fired a row.

    Intervals count from the row's `created_at`, cut to the second: APScheduler counted from the start of its process,
    which no other process knows.

    Args:
        trigger: The row's trigger.
        timezone: Name of the time zone that cron rows are local to.
        today: Its year is the first one with exceptions for changes of the clocks.

    Returns:
        The main schedule, and where it needs one, a second schedule with extra times.

    Raises:
        TriggerRefused: The trigger is malformed, or no Prefect schedule says it; the message has the reason.
    """
    has_interval = any(part is not None for part in trigger.interval)
    has_cron = bool(trigger.cron_expression and trigger.cron_expression.strip())
    if has_interval == has_cron:
        both = "both an interval and a cron_expression" if has_cron else "neither an interval nor a cron_expression"
        raise TriggerRefused(f"the row has {both}: it must have exactly one")
    has = "a cron_expression" if has_cron else "an interval"
    if trigger.job_type != ("cron" if has_cron else "interval"):
        raise TriggerRefused(f"the row's job type is {trigger.job_type!r}, but it has {has}")
    if has_interval:
        return (_translate_interval(trigger),)
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise TriggerRefused(f"{timezone!r} is not a time zone of the IANA database") from None
    return translate_cron(parse_cron(trigger.cron_expression or ""), timezone, today)


def translate_cron(fields: CronFields, timezone: str, today: date) -> tuple[Schedule, ...]:
    """Give the Prefect schedules of a cron row.

    Args:
        fields: What the row means.
        timezone: As in `translate`.
        today: As in `translate`.
    """
    zone = ZoneInfo(timezone)
    fires_per_year = _count_fires(fields, today.year)
    years = min(MOST_YEARS, max(LEAST_YEARS, ceil(FIRES_AHEAD / max(1, fires_per_year)) + 1))
    changes = clock_changes(zone, today.year, max(today.year, min(today.year + years, LAST_YEAR)))
    if fields.is_every_day and fields.is_every_hour and changes and _has_whole_hours(zone, changes):
        # The same minutes of every hour, whatever it is called: in UTC there are no changes of the clocks.
        return (_make_cron(fields, "UTC"),)
    left_out, extra = _find_exceptions(fields, zone, changes)
    if not left_out and not extra and _cron_knows(fields.day):
        return (_make_cron(fields, timezone),)
    begin = today.replace(month=today.month if fires_per_year > FIRES_PER_YEAR_FROM_JANUARY else 1, day=1)
    main = RRuleSchedule(rrule=_make_rrule(fields, begin, left_out), timezone=timezone)
    if not extra:
        return (main,)
    return main, RRuleSchedule(rrule=f"{DTSTART}\nRDATE:{_join_times(extra)}", timezone="UTC")


def _translate_interval(trigger: Trigger) -> IntervalSchedule:
    days, hours, minutes, seconds = (part or 0 for part in trigger.interval)
    if min(days, hours, minutes, seconds) < 0:
        raise TriggerRefused("a part of the interval is negative")
    try:
        interval = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        trigger.created_at + interval
    except OverflowError:
        raise TriggerRefused(f"the interval of {days} days is longer than the calendar") from None
    if not interval:
        raise TriggerRefused("the interval is zero")
    # In UTC: in another zone Prefect keeps the local hour of intervals of a day and more.
    return IntervalSchedule(interval.total_seconds(), trigger.created_at.astimezone(UTC).replace(microsecond=0))


def _find_exceptions(
    fields: CronFields, zone: ZoneInfo, changes: Iterable[datetime]
) -> tuple[list[datetime], list[datetime]]:
    """Give the local times to leave out of an RRule, and the times in UTC to add, for changes of the clocks."""
    left_out: set[datetime] = set()
    extra: set[datetime] = set()
    for change in changes:
        if not _hours_at_risk(zone, change) & fields.hours:
            continue
        start, wanted = change - AROUND_A_CHANGE, []
        for fire_time in fire_times(fields, zone, start):
            wanted.append(fire_time)
            if fire_time >= change + AROUND_A_CHANGE:
                break
        told = _matching_times(fields, zone, start, wanted[-1])
        kept = {instant for instant in told if instant in wanted}
        left_out |= {local for instant, locals_ in told.items() for local in locals_ if instant not in kept}
        extra |= set(wanted) - kept
    return sorted(left_out)[:MOST_EXCEPTIONS], sorted(extra)[:MOST_EXCEPTIONS]


def _hours_at_risk(zone: ZoneInfo, change: datetime) -> set[int]:
    """Give the hours in which APScheduler may not have fired just when the local time matched."""
    before = (change - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    after = change.astimezone(zone).replace(tzinfo=None)
    first, last = min(before, after), max(before, after)
    # A search that steps over the change can land past midnight, or before it.
    hours = {0, 23}
    while first <= last:
        hours.add(first.hour)
        first += timedelta(minutes=10)
    return hours | {last.hour}


def _matching_times(
    fields: CronFields, zone: ZoneInfo, start: datetime, end: datetime
) -> dict[datetime, list[datetime]]:
    """Give an RRule's local times between two instants, by instant; those that the clocks skip are under NO_INSTANT."""
    found: dict[datetime, list[datetime]] = {}
    for day in fields.dates(start.astimezone(zone).date(), end.astimezone(zone).date()):
        for hour in fields.hours:
            for minute in fields.minutes:
                local = datetime(day.year, day.month, day.day, hour, minute)
                instant = local.replace(tzinfo=zone).astimezone(UTC)
                if instant.astimezone(zone).replace(tzinfo=None) != local:
                    # Skipped by the clocks: always left out, for libraries differ in what they make of it.
                    found.setdefault(NO_INSTANT, []).append(local)
                elif start <= instant <= end:
                    found.setdefault(instant, []).append(local)
    return found


def _cron_knows(day: DayField) -> bool:
    # Prefect's cron misses 1 March where a list of days goes beyond February's end.
    return day.is_plain and (len(day.numbers) == BOUNDS["day"][1] or max(day.numbers) <= FEWEST_DAYS)


def _has_whole_hours(zone: ZoneInfo, changes: Iterable[datetime]) -> bool:
    offsets = [
        each.astimezone(zone).utcoffset() for change in changes for each in (change, change - timedelta(hours=1))
    ]
    return all(offset is not None and offset % timedelta(hours=1) == timedelta() for offset in offsets)


def _count_fires(fields: CronFields, year: int) -> int:
    dates = _count_dates(fields.day, fields.months, fields.weekdays, year)
    return dates * len(fields.hours) * len(fields.minutes)


@lru_cache(maxsize=4096)
def _count_dates(day: DayField, months: frozenset[int], weekdays: frozenset[int], year: int) -> int:
    fields = CronFields(frozenset(), frozenset(), day, months, weekdays)
    return sum(1 for _ in fields.dates(date(year, 1, 1), date(year, 12, 31)))


def _make_cron(fields: CronFields, timezone: str) -> CronSchedule:
    days = _write_numbers("day", fields.day.numbers)
    # Cron counts weekdays from Sunday.
    weekdays = frozenset((weekday + 1) % 7 for weekday in fields.weekdays)
    day_of_week = _write_numbers("weekday", weekdays)
    parts = [
        _write_numbers("minute", fields.minutes),
        _write_numbers("hour", fields.hours),
        days,
        _write_numbers("month", fields.months),
        day_of_week,
    ]
    return CronSchedule(cron=" ".join(parts), timezone=timezone, day_or=days == "*" or day_of_week == "*")


def _write_numbers(field: str, numbers: frozenset[int]) -> str:
    """Write numbers as a cron field, as short as people would."""
    low, high = BOUNDS[field]
    ordered = sorted(numbers)
    if len(ordered) == high - low + 1:
        return "*"
    if len(ordered) >= SHORTEST_SERIES:
        step = ordered[1] - ordered[0]
        if ordered == list(range(low, high + 1, step)) and field in ("minute", "hour"):
            return f"*/{step}"
        if ordered == list(range(ordered[0], ordered[-1] + 1)):
            return f"{ordered[0]}-{ordered[-1]}"
    return ",".join(map(str, ordered))


def _make_rrule(fields: CronFields, begin: date, left_out: list[datetime]) -> str:
    times = [
        *([f"BYMONTH={_join(fields.months)}"] if len(fields.months) < BOUNDS["month"][1] else []),
        f"BYHOUR={_join(fields.hours)}",
        f"BYMINUTE={_join(fields.minutes)}",
        "BYSECOND=0",
    ]
    rules = []
    days = sorted(fields.day.numbers) + ([-1] if fields.day.has_last else [])
    if days:
        every_day = len(fields.day.numbers) == BOUNDS["day"][1]
        rules.append(
            [
                "FREQ=DAILY",
                *([] if every_day else [f"BYMONTHDAY={_join(days)}"]),
                *([f"BYDAY={_join_days(fields.weekdays)}"] if len(fields.weekdays) < len(DAYS_OF_RRULE) else []),
            ]
        )
    positions = sorted(position for position in fields.day.positions if position[1] in fields.weekdays)
    if positions:
        named = ",".join(f"{ordinal:+d}{DAYS_OF_RRULE[weekday]}" for ordinal, weekday in positions)
        rules.append(["FREQ=MONTHLY", f"BYDAY={named}"])
    lines = [f"DTSTART:{begin:%Y%m%d}T000000", *(f"RRULE:{';'.join(rule + times)}" for rule in rules)]
    if left_out:
        lines.append(f"EXDATE:{_join_times(left_out)}")
    return "\n".join(lines)


def _join(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def _join_days(weekdays: Iterable[int]) -> str:
    return ",".join(DAYS_OF_RRULE[weekday] for weekday in sorted(weekdays))


def _join_times(times: Iterable[datetime]) -> str:
    return ",".join(f"{each:%Y%m%dT%H%M%S}" for each in times)
