"""Finds the runs whose worker died, here or elsewhere, watches those that go on, and settles those that do not."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import PrefectClient
from prefect.logging import get_logger
from sqlalchemy.exc import SQLAlchemyError

from api.repositories.lease_repository import ExpiredLease
from errors import SuiteError
from flows.tracking import close_ended_executions
from workers.leases import Leases
from workers.records import Record, Records
from workers.settling import settle

LOOK_SECONDS = 2.0
END_SECONDS = 0.5
AGAIN_SECONDS = 1.0
JOB = "schedule_sync"
LOST = "Its process and its worker ended without a word."

logger = get_logger("hr.worker")


class LostRuns:
    """The runs of dead workers: of this machine by their records, of others by their leases.

    Args:
        client: A client of the Prefect server.
        records: The work pool's records on this machine.
        leases: The worker's leases.
        on_settled: Called when a run may begin again.
    """

    def __init__(self, client: PrefectClient, records: Records, leases: Leases, on_settled: Callable[[], None]) -> None:
        self._on_settled = on_settled
        self._client = client
        self._records = records
        self._leases = leases

    async def watch_machine(self) -> None:
        """Look for runs whose worker on this machine has died, for ever."""
        async with asyncio.TaskGroup() as adopted:
            while True:
                for record in self._records.take_over():
                    adopted.create_task(self._adopt(record))
                await asyncio.sleep(LOOK_SECONDS)

    async def watch_leases(self) -> None:
        """Look for runs whose worker has not been heard of, wherever it was, for ever."""
        async with asyncio.TaskGroup() as taken_over:
            while True:
                await asyncio.sleep(self._leases.interval)
                for lease in await self._leases.take_over_expired():
                    taken_over.create_task(self._settle_expired(lease))

    async def settle(self, flow_run_id: UUID, reason: str = LOST) -> None:
        """Settle a run that has no process, through outages of the server, unless another worker has it.

        Its execution is closed if it has ended: its process may have died between its last state and its report.

        Args:
            flow_run_id: The run.
            reason: Shown with its state.
        """
        while not await self._leases.is_lost(flow_run_id):
            try:
                if await settle(self._client, flow_run_id, reason):
                    await _close_executions()
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
            except httpx.HTTPStatusError as error:
                if error.response.is_client_error:
                    logger.exception("The run %s cannot be brought to an end: %s", flow_run_id, error.response.text)
                    return
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def _adopt(self, record: Record) -> None:
        if record.token is not None:
            self._leases.adopt(record.flow_run_id, record.token)
        process = record.find_process()
        if process is not None:
            logger.info("The run %s goes on without the worker that began it.", record.flow_run_id)
            await self._wait_for_end(record.flow_run_id, process)
        await self.settle(record.flow_run_id)
        self._records.release(record.flow_run_id)
        await self._leases.release(record.flow_run_id)
        self._on_settled()

    async def _settle_expired(self, lease: ExpiredLease) -> None:
        flow_run_id = UUID(lease.flow_run_id)
        logger.warning("Taking over the run %s of %s on %s.", flow_run_id, lease.holder, lease.host_name)
        await self.settle(flow_run_id, describe(lease, self._leases.seconds))
        await self._leases.release(flow_run_id)
        self._on_settled()

    async def _wait_for_end(self, flow_run_id: UUID, process: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if self._leases.has_lost(flow_run_id):
                    process.kill()
                await asyncio.sleep(END_SECONDS)


def describe(lease: ExpiredLease, seconds: float) -> str:
    """Say why a run was taken over.

    Args:
        lease: Its lease.
        seconds: How long it would have held.
    """
    return f"Nothing was heard of its worker {lease.holder} on {lease.host_name} for {seconds:g} s."


async def _close_executions() -> None:
    """Make the rows of ended runs say so at once; a row that cannot be written now is closed by the next sync."""
    try:
        await close_ended_executions(JOB, current_run_id="")
    except (SuiteError, SQLAlchemyError) as error:
        logger.warning("The executions of lost runs are not closed yet: %s", error)
