"""Calls that arrive together run together, and each stays a call of its own."""

import json
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from celery import chord
from celery.result import AsyncResult
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import FlowRun

from shim.batches.creation import PREFIX
from shim.batches.membership import open_membership
from shim.errors import ArgumentInvalid, DeploymentMissing
from shim.ledger import RedisLedger
from tests.integration.shim.sample_tasks import SampleError
from tests.integration.shim.system import System
from tests.waiting import LIMIT, wait_until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def since() -> datetime:
    """The time at which the test begins."""
    return datetime.now(UTC)


def rows(system: System, run: FlowRun) -> list[dict[str, object]]:
    """The table that a run shows of its calls."""
    wanted = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}, "type": {"any_": ["table"]}})
    with system.client() as client:
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    found: list[dict[str, object]] = json.loads(str(artifact.data))
    return found


def wait_for_end(system: System, run: FlowRun) -> FlowRun:
    def ended() -> FlowRun | None:
        with system.client() as client:
            read = client.read_flow_run(run.id)
        return read if read.state is not None and read.state.is_final() else None

    found: FlowRun = wait_until(ended, f"{run.name} ends")
    return found


def test_calls_that_arrive_together_run_in_one_flow_run_and_each_gets_its_answer(
    system: System, since: datetime
) -> None:
    task = system.task("note")
    results = [task.delay(f"text {number}") for number in range(30)]

    assert [result.get(timeout=LIMIT) for result in results] == [f"text {number}" for number in range(30)]
    (run,) = system.batches(task, since)
    assert run.name == "30 x note"
    assert run.parameters["calls"][0] == {"text": "text 0"}
    assert {row["call"]: row["state"] for row in rows(system, wait_for_end(system, run))} == {
        result.id: "SUCCESS" for result in results
    }
    assert [system.effects(result) for result in results] == [[f"together text {number}"] for number in range(30)]


def test_a_burst_is_cut_into_batches_of_the_size_that_the_task_names(system: System, since: datetime) -> None:
    task = system.task("note")
    results = [task.delay("burst") for _ in range(100)]

    assert {result.get(timeout=LIMIT) for result in results} == {"burst"}
    sizes = [len(run.parameters["calls"]) for run in system.batches(task, since)]
    assert sum(sizes) == 100
    assert len(sizes) <= 5
    assert max(sizes) <= 40


def test_a_call_that_comes_alone_waits_less_than_half_a_second_for_others(system: System, since: datetime) -> None:
    task = system.task("note")
    waits = []
    # The quickest counts: other tests keep the machine busy.
    for number in range(1, 6):
        before = time.time()
        result = task.delay("alone")
        assert result.get(timeout=LIMIT) == "alone"
        runs = system.batches(task, since)
        assert [run.name for run in runs][number - 1 :] == [f"note {result.id}"]
        assert runs[-1].created is not None
        waits.append(runs[-1].created.timestamp() - before)
        if waits[-1] < 0.5:
            return
    raise AssertionError(f"seconds from each call to its run: {waits}")


def test_each_call_of_a_batch_is_retried_by_itself(system: System, since: datetime) -> None:
    task = system.task("note")
    fine = task.delay("fine")
    late, never = task.delay("late", failures=1), task.delay("never", failures=9)

    assert fine.get(timeout=LIMIT) == "fine"
    system.wait_for_state(late, "RETRY", "SUCCESS")
    assert late.get(timeout=LIMIT) == "late"
    with pytest.raises(SampleError, match="attempt 2"):
        never.get(timeout=LIMIT)
    assert system.effects(fine) == ["together fine"]
    assert system.effects(late) == ["together late"] * 2
    assert system.effects(never) == ["together never"] * 3
    first, *again = system.batches(task, since)
    assert {row["state"] for row in rows(system, wait_for_end(system, first))} == {"SUCCESS", "RETRY"}
    assert len(again) == 2


def test_a_retry_is_seen_while_it_lasts(system: System) -> None:
    result = system.task("note").delay("seen", failures=1)
    system.wait_for_state(result, "RETRY")
    assert isinstance(result.result, SampleError)
    assert result.get(timeout=LIMIT) == "seen"


def test_calls_of_a_batch_that_breaks_are_each_retried_or_failed(system: System) -> None:
    broken, other = system.task("note").delay("break"), system.task("note").delay("other")
    for result in (broken, other):
        with pytest.raises(SampleError, match="the whole batch broke"):
            result.get(timeout=LIMIT)
    assert system.effects(broken) == ["together break"] * 3


def test_a_call_that_its_batch_leaves_without_an_end_fails(system: System) -> None:
    result = system.task("note").delay("leave")
    with pytest.raises(Exception, match="left this call of its batch without an end"):
        result.get(timeout=LIMIT)


def test_a_call_with_wrong_values_fails_alone(system: System) -> None:
    task = system.task("note")
    wrong = system.app.send_task(task.name, args=[], kwargs={"text": "wrong", "failures": "many"})
    right = task.delay("right")
    with pytest.raises(ArgumentInvalid, match="argument 'failures' must be int"):
        wrong.get(timeout=LIMIT)
    assert right.get(timeout=LIMIT) == "right"
    assert system.effects(wrong) == []


def test_a_task_id_that_is_sent_twice_runs_once(system: System) -> None:
    task = system.task("note")
    first = task.apply_async(["twice"], task_id=f"twice-{time.time()}", kwargs={"seconds": 2.0})
    task.apply_async(["twice"], task_id=first.id)
    wait_until(lambda: system.effects(first), "it runs")
    task.apply_async(["twice"], task_id=first.id)
    assert first.get(timeout=LIMIT) == "twice"
    task.apply_async(["twice"], task_id=first.id)
    assert task.delay("after").get(timeout=LIMIT) == "after"
    assert system.effects(first) == ["together twice"]


def test_a_call_with_a_time_or_limits_of_its_own_runs_alone(system: System) -> None:
    task = system.task("note")
    results = [task.apply_async(["own"], countdown=1), task.apply_async(["own"], soft_time_limit=30)]
    assert [result.get(timeout=LIMIT) for result in results] == ["own", "own"]
    assert [system.effects(result) for result in results] == [["alone own"], ["alone own"]]


def test_a_chord_of_batched_calls_goes_on_with_their_results(system: System) -> None:
    header = [system.task("note").s(f"part {number}") for number in range(3)]
    result = chord(header)(system.task("echo").s())
    assert result.get(timeout=LIMIT) == ["part 0", "part 1", "part 2"]


def test_a_batch_whose_process_is_killed_goes_on_with_the_calls_that_had_not_ended(system: System) -> None:
    task = system.task("note")
    before = [task.delay("before") for _ in range(3)]
    dying, after = task.delay("die"), task.delay("after")
    assert [result.get(timeout=LIMIT) for result in [*before, dying, after]] == ["before"] * 3 + ["die", "after"]
    assert system.effects(dying) == ["together die"] * 2
    assert system.effects(after) == ["together after"]


def test_a_revoked_call_is_left_out_of_its_batch(servers: System) -> None:
    with servers.celery_worker("revoking"):
        result: AsyncResult = servers.task("note").delay("revoked")
        wait_until(lambda: servers.runs(result), "its run exists")
        result.revoke()
        servers.wait_for_state(result, "REVOKED")
        with servers.flow_worker("late"):
            assert servers.task("note").delay("kept").get(timeout=LIMIT) == "kept"
    assert servers.effects(result) == []


def test_calls_of_a_worker_that_was_killed_before_their_run_existed_are_run(system: System) -> None:
    task, call_id = system.task("note"), str(uuid4())
    dead = RedisLedger(system.app.backend.client, "dead")
    batch = f"{PREFIX}{uuid4()}"
    dead.claim(batch, "")
    open_membership(dead).join(batch, [call_id])
    dead.release(batch)

    assert task.apply_async(("kept",), task_id=call_id).get(timeout=LIMIT) == "kept"
    assert batch not in dead.abandoned()


def test_without_a_deployment_of_its_batches_a_task_says_what_to_do(system: System) -> None:
    with pytest.raises(DeploymentMissing, match=r"none has the entry point .*prefect deploy"):
        system.task("note_undeployed").delay("nowhere").get(timeout=LIMIT)


@pytest.mark.slow
def test_another_worker_takes_over_the_batches_of_a_killed_one(servers: System, since: datetime) -> None:
    task = servers.task("note")
    first, second = servers.celery_worker("killed"), servers.celery_worker("second")
    with servers.flow_worker("patient"), first:
        results = [task.delay(f"kept {number}", seconds=1.0) for number in range(8)]
        servers.wait_for_state(results[-1], "STARTED")
        first.kill()
        with second:
            assert [result.get(timeout=LIMIT) for result in results] == [f"kept {number}" for number in range(8)]
    assert all(len(servers.effects(result)) == 1 for result in results)
    assert sum(len(run.parameters["calls"]) for run in servers.batches(task, since)) == 8
