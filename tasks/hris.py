"""Tasks about the HRIS."""

from typing import Any

from shim import shared_task
from tasks.failures import PermanentFailure


@shared_task(
    name="tasks.hris.hris_replication_task",
    flow="flows.hris.replicate",
    bind=True,
    max_retries=3,
    default_retry_delay=120,
    autoretry_for=(Exception,),
    dont_autoretry_for=(PermanentFailure,),
    retry_backoff=True,
    retry_backoff_max=600,
    retry_jitter=True,
    soft_time_limit=600,
    time_limit=660,
)
def hris_replication_task(
    self: Any, execution_id: str | None = None, triggered_by_user_id: str | None = None
) -> dict[str, Any]:
    """Replicate departments, employees, accounts and department assignments from the HRIS.

    Args:
        execution_id: `execution_id` of the `scheduled_job_execution` row to keep; without it the run makes one.
        triggered_by_user_id: Id of the application user who asked for it.

    Returns:
        `status` ("success"), `message`, and the counts of each entity.
    """
    raise NotImplementedError("the work is in flows.hris.replicate")
