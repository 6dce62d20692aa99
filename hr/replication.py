"""HRIS replication: stage, check, merge.

Each entity streams from the HRIS into a staging table; a check refuses a source that looks broken; one transaction then
merges all of them into the application's tables, set by set. Nothing outside sees half a replication. A lock on the
application database keeps a second one out, and what a killed one staged is removed by the next.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db import hris_database, maria_database
from db.advisory_lock import AdvisoryLock, hold_lock
from db.engines import Database
from db.tables import department, department_assignment, employee, log_replication, security_user
from hr.bounds import Bounds, check_bounds, check_staged
from hr.mapping import ENTITIES, EntityName, MappingFile, load_mapping
from hr.merge.accounts import merge_accounts
from hr.merge.assignments import merge_assignments
from hr.merge.departments import merge_departments
from hr.merge.employees import merge_employees
from hr.merge.report import Report
from hr.merge.rows import lock_written_rows_only
from hr.merge.users import merge_users
from hr.replication_log import LogContext, failure_row, operation_rows
from hr.source import Source
from hr.staging import STAGED_TABLES, Progress, empty_staging, stage
from settings import Settings

LOCK = "HRIS replication"
TARGET_OF: dict[EntityName, str] = {
    "department": "department",
    "employee": "employee",
    "account": "security_user",
    "assignment": "department_assignment",
}
_ACTIVE_ROWS = {
    "department": select(func.count()).where(department.c.hris_id.is_not(None), department.c.is_active),
    "employee": select(func.count()).where(employee.c.is_active),
    "account": select(func.count()).where(security_user.c.is_deleted.is_(False)),
    "assignment": select(func.count()).where(
        department_assignment.c.is_synced_from_hris, department_assignment.c.is_active
    ),
}


@dataclass(frozen=True)
class Replication:
    """One replication: from where, to where, within which bounds.

    Args:
        database: The application database.
        hris: The HRIS.
        mapping_file: Which tables and columns of the HRIS hold what.
        bounds: How much may look wrong.
        chunk_rows: Rows read and staged at a time.
        admin_id: Who asked for it, if a person did.
    """

    database: Database
    hris: Database
    mapping_file: MappingFile
    bounds: Bounds
    chunk_rows: int = 10_000
    admin_id: str | None = None

    @property
    def source(self) -> Source:
        """The HRIS as its mapping describes it."""
        return Source(self.hris, self.mapping_file)


def plan_replication(settings: Settings, admin_id: str | None = None) -> Replication:
    """Give the replication that the settings describe.

    Args:
        settings: The databases, the mapping file and the bounds.
        admin_id: Who asked for it, if a person did.

    Raises:
        MappingError: The mapping file cannot be used.
    """
    return Replication(
        database=maria_database.database,
        hris=hris_database.database,
        mapping_file=load_mapping(settings.hris_mapping),
        bounds=Bounds(settings.replication_max_deactivated_share, settings.replication_max_rejected_share),
        chunk_rows=settings.replication_chunk_rows,
        admin_id=admin_id,
    )


@asynccontextmanager
async def begin(replication: Replication) -> AsyncIterator[AdvisoryLock]:
    """Hold the replication's lock, with empty staging tables.

    Raises:
        AlreadyRunning: Another replication is under way on the same database.
    """
    async with hold_lock(replication.database, LOCK) as lock:
        await empty_staging(replication.database)
        yield lock


async def stage_entity(replication: Replication, entity: EntityName, progress: Progress) -> int:
    """Copy an entity's rows from the HRIS into its staging table; may be repeated.

    Args:
        replication: The replication.
        entity: What to copy.
        progress: Called after each chunk with the entity and the number of rows so far.

    Returns:
        The number of rows read.
    """
    return await stage(
        replication.source,
        replication.database,
        entity,
        chunk_rows=replication.chunk_rows,
        progress=progress,
    )


async def check(replication: Replication) -> None:
    """Refuse what was staged if the source looks broken.

    Raises:
        SourceEmpty: There are no departments or no employees.
        SourceShrunken: An entity has far fewer rows than the application has active ones.
    """
    async with replication.database.engine().connect() as connection:
        for entity, staged_table in STAGED_TABLES.items():
            staged = await connection.scalar(select(func.count()).select_from(staged_table)) or 0
            active = await connection.scalar(_ACTIVE_ROWS[entity]) or 0
            check_staged(replication.bounds, TARGET_OF[entity], staged=staged, active=active)


async def merge(
    replication: Replication,
    lock: AdvisoryLock,
    rows_read: dict[EntityName, int],
    *,
    dry_run: bool = False,
    allow_shrunken_source: bool = False,
) -> Report:
    """Merge what was staged, all in one transaction; may be repeated.

    Args:
        replication: The replication.
        lock: The replication's lock, from `begin`.
        rows_read: What `stage_entity` returned, by entity.
        dry_run: Take everything back at the end: the report tells what would change.
        allow_shrunken_source: Deactivate as many rows as the source says.

    Returns:
        What was, or would be, changed.

    Raises:
        SourceShrunken: More would be deactivated than the bounds allow. Nothing was changed.
        TooManyRejected: More cannot be taken than the bounds allow. Nothing was changed.
        DatabaseError: The lock was lost. Nothing was changed.
    """
    started = time.monotonic()
    now = datetime.now(UTC)
    report = Report()
    async with replication.database.engine().connect() as connection:
        await lock_written_rows_only(connection)
        await lock.check(connection)
        await _merge_entities(connection, replication, report, now)
        for entity, rows in rows_read.items():
            report.entities[TARGET_OF[entity]].read = rows
        check_bounds(replication.bounds, report, allow_shrunken_source=allow_shrunken_source)
        if dry_run:
            await connection.rollback()
            return report
        await connection.execute(
            insert(log_replication), operation_rows(_log_context(replication, now, started), report)
        )
        await connection.commit()
    return report


async def _merge_entities(connection: AsyncConnection, replication: Replication, report: Report, now: datetime) -> None:
    counts, rejected, noted = report.entities, report.rejected, report.noted
    await merge_departments(connection, counts["department"], rejected["department"], noted["department"])
    await merge_employees(connection, counts["employee"], rejected["employee"])
    await merge_accounts(connection, counts["security_user"], rejected["security_user"], noted["security_user"])
    await merge_users(connection, counts["user"], rejected["user"], now=now)
    await merge_assignments(
        connection,
        counts["department_assignment"],
        rejected["department_assignment"],
        noted["department_assignment"],
        now=now,
        admin_id=replication.admin_id,
    )


async def log_failure(replication: Replication, error: Exception, *, started: float) -> None:
    """Write the `log_replication` row of a replication that failed.

    Args:
        replication: The replication.
        error: Why it failed.
        started: When it began, on the clock `time.monotonic`.
    """
    row = failure_row(_log_context(replication, datetime.now(UTC), started), error)
    async with replication.database.engine().begin() as connection:
        await connection.execute(insert(log_replication).values(row))


def _log_context(replication: Replication, now: datetime, started: float) -> LogContext:
    milliseconds = round((time.monotonic() - started) * 1000)
    return LogContext(now, replication.admin_id, replication.source.system, milliseconds)


async def replicate(
    replication: Replication,
    progress: Progress,
    *,
    dry_run: bool = False,
    allow_shrunken_source: bool = False,
) -> Report:
    """Run a whole replication in the calling task: what `flows/hris.py` does in steps of their own.

    Args and raises are those of `stage_entity`, `check` and `merge`.
    """
    async with begin(replication) as lock:
        rows_read = {entity: await stage_entity(replication, entity, progress) for entity in ENTITIES}
        if not allow_shrunken_source:
            await check(replication)
        return await merge(replication, lock, rows_read, dry_run=dry_run, allow_shrunken_source=allow_shrunken_source)
