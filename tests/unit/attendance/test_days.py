"""A person's day, in particular in the two nights a year when the clocks of Cairo change.

In 2026 clocks go from Thursday 23 April 24:00 to Friday 24 April 01:00, and from Thursday 29 October 24:00 back to
23:00.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from hr.attendance.days import (
    Attendance,
    AttendanceUnusable,
    Pair,
    attendance_of,
    day_bounds,
    local_day,
    to_hours,
    to_utc,
)
from hr.attendance.sync import months_before

CAIRO = ZoneInfo("Africa/Cairo")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def utc(text: str) -> datetime:
    return at(text).replace(tzinfo=UTC)


def day_of(*pairs: tuple[str, str | None]) -> Attendance:
    return attendance_of([Pair(at(came), None if left is None else at(left)) for came, left in pairs], CAIRO)


def test_winter_and_summer_have_their_own_distance_to_utc() -> None:
    assert to_utc(at("2026-01-15 08:00:00"), CAIRO) == utc("2026-01-15 06:00")
    assert to_utc(at("2026-07-15 08:00:00"), CAIRO) == utc("2026-07-15 05:00")


def test_fractions_of_a_second_fall_away() -> None:
    assert to_utc(at("2026-01-15 08:00:00.997"), CAIRO) == utc("2026-01-15 06:00")


def test_several_pairs_give_the_first_in_the_last_out_and_the_sum_of_their_hours() -> None:
    day = day_of(("2026-01-15 13:00", "2026-01-15 17:30"), ("2026-01-15 08:00", "2026-01-15 12:15"))
    assert day == (utc("2026-01-15 06:00"), utc("2026-01-15 15:30"), Decimal("8.75"))


def test_a_pair_without_an_end_counts_for_the_beginning_only() -> None:
    assert day_of(("2026-01-15 08:00", None)) == (utc("2026-01-15 06:00"), None, None)
    day = day_of(("2026-01-15 08:00", "2026-01-15 12:00"), ("2026-01-15 13:00", None))
    assert day == (utc("2026-01-15 06:00"), utc("2026-01-15 10:00"), Decimal("4.00"))


def test_a_night_shift_is_whole() -> None:
    assert day_of(("2026-01-15 22:00", "2026-01-16 06:00")) == (
        utc("2026-01-15 20:00"),
        utc("2026-01-16 04:00"),
        Decimal("8.00"),
    )


def test_a_night_shift_is_an_hour_shorter_when_clocks_are_put_forward() -> None:
    assert day_of(("2026-04-23 22:00", "2026-04-24 06:00")).hours == Decimal("7.00")


def test_a_night_shift_is_an_hour_longer_when_clocks_are_put_back() -> None:
    assert day_of(("2026-10-29 22:00", "2026-10-30 06:00")).hours == Decimal("9.00")


def test_a_time_that_occurs_twice_is_its_first_occurrence() -> None:
    assert day_of(("2026-10-29 23:30", "2026-10-30 06:00")) == (
        utc("2026-10-29 20:30"),
        utc("2026-10-30 04:00"),
        Decimal("7.50"),
    )


def test_an_end_that_would_lie_before_its_begin_is_the_second_occurrence() -> None:
    assert day_of(("2026-10-29 23:50", "2026-10-29 23:10")) == (
        utc("2026-10-29 20:50"),
        utc("2026-10-29 21:10"),
        Decimal("0.33"),
    )


def test_a_time_that_does_not_occur_is_read_on_the_clock_that_was_not_put_forward() -> None:
    assert to_utc(at("2026-04-24 00:30"), CAIRO) == utc("2026-04-23 22:30")
    assert to_utc(at("2026-04-24 01:30"), CAIRO) == utc("2026-04-23 22:30")


def test_a_pair_that_ends_before_it_begins_is_unusable() -> None:
    with pytest.raises(AttendanceUnusable, match="left before coming"):
        day_of(("2026-01-15 08:00", "2026-01-15 07:59"))


def test_hours_are_rounded_half_up_and_bounded_by_their_column() -> None:
    assert to_hours(18) == Decimal("0.01")
    assert to_hours(17) == Decimal("0.00")
    assert to_hours(8 * 3600 + 10 * 60) == Decimal("8.17")
    with pytest.raises(AttendanceUnusable, match="more hours"):
        to_hours(100 * 3600)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 4, 24), 23), (date(2026, 10, 29), 25), (date(2026, 10, 30), 24)]
)
def test_a_day_of_the_site_has_the_hours_that_it_has(day: date, hours: int) -> None:
    begin, end = day_bounds(day, CAIRO)
    assert end - begin == timedelta(hours=hours)
    assert local_day(begin, CAIRO) == local_day(end - timedelta(seconds=1), CAIRO) == day
    assert local_day(begin - timedelta(seconds=1), CAIRO) == day - timedelta(days=1)


def test_the_same_day_some_months_earlier_is_the_last_one_of_a_shorter_month() -> None:
    assert months_before(date(2026, 11, 22), 2) == date(2026, 9, 22)
    assert months_before(date(2026, 4, 30), 2) == date(2026, 2, 28)
    assert months_before(date(2026, 1, 31), 1) == date(2025, 12, 31)
    assert months_before(date(2028, 3, 31), 1) == date(2028, 2, 29)


def test_every_zone_gives_the_points_in_time_that_its_own_arithmetic_gives() -> None:
    first = datetime(2026, 1, 1)
    wrong = []
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        noons = [first + timedelta(days=number, hours=12) for number in range(366)]
        offsets = [noon.replace(tzinfo=zone).utcoffset() for noon in noons]
        # Where the clock is changed within three days every half hour is looked at, elsewhere noon.
        changed = {number for number, (one, other) in enumerate(pairwise(offsets)) if one != other}
        for number, noon in enumerate(noons):
            near = {number - 1, number, number + 1} & changed
            times = [noon + timedelta(minutes=30 * half) for half in range(-24, 24)] if near else [noon]
            wrong += [(name, time) for time in times if to_utc(time, zone) != time.replace(tzinfo=zone).astimezone(UTC)]
    assert not wrong
