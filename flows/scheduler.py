"""The housekeeping flow: old executions, expired locks, silent instances, and what runs leave behind."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from db import maria_database
from flows.artifacts import show_counts
from flows.prefect_history import delete_ended_runs
from flows.steps import database_step
from flows.tracking import close_ended_executions, close_lost_executions, track, track_attempts
from hr import housekeeping
from hr.attendance.report import tell
from hr.housekeeping import Cleanup, CleanupReport
from shim import Within
from tasks.scheduler import RetentionDays, cleanup_history_task

JOB = "history_cleanup"
NAME = "history-cleanup"

PrefectRetentionDays = Annotated[int, Within(1, 3_650)]


@cleanup_history_task.flow(name=NAME, persist_result=True, **track(JOB))
@track_attempts(JOB)
async def clean_history(
    execution_id: str | None = None,
    retention_days: RetentionDays = 30,
    triggered_by_user_id: str | None = None,
    *,
    dry_run: bool = False,
    prefect_retention_days: PrefectRetentionDays | None = None,
) -> dict[str, Any]:
    """Close executions whose runs ended, delete old ones, release expired locks, mark silent instances as stopped.

    It also empties the tables in which other jobs stage rows, forgets mails that were sent or refused long ago and,
    when asked, deletes old runs from Prefect.

    Args:
        execution_id: The `execution_id` of the row in the job history to keep; without it the run makes its own.
        retention_days: Days for which executions, and the ends of mails, are kept.
        triggered_by_user_id: Id of the application user who asked for the run; nothing is done with it.
        dry_run: Count what would be done, and change nothing.
        prefect_retention_days: Also delete this project's runs from Prefect that ended more days ago, with their
            artifacts, at most 500 at a time; by default Prefect keeps its runs.

    Returns:
        `status`, `message`, `dry_run`, and the counts: `deleted_executions`, `deleted_locks` (released),
        `deleted_instances` (marked as stopped), `deleted_staging_rows`, `deleted_deliveries`, `deleted_leases`,
        `closed_executions`, `deleted_prefect_runs`, `deleted_prefect_artifacts`.
    """
    now = datetime.now(UTC)
    run_id = flow_run.get_id() or ""
    planned = Cleanup(maria_database.database, now, timedelta(days=retention_days), dry_run)
    async with housekeeping.begin(planned):
        if not dry_run:
            await close_lost_executions(JOB, current_run_id=run_id)
        closed = await close_executions(run_id, dry_run)
        report = await clean_tables(planned)
    counts = report.counts() | {"closed_executions": closed}
    if prefect_retention_days is not None:
        counts |= await delete_prefect_runs(now - timedelta(days=prefect_retention_days), dry_run)
    told = f"{'Dry run, nothing changed: ' if dry_run else ''}{tell(counts)}"
    await show_counts(NAME, counts, of="rows", told=told)
    return {"status": "success", "message": told, "dry_run": dry_run, **counts}


@database_step("close executions")
async def close_executions(run_id: str, dry_run: bool) -> int:
    """Close the executions whose flow run has ended or vanished."""
    return len(await close_ended_executions(JOB, current_run_id=run_id, dry_run=dry_run))


@database_step("clean tables")
async def clean_tables(planned: Cleanup) -> CleanupReport:
    """Clean the scheduler's tables and the staging tables."""
    return await housekeeping.clean(planned)


@task(name="delete Prefect runs", cache_policy=NO_CACHE)
async def delete_prefect_runs(before: datetime, dry_run: bool) -> dict[str, int]:
    """Delete this project's runs that ended before a point in time from Prefect."""
    runs, artifacts = await delete_ended_runs(before, dry_run=dry_run)
    return {"deleted_prefect_runs": runs, "deleted_prefect_artifacts": artifacts}
