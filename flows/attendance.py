"""The attendance flows: what the HRIS and BioStar know of the people of meal requests, written to their lines."""

import time
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.runtime import flow_run as current_run

from db import maria_database
from errors import NotFound
from flows.artifacts import show_counts, show_table
from flows.steps import database_step, fail_for_good
from flows.tracking import TrackingHooks, close_lost_executions, track, track_attempts
from hr.attendance import meal_request
from hr.attendance import sync as attendance_sync
from hr.attendance.meal_request import SignInLookup, SignInReport, plan_lookup
from hr.attendance.report import SyncReport, tell
from hr.attendance.sync import AttendanceSync, plan_sync
from settings import get_settings
from shim.errors import ArgumentInvalid
from tasks.attendance import (
    LineIds,
    MonthsBack,
    RowId,
    fetch_attendance_for_meal_request_task,
    sync_attendance_for_lines_task,
    sync_attendance_task,
)
from utils.structured_logger import get_structured_logger

JOB = "attendance_sync"
NAME = "attendance-sync"
LINES_JOB = "attendance_sync_for_lines"
LINES_NAME = "attendance-sync-for-lines"
REQUEST_JOB = "meal_request_attendance"
REQUEST_NAME = "meal-request-attendance"

logger = get_structured_logger(__name__)


@sync_attendance_task.flow(name=NAME, persist_result=True, **track(JOB))
@track_attempts(JOB)
@fail_for_good
async def sync(
    execution_id: str | None = None,
    months_back: MonthsBack | None = None,
    triggered_by_user_id: str | None = None,
) -> dict[str, Any]:
    """Bring the attendance of the last months' meal request lines in line with the HRIS, else with BioStar.

    Only lines whose attendance differs are written; what no source tells any more stays as it is.

    Args:
        execution_id: The `execution_id` of the row in the job history to keep; without it the run makes its own.
        months_back: Months of requests to look at; default: the setting `ATTENDANCE_MONTHS_BACK`.
        triggered_by_user_id: Id of the application user who asked for the run; it is noted in the log of replications.

    Returns:
        `status`, `message`, the counts of lines (`total`, `synced`, `unchanged`, `not_found`, `errors`,
        `from_biostar`), `biostar_ignored` in events, and the lines in error by reason (`reasons`).
    """
    started = time.monotonic()
    planned = plan_sync(get_settings(), months_back, triggered_by_user_id)
    try:
        async with attendance_sync.begin(planned):
            await close_lost_executions(JOB, current_run_id=current_run.get_id() or "")
            report = await attendance_sync.sync_parts(await find_parts(planned), partial(sync_part, planned))
            await finish(planned, report, started)
    except Exception as error:
        await attendance_sync.log_failure(planned, error, _since(started))
        raise
    return await _conclude(NAME, report)


@database_step("find people")
async def find_parts(planned: AttendanceSync) -> list[list[int]]:
    """Find the people of the lines that count, in parts."""
    return await attendance_sync.find_parts(planned)


@database_step("sync", "sync part {number}")
async def sync_part(planned: AttendanceSync, number: int, employee_ids: list[int]) -> SyncReport:
    """Bring the lines of some people in line with the sources."""
    report = await attendance_sync.sync_people(planned, employee_ids)
    logger.info(f"Part {number}: {tell(report.counts())}", **report.counts())
    return report


@database_step("finish")
async def finish(planned: AttendanceSync, report: SyncReport, started: float) -> None:
    """Count what was ignored, and note the sync in the log of replications."""
    await attendance_sync.count_ignored_events(planned, report)
    await attendance_sync.log_success(planned, report, _since(started))


@sync_attendance_for_lines_task.flow(name=LINES_NAME, persist_result=True, **track(LINES_JOB))
@track_attempts(LINES_JOB)
@fail_for_good
async def sync_lines(meal_request_line_ids: LineIds) -> dict[str, Any]:
    """Bring the attendance of some meal request lines in line with the HRIS, else with BioStar.

    Args:
        meal_request_line_ids: Ids of lines that exist and are not deleted, 1 to 5,000 of them.

    Returns:
        What `sync` returns.
    """
    planned = plan_sync(get_settings())
    try:
        report = await sync_given_lines(planned, meal_request_line_ids)
    except NotFound as error:
        raise ArgumentInvalid(f"argument 'meal_request_line_ids': {error}") from error
    return await _conclude(LINES_NAME, report)


@database_step("sync lines")
async def sync_given_lines(planned: AttendanceSync, line_ids: list[int]) -> SyncReport:
    """Bring the lines in line with the sources."""
    return await attendance_sync.sync_lines(planned, line_ids)


async def release_request(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Let the request of a run that ended become pending, also when the run's process was killed before it could."""
    request_id = str(flow_run.parameters.get("meal_request_id"))
    if request_id.isdecimal():
        await meal_request.make_pending(maria_database.database, int(request_id))


def _release_at_end(hooks: TrackingHooks) -> TrackingHooks:
    first: list[Any] = [release_request]
    return TrackingHooks(
        on_running=hooks["on_running"],
        on_completion=hooks["on_completion"],
        on_failure=first + hooks["on_failure"],
        on_cancellation=first + hooks["on_cancellation"],
        on_crashed=first + hooks["on_crashed"],
    )


@fetch_attendance_for_meal_request_task.flow(
    name=REQUEST_NAME, persist_result=True, **_release_at_end(track(REQUEST_JOB))
)
@track_attempts(REQUEST_JOB)
@fail_for_good
async def fetch_for_meal_request(meal_request_id: RowId) -> dict[str, Any]:
    """Note when the people of a new meal request first signed in that day; the request becomes pending in any case.

    Args:
        meal_request_id: Id of a request that is not deleted.

    Returns:
        `status`, and in lines: `total`, `synced` (with a sign-in), `written`, `not_found`, `errors`.
    """
    try:
        report = await fetch_sign_ins(plan_lookup(get_settings()), meal_request_id)
    except NotFound as error:
        raise ArgumentInvalid(f"argument 'meal_request_id': {error}") from error
    finally:
        await make_pending(meal_request_id)
    counts = asdict(report)
    await show_counts(REQUEST_NAME, counts, of="lines", told=tell(counts))
    return {"status": "completed", "message": tell(counts), **counts}


# Not tried again by itself: the request is not to wait for it, and the run as a whole is.
@task(name="fetch sign-ins", cache_policy=NO_CACHE)
async def fetch_sign_ins(lookup: SignInLookup, request_id: int) -> SignInReport:
    """Write the first sign-ins of the request's day to its lines."""
    return await meal_request.fetch_sign_ins(lookup, request_id)


@database_step("make pending")
async def make_pending(request_id: int) -> None:
    """Let the request become pending."""
    await meal_request.make_pending(maria_database.database, request_id)


async def _conclude(key: str, report: SyncReport) -> dict[str, Any]:
    """Show a sync's counts, and the lines to look at; give its result."""
    counts = report.counts()
    await show_counts(key, counts, of="lines", told=tell(counts))
    if report.reasons:
        rows = [
            {"reason": reason, "lines": ", ".join(map(str, line_ids))} for reason, line_ids in report.reasons.items()
        ]
        await show_table(f"{key}-findings", rows, told="Lines that were not written, by id")
    return {"status": "success", "message": tell(counts), **counts, "reasons": report.reasons}


def _since(started: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - started)
