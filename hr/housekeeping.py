"""Housekeeping in the application database: what the scheduler and the suite leave behind.

Everything is done in small transactions, so that nobody waits long for a row, and may be repeated.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, update

from db.advisory_lock import hold_lock
from db.engines import Database
from db.tables import scheduled_job_execution, scheduled_job_lock, scheduler_execution_status, scheduler_instance
from errors import AlreadyRunning
from hr import replication
from hr.staging import count_planned_and_staged, empty_planned_and_staged

LOCK = "history cleanup"
ENDED = ("success", "failed", "cancelled")
STOPPED = "stopped"
BATCH_ROWS = 1_000
HEARTBEAT_LIMIT = timedelta(minutes=5)


@dataclass(frozen=True)
class Cleanup:
    """One cleanup.

    Attributes:
        database: The application database.
        now: The time that ages are counted from.
        retention: How long executions are kept.
        dry_run: Only count, change nothing.
    """

    database: Database
    now: datetime
    retention: timedelta
    dry_run: bool = False


@dataclass
class CleanupReport:
    """Rows that were, or would be, cleaned.

    Attributes:
        deleted_executions: Executions older than the retention.
        deleted_locks: Expired locks that were released.
        deleted_instances: Scheduler instances without a heartbeat that were marked as stopped.
        deleted_staging_rows: Rows that replications left in their staging tables.
    """

    deleted_executions: int = 0
    deleted_locks: int = 0
    deleted_instances: int = 0
    deleted_staging_rows: int = 0

    def counts(self) -> dict[str, int]:
        """Give the counts by name."""
        return asdict(self)


@asynccontextmanager
async def begin(cleanup: Cleanup) -> AsyncIterator[None]:
    """Hold the cleanup's lock.

    Raises:
        AlreadyRunning: Another cleanup is under way on the same database.
    """
    async with hold_lock(cleanup.database, LOCK):
        yield


async def clean(cleanup: Cleanup) -> CleanupReport:
    """Clean the scheduler's tables and the staging tables.

    Args:
        cleanup: What to clean.

    Returns:
        What was, or would be, cleaned.
    """
    return CleanupReport(
        deleted_executions=await delete_old_executions(cleanup),
        deleted_locks=await release_expired_locks(cleanup),
        deleted_instances=await stop_silent_instances(cleanup),
        deleted_staging_rows=await empty_staging_tables(cleanup),
    )


async def delete_old_executions(cleanup: Cleanup) -> int:
    """Delete the executions that are older than the retention, in batches.

    One whose run is under way stays however old it is; one that never got a run goes.
    """
    table, status = scheduled_job_execution, scheduler_execution_status
    is_ended = table.c.status_id.in_(select(status.c.id).where(status.c.code.in_(ENDED)))
    is_old = table.c.created_at < cleanup.now - cleanup.retention
    return await _delete(cleanup, table, and_(is_old, or_(is_ended, table.c.run_id.is_(None))))


async def release_expired_locks(cleanup: Cleanup) -> int:
    """Release the locks whose time is over."""
    table = scheduled_job_lock
    is_expired = and_(table.c.released_at.is_(None), table.c.expires_at < cleanup.now)
    return await _set(cleanup, table, is_expired, released_at=cleanup.now)


async def stop_silent_instances(cleanup: Cleanup) -> int:
    """Mark the scheduler instances as stopped that have not been heard of for five minutes."""
    table = scheduler_instance
    last_heard = func.coalesce(table.c.last_heartbeat, table.c.started_at)
    is_silent = and_(table.c.status != STOPPED, last_heard < cleanup.now - HEARTBEAT_LIMIT)
    return await _set(cleanup, table, is_silent, status=STOPPED, stopped_at=cleanup.now)


async def empty_staging_tables(cleanup: Cleanup) -> int:
    """Remove what replications staged and planned, unless one is under way; the rejected rows of the last one stay."""
    rows = await count_planned_and_staged(cleanup.database)
    if not rows or cleanup.dry_run:
        return rows
    try:
        async with hold_lock(cleanup.database, replication.LOCK):
            await empty_planned_and_staged(cleanup.database)
    except AlreadyRunning:
        return 0
    return rows


async def _delete(cleanup: Cleanup, table: Table, condition: ColumnElement[bool]) -> int:
    if cleanup.dry_run:
        return await _count(cleanup, table, condition)
    deleted = 0
    while True:
        async with cleanup.database.engine().begin() as connection:
            ids = (await connection.scalars(select(table.c.id).where(condition).limit(BATCH_ROWS))).all()
            if ids:
                done = await connection.execute(delete(table).where(table.c.id.in_(ids), condition))
                deleted += done.rowcount
        if len(ids) < BATCH_ROWS:
            return deleted


async def _set(cleanup: Cleanup, table: Table, condition: ColumnElement[bool], **values: object) -> int:
    if cleanup.dry_run:
        return await _count(cleanup, table, condition)
    async with cleanup.database.engine().begin() as connection:
        return (await connection.execute(update(table).where(condition).values(values))).rowcount


async def _count(cleanup: Cleanup, table: Table, condition: ColumnElement[bool]) -> int:
    async with cleanup.database.engine().connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table).where(condition)) or 0)
