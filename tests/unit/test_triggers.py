"""Rows of `scheduled_job` fire in Prefect when APScheduler 3 fired them: its own triggers are the oracle."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from prefect.server.schemas import schedules as server_schedules

from deployments.cron_fields import MONTHS, ORDINALS, WEEKDAYS, TriggerRefused, parse_cron
from deployments.fire_times import fire_times
from deployments.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule
from deployments.triggers import LAST_YEAR, Trigger, translate

ZONES = ["Africa/Cairo", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
CREATED = datetime(2026, 3, 1, 9, 30, 15, 250_000, tzinfo=UTC)
END = datetime(LAST_YEAR, 12, 1, tzinfo=UTC)
FIRES = 500
EXAMPLES = 40


def cron_row(expression: str) -> Trigger:
    return Trigger("cron", (None, None, None, None), expression, CREATED)


def interval_row(*parts: int | None) -> Trigger:
    days, hours, minutes, seconds = parts
    return Trigger("interval", (days, hours, minutes, seconds), None, CREATED)


def prefect_times(schedules: tuple[Schedule, ...], start: datetime, number: int) -> list[datetime]:
    """Give the next times of schedules, as Prefect's server computes them."""
    found: set[datetime] = set()
    for schedule in schedules:
        kind: Any = getattr(server_schedules, type(schedule).__name__)
        dates = asyncio.run(kind.model_validate(schedule.to_json()).get_dates(n=number, start=start))
        found |= {each.astimezone(UTC) for each in dates}
    return sorted(found)[:number]


def apscheduler_times(trigger: Any, start: datetime, number: int) -> list[datetime]:
    """Give the next times of a trigger, asked as APScheduler asks it: each time from the one before."""
    found: list[datetime] = []
    previous, now = None, start
    while len(found) < number and now < END:
        previous = trigger.get_next_fire_time(previous, now)
        now = previous.astimezone(UTC) + timedelta(seconds=1)
        found.append(previous.astimezone(UTC))
    return found


def make_cron_trigger(fields: list[str], zone: str) -> CronTrigger:
    minute, hour, day, month, weekday = fields
    return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=ZoneInfo(zone))


def check_cron(fields: list[str], zone: str, start: datetime, number: int = FIRES) -> None:
    expected = apscheduler_times(make_cron_trigger(fields, zone), start, number)
    expected = [each for each in expected if each < END]
    schedules = translate(cron_row(" ".join(fields)), zone, start.date())
    assert prefect_times(schedules, start, len(expected)) == expected, schedules


def items_of(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    step = st.integers(1, high - low)
    pair = st.tuples(number, number).map(sorted)
    choices: list[st.SearchStrategy[str]] = [
        number.map(str),
        step.map("*/{}".format),
        st.tuples(number, step).map(lambda it: f"{it[0]}/{it[1]}"),
        pair.map(lambda it: f"{it[0]}-{it[1]}"),
        st.tuples(pair, st.integers(1, 9)).map(lambda it: f"{it[0][0]}-{it[0][1]}/{it[1]}"),
    ]
    if names:
        pair_of_names = st.tuples(*[st.integers(0, len(names) - 1)] * 2).map(sorted)
        choices += [
            st.sampled_from(names),
            st.sampled_from(names).map(str.title),
            pair_of_names.map(lambda it: f"{names[it[0]]}-{names[it[1]]}"),
        ]
    return st.one_of(choices)


def lists_of(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), items, st.lists(items, min_size=2, max_size=3).map(",".join))


DAY_NAMES = st.one_of(
    st.just("last"), st.tuples(st.sampled_from(list(ORDINALS)), st.sampled_from(WEEKDAYS)).map(" ".join)
)
FIELDS = st.tuples(
    lists_of(items_of(0, 59)),
    st.one_of(lists_of(items_of(0, 23)), st.sampled_from(["0", "23", "0,23", "1-3", "2"])),
    lists_of(st.one_of(items_of(1, 31), DAY_NAMES)),
    lists_of(items_of(1, 12, MONTHS)),
    lists_of(items_of(0, 6, WEEKDAYS)),
).map(list)
STARTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@example(fields=["0", "*", "*/5", "*", "*"], zone="Asia/Kolkata", start=datetime(2026, 1, 1, tzinfo=UTC))
@given(fields=FIELDS, zone=st.sampled_from(ZONES), start=STARTS)
def test_the_next_500_times_of_a_cron_row_are_those_of_apscheduler(
    fields: list[str], zone: str, start: datetime
) -> None:
    try:
        make_cron_trigger(fields, zone)
    except ValueError:
        with pytest.raises(TriggerRefused):
            parse_cron(" ".join(fields))
        return
    try:
        parse_cron(" ".join(fields))
    except TriggerRefused as refusal:
        assert "never fires" in str(refusal)  # noqa: PT017  (APScheduler would search until the year 9999)
        assume(False)
    # Inside an hour that the clocks repeat or skip, APScheduler's next time depends on when it was last asked.
    check_cron(fields, zone, start.replace(hour=12, minute=start.minute))


@settings(max_examples=40, deadline=None)
@given(fields=FIELDS, zone=st.sampled_from(ZONES), start=STARTS)
def test_our_own_search_gives_apschedulers_times_over_changes_of_the_clocks(
    fields: list[str], zone: str, start: datetime
) -> None:
    try:
        parsed = parse_cron(" ".join(fields))
    except TriggerRefused:
        assume(False)
    expected = apscheduler_times(make_cron_trigger(fields, zone), start, 100)
    assert list(islice(fire_times(parsed, ZoneInfo(zone), start), len(expected))) == expected


@settings(max_examples=30, deadline=None)
@given(
    parts=st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(0, 70), st.integers(0, 90)).filter(any),
    start=STARTS,
)
def test_the_next_500_times_of_an_interval_row_are_those_of_apscheduler(
    parts: tuple[int, int, int, int], start: datetime
) -> None:
    days, hours, minutes, seconds = parts
    trigger = IntervalTrigger(
        days=days,
        hours=hours,
        minutes=minutes,
        seconds=seconds,
        start_date=CREATED.replace(microsecond=0),
        timezone=ZoneInfo("Africa/Cairo"),
    )
    start = max(start, CREATED)
    expected = apscheduler_times(trigger, start, FIRES)
    assert (
        prefect_times(translate(interval_row(*parts), "Africa/Cairo", start.date()), start, len(expected)) == expected
    )


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "expression", ["30 0 * * *", "*/20 23 * * *", "30 2 * * *", "*/15 1-3 * * *", "0 0 1 * *", "5 * 15 * *"]
)
def test_hours_that_the_clocks_skip_or_repeat_are_apschedulers(zone: str, expression: str) -> None:
    check_cron(expression.split(), zone, datetime(2026, 1, 10, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("expression", "cron", "day_or"),
    [
        ("0 2 * * *", "0 2 * * *", True),
        ("0 8 * * 0-4", "0 8 * * 1-5", True),
        ("0 8 * * 6", "0 8 * * 0", True),
        ("0 8 * * sat,sun", "0 8 * * 0,6", True),
        ("*/15 9-17 1,15 * 0", "*/15 9-17 1,15 * 1", False),
    ],
)
def test_a_row_that_cron_can_say_becomes_cron_with_its_own_weekdays(expression: str, cron: str, day_or: bool) -> None:
    (schedule,) = translate(cron_row(expression), "Africa/Cairo", date(2026, 11, 22))
    assert isinstance(schedule, CronSchedule)
    assert (schedule.cron, schedule.day_or, schedule.timezone) == (cron, day_or, "Africa/Cairo")


def test_every_hour_of_every_day_is_told_in_utc_where_no_clock_changes() -> None:
    (schedule,) = translate(cron_row("*/5 * * * *"), "Africa/Cairo", date(2026, 11, 22))
    assert isinstance(schedule, CronSchedule)
    assert (schedule.cron, schedule.timezone) == ("*/5 * * * *", "UTC")


def test_last_and_nth_weekdays_become_an_rrule() -> None:
    (schedule,) = translate(cron_row("0 6 last,2nd fri * *"), "Africa/Cairo", date(2026, 11, 22))
    assert isinstance(schedule, RRuleSchedule)
    assert schedule.rrule.splitlines() == [
        "DTSTART:20260101T000000",
        "RRULE:FREQ=DAILY;BYMONTHDAY=-1;BYHOUR=6;BYMINUTE=0;BYSECOND=0",
        "RRULE:FREQ=MONTHLY;BYDAY=+2FR;BYHOUR=6;BYMINUTE=0;BYSECOND=0",
    ]


def test_an_interval_counts_from_the_rows_creation_and_does_not_follow_the_clocks() -> None:
    (schedule,) = translate(interval_row(1, None, None, 30), "Africa/Cairo", date(2026, 11, 22))
    assert isinstance(schedule, IntervalSchedule)
    assert (schedule.seconds, schedule.timezone) == (86_430, "UTC")
    assert schedule.anchor == CREATED.replace(microsecond=0)


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        (cron_row("0 25 * * *"), r"hour '25' is not within 0-23"),
        (cron_row("0 2 * *"), r"has 4 fields, it must have five"),
        (cron_row("0 0 2 * * *"), r"has 6 fields"),
        (cron_row("0 2 30 2 *"), "never fires"),
        (cron_row("0 2 * * 7"), r"weekday '7' is not within 0-6"),
        (cron_row("0 2 * * fri-mon"), "lowest first"),
        (cron_row("0 2 * foo *"), "month 'foo' is none of jan, feb"),
        (cron_row("0 2 2nd friday * *"), "'friday' is none of mon, tue"),
        (cron_row("*/0 2 * * *"), "step is 0"),
        (cron_row("1,,2 2 * * *"), "minute ''"),
        (interval_row(0, 0, 0, 0), "the interval is zero"),
        (interval_row(None, -1, None, None), "negative"),
        (interval_row(10**9, None, None, None), "longer than the calendar"),
        (interval_row(None, None, None, None), "neither an interval nor a cron_expression"),
        (Trigger("cron", (1, None, None, None), "0 2 * * *", CREATED), "both an interval and a cron_expression"),
        (Trigger("interval", (None,) * 4, "0 2 * * *", CREATED), "job type is 'interval', but it has a cron_exp"),
    ],
)
def test_a_malformed_trigger_is_refused_with_its_reason(trigger: Trigger, reason: str) -> None:
    with pytest.raises(TriggerRefused, match=reason):
        translate(trigger, "Africa/Cairo", date(2026, 11, 22))


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TriggerRefused, match="'Africa/Kairo' is not a time zone"):
        translate(cron_row("0 2 * * *"), "Africa/Kairo", date(2026, 11, 22))
