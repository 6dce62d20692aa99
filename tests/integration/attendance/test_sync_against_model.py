"""The set-based sync against the row-by-row model, on random pairs, lines and stored rows around clock changes."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import maria_database, migrate
from db.engines import Database
from hr.attendance.sync import sync_months
from tests.integration.attendance.row_by_row import Pair, sync_row_by_row
from tests.integration.attendance.world import Row, line, plan, read_attendance, write_hris, write_lines

# A few in each run of the suite, many where minutes do not matter.
EXAMPLES = [20, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
PEOPLE = st.sampled_from([1, 1, 2, 3])
# The days around the two nights in which clocks change: few, so that pairs and lines meet.
DAYS = [datetime(2026, 4, 23), datetime(2026, 4, 24), datetime(2026, 10, 29), datetime(2026, 10, 30)]
HALF_HOURS = st.integers(0, 47).map(lambda number: timedelta(minutes=30 * number))
TIMES = st.builds(lambda day, past: day + past, st.sampled_from(DAYS), HALF_HOURS)
SINCE = datetime(2026, 4, 23, 9, 30, tzinfo=UTC)


def pairs() -> st.SearchStrategy[list[Pair]]:
    lengths = st.none() | st.integers(-2, 70).map(lambda number: timedelta(minutes=30 * number + 7))
    made = st.builds(
        lambda person, came, length: (person, came, None if length is None else came + length), PEOPLE, TIMES, lengths
    )
    return st.lists(made, min_size=6, max_size=20)


def lines() -> st.SearchStrategy[list[Row]]:
    code = st.sampled_from([None, None, "  ", "777", " 101 "])
    made = st.builds(
        lambda person, at, code, off, request_off: line(
            0, person, at.replace(tzinfo=UTC), employee_code=code, is_deleted=off, request_deleted=request_off
        ),
        PEOPLE,
        TIMES,
        code,
        st.sampled_from([False, False, False, True]),
        st.sampled_from([False, False, False, True]),
    )
    return st.lists(made, min_size=4, max_size=10).map(lambda rows: [{**row, "id": n} for n, row in enumerate(rows, 1)])


@st.composite
def stored_rows(draw: st.DrawFn, rows: list[Row]) -> list[Row]:
    times = st.none() | TIMES.map(lambda at: at.replace(tzinfo=UTC))
    return [
        {
            "meal_request_line_id": row["id"],
            "employee_code": draw(st.sampled_from(["101", "777"])),
            "attendance_date": row["at"].date(),
            "attendance_in": draw(times),
            "attendance_out": draw(times),
            "working_hours": draw(st.sampled_from([None, Decimal("8.00")])),
        }
        for row in rows
        if draw(st.booleans())
    ]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_pairs_and_lines_give_what_the_row_by_row_model_gives(
    app_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    # Parts of two people, so that borders are met.
    monkeypatch.setattr("hr.attendance.sync.PEOPLE_PER_QUERY", 2)
    database = maria_database.database

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data(), pairs(), lines())
    def check(data: st.DataObject, known: list[Pair], rows: list[Row]) -> None:
        stored = data.draw(stored_rows(rows))
        write_hris(tmp_path / "hris.sqlite3", pairs=[(p, str(came), left and str(left)) for p, came, left in known])
        runner.run(_check_sync(database, tmp_path / "hris.sqlite3", rows, stored, known))

    with asyncio.Runner() as runner:
        runner.run(migrate.upgrade(database))
        check()


async def _check_sync(database: Database, hris: Path, rows: list[Row], stored: list[Row], known: list[Pair]) -> None:
    await write_lines(database, rows, stored)
    expected, counts = sync_row_by_row(rows, stored, known, SINCE)

    report = await sync_months(plan(database, hris, since=SINCE))
    after = await read_attendance(database)
    assert {line_id: without_stamps(row) for line_id, row in after.items()} == expected
    assert {name: report.counts()[name] for name in counts} == counts

    again = await sync_months(plan(database, hris, since=SINCE))
    assert again.synced == 0, "a second sync wrote something"
    assert await read_attendance(database) == after


def without_stamps(row: Row) -> dict[str, Any]:
    names = ("employee_code", "attendance_date", "attendance_in", "attendance_out", "working_hours")
    return {name: row[name] for name in names}
