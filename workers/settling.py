"""What becomes of a run that has no process any more."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.states import AwaitingRetry, Cancelled, Crashed

IN_PROCESS, RESCHEDULED = "in_process", "reschedule"

logger = get_logger("hr.worker")


async def settle(client: PrefectClient, flow_run_id: UUID, reason: str) -> bool:
    """Bring a run to an end, or have it begin again, that has no process any more.

    A run that had begun is tried again as the same run as long as it has retries left, and becomes Crashed otherwise;
    whoever follows it for a Celery caller then has it run again if its task is acknowledged late. One that had not
    begun, or waited to be tried again, is scheduled again.

    Args:
        client: A client of the Prefect server.
        flow_run_id: The run.
        reason: Shown with its state.

    Returns:
        Whether it has ended, by this or before its process did.
    """
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return False
    state = flow_run.state
    if state is None:
        return False
    if state.is_final():
        return True
    if state.is_cancelling():
        await _set_state(client, flow_run, Cancelled(message=reason))
        return True
    if state.is_pending() or may_be_tried_again(flow_run):
        await reschedule(client, flow_run, reason)
    elif state.is_running():
        await _set_state(client, flow_run, Crashed(message=reason))
        return True
    return False


def may_be_tried_again(flow_run: FlowRun) -> bool:
    """Tell whether a run waited in its process to be tried again, or runs and has retries left.

    Args:
        flow_run: A run that has no process any more.
    """
    state, policy = flow_run.state, flow_run.empirical_policy
    if state is None:
        return False
    if state.is_scheduled():
        return policy.retry_type == IN_PROCESS
    # The rule by which Prefect's server decides about failed runs. The number is noted before the flow is called.
    return state.is_running() and (policy.retries is None or flow_run.run_count <= policy.retries)


async def begins_again(client: PrefectClient, flow_run_id: UUID, reason: str) -> bool:
    """Tell whether a run whose process ended begins again; it is scheduled if it does.

    Args:
        client: A client of the Prefect server.
        flow_run_id: The run.
        reason: Shown with its state.
    """
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return False
    if may_be_tried_again(flow_run):
        await reschedule(client, flow_run, reason)
        return True
    return flow_run.state is not None and flow_run.state.is_scheduled()


async def reschedule(client: PrefectClient, flow_run: FlowRun, reason: str, *, at_once: bool = False) -> None:
    """Have a run, which has no process, begin on any worker; one that waits to be tried again keeps its time.

    Args:
        client: A client of the Prefect server.
        flow_run: The run as it is now.
        reason: Shown with its state.
        at_once: Without the delay that its retries have.
    """
    # With the policy that the engine leaves behind, no worker would take it: its process was to wait by itself.
    policy = FlowRunPolicy(**{**flow_run.empirical_policy.model_dump(), "retry_type": RESCHEDULED})
    await client.update_flow_run(flow_run.id, empirical_policy=policy)
    await _set_state(
        client, flow_run, AwaitingRetry(scheduled_time=_find_time(flow_run, at_once=at_once), message=reason)
    )
    logger.info("The run %s is scheduled again: %s", flow_run.name, reason)


def _find_time(flow_run: FlowRun, *, at_once: bool) -> datetime:
    now, state = datetime.now(UTC), flow_run.state
    if state is not None and state.is_scheduled():
        return state.state_details.scheduled_time or now
    if at_once or state is None or not state.is_running():
        return now
    return now + timedelta(seconds=flow_run.empirical_policy.retry_delay or 0)


async def _set_state(client: PrefectClient, flow_run: FlowRun, state: State) -> None:
    await client.set_flow_run_state(flow_run.id, state, force=True)
