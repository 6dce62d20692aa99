"""Calls are called off from both sides."""

import os
import signal

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from prefect.states import Cancelling

from tests.integration.shim.system import System
from tests.waiting import LIMIT, wait_until

# The first test also waits for the servers.
pytestmark = pytest.mark.timeout(600)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_revoke_with_terminate_cancels_the_flow_run(system: System) -> None:
    result = system.task("sleep").delay(60.0)
    pid = system.pid(result)
    system.wait_for_state(result, "STARTED")

    result.revoke(terminate=True)

    with pytest.raises(TaskRevokedError):
        result.get(timeout=LIMIT)
    assert result.state == "REVOKED"
    wait_until(lambda: system.runs(result)[0].state_name == "Cancelled", "the run is cancelled")
    wait_until(lambda: not is_alive(pid), "the process is gone")


def test_revoke_of_a_call_that_waits_keeps_its_run_from_beginning(system: System) -> None:
    result = system.task("sleep").apply_async((0.0,), countdown=20)
    wait_until(lambda: system.runs(result), "the run exists")

    result.revoke()

    with pytest.raises(TaskRevokedError):
        result.get(timeout=LIMIT)
    wait_until(lambda: system.runs(result)[0].state_name == "Cancelled", "the run is cancelled")
    assert system.effects(result) == []


def test_cancelling_the_run_in_prefect_revokes_the_task(system: System) -> None:
    result = system.task("sleep").delay(60.0)
    system.pid(result)
    (run,) = system.runs(result)

    with system.client() as client:
        client.set_flow_run_state(run.id, Cancelling())

    with pytest.raises(TaskRevokedError):
        result.get(timeout=LIMIT)
    assert result.state == "REVOKED"


def test_the_hard_limit_ends_a_body_that_never_yields(system: System) -> None:
    result = system.task("spin").delay()
    pid = system.pid(result)

    wait_until(lambda: not is_alive(pid), "the process is gone", limit=2 + 2 + 1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=LIMIT)
    (run,) = system.runs(result)
    assert run.state is not None
    assert run.state.is_failed()
    assert "hard time limit of 2 seconds" in str(run.state.message)
    assert system.effects(result) == ["spin"]


def test_a_killed_process_fails_its_call(system: System) -> None:
    result = system.task("sleep").delay(60.0)
    os.kill(system.pid(result), signal.SIGKILL)

    with pytest.raises(WorkerLostError):
        result.get(timeout=LIMIT)
    assert system.effects(result) == ["sleep"]


def test_a_killed_process_is_replaced_when_the_task_asks_for_it(system: System) -> None:
    result = system.task("sleep_until_finished").delay(3.0)
    os.kill(system.pid(result), signal.SIGKILL)

    assert result.get(timeout=LIMIT) == "slept"
    assert system.effects(result) == ["sleep", "sleep"]
    assert len(system.runs(result)) == 1
