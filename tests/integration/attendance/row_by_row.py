"""The attendance sync as one would do it by hand, line by line and pair by pair: what the set-based one must equal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.integration.attendance.world import CAIRO, Row

Pair = tuple[int, datetime, datetime | None]
WINTER = timedelta(hours=2)


def occurrences(local: datetime) -> list[datetime]:
    """Give the points in time at which the clocks of Cairo show a time: none, one or two."""
    tried = [(local - timedelta(hours=hours)).replace(tzinfo=UTC) for hours in (3, 2)]
    return [at for at in tried if at.astimezone(CAIRO).replace(tzinfo=None) == local]


def point(local: datetime) -> datetime:
    found = occurrences(local)
    return found[0] if found else (local - WINTER).replace(tzinfo=UTC)


def end_point(local: datetime, begin: datetime) -> datetime | None:
    found = occurrences(local) or [point(local)]
    return next((at for at in found if at >= begin), None)


def sync_row_by_row(
    lines: Iterable[Row], stored: Iterable[Row], pairs: Sequence[Pair], since: datetime
) -> tuple[dict[int, dict[str, Any]], dict[str, int]]:
    """Give the attendance that lines end up with, and the counts."""
    after = {
        row["meal_request_line_id"]: {k: v for k, v in row.items() if k != "meal_request_line_id"} for row in stored
    }
    counts = dict.fromkeys(("total", "synced", "unchanged", "not_found", "errors"), 0)
    for row in lines:
        if row.get("is_deleted") or row.get("request_deleted") or row["at"] < since:
            continue
        counts["total"] += 1
        outcome = wanted_row(row, pairs)
        if isinstance(outcome, str):
            counts[outcome] += 1
        elif after.get(row["id"]) == outcome:
            counts["unchanged"] += 1
        else:
            after[row["id"]] = dict(outcome)
            counts["synced"] += 1
    return after, counts


def wanted_row(row: Row, pairs: Sequence[Pair]) -> Mapping[str, Any] | str:
    """Give the attendance that a line should have, or the name of the count that it belongs to."""
    day = row["at"].astimezone(CAIRO).date()
    of_day = [pair for pair in pairs if pair[0] == row["employee_id"] and pair[1].date() == day]
    if not of_day:
        return "not_found"
    came, left, worked = [], [], timedelta(0)
    for _, begin_local, end_local in of_day:
        begin = point(begin_local)
        came.append(begin)
        if end_local is None:
            continue
        end = end_point(end_local, begin)
        if end is None:
            return "errors"
        left.append(end)
        worked += end - begin
    hours = (Decimal(worked.total_seconds()) / 3600).quantize(Decimal("0.01"), ROUND_HALF_UP) if left else None
    if hours is not None and hours > Decimal("99.99"):
        return "errors"
    return {
        "employee_code": (row.get("employee_code") or "").strip() or str(100 + row["employee_id"]),
        "attendance_date": day,
        "attendance_in": min(came),
        "attendance_out": max(left, default=None),
        "working_hours": hours,
    }
