"""The tasks that schedules and administrators start, by their job key."""

from typing import Any

from celery import Task
from celery.result import AsyncResult

from shim.errors import ShimError
from tasks.attendance import sync_attendance_task
from tasks.hris import hris_replication_task
from tasks.scheduler import cleanup_history_task

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
    task = TASK_REGISTRY.get(code)
    if task is None:
        raise UnknownTaskCode(
            f"no task is registered under {code!r}: known are {', '.join(sorted(TASK_REGISTRY))}. "
            "Add it to TASK_REGISTRY in celery_bridge.py"
        )
    return task.delay(execution_id=execution_id, **kwargs)
