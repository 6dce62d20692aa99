"""The task whose calls are counted: it adds one row."""

from shim import shared_task

MODULE = "tests.chaos.sample_tasks"
JOB = POOL = "chaos"


@shared_task(
    flow="tests.chaos.sample_flows.add",
    max_retries=100,
    default_retry_delay=2,
    autoretry_for=(Exception,),
    acks_late=True,
    reject_on_worker_lost=True,
)
def add_row(number: int, *, execution_id: str | None = None) -> int:
    """Add a row.

    Args:
        number: What the row holds; gives it back.
        execution_id: The execution that the run reports to; without it the run makes one.
    """
    raise NotImplementedError("the work is in tests.chaos.sample_flows.add")
