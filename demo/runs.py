"""Runs of a deployment as Prefect's clients see them: triggered, followed to their end, their result read."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import LogSort, TaskRunSort
from prefect.deployments import run_deployment
from prefect.states import Crashed

from demo.display import RunDisplay
from errors import SuiteError

POLL = 0.3
LOG_LINES = 25
# Seconds that the error may take to reach the log on the server.
LOG_LIMIT = 6
RUN_LIMIT = 600


class RunFailed(SuiteError):
    """A run did not end as it should.

    Attributes:
        run: The run as Prefect last knew it.
    """

    def __init__(self, run: FlowRun, reason: str) -> None:
        super().__init__(f"the run {run.name!r} {reason}")
        self.run = run


def crash_lost_runs(client: SyncPrefectClient, work_pool: str) -> list[str]:
    """Mark the runs of a work pool that no worker works on any more, as after a power failure.

    Otherwise they stay Running for ever and keep the places that their deployments' concurrency limits have.

    Args:
        client: A client of the Prefect server.
        work_pool: A work pool without any worker.

    Returns:
        The names of the runs that are now Crashed.
    """
    under_way = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    )
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=under_way),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool])),
    )
    for run in runs:
        message = "Server and worker were stopped before the run had ended; found when they were started again."
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return [run.name for run in runs]


def trigger(deployment: str, parameters: dict[str, Any] | None = None) -> FlowRun:
    """Ask for a run of a deployment, as `prefect deployment run` does; does not wait for it.

    Args:
        deployment: Its name as `flow/deployment`.
        parameters: What the run is given.

    Returns:
        The run, scheduled for now.
    """
    return cast(FlowRun, run_deployment(deployment, parameters=parameters or {}, timeout=0, as_subflow=False))


def wait_for_all(client: SyncPrefectClient, runs: Sequence[FlowRun], tell: Callable[[int], None]) -> list[FlowRun]:
    """Wait until several runs have completed.

    Args:
        client: A client of the Prefect server.
        runs: The runs.
        tell: Called with the number of those that have completed.

    Returns:
        The runs as they completed, in the same order.

    Raises:
        RunFailed: One failed, waits for a retry, or was not done within ten minutes.
    """
    deadline = time.monotonic() + RUN_LIMIT
    completed: dict[UUID, FlowRun] = {}
    while len(completed) < len(runs):
        waiting = [run.id for run in runs if run.id not in completed]
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=waiting)))
        completed |= {run.id: run for run in found if _has_completed(run, deadline)}
        tell(len(completed))
        time.sleep(POLL)
    return [completed[run.id] for run in runs]


def follow(client: SyncPrefectClient, run: FlowRun, display: RunDisplay, progress_key: str) -> FlowRun:
    """Show how a run goes on until it has ended.

    Args:
        client: A client of the Prefect server.
        run: The run.
        display: Where it is shown.
        progress_key: The key of its progress artifact.

    Returns:
        The run as it completed.

    Raises:
        RunFailed: It failed, waits for a retry, or was not done within ten minutes.
    """
    deadline = time.monotonic() + RUN_LIMIT
    with display:
        while True:
            run = client.read_flow_run(run.id)
            state_name = (run.state.name if run.state else None) or "Unknown"
            display.update(state_name, _read_step(client, run.id), _read_progress(client, run.id, progress_key))
            if _has_completed(run, deadline):
                return run
            time.sleep(POLL)


def _has_completed(run: FlowRun, deadline: float) -> bool:
    state = run.state
    state_name = (state.name if state else None) or "Unknown"
    if state is not None and state.is_completed():
        return True
    if state is not None and (state.is_final() or state_name == "AwaitingRetry"):
        raise RunFailed(run, f"is {state_name}: {state.message}")
    if time.monotonic() > deadline:
        raise RunFailed(run, f"was not done within {RUN_LIMIT} s; its state is {state_name}")
    return False


def read_result(run: FlowRun) -> dict[str, Any]:
    """Read what a completed run returned.

    Args:
        run: The run; its result is in this machine's result storage.

    Returns:
        The flow's return value.
    """
    if run.state is None:
        raise RunFailed(run, "has no state")
    return cast(dict[str, Any], run.state.result())


def read_log_tail(client: SyncPrefectClient, run: FlowRun) -> str:
    """Give the last lines of a failed run's log.

    Args:
        client: A client of the Prefect server.
        run: The run.

    Returns:
        Lines with time and message; empty if it logged nothing.
    """
    deadline = time.monotonic() + LOG_LIMIT
    while True:
        logs = client.read_logs(
            LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=LOG_LINES, sort=LogSort.TIMESTAMP_DESC
        )
        # A run's process sends its log in batches: the error comes some seconds after the state.
        if any(log.level >= logging.ERROR for log in logs) or time.monotonic() > deadline:
            return "\n".join(f"{log.timestamp:%H:%M:%S} {log.message}" for log in reversed(logs))
        time.sleep(POLL)


def _read_step(client: SyncPrefectClient, run: UUID) -> str:
    steps = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])),
        sort=TaskRunSort.EXPECTED_START_TIME_DESC,
        limit=1,
    )
    # Prefect's own name, until the step's is known, is the task's with three characters that mean nothing.
    return re.sub("-[0-9a-f]{3}$", "", steps[0].name) if steps else ""


def _read_progress(client: SyncPrefectClient, run: UUID, key: str) -> float:
    artifacts = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(any_=[key])
        )
    )
    return float(cast(float, artifacts[0].data or 0.0)) if artifacts else 0.0
