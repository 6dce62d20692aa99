"""The tasks that schedules and administrators start, by their job key."""

from asyncio import to_thread
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from shim.errors import ShimError
from tasks.attendance import sync_attendance_task
from tasks.executions import JobAlreadyRunning, JobMissing, fail_execution, open_execution
from tasks.hris import hris_replication_task
from tasks.scheduler import cleanup_history_task

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["TASK_REGISTRY", "JobAlreadyRunning", "JobMissing", "UnknownTaskCode", "dispatch_task", "trigger_job"]

TASK_REGISTRY: dict[str, Task] = {
    "attendance_sync": sync_attendance_task,
    "history_cleanup": cleanup_history_task,
    "hris_replication": hris_replication_task,
}


class UnknownTaskCode(ShimError, KeyError):
    """No task is registered under a job key."""

    def __str__(self) -> str:
        return str(self.args[0])


def dispatch_task(code: str, execution_id: str | None = None, **kwargs: Any) -> AsyncResult:
    """Send the task of a job.

    Args:
        code: The job key, for example `hris_replication`.
        execution_id: The execution that the run is to keep.
        kwargs: More arguments of the task.

    Returns:
        The call's result handle.

    Raises:
        UnknownTaskCode: No task is registered under this code.
    """
    return _find_task(code).delay(execution_id=execution_id, **kwargs)


async def trigger_job(
    session: "AsyncSession", code: str, *, triggered_by_user_id: str | None = None, **kwargs: Any
) -> str:
    """Run a job now, unless it runs already: create its execution row, then send its task.

    Args:
        session: An SQLAlchemy session of the application database, in which nothing is pending; it is committed.
        code: The job key, for example `hris_replication`.
        triggered_by_user_id: The user who asks.
        kwargs: More arguments of the task.

    Returns:
        The `execution_id` of the row that the run keeps.

    Raises:
        UnknownTaskCode: No task is registered under this code.
        JobAlreadyRunning: It runs or waits to run; the error has the `execution_id`.
        JobMissing: `scheduled_job` has no row of this key.
        kombu.exceptions.OperationalError: The broker cannot be reached; the row says so.
        RuntimeError: The result backend cannot be reached, as Celery puts it; the row says so.
        TypeError: The task does not take these arguments; the row says so.
    """
    _find_task(code)
    execution_id = await open_execution(session, code)
    try:
        # Sending blocks while the broker is slow.
        await to_thread(dispatch_task, code, execution_id, triggered_by_user_id=triggered_by_user_id, **kwargs)
    except (OperationalError, RuntimeError, TypeError) as error:
        await fail_execution(session, execution_id, f"the task could not be sent: {error}")
        raise
    return execution_id


def _find_task(code: str) -> Task:
    task = TASK_REGISTRY.get(code)
    if task is None:
        raise UnknownTaskCode(
            f"no task is registered under {code!r}: known are {', '.join(sorted(TASK_REGISTRY))}. "
            "Add it to TASK_REGISTRY in celery_bridge.py"
        )
    return task
