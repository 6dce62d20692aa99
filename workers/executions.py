"""The runs that a worker executes now: their processes, their cancellation, their hooks, their ends.

Prefect's runner does the work; the stock process worker makes one for each run, with websockets of its own, where this
worker has one for all. Its parts are private to Prefect: see `workers.child`.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import anyio.abc
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, ServerDefaultResultStorage, State
from prefect.logging.loggers import flow_run_logger
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._control_channel import ControlChannel, ControlSignalStatus
from prefect.runner._event_emitter import EventEmitter
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutor
from prefect.runner._process_manager import ProcessHandle, ProcessManager, create_isolated_termination_scope
from prefect.runner._state_proposer import StateProposer
from prefect.runner._workspace_runtime import write_private_model
from prefect.utilities.processutils import sanitize_subprocess_env

from workers.configuration import Configuration
from workers.execution import Execution, RunProcess
from workers.fork_client import ForkedProcess, ForkServers
from workers.leases import Leases
from workers.orders import Order
from workers.recent_reads import RecentReads
from workers.records import Records
from workers.settling import begins_again

# Seconds in which a run that is to be cancelled gets its process.
START_LIMIT = 30.0


class Executions:
    """All runs of a worker; a context manager. At its end, processes that still run are ended.

    Args:
        client: A client of the Prefect server.
        fork_servers: From which processes are forked.
        records: Where their processes are noted.
        leases: By which others know whose they are.
        name: The worker's name.
    """

    def __init__(
        self, client: PrefectClient, fork_servers: ForkServers, records: Records, leases: Leases, name: str
    ) -> None:
        self._client = client
        self._records = records
        self._leases = leases
        self._fork_servers = fork_servers
        self._running: dict[UUID, Execution] = {}
        self._exits = AsyncExitStack()
        self._control = ControlChannel()
        self._processes = ProcessManager(on_remove=self._forget)
        self._states = _States(client, leases)
        self._events = EventEmitter(runner_name=name, client=client)
        self._read_result_storage = RecentReads[None, ServerDefaultResultStorage](
            lambda _: client.read_server_default_result_storage()
        )
        self._cancellations = CancellationManager(
            process_manager=self._processes,
            hook_runner=self,
            state_proposer=self._states,
            event_emitter=self._events,
            client=client,
            control_channel=self._control,
        )

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._events)
        await self._exits.enter_async_context(self._control)
        await self._exits.enter_async_context(self._processes)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._exits.__aexit__(None, None, None)

    @property
    def running(self) -> list[Execution]:
        """The runs that are executed now."""
        return list(self._running.values())

    def find(self, flow_run_id: UUID) -> Execution | None:
        """Give a run if it is executed here now."""
        return self._running.get(flow_run_id)

    @contextmanager
    def prepare(self, flow_run: FlowRun, configuration: Configuration) -> Iterator[Execution]:
        """Give a run a folder of its own, and know it as long as the block lasts.

        Args:
            flow_run: The run, in the state Pending.
            configuration: How it is to be executed.

        Yields:
            The execution.
        """
        with tempfile.TemporaryDirectory(prefix="hr-run-", ignore_cleanup_errors=True) as folder:
            execution = Execution(flow_run, configuration, Path(folder))
            execution.directory.mkdir(exist_ok=True)
            self._running[flow_run.id] = execution
            try:
                yield execution
            finally:
                del self._running[flow_run.id]
                execution.ended.set()

    async def execute(
        self, execution: Execution, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> FlowRunExecutionResult | None:
        """Execute a run until its process has ended.

        Args:
            execution: The run.
            task_status: Is told of the process as soon as there is one.

        Returns:
            Process and exit status; None if none was started.
        """
        executor = FlowRunExecutor(
            flow_run=execution.flow_run,
            starter=_Starter(self, execution),
            process_manager=self._processes,
            state_proposer=self._states,
            hook_runner=self,
            get_attempt_conclusion=self._control.get_conclusion,
            propose_submitting=False,
        )
        result = await executor.submit(task_status)
        if execution.process is not None and execution.process.returncode == 0 and execution.shareable.exists():
            execution.process.shared_flows.add(execution.shareable.read_text())
        # Its process ends before its hooks are run, which need what the run has.
        async with execution.cancellation:
            return result

    async def cancel(self, flow_run_id: UUID) -> None:
        """Cancel a run if it is executed here and is to be cancelled: end its process, run its hooks, say Cancelled."""
        execution = self._running.get(flow_run_id)
        if execution is None or execution.cancellation.locked():
            return
        async with execution.cancellation:
            try:
                async with asyncio.timeout(START_LIMIT):
                    await execution.started.wait()
            except TimeoutError:
                flow_run_logger(execution.flow_run).warning("Not cancelled: its process did not start.")
                return
            flow_run = await self._client.read_flow_run(flow_run_id)
            # The notice may be an old one, of a life of the run before this one.
            if flow_run.state is not None and flow_run.state.is_cancelling():
                await self._cancellations.cancel(flow_run)

    async def relinquish(self, execution: Execution) -> bool:
        """End a run's process without a word about its state, which whoever calls this sets afterwards.

        Args:
            execution: The run.

        Returns:
            False if the run has just ended by itself.
        """
        status = await self._control.signal(execution.flow_run.id, "reschedule")
        if status is ControlSignalStatus.ALREADY_CONCLUDED:
            return False
        execution.is_handed_back = True
        await self._processes.kill(execution.flow_run.id, force=status is not ControlSignalStatus.ACKNOWLEDGED)
        return True

    async def kill(self, execution: Execution) -> None:
        """Kill a run's process, and what it started, at once."""
        execution.is_handed_back = True
        await self._processes.kill(execution.flow_run.id, force=True)

    async def start(self, execution: Execution) -> ForkedProcess:
        """Fork a run's process.

        Args:
            execution: The run.
        """
        control = {}
        try:
            port, token = self._control.register(execution.flow_run.id)
            control = {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        except RuntimeError:
            # No port could be had: cancelling then means killing, as with the stock worker.
            pass
        environment = self._environment(execution, control)
        order = Order(
            work="run",
            arguments={
                "flow_run": execution.flow_run.model_dump(mode="json"),
                "deployment": execution.configuration.describe_deployment(),
                "workspace_root": str(execution.directory),
                "manifest": str(execution.manifest),
                "lease": self._leases.find_token(execution.flow_run.id),
                "answers": await self._find_answers(),
                "shareable": str(execution.shareable),
            },
            environment=environment,
            directory=str(execution.directory),
            shows_output=execution.configuration.stream_output,
            memory_limit=execution.configuration.memory_limit,
        )
        record = self._records.find(execution.flow_run.id)
        execution.process = await self._fork_servers.fork(order, None if record is None else record.note_process)
        execution.started.set()
        return execution.process

    async def _find_answers(self) -> dict[str, Any] | None:
        """Give what the run's process need not ask; None if the server could not be asked: then the process asks it."""
        try:
            return (await self._read_result_storage(None)).model_dump(mode="json")
        except (httpx.HTTPError, RuntimeError, ValueError):
            return None

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Run the `on_crashed` hooks of a run's flow in a process of their own."""
        await self._run_hooks("crashed", flow_run, state)

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Run the `on_cancellation` hooks of a run's flow in a process of their own."""
        await self._run_hooks("cancellation", flow_run, state)

    async def _run_hooks(self, kind: str, flow_run: FlowRun, state: State) -> None:
        execution = self._running.get(flow_run.id)
        if execution is None or not execution.manifest.exists():
            # It ended before its code was there, and with it the hooks.
            return
        given = {"flow_run": flow_run, "state": state}
        paths = {name: execution.folder / f"{name}-{uuid4()}.json" for name in given}
        for name, model in given.items():
            write_private_model(paths[name], model)
        order = Order(
            work="hook",
            arguments={
                "kind": kind,
                "manifest": str(execution.manifest),
                "flow_run": str(paths["flow_run"]),
                "state": str(paths["state"]),
            },
            environment=self._environment(execution, {}),
            directory=str(execution.directory),
            shows_output=execution.configuration.stream_output,
        )
        process = await self._fork_servers.fork(order)
        if await process.wait() != 0:
            flow_run_logger(flow_run).warning("The on_%s hooks failed: see the worker's log.", kind)

    def _environment(self, execution: Execution, control: Mapping[str, str]) -> dict[str, str]:
        """Give the environment that the stock process worker would give; settings are among the configuration's."""
        environment: dict[str, str | None] = {
            **self._fork_servers.environment,
            **execution.configuration.env,
            "PREFECT__FLOW_RUN_ID": str(execution.flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
            **control,
        }
        return sanitize_subprocess_env(environment)

    async def _forget(self, flow_run_id: UUID) -> None:
        self._control.unregister(flow_run_id)


class _States(StateProposer):
    """Prefect's, but for runs whose process died and that may be tried again, and for those that another worker has."""

    def __init__(self, client: PrefectClient, leases: Leases) -> None:
        super().__init__(client=client)
        self._leases = leases

    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State | None:
        """Make a run Crashed, and give its state; None if it has another one."""
        try:
            if await self._leases.is_lost(flow_run.id) or await begins_again(self._client, flow_run.id, message):
                return None
        except httpx.HTTPError as error:
            self._logger.warning("The state of the run %s is not known: %r", flow_run.name, error)
        return await super().propose_crashed(flow_run, message)


class _Starter:
    """Starts one run's process for Prefect's executor."""

    def __init__(self, executions: Executions, execution: Execution) -> None:
        self._executions = executions
        self._execution = execution

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the process, say so, and wait for its end."""
        process = await self._executions.start(self._execution)
        handle = ProcessHandle(
            RunProcess(self._execution, process),  # type: ignore[arg-type]  # has what is used of a process
            termination_scope=create_isolated_termination_scope(process.pid),
        )
        task_status.started(handle)
        await process.wait()
