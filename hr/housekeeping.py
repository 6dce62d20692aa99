"""Housekeeping in the application database: what the scheduler and the suite leave behind.

Everything is done in small transactions, so that nobody waits long for a row, and may be repeated.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, tuple_, update

from db.advisory_lock import hold_lock
from db.engines import Database
from db.leases import flow_run_lease
from db.mail import mail_delivery
from db.staging import staged_attendance
from db.tables import scheduled_job_execution, scheduled_job_lock, scheduler_execution_status, scheduler_instance
from errors import AlreadyRunning
from hr import replication
from hr.staging import count_planned_and_staged, empty_planned_and_staged

LOCK = "history cleanup"
ENDED = ("success", "failed", "cancelled")
STOPPED = "stopped"
# States of a mail that is done with.
KNOWN_ENDS = ("sent", "refused")
BATCH_ROWS = 1_000
HEARTBEAT_LIMIT = timedelta(minutes=5)
# What an attendance sync staged longer ago was left by one whose process died.
LONGEST_SYNC = timedelta(days=1)
# A process that was taken for dead may wake up after so long, and must find that its run is another one's.
LONGEST_STANDSTILL = timedelta(days=7)


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
        deleted_staging_rows: Rows that replications and attendance syncs left in their staging tables.
        deleted_deliveries: Mails, sent or refused longer ago than the retention, that are no longer remembered.
        deleted_leases: Leases of runs that nobody has any more.
    """

    deleted_executions: int = 0
    deleted_locks: int = 0
    deleted_instances: int = 0
    deleted_staging_rows: int = 0
    deleted_deliveries: int = 0
    deleted_leases: int = 0

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
        deleted_deliveries=await forget_old_deliveries(cleanup),
        deleted_leases=await forget_old_leases(cleanup),
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
    """Remove what is left in staging tables by replications, unless one is under way, and by attendance syncs.

    The rows that the last replication rejected stay.
    """
    rows = await count_planned_and_staged(cleanup.database)
    if rows and not cleanup.dry_run:
        try:
            async with hold_lock(cleanup.database, replication.LOCK):
                await empty_planned_and_staged(cleanup.database)
        except AlreadyRunning:
            rows = 0
    is_left = staged_attendance.c.staged_at < cleanup.now - LONGEST_SYNC
    return rows + await _delete(cleanup, staged_attendance, is_left)


async def forget_old_deliveries(cleanup: Cleanup) -> int:
    """Delete what is remembered of mails whose end has been known for longer than the retention.

    Mails of which nobody knows the end, and those that were never sent, stay until somebody decides about them.
    """
    table = mail_delivery
    is_old = table.c.updated_at < cleanup.now - cleanup.retention
    return await _delete(cleanup, table, and_(table.c.state.in_(KNOWN_ENDS), is_old))


async def forget_old_leases(cleanup: Cleanup) -> int:
    """Delete the leases of runs that nobody has had for a week: no process is left that could take one for its own."""
    is_old = flow_run_lease.c.updated_at < cleanup.now - LONGEST_STANDSTILL
    return await _delete(cleanup, flow_run_lease, and_(flow_run_lease.c.expires_at.is_(None), is_old))


async def _delete(cleanup: Cleanup, table: Table, condition: ColumnElement[bool]) -> int:
    if cleanup.dry_run:
        return await _count(cleanup, table, condition)
    deleted = 0
    while True:
        async with cleanup.database.engine().begin() as connection:
            keys = (await connection.execute(select(*table.primary_key).where(condition).limit(BATCH_ROWS))).all()
            if keys:
                is_one = tuple_(*table.primary_key).in_(keys)
                done = await connection.execute(delete(table).where(is_one, condition))
                deleted += done.rowcount
        if len(keys) < BATCH_ROWS:
            return deleted


async def _set(cleanup: Cleanup, table: Table, condition: ColumnElement[bool], **values: object) -> int:
    if cleanup.dry_run:
        return await _count(cleanup, table, condition)
    async with cleanup.database.engine().begin() as connection:
        return (await connection.execute(update(table).where(condition).values(values))).rowcount


async def _count(cleanup: Cleanup, table: Table, condition: ColumnElement[bool]) -> int:
    async with cleanup.database.engine().connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table).where(condition)) or 0)
