"""Ends that the worker, not the run itself, gives to a run."""

import asyncio
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.logging.loggers import flow_run_logger
from prefect.states import Failed

from workers.execution import Execution
from workers.executions import Executions
from workers.records import Records
from workers.settling import reschedule

AGAIN_SECONDS = 1.0
TIMED_OUT = "TimedOut"
OUT_OF_MEMORY = "OutOfMemory"

logger = get_logger("hr.worker")


async def enforce_time_limit(client: PrefectClient, executions: Executions, execution: Execution) -> None:
    """Kill a run's process that takes longer than its limit, whatever it is doing, and say so. Runs beside the run.

    Args:
        client: A client of the Prefect server.
        executions: The worker's runs.
        execution: The run.
    """
    limit = execution.configuration.time_limit
    if limit is None:
        return
    await execution.started.wait()
    await asyncio.sleep(limit)
    # Shielded: the process's end, which this brings about, ends the wait for the limit too.
    await asyncio.shield(asyncio.create_task(_end_overdue(client, executions, execution, limit)))


async def explain_memory_limit(client: PrefectClient, flow_run_id: UUID, limit_mb: int | None) -> None:
    """Say of a run that failed for want of memory that its limit was the reason.

    Args:
        client: A client of the Prefect server.
        flow_run_id: The run, whose process has ended.
        limit_mb: The limit; None for no limit.
    """
    if limit_mb is None:
        return
    state = (await client.read_flow_run(flow_run_id)).state
    if state is None or not (state.is_failed() or state.is_crashed()) or "MemoryError" not in (state.message or ""):
        return
    message = f"The run needed more than its {limit_mb} MB (memory_limit_mb): {state.message}"
    await _set_state(client, flow_run_id, Failed(name=OUT_OF_MEMORY, message=message))


async def hand_back(client: PrefectClient, executions: Executions, execution: Execution, worker: str) -> None:
    """End a run's process because its worker stops, and have the run begin again on another worker.

    Args:
        client: A client of the Prefect server.
        executions: The worker's runs.
        execution: The run.
        worker: The worker's name.
    """
    message = f"The worker {worker!r} was told to stop before the run had ended."
    flow_run_logger(execution.flow_run).warning("%s It begins again on another worker.", message)
    try:
        if not await executions.relinquish(execution):
            return
        current = await client.read_flow_run(execution.flow_run.id)
        # One that its own process made Crashed when it was ended begins again too.
        if current.state is None or not current.state.is_final() or current.state.is_crashed():
            await reschedule(client, current, message, at_once=True)
    finally:
        execution.settled.set()


async def end_lost(executions: Executions, execution: Execution) -> None:
    """Kill the process of a run that another worker has taken over, without a word about the run's state.

    Args:
        executions: The worker's runs.
        execution: The run.
    """
    try:
        await executions.kill(execution)
    finally:
        execution.settled.set()


async def end_gracefully(
    client: PrefectClient, executions: Executions, records: Records, worker: str, hurried: asyncio.Event
) -> None:
    """Let all runs of a worker end within their grace time, and hand back those that do not.

    Args:
        client: A client of the Prefect server.
        executions: The worker's runs.
        records: Its records.
        worker: Its name.
        hurried: Set when the grace time is over for all.
    """

    async def end(execution: Execution) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (execution.ended, hurried)]
        await asyncio.wait(waits, timeout=execution.configuration.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if execution.ended.is_set():
            return
        try:
            await hand_back(client, executions, execution, worker)
        except httpx.HTTPError as error:
            logger.warning("The run %s is left to another worker: %r", execution.flow_run.name, error)
            records.leave(execution.flow_run.id)

    await asyncio.gather(*(end(execution) for execution in executions.running))


async def _end_overdue(client: PrefectClient, executions: Executions, execution: Execution, limit: float) -> None:
    message = f"The time limit of {limit:g} seconds (time_limit) passed; the process was killed."
    try:
        await executions.kill(execution)
        await execution.wait_for_process()
        await _set_state(client, execution.flow_run.id, Failed(name=TIMED_OUT, message=message))
    finally:
        execution.settled.set()


async def _set_state(client: PrefectClient, flow_run_id: UUID, state: State) -> None:
    """Set a state, through outages of the server; a run that has just completed stays so."""
    while True:
        try:
            current = (await client.read_flow_run(flow_run_id)).state
            if current is None or not current.is_completed():
                await client.set_flow_run_state(flow_run_id, state, force=True)
        except httpx.TransportError:
            await asyncio.sleep(AGAIN_SECONDS)
        except ObjectNotFound:
            return
        else:
            return
