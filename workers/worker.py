"""The worker type `hr-process`: Prefect's process worker, whose runs are children of a warm process."""

import asyncio
import copy
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.runner._process_manager import ProcessHandle
from prefect.workers.base import BaseWorkerResult
from prefect.workers.process import ProcessWorker, ProcessWorkerResult
from websockets.exceptions import InvalidMessage

from workers.admission import admit
from workers.client_settings import find_client_settings, find_log_settings
from workers.configuration import Configuration, Limits, write_settings
from workers.endings import end_gracefully, end_lost, enforce_time_limit, explain_memory_limit
from workers.executions import Executions
from workers.fork_client import ForkServers
from workers.leases import Leases
from workers.lost_runs import LostRuns
from workers.notices import Notices, look_for_cancelling
from workers.pace import Pace
from workers.preloading import find_flow_modules
from workers.process_ids import leave_process_ids
from workers.recent_reads import share_recent_reads
from workers.records import Records, find_folder
from workers.settling import begins_again

OUTAGE_LOG_SECONDS = 60.0
SERVER_ERROR = 500
STATE_PAUSE = 0.05
HELD_SECONDS = 1.0
CONNECT_SECONDS = 1.0


class WarmWorker(ProcessWorker):
    """Executes flow runs as children of a process that has imported Prefect and the suite's flows already.

    SIGTERM and SIGINT have it take no more runs and end when those that it has are over, at the latest after their
    grace time: they are then handed back to be run again. SIGHUP has it import the code anew; so does a changed file.
    """

    type = "hr-process"
    job_configuration = Configuration
    job_configuration_variables = Limits  # type: ignore[assignment]  # Prefect leaves the attribute without a type

    _display_name = "HR process"
    _description = "Executes flow runs as children of a warm process: they start at once. Serves pools of type process."

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._fork_servers = ForkServers([])
        self._executions: Executions | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._pace = Pace()
        self._polling = asyncio.Lock()
        self._notices: Notices | None = None
        self._outage_logged_at = 0.0
        self._is_draining = asyncio.Event()
        self._is_hurried = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._name_lock: int | None = None
        self._records: Records | None = None
        self._leases = Leases(self.name, lambda: self.work_pool.id, self._end_lost_soon)
        self._lost: LostRuns | None = None
        self._finishing: set[UUID] = set()
        self._with_command: set[UUID] = set()

    async def start(
        self, run_once: bool = False, with_healthcheck: bool = False, printer: Callable[..., None] = print
    ) -> None:
        """Serve the work pool until told to stop.

        Args:
            run_once: Look for runs once, and end when those that were found are over.
            with_healthcheck: Answer health checks over HTTP.
            printer: Where to say that the worker has started and stopped.
        """
        self._main = asyncio.current_task()
        try:
            await super().start(run_once=run_once, with_healthcheck=with_healthcheck, printer=printer)
        except asyncio.CancelledError:
            if not self._is_draining.is_set():
                raise
            if self._main is not None:
                self._main.uncancel()
            printer(f"Worker {self.name!r} stopped; it runs nothing any more.")

    async def __aenter__(self) -> Self:
        self._name_lock = await admit(self._work_pool_name, self.name, self.type)
        settings = {**find_log_settings(), **await find_client_settings()}
        self._fork_servers = ForkServers(find_flow_modules(), {**settings, **os.environ, **write_settings()})
        try:
            await self._fork_servers.ensure()
            await self._connect(super().__aenter__)
            share_recent_reads(self.client)
            leave_process_ids(self.client, lambda flow_run_id: flow_run_id not in self._with_command)
            self._records = Records(find_folder(self._work_pool_name))
            self._executions = Executions(self.client, self._fork_servers, self._records, self._leases, self.name)
            await self._connect(self._executions.__aenter__)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._watch_signals()
        cancelling = look_for_cancelling(self.client, self._executions, self._cancel_soon)
        self._lost = LostRuns(self.client, self._records, self._leases, self._pace.wake)
        for work in (self._poll_when_due(), self._listen(), cancelling, self._lost.watch_machine()):
            self._spawn(work)
        return self

    async def __aexit__(self, *error: Any) -> None:
        background = list(self._background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        try:
            if self._executions is not None:
                await self._executions.__aexit__(*error)
            if self._client is not None:
                await super().__aexit__(*error)
        finally:
            await self._fork_servers.close()
            if self._records is not None:
                self._records.abandon()
            if self._name_lock is not None:
                os.close(self._name_lock)

    async def _connect(self, enter: Callable[[], Awaitable[Any]]) -> None:
        """Enter what connects to the server's events, again if the server ends in that moment.

        Prefect waits for a server that does not listen; one that ends before it has answered is an error to it.

        Args:
            enter: What connects.
        """
        while True:
            try:
                await enter()
            except (InvalidMessage, RuntimeError) as error:
                # The base class wraps it.
                if not isinstance(error, InvalidMessage) and not isinstance(error.__cause__, InvalidMessage):
                    raise
                self._log_outage(error)
                await asyncio.sleep(CONNECT_SECONDS)
            else:
                return

    async def run(
        self,
        flow_run: FlowRun,
        configuration: Configuration,  # type: ignore[override]  # this worker's own, as Prefect's types have theirs
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Execute a run until its process has ended.

        Args:
            flow_run: The run.
            configuration: How.
            task_status: Is told the process id as soon as there is one.

        Returns:
            Exit status and process id.
        """
        if self._executions is None:
            raise RuntimeError("the worker has not been entered as a context manager")
        if configuration.has_own_command:
            self._with_command.add(flow_run.id)
            try:
                return await super().run(flow_run, configuration, task_status)
            finally:
                self._with_command.discard(flow_run.id)
        with self._executions.prepare(flow_run, configuration) as execution:
            limit = asyncio.create_task(enforce_time_limit(self.client, self._executions, execution))
            try:
                result = await self._executions.execute(execution, _PidStatus(task_status))
            finally:
                limit.cancel()
            if execution.is_handed_back:
                await execution.settled.wait()
        await explain_memory_limit(self.client, flow_run.id, configuration.memory_limit_mb)
        if result is None or result.status_code is None:
            raise RuntimeError("no process was started: the log above says why")
        return ProcessWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for runs that are due, once, and begin them.

        Returns:
            The runs that were begun; none while the server cannot be reached.
        """
        if self._is_draining.is_set():
            return []
        async with self._polling:
            try:
                with self._pace.note_poll():
                    return await super().get_and_submit_flow_runs()
            except httpx.TransportError as error:
                self._log_outage(error)
            except httpx.HTTPStatusError as error:
                if error.response.status_code < SERVER_ERROR:
                    raise
                self._log_outage(error)
        return []

    async def sync_with_backend(self) -> None:
        """Send the heartbeat; an outage of the server is waited out."""
        try:
            await super().sync_with_backend()
        except httpx.TransportError as error:
            if not self._has_successfully_synced:
                raise
            self._log_outage(error)

    async def reload(self) -> None:
        """Import the flows' code anew; runs that have begun go on with what they have."""
        self._logger.info("Reloading: new runs get the code as it is now.")
        await self._fork_servers.reload()

    async def drain(self) -> None:
        """Take no more runs, let those that run end within their grace time, hand back the others, and stop."""
        if self._is_draining.is_set():
            # Asked a second time: without patience.
            self._is_hurried.set()
            return
        self._is_draining.set()
        executions = self._executions
        if executions is not None and self._records is not None:
            # A poll that has been answered already still begins its runs.
            async with self._polling:
                pass
            await _wait_until(lambda: not self._submitting_flow_run_ids)
            self._logger.info("Stopping: %d runs get their grace time to end.", len(executions.running))
            await end_gracefully(self.client, executions, self._records, self.name, self._is_hurried)
            await _wait_until(lambda: not executions.running and not self._finishing)
        if self._main is not None:
            self._main.cancel()

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """Make a run Crashed, unless it was only waiting to be tried again."""
        try:
            if await self._leases.is_lost(flow_run.id) or await begins_again(self.client, flow_run.id, message):
                return
        except httpx.HTTPError as error:
            self._log_outage(error)
        await super()._propose_crashed_state(flow_run, message, client)

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        """Take a run, unless another worker has it."""
        if self._records is None or (record := self._records.hold(flow_run.id)) is None:
            return False
        is_free = await self._leases.take(flow_run.id)
        if token := self._leases.find_token(flow_run.id):
            record.note_token(token)
        if not is_free:
            self._records.release(flow_run.id)
            self._spawn(self._wake_later())
            return False
        is_taken = await super()._propose_pending_state(flow_run)
        if not is_taken:
            await self._release(flow_run.id)
        return is_taken

    async def _submit_run_and_capture_errors(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[int | Exception] | None = None
    ) -> BaseWorkerResult | Exception:
        self._finishing.add(flow_run.id)
        try:
            result = await super()._submit_run_and_capture_errors(flow_run, task_status)
            if self._lost is not None and (isinstance(result, Exception) or result.status_code != 0):
                # The server may have been away when the run's end was to be told.
                await self._lost.settle(flow_run.id)
        finally:
            self._finishing.discard(flow_run.id)
        # Only now: should the worker be stopped before, another one brings the run to an end.
        await self._release(flow_run.id)
        if self._notices is None or self._notices.has_waiting:
            # Its place is free.
            self._pace.wake()
        return result

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Leave the run Pending: it runs a moment later, and each state is a write that others wait for."""

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """Leave the run as it is: the event of its submission names the worker, and each write costs the server."""

    def _record_work_pool_snapshot(self, work_pool: WorkPool) -> None:
        # Pools of the type `process` are served on purpose, without the warning that the base class gives.
        taken = copy.deepcopy(work_pool)
        taken.base_job_template = taken.base_job_template or self.get_default_base_job_template()
        self._work_pool = taken

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: self._spawn(self.drain()))
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("A part of the worker failed.", exc_info=error)

    async def _poll_when_due(self) -> None:
        while True:
            await self._pace.wait()
            try:
                await self.get_and_submit_flow_runs()
            except httpx.HTTPStatusError as error:
                # The regular poll meets it too, and decides what becomes of the worker.
                self._log_outage(error)

    async def _listen(self) -> None:
        await _wait_until(lambda: self._work_pool is not None)
        if self._lost is not None:
            self._spawn(self._leases.keep())
            self._spawn(self._lost.watch_leases())
        self._notices = Notices(self.work_pool.id, self._pace.wake, self._cancel_soon)
        await self._notices.listen()

    async def _release(self, flow_run_id: UUID) -> None:
        if self._records is not None and self._records.release(flow_run_id):
            await self._leases.release(flow_run_id)

    async def _wake_later(self) -> None:
        """Poll again for a run that its last holder has not left yet: no notice says when it does."""
        await asyncio.sleep(HELD_SECONDS)
        self._pace.wake()

    def _end_lost_soon(self, flow_run_id: UUID) -> None:
        execution = None if self._executions is None else self._executions.find(flow_run_id)
        if self._executions is not None and execution is not None:
            self._spawn(end_lost(self._executions, execution))

    def _cancel_soon(self, flow_run_id: UUID) -> None:
        if self._executions is not None:
            self._spawn(self._executions.cancel(flow_run_id))

    def _log_outage(self, error: Exception) -> None:
        if time.monotonic() - self._outage_logged_at > OUTAGE_LOG_SECONDS:
            self._outage_logged_at = time.monotonic()
            self._logger.warning(
                "The Prefect server does not answer, the worker goes on trying: %s", error or repr(error)
            )


class _PidStatus:
    """Tells the worker's base class the process id of what Prefect's executor starts."""

    def __init__(self, told: anyio.abc.TaskStatus[int] | None) -> None:
        self._told = told

    def started(self, value: ProcessHandle | None = None) -> None:
        if self._told is not None and value is not None and value.pid is not None:
            self._told.started(value.pid)


async def _wait_until(condition: Callable[[], bool]) -> None:
    # What is waited for belongs to Prefect's base class, which does not tell of changes.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(STATE_PAUSE)
