"""Tasks that keep the scheduler's tables small and true."""

from typing import Annotated, Any

from shim import Within, shared_task

RetentionDays = Annotated[int, Within(1, 3_650)]


@shared_task(
    name="tasks.scheduler.cleanup_history_task",
    flow="flows.scheduler.clean_history",
    bind=True,
    max_retries=3,
    default_retry_delay=60,
    autoretry_for=(Exception,),
    retry_backoff=True,
    retry_backoff_max=300,
    retry_jitter=True,
    soft_time_limit=120,
    time_limit=180,
)
def cleanup_history_task(
    self: Any,
    execution_id: str | None = None,
    retention_days: RetentionDays = 30,
    triggered_by_user_id: str | None = None,
) -> dict[str, Any]:
    """Delete old executions, release expired locks, mark scheduler instances without a heartbeat as stopped.

    Args:
        execution_id: `execution_id` of the `scheduled_job_execution` row to keep; without it the run makes one.
        retention_days: Days for which executions are kept, 1 to 3,650.
        triggered_by_user_id: Id of the application user who asked for it.

    Returns:
        `status` ("success"), `deleted_executions`, `deleted_locks` (released), `deleted_instances` (marked as stopped).
    """
    raise NotImplementedError("the work is in flows.scheduler.clean_history")
