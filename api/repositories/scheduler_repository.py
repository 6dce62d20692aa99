"""Reads and writes the history of scheduled jobs: `scheduled_job_execution` and what it refers to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, Table, insert, select, true, update
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransactionOrigin

from api.repositories.run_report import OPEN_STATUSES, RunReport, fit, takes, values_of
from db.tables import (
    scheduled_job,
    scheduled_job_execution,
    scheduler_execution_status,
    scheduler_job_type,
    task_function,
)
from errors import NotFound, SchemaMismatch

EXECUTION_ID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class ExecutionStatus:
    """A row of `scheduler_execution_status`."""

    id: int
    code: str
    name_en: str
    name_ar: str


@dataclass(frozen=True, slots=True)
class OpenExecution:
    """An execution that has not ended."""

    execution_id: str
    run_id: str | None
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RunningExecution:
    """An execution that says that it runs, and in which process."""

    execution_id: str
    run_id: str
    executor_id: str | None
    started_at: datetime | None


class SchedulerRepository:
    """Queries and changes of the scheduler's tables; it has no state.

    Transactions: a method that writes commits, so that a caller may or may not commit after it. Where the caller opened
    the transaction itself (`session.begin()`), it is left to the caller to end it.
    """

    async def get_execution_status_by_code(self, session: AsyncSession, code: str) -> ExecutionStatus:
        """Give a status by its code.

        Args:
            session: Of the application database.
            code: `pending`, `running`, `success`, `failed` or `cancelled`.

        Returns:
            The status; its `id` is what `status_id` refers to.

        Raises:
            NotFound: There is no such code.
        """
        return _pick(await self._read_statuses(session), code)

    async def update_execution(self, session: AsyncSession, execution_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of an execution.

        Args:
            session: Of the application database; committed unless the caller began its transaction explicitly.
            execution_id: The execution's `execution_id`.
            values: Column name to value. Texts are cut to what the column holds.

        Raises:
            NotFound: There is no such execution.
            SchemaMismatch: A name is not a column of `scheduled_job_execution`.
        """
        table = scheduled_job_execution
        unknown = sorted(set(values) - set(table.columns.keys()))
        if unknown:
            raise SchemaMismatch(
                f"{table.name} has no column {', '.join(map(repr, unknown))}; it has {', '.join(table.columns.keys())}"
            )
        found = await session.scalar(select(table.c.id).where(table.c.execution_id == execution_id))
        if found is None:
            raise NotFound(
                f"execution {execution_id!r} does not exist in {table.name}: check the id, or create the row"
            )
        if values:
            await session.execute(update(table).where(table.c.id == found).values(fit(table, values)))
        await _commit(session)

    async def create_execution(
        self, session: AsyncSession, job_key: str, execution_id: str, *, scheduled_at: datetime | None = None
    ) -> None:
        """Create a pending execution, to be handed to a run as its `execution_id`.

        Args:
            session: Of the application database; committed unless the caller began its transaction explicitly.
            job_key: The job, for example `hris_replication`.
            execution_id: A new id, at most 36 characters.
            scheduled_at: When the run is to start.

        Raises:
            SchemaMismatch: The id is too long, or exists already.
        """
        table = scheduled_job_execution
        _check_length(execution_id)
        pending = await self.get_execution_status_by_code(session, "pending")
        values = {
            "job_id": await self.ensure_job(session, job_key),
            "execution_id": execution_id,
            "status_id": pending.id,
            "scheduled_at": scheduled_at,
            "created_at": datetime.now(UTC),
        }
        try:
            await session.execute(insert(table).values(values))
        except IntegrityError as error:
            raise SchemaMismatch(
                f"execution {execution_id!r} exists already: give every execution an id of its own"
            ) from error
        await _commit(session)

    async def record(self, session: AsyncSession, job_key: str, report: RunReport) -> bool:
        """Bring an execution's row up to what its run reports; create the row if there is none.

        Reports may come twice, late or out of order, from the run's process, from a worker or from another run that
        found it lost. What counts is when the run entered the state: an ended execution takes only reports of a later
        time, and one that is open under another run takes none.

        Args:
            session: Of the application database; committed unless the caller began its transaction explicitly.
            job_key: The job of a row that must be created.
            report: What the run says.

        Returns:
            Whether the row was written.

        Raises:
            NotFound: The status is none of `scheduler_execution_status`.
            SchemaMismatch: The execution's id is too long.
        """
        table = scheduled_job_execution
        _check_length(report.execution_id)
        statuses = await self._read_statuses(session)
        status_id = _pick(statuses, report.status).id
        is_reported = table.c.execution_id == report.execution_id
        if await session.scalar(select(table.c.id).where(is_reported)) is None:
            await self._insert_execution(session, job_key, report, _pick(statuses, "pending").id)
        # Not asked for earlier: for a missing row MariaDB would lock the gap, and inserts would deadlock.
        row = (await session.execute(select(table).where(is_reported).with_for_update())).mappings().one()
        is_open = row["status_id"] in [_pick(statuses, code).id for code in OPEN_STATUSES]
        is_taken = takes(row, report, is_open=is_open)
        if is_taken:
            values = values_of(report, row if is_open else {}) | {"status_id": status_id}
            await session.execute(update(table).where(table.c.id == row["id"]).values(fit(table, values)))
            if values["started_at"] is not None:
                await self._note_last_run(session, row["job_id"], values["started_at"])
        await _commit(session)
        return is_taken

    async def find_open_executions(self, session: AsyncSession, job_key: str | None = None) -> list[OpenExecution]:
        """List the executions that have not ended, oldest first.

        Args:
            session: Of the application database.
            job_key: The job; by default all jobs.
        """
        execution, status = scheduled_job_execution, scheduler_execution_status
        rows = await session.execute(
            select(execution.c.execution_id, execution.c.run_id, status.c.code, execution.c.created_at)
            .join(status, status.c.id == execution.c.status_id)
            .join(scheduled_job, scheduled_job.c.id == execution.c.job_id)
            .join(task_function, task_function.c.id == scheduled_job.c.task_function_id)
            .where(
                status.c.code.in_(OPEN_STATUSES),
                true() if job_key is None else task_function.c.key == job_key,
            )
            .order_by(execution.c.id)
        )
        return [OpenExecution(*row) for row in rows]

    async def find_running_executions(self, session: AsyncSession, host_name: str) -> list[RunningExecution]:
        """List the executions that say that they run on a host.

        Args:
            session: Of the application database.
            host_name: The host.
        """
        execution, status = scheduled_job_execution, scheduler_execution_status
        rows = await session.execute(
            select(execution.c.execution_id, execution.c.run_id, execution.c.executor_id, execution.c.started_at)
            .join(status, status.c.id == execution.c.status_id)
            .where(status.c.code == "running", execution.c.host_name == host_name, execution.c.run_id.is_not(None))
        )
        return [RunningExecution(*row) for row in rows]

    async def ensure_job(self, session: AsyncSession, job_key: str) -> int:
        """Give the id of the job that executions of a key belong to; make a job for the history if there is none.

        The made job never runs: it is neither active nor enabled and has no trigger. The transaction is the caller's.

        Args:
            session: Of the application database.
            job_key: Key of the job's `task_function`.

        Returns:
            The id of the key's active and enabled job if there is one, else of its oldest.

        Raises:
            NotFound: `scheduler_job_type` is empty.
        """
        found: int | None = await session.scalar(_select_job(job_key))
        if found is not None:
            return found
        function_id = await self._ensure_function(session, job_key)
        found = await session.scalar(_select_job(job_key).with_for_update())
        if found is not None:
            return found
        type_id = await session.scalar(select(scheduler_job_type.c.id).order_by(scheduler_job_type.c.code).limit(1))
        if type_id is None:
            raise NotFound(f"{scheduler_job_type.name} is empty: run the migrations, they fill the table")
        now = datetime.now(UTC)
        made = await session.execute(
            insert(scheduled_job).values(
                task_function_id=function_id,
                job_type_id=type_id,
                name_en=job_key,
                name_ar=job_key,
                is_active=False,
                is_enabled=False,
                created_at=now,
                updated_at=now,
            )
        )
        return int(made.inserted_primary_key[0])  # type: ignore[attr-defined]

    async def _ensure_function(self, session: AsyncSession, job_key: str) -> int:
        table = task_function
        query = select(table.c.id).where(table.c.key == job_key)
        if await session.scalar(query) is None:
            values = {"key": job_key, "function_path": "", "name_en": job_key, "name_ar": job_key, "is_active": False}
            await _insert_unless_present(session, table, values)
        # Whoever else wants to make this key's job waits here for the row, and then finds the job.
        function_id: int = (await session.scalars(query.with_for_update())).one()
        return function_id

    async def _insert_execution(self, session: AsyncSession, job_key: str, report: RunReport, pending_id: int) -> None:
        job_id = report.job_id
        # An insert that refers to the job shares its lock; two that then want to write to the job would deadlock.
        if job_id is None or not await _lock_job(session, job_id):
            job_id = await self.ensure_job(session, job_key)
            await _lock_job(session, job_id)
        values = {"job_id": job_id, "execution_id": report.execution_id, "status_id": pending_id}
        await _insert_unless_present(session, scheduled_job_execution, values | {"created_at": datetime.now(UTC)})

    async def _read_statuses(self, session: AsyncSession) -> dict[str, ExecutionStatus]:
        table = scheduler_execution_status
        rows = await session.execute(select(table.c.id, table.c.code, table.c.name_en, table.c.name_ar))
        return {row.code: ExecutionStatus(*row) for row in rows}

    async def _note_last_run(self, session: AsyncSession, job_id: int, started_at: datetime) -> None:
        job = scheduled_job
        is_newer = job.c.last_run_at.is_(None) | (job.c.last_run_at < started_at)
        await session.execute(update(job).where(job.c.id == job_id, is_newer).values(last_run_at=started_at))


def _select_job(job_key: str) -> Select[tuple[int]]:
    job = scheduled_job
    return (
        select(job.c.id)
        .join(task_function, task_function.c.id == job.c.task_function_id)
        .where(task_function.c.key == job_key)
        .order_by((job.c.is_active & job.c.is_enabled).desc(), job.c.is_primary.desc(), job.c.id)
        .limit(1)
    )


async def _lock_job(session: AsyncSession, job_id: int) -> bool:
    query = select(scheduled_job.c.id).where(scheduled_job.c.id == job_id).with_for_update()
    return await session.scalar(query) is not None


def _pick(statuses: Mapping[str, ExecutionStatus], code: str) -> ExecutionStatus:
    if code not in statuses:
        known = ", ".join(sorted(statuses)) or "none: run the migrations, they fill the table"
        raise NotFound(f"execution status {code!r} does not exist; {scheduler_execution_status.name} has {known}")
    return statuses[code]


def _check_length(execution_id: str) -> None:
    if len(execution_id) > EXECUTION_ID_LENGTH:
        raise SchemaMismatch(
            f"execution id {execution_id!r} has {len(execution_id)} characters, the limit is {EXECUTION_ID_LENGTH}: "
            "use a UUID"
        )


async def _insert_unless_present(session: AsyncSession, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row unless one with its key is there; either way MariaDB then gives this transaction its lock.

    A plain insert that meets the key would only share the lock, and two that then want it alone would deadlock.
    """
    if session.get_bind().dialect.name == "mysql":
        await session.execute(mysql.insert(table).values(values).on_duplicate_key_update(id=table.c.id))
    else:
        await session.execute(sqlite.insert(table).values(values).on_conflict_do_nothing())


async def _commit(session: AsyncSession) -> None:
    transaction = session.sync_session.get_transaction()
    if transaction is not None and transaction.origin is SessionTransactionOrigin.AUTOBEGIN:
        await session.commit()
