"""Tasks about attendance: when the people of a meal request came and went."""

from typing import Annotated, Any

from shim import Within, shared_task
from tasks.failures import PermanentFailure

MonthsBack = Annotated[int, Within(1, 36)]
# What a database's integer holds.
RowId = Annotated[int, Within(1, 2**63 - 1)]
LineIds = Annotated[list[RowId], Within(1, 5_000)]


@shared_task(
    name="tasks.attendance.sync_attendance_task",
    flow="flows.attendance.sync",
    bind=True,
    max_retries=3,
    default_retry_delay=120,
    autoretry_for=(Exception,),
    dont_autoretry_for=(PermanentFailure,),
    retry_backoff=True,
    retry_backoff_max=600,
    retry_jitter=True,
    soft_time_limit=300,
    time_limit=360,
)
def sync_attendance_task(
    self: Any,
    execution_id: str | None = None,
    months_back: MonthsBack | None = None,
    triggered_by_user_id: str | None = None,
) -> dict[str, Any]:
    """Bring the attendance of the last months' meal request lines in line with the HRIS.

    Args:
        execution_id: `execution_id` of the `scheduled_job_execution` row to keep; without it the run makes one.
        months_back: Months of requests to look at, 1 to 36; default: the setting `ATTENDANCE_MONTHS_BACK`.
        triggered_by_user_id: Id of the application user who asked for it.

    Returns:
        `status` ("success"), and in lines: `total`, `synced` (written), `unchanged`, `not_found`, `errors`.
    """
    raise NotImplementedError("the work is in flows.attendance.sync")


@shared_task(
    name="tasks.attendance.sync_attendance_for_lines_task",
    flow="flows.attendance.sync_lines",
    bind=True,
    max_retries=3,
    default_retry_delay=60,
    autoretry_for=(Exception,),
    dont_autoretry_for=(PermanentFailure,),
    retry_backoff=True,
)
def sync_attendance_for_lines_task(self: Any, meal_request_line_ids: LineIds) -> dict[str, Any]:
    """Bring the attendance of some meal request lines in line with the HRIS.

    Args:
        meal_request_line_ids: Ids of lines that exist and are not deleted, 1 to 5,000 of them.

    Returns:
        What `sync_attendance_task` returns.
    """
    raise NotImplementedError("the work is in flows.attendance.sync_lines")


@shared_task(
    name="tasks.attendance.fetch_attendance_for_meal_request_task",
    flow="flows.attendance.fetch_for_meal_request",
    bind=True,
    max_retries=3,
    default_retry_delay=60,
    autoretry_for=(Exception,),
    dont_autoretry_for=(PermanentFailure,),
    retry_backoff=True,
)
def fetch_attendance_for_meal_request_task(self: Any, meal_request_id: RowId) -> dict[str, Any]:
    """Note when the people of a new meal request signed in that day; the request becomes pending in any case.

    Args:
        meal_request_id: Id of a request that is not deleted.

    Returns:
        `status` ("completed"), and in lines: `total`, `synced` (with a sign-in), `errors`.
    """
    raise NotImplementedError("the work is in flows.attendance.fetch_for_meal_request")
