"""Calls over the broker become flow runs, and callers get their answers."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from celery.exceptions import TaskRevokedError

from shim.errors import ArgumentInvalid
from tests.integration.shim.system import System
from tests.waiting import LIMIT, wait_until

# The first test also waits for the servers.
pytestmark = pytest.mark.timeout(600)


def test_a_call_is_a_flow_run_and_its_result_comes_back(system: System) -> None:
    result = system.task("add").delay(2, 3)

    assert result.get(timeout=LIMIT) == 5
    (run,) = system.runs(result)
    assert run.state is not None
    assert run.state.is_completed()
    assert run.parameters == {"x": 2, "y": 3}
    assert run.name == f"add {result.id}"
    assert {"celery", f"celery-id:{result.id}", f"task:{system.task('add').name}"} <= set(run.tags)


@pytest.mark.parametrize(
    "value",
    [Decimal("1.50"), datetime(2026, 11, 22, 15, 0, tzinfo=UTC), uuid4(), b"\x00\xff", None, {"a": [1, None, "ö"]}],
    ids=lambda value: type(value).__name__,
)
def test_values_keep_their_type_both_ways(system: System, value: object) -> None:
    result = system.task("echo").delay(value, name=value)

    received = result.get(timeout=LIMIT)
    assert received == value
    assert type(received) is type(value)
    assert system.effects(result) == [type(value).__name__]


def test_arguments_and_results_may_be_longer_than_prefect_allows(system: System) -> None:
    value = ["x" * 1000, Decimal("0.1")] * 500

    assert system.task("echo").delay(value).get(timeout=LIMIT) == value


def test_the_body_sees_the_callers_request(system: System) -> None:
    result = system.task("show_request").apply_async((1,), {"b": Decimal(2)}, soft_time_limit=40, time_limit=50)

    request = result.get(timeout=LIMIT)
    assert request["id"] == result.id
    assert request["args"] == [1]
    assert request["kwargs"] == {"b": Decimal(2)}
    assert request["retries"] == 0
    assert request["limits"] == [50, 40]
    assert request["max_retries"] == 3
    assert request["delivery_info"]["routing_key"] == "celery"
    assert request["hostname"].startswith("prefect@")


def test_an_error_arrives_as_the_type_that_the_body_raised(system: System) -> None:
    from tests.integration.shim.sample_tasks import SampleError

    result = system.task("fail").delay("broken")

    with pytest.raises(SampleError) as raised:
        result.get(timeout=LIMIT)
    assert raised.value.args == ("broken", 42)
    assert "SampleError" in str(result.traceback)


def test_a_failing_task_is_retried_inside_its_run_and_its_handlers_are_called_once_each(system: System) -> None:
    result = system.task("fail_some_times").delay(2)

    system.wait_for_state(result, "RETRY")
    assert result.get(timeout=LIMIT) == 2
    (run,) = system.runs(result)
    assert run.run_count == 3
    assert system.effects(result) == [
        "before_start",
        "on_retry attempt 0",
        "before_start",
        "on_retry attempt 1",
        "before_start",
        "on_success 2",
        "after_return SUCCESS",
    ]


def test_a_retry_with_a_countdown_waits_as_long_as_it_says_and_is_seen_in_prefect(system: System) -> None:
    result = system.task("retry_later").delay(10)

    system.wait_for_state(result, "RETRY")
    assert result.get(timeout=LIMIT) == "done"
    (run,) = system.runs(result)
    assert run.run_count == 2
    with system.client() as client:
        states = client.read_flow_run_states(run.id)
    (waiting,) = [state for state in states if state.name == "AwaitingRetry"]
    due = waiting.state_details.scheduled_time
    assert due is not None
    assert waiting.timestamp is not None
    assert 9 <= due.timestamp() - waiting.timestamp.timestamp() <= 11


def test_a_retry_may_change_the_arguments(system: System) -> None:
    assert system.task("count_down").delay(2).get(timeout=LIMIT) == 2


def test_started_names_the_runs_address(system: System) -> None:
    result = system.task("sleep").delay(3)

    system.wait_for_state(result, "STARTED")
    (run,) = system.runs(result)
    assert result.info["flow_run_id"] == str(run.id)
    assert str(run.id) in result.info["flow_run_url"]
    assert result.get(timeout=LIMIT) == "slept"


def test_a_state_that_the_body_sets_is_seen_and_not_overwritten(system: System) -> None:
    result = system.task("report_progress").delay()

    system.wait_for_state(result, "PROGRESS", "SUCCESS")
    assert result.state == "PROGRESS"
    assert result.info == {"done": 3}
    assert result.get(timeout=LIMIT) == "reported"


def test_an_ignored_task_keeps_the_state_that_its_body_set(system: System) -> None:
    result = system.task("ignore").delay()

    wait_until(lambda: any(run.state_name == "Ignored" for run in system.runs(result)), "the run is ignored")
    assert result.state == "KEPT"


@pytest.mark.parametrize("name", ["stop_in_time", "stop_in_time_async"])
def test_the_soft_limit_is_raised_in_the_body_where_it_can_be_caught(system: System, name: str) -> None:
    assert system.task(name).delay().get(timeout=LIMIT) == "caught"


def test_a_contract_whose_flow_stands_apart_is_fulfilled_by_it(system: System) -> None:
    result = system.task("double").delay(21)

    assert result.get(timeout=LIMIT) == 42
    assert system.effects(result) == ["double"]


def test_a_countdown_delays_the_run_which_prefect_shows_as_scheduled(system: System) -> None:
    asked = time.time()
    result = system.task("sleep").apply_async((0.0,), countdown=5)

    (run,) = wait_until(lambda: system.runs(result), "the run exists before it is due")
    assert run.state_name in {"Scheduled", "Pending", "Running"}
    assert result.get(timeout=LIMIT) == "slept"
    (run,) = system.runs(result)
    assert run.start_time is not None
    assert run.start_time.timestamp() - asked >= 5


def test_a_call_that_expires_before_its_run_begins_is_revoked(system: System) -> None:
    result = system.task("sleep").apply_async((0.0,), countdown=30, expires=2)

    with pytest.raises(TaskRevokedError):
        result.get(timeout=LIMIT)
    assert system.effects(result) == []
    wait_until(lambda: system.runs(result)[0].state_name == "Cancelled", "the run is cancelled")


def test_ignore_result_stores_nothing(system: System) -> None:
    result = system.task("sleep").apply_async((0.0,), ignore_result=True)

    wait_until(lambda: any(run.state_name == "Completed" for run in system.runs(result)), "the run ended")
    assert result.state == "PENDING"
    assert system.effects(result) == ["sleep"]


def test_forget_removes_the_answer_and_results_expire(system: System) -> None:
    result = system.task("add").delay(1, 1)
    assert result.get(timeout=LIMIT) == 2

    key = system.app.backend.get_key_for_task(result.id)
    left = system.app.backend.client.ttl(key)
    assert 0 < left <= system.app.conf.result_expires.total_seconds()
    result.forget()
    assert not system.app.backend.client.exists(key)


def test_a_task_called_by_a_body_is_its_child(system: System) -> None:
    result = system.task("call_another").delay(4)

    child_id = result.get(timeout=LIMIT)
    assert [child.id for child in result.children] == [child_id]
    assert system.app.AsyncResult(child_id).get(timeout=LIMIT) == 8


def test_the_same_task_id_sent_twice_runs_once(system: System) -> None:
    task_id = str(uuid4())
    first = system.task("sleep").apply_async((1.0,), task_id=task_id)
    second = system.task("sleep").apply_async((1.0,), task_id=task_id)

    assert first.get(timeout=LIMIT) == second.get(timeout=LIMIT) == "slept"
    system.task("sleep").apply_async((1.0,), task_id=task_id)
    assert system.task("add").delay(1, 1).get(timeout=LIMIT) == 2
    assert system.effects(task_id) == ["sleep"]
    assert len(system.runs(task_id)) == 1


def test_a_value_that_json_cannot_carry_fails_the_call_and_is_not_retried(system: System) -> None:
    result = system.task("return_object").delay()

    with pytest.raises(Exception, match="JSON cannot carry"):
        result.get(timeout=LIMIT)
    (run,) = system.runs(result)
    assert run.run_count == 1


def test_a_value_of_a_wrong_type_is_refused_before_anything_is_sent(system: System) -> None:
    with pytest.raises(ArgumentInvalid, match="argument 'x' must be int, got str 'two'"):
        system.task("add").delay("two", 3)
