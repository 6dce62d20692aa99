"""The execution row of a run that somebody asks for, written by the caller's process over a session of its own.

The web application has a `db` package and repositories of its own, so nothing of the suite's is imported here, and
SQLAlchemy only when a row is written.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shim.errors import ShimError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

ERROR_MESSAGE_CHARACTERS = 10_000
OPEN_STATUSES = ("pending", "running")


class JobAlreadyRunning(ShimError):
    """A job was asked to run while it runs or waits to run.

    Attributes:
        execution_id: The execution that is under way.
    """

    def __init__(self, code: str, execution_id: str) -> None:
        super().__init__(
            f"the job {code!r} is already running: execution {execution_id}. Wait for its end, or cancel its run"
        )
        self.execution_id = execution_id


class JobMissing(ShimError):
    """No row of `scheduled_job` is there to which an execution could belong."""


async def open_execution(session: "AsyncSession", code: str) -> str:
    """Create the pending execution of a job that does not run, and commit it.

    Args:
        session: Of the application database.
        code: The job key.

    Returns:
        The new `execution_id`.

    Raises:
        JobAlreadyRunning: An execution of the job is pending or running.
        JobMissing: `scheduled_job` has no row of this key.
    """
    from sqlalchemy import insert, select

    execution, status, job, function = _tables()
    now = datetime.now(UTC).replace(tzinfo=None)
    # Whoever else asks for this job waits here, and then finds the execution.
    await session.execute(select(function.c.id).where(function.c.key == code).with_for_update())
    of_key = select(job.c.id).join(function, function.c.id == job.c.task_function_id).where(function.c.key == code)
    running = await session.scalar(
        select(execution.c.execution_id)
        .join(status, status.c.id == execution.c.status_id)
        .where(execution.c.job_id.in_(of_key), status.c.code.in_(OPEN_STATUSES))
        .order_by(execution.c.id)
        .limit(1)
    )
    if running is not None:
        await session.rollback()
        raise JobAlreadyRunning(code, running)
    place = ((job.c.is_active & job.c.is_enabled).desc(), job.c.is_primary.desc(), job.c.id)
    job_id = await session.scalar(of_key.order_by(*place).limit(1))
    if job_id is None:
        await session.rollback()
        raise JobMissing(f"scheduled_job has no row of the key {code!r}: create one, or call dispatch_task without it")
    execution_id = str(uuid4())
    values = {"job_id": job_id, "execution_id": execution_id, "scheduled_at": now, "created_at": now}
    pending = select(status.c.id).where(status.c.code == "pending").scalar_subquery()
    await session.execute(insert(execution).values(**values, status_id=pending))
    await session.commit()
    return execution_id


async def fail_execution(session: "AsyncSession", execution_id: str, reason: str) -> None:
    """Close an execution for which no run could be asked for, and commit it.

    Args:
        session: Of the application database.
        execution_id: The execution.
        reason: Why.
    """
    from sqlalchemy import select, update

    execution, status, *_ = _tables()
    failed = select(status.c.id).where(status.c.code == "failed").scalar_subquery()
    values = {
        "status_id": failed,
        "completed_at": datetime.now(UTC).replace(tzinfo=None),
        "error_message": reason[:ERROR_MESSAGE_CHARACTERS],
    }
    await session.execute(update(execution).where(execution.c.execution_id == execution_id).values(values))
    await session.commit()


def _tables() -> tuple[Any, Any, Any, Any]:
    from sqlalchemy import Boolean, Column, DateTime, Integer, MetaData, String, Table, Text

    metadata = MetaData()

    def table(name: str, **columns: Any) -> Any:
        return Table(name, metadata, *(Column(column, kind) for column, kind in columns.items()))

    return (
        table(
            "scheduled_job_execution",
            id=Integer,
            job_id=Integer,
            execution_id=String,
            status_id=Integer,
            scheduled_at=DateTime,
            created_at=DateTime,
            completed_at=DateTime,
            error_message=Text,
        ),
        table("scheduler_execution_status", id=Integer, code=String),
        table(
            "scheduled_job",
            id=Integer,
            task_function_id=Integer,
            is_active=Boolean,
            is_enabled=Boolean,
            is_primary=Boolean,
        ),
        table("task_function", id=Integer, key=String),
    )
