"""Brings runs to an end whose worker died: it watches what still runs and settles what does not."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.states import AwaitingRetry, Cancelled, Crashed

from workers.records import Record, Records

LOOK_SECONDS = 2.0
END_SECONDS = 0.5
AGAIN_SECONDS = 1.0
IN_PROCESS, RESCHEDULED = "in_process", "reschedule"

logger = get_logger("hr.worker")


class LostRuns:
    """The runs of dead workers of this machine.

    Args:
        client: A client of the Prefect server.
        records: The work pool's records on this machine.
        on_settled: Called when a run may begin again.
    """

    def __init__(self, client: PrefectClient, records: Records, on_settled: Callable[[], None]) -> None:
        self._on_settled = on_settled
        self._client = client
        self._records = records

    async def watch(self) -> None:
        """Look for runs whose worker has died, for ever."""
        async with asyncio.TaskGroup() as adopted:
            while True:
                for record in self._records.take_over():
                    adopted.create_task(self._adopt(record))
                await asyncio.sleep(LOOK_SECONDS)

    async def settle(self, flow_run_id: UUID) -> None:
        """Settle a run, through outages of the server.

        Args:
            flow_run_id: A run that has no process.
        """
        while True:
            try:
                return await settle(self._client, flow_run_id)
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
            except httpx.HTTPStatusError as error:
                if error.response.is_client_error:
                    logger.exception("The run %s cannot be brought to an end: %s", flow_run_id, error.response.text)
                    return None
                await asyncio.sleep(AGAIN_SECONDS)

    async def _adopt(self, record: Record) -> None:
        process = record.find_process()
        if process is not None:
            logger.info("The run %s goes on without the worker that began it.", record.flow_run_id)
            await _wait_for_end(process)
        await self.settle(record.flow_run_id)
        self._records.release(record.flow_run_id)
        self._on_settled()


async def settle(client: PrefectClient, flow_run_id: UUID) -> None:
    """Bring a run to an end, or have it begin again, that has no process any more.

    A run that had begun becomes Crashed; whoever follows it for a Celery caller then has it run again if the task is
    acknowledged late. One that had not begun, or waited to be tried again, is scheduled again as the same run.

    Args:
        client: A client of the Prefect server.
        flow_run_id: The run.
    """
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return
    state = flow_run.state
    if state is None or state.is_final():
        return
    message = "Its process and its worker ended without a word."
    if state.is_cancelling():
        await _set_state(client, flow_run, Cancelled(message=message))
    elif state.is_pending() or (state.is_scheduled() and flow_run.empirical_policy.retry_type == IN_PROCESS):
        await reschedule(client, flow_run, message)
    elif state.is_running():
        await _set_state(client, flow_run, Crashed(message=message))


async def begins_again(client: PrefectClient, flow_run_id: UUID, reason: str) -> bool:
    """Tell whether a run whose process ended is to begin again, as it was only waiting to be tried again.

    Args:
        client: A client of the Prefect server.
        flow_run_id: The run.
        reason: Shown with its state.

    Returns:
        True if it is scheduled, which it may be only now: its process was to wait by itself.
    """
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return False
    if flow_run.state is None or not flow_run.state.is_scheduled():
        return False
    if flow_run.empirical_policy.retry_type == IN_PROCESS:
        await reschedule(client, flow_run, reason)
    return True


async def reschedule(client: PrefectClient, flow_run: FlowRun, reason: str) -> None:
    """Have a run, which has no process, begin on any worker; one that waits to be tried again keeps its time.

    Args:
        client: A client of the Prefect server.
        flow_run: The run as it is now.
        reason: Shown with its state.
    """
    # With the policy that the engine leaves behind, no worker would take it: its process was to wait by itself.
    policy = FlowRunPolicy(**{**flow_run.empirical_policy.model_dump(), "retry_type": RESCHEDULED})
    await client.update_flow_run(flow_run.id, empirical_policy=policy)
    due = flow_run.state.state_details.scheduled_time if flow_run.state and flow_run.state.is_scheduled() else None
    await _set_state(client, flow_run, AwaitingRetry(scheduled_time=due or datetime.now(UTC), message=reason))
    logger.info("The run %s is scheduled again: %s", flow_run.name, reason)


async def _set_state(client: PrefectClient, flow_run: FlowRun, state: State) -> None:
    await client.set_flow_run_state(flow_run.id, state, force=True)


async def _wait_for_end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(END_SECONDS)
