"""Runs that ended in Prefect although their call had not are executed again as the same run, and no other ones."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import states
from celery.result import AsyncResult
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State
from prefect.states import AwaitingRetry, Crashed, Failed, Running

from shim.conclusion import outcome_artifact
from shim.errors import RunFailed
from shim.outcome import Outcome
from tests.integration.shim.sample_tasks import SampleError
from tests.integration.shim.system import System
from tests.servers.process import ServerProcess
from tests.waiting import wait_until

LONG = 60.0
LATER = 3600


@pytest.fixture(scope="module")
def gateway(system: System) -> Iterator[ServerProcess]:
    with system.celery_worker("repeating", "-Q", "repeating") as worker:
        yield worker


def call(system: System, task: str, *args: Any) -> tuple[AsyncResult, FlowRun]:
    """Call a task whose run does not begin by itself, and give its run."""
    result = system.task(task).apply_async(args, queue="repeating", countdown=LATER)
    wait_until(lambda: system.runs(result), "it has a run")
    return result, system.runs(result)[0]


def put(system: System, run: FlowRun, *states_of_run: State, policy: FlowRunPolicy | None = None) -> FlowRun:
    """Put a run into one state after another, and give it as it is then."""
    with system.client() as client:
        if policy is not None:
            client.update_flow_run(run.id, empirical_policy=policy)
        for state in states_of_run:
            client.set_flow_run_state(run.id, state, force=True)
        return client.read_flow_run(run.id)


def leave_outcome(system: System, run: FlowRun, outcome: Outcome) -> None:
    with system.client() as client:
        artifact = outcome_artifact(outcome, run)
        client.request("POST", "/artifacts/", json=artifact.model_dump(mode="json", exclude_unset=True))


@pytest.mark.usefixtures("gateway")
def test_a_lost_run_that_was_retried_in_its_process_before_is_executed_by_any_worker(system: System) -> None:
    result, run = call(system, "sleep_until_finished", 0.0)
    # As an attempt leaves it whose body has ended, and whose process dies before it can say so.
    left = FlowRunPolicy(retries=0, retry_type="in_process")
    put(system, run, Running(), Crashed(message="Its process ended without a word."), policy=left)
    assert result.get(timeout=LONG) == "slept"
    assert system.effects(result) == ["sleep"]
    assert len(system.runs(result)) == 1


@pytest.mark.usefixtures("gateway")
def test_a_retry_whose_answer_the_server_could_not_give_before_it_died_follows(system: System) -> None:
    result, run = call(system, "retry_later", 0)
    running = put(system, run, Running(), policy=FlowRunPolicy(retries=1, retry_delay=0))
    leave_outcome(system, running, Outcome(states.RETRY, SampleError("later")))
    # The server makes of the failure what the run waits in; asked again, it takes the failure as it is.
    put(system, run, AwaitingRetry(), Failed(message="Flow run encountered an exception"))
    assert result.get(timeout=LONG) == "done"
    assert system.effects(result) == ["retry_later"]


@pytest.mark.usefixtures("gateway")
def test_a_failure_of_the_attempt_after_a_retry_ends_the_call(system: System) -> None:
    result, run = call(system, "retry_later", 0)
    running = put(system, run, Running(), policy=FlowRunPolicy(retries=1, retry_delay=0))
    leave_outcome(system, running, Outcome(states.RETRY, SampleError("later")))
    put(system, run, AwaitingRetry(), Running(), Failed(message="The code could not be loaded"))
    with pytest.raises((RunFailed, SampleError)):
        result.get(timeout=LONG)
    assert result.state == "FAILURE"
    assert system.effects(result) == []
