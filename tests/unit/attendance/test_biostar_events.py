"""What a person's events at doors say of a day."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from hr.biostar import Direction, DoorEvent, attendance_of_events, month_tables, split_days

CAIRO = ZoneInfo("Africa/Cairo")
MARKS = {"in": Direction.IN, "out": Direction.OUT, "": Direction.UNKNOWN}


def events(*texts: str) -> list[DoorEvent]:
    """Events as `2026-11-20 08:00 in`, in Cairo's time."""
    made = []
    for text in texts:
        at = datetime.fromisoformat(text[:16]).replace(tzinfo=CAIRO).astimezone(UTC)
        made.append(DoorEvent(at, MARKS[text[16:].strip()]))
    return made


def cairo(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CAIRO).astimezone(UTC)


def test_the_first_event_of_a_day_is_the_sign_in_and_the_last_the_sign_out() -> None:
    day = attendance_of_events(events("2026-11-20 08:00", "2026-11-20 12:00", "2026-11-20 16:30"))
    assert day == (cairo("2026-11-20 08:00"), cairo("2026-11-20 16:30"), Decimal("8.50"))


def test_one_event_is_a_sign_in_only() -> None:
    assert attendance_of_events(events("2026-11-20 08:00")) == (cairo("2026-11-20 08:00"), None, None)


def test_what_the_person_marked_wins_over_order() -> None:
    day = attendance_of_events(
        events("2026-11-20 07:30", "2026-11-20 08:00 in", "2026-11-20 16:00 out", "2026-11-20 16:40")
    )
    assert day == (cairo("2026-11-20 08:00"), cairo("2026-11-20 16:00"), Decimal("8.00"))
    assert attendance_of_events(events("2026-11-20 08:00 in", "2026-11-20 16:00 in")).left is None
    assert attendance_of_events(events("2026-11-20 16:00 out")).came is None


def test_a_marked_end_in_the_morning_ends_the_night_before() -> None:
    days = split_days(
        events("2026-11-20 22:00 in", "2026-11-21 06:00 out", "2026-11-21 22:00 in", "2026-11-22 06:00 out"), CAIRO
    )
    assert {day: attendance_of_events(each).hours for day, each in days.items()} == {
        date(2026, 11, 20): Decimal("8.00"),
        date(2026, 11, 21): Decimal("8.00"),
    }


def test_a_marked_end_long_after_the_last_sign_in_ends_nothing() -> None:
    days = split_days(events("2026-11-20 08:00 in", "2026-11-21 06:00 out"), CAIRO)
    assert set(days) == {date(2026, 11, 20), date(2026, 11, 21)}


def test_a_night_shift_has_the_hours_that_passed_when_clocks_are_put_back() -> None:
    days = split_days(events("2026-10-29 22:00 in", "2026-10-30 06:00 out"), CAIRO)
    assert attendance_of_events(days[date(2026, 10, 29)]).hours == Decimal("9.00")


def test_the_months_are_those_of_utc() -> None:
    # In Cairo it is the 1st of November already, in UTC still October.
    assert month_tables(cairo("2026-11-01 00:30"), cairo("2026-11-01 01:30")) == ["T_LG202610"]
    assert month_tables(cairo("2026-11-01 00:00"), cairo("2026-11-02 00:00")) == ["T_LG202610", "T_LG202611"]
    assert month_tables(cairo("2026-11-30 00:00"), cairo("2026-12-01 00:00")) == ["T_LG202611"]
    assert month_tables(cairo("2026-11-20 00:00"), cairo("2027-02-01 12:00")) == [
        "T_LG202611",
        "T_LG202612",
        "T_LG202701",
        "T_LG202702",
    ]
