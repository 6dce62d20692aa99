"""The housekeeping flow on a real Prefect server: executions closed, Prefect's old runs deleted, dry runs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect import flow, tags
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Running
from sqlalchemy import select

from api.repositories.scheduler_repository import SchedulerRepository
from db.engines import Database
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job_execution, scheduler_execution_status
from flows import prefect_history
from flows.scheduler import clean_history
from shim.errors import ArgumentInvalid
from tasks.scheduler import cleanup_history_task

OLD = timedelta(days=40)


async def run(**parameters: Any) -> State[Any]:
    state: State[Any] = await cast(Any, clean_history)(**parameters, return_state=True)
    return state


async def write_execution(execution_id: str, status: str, run_id: UUID, age: timedelta = timedelta(0)) -> None:
    repository = SchedulerRepository()
    async with DatabaseSessionLocal() as session:
        await repository.create_execution(session, "hris_replication", execution_id)
        status_id = (await repository.get_execution_status_by_code(session, status)).id
        values = {"status_id": status_id, "run_id": str(run_id), "created_at": datetime.now(UTC) - age}
        await repository.update_execution(session, execution_id, values)


async def read_executions() -> dict[str, tuple[str, str | None]]:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        rows = await session.execute(select(table.c.execution_id, status.c.code, table.c.error_message).join(status))
        return {row.execution_id: (row.code, row.error_message) for row in rows}


@flow
async def sample() -> None:
    await acreate_table_artifact([{"a": 1}], key="sample")


async def make_run(*run_tags: str) -> UUID:
    """Let a run with an artifact end now."""
    with tags(*run_tags):
        state: State[Any] = await cast(Any, sample)(return_state=True)
    return cast(UUID, state.state_details.flow_run_id)


async def exists(client: PrefectClient, run_id: UUID) -> bool:
    try:
        await client.read_flow_run(run_id)
    except ObjectNotFound:
        return False
    return True


async def test_a_cleanup_returns_the_documented_counts_shows_them_and_keeps_its_execution(
    client: PrefectClient, embedded: Database
) -> None:
    await write_execution("old", "success", uuid4(), OLD)
    state = await run(retention_days=30)
    result = await state.result()
    assert result.items() >= {"status": "success", "deleted_executions": 1, "deleted_locks": 0}.items()
    assert result["deleted_instances"] == 0
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[cast(UUID, state.state_details.flow_run_id)]))
    (artifact,) = [
        each for each in await client.read_artifacts(artifact_filter=of_run) if each.key == "history-cleanup"
    ]
    assert {row["what"]: row["rows"] for row in json.loads(str(artifact.data))}["deleted executions"] == 1
    assert await read_executions() == {str(state.state_details.flow_run_id): ("success", None)}


async def test_executions_whose_run_ended_or_vanished_are_closed_and_others_left(
    client: PrefectClient, embedded: Database
) -> None:
    ended, going_on = [(await client.create_flow_run(sample)).id for _ in range(2)]
    await client.set_flow_run_state(ended, Completed(message="all done"), force=True)
    await client.set_flow_run_state(going_on, Running(), force=True)
    await write_execution("of an ended run", "running", ended)
    await write_execution("of a deleted run", "running", uuid4())
    await write_execution("of a run that goes on", "running", going_on)

    foreseen = await (await run(dry_run=True)).result()
    assert (foreseen["closed_executions"], foreseen["dry_run"]) == (2, True)
    assert {status for status, _ in (await read_executions()).values()} == {"running", "success"}

    done = await (await run()).result()
    assert done["closed_executions"] == 2
    executions = await read_executions()
    assert executions["of an ended run"] == ("success", None)
    status, message = executions["of a deleted run"]
    assert (status, "its flow run was deleted" in str(message)) == ("failed", True)
    assert executions["of a run that goes on"] == ("running", None)


async def test_prefects_old_runs_go_when_asked_with_their_artifacts_and_others_stay(
    client: PrefectClient, embedded: Database
) -> None:
    ours, others = await make_run("hr", "sample"), await make_run("sample")
    later = datetime.now(UTC) + timedelta(seconds=1)
    runs, artifacts = await prefect_history.delete_ended_runs(later, dry_run=True)
    assert min(runs, artifacts) >= 1
    assert await exists(client, ours)

    assert await prefect_history.delete_ended_runs(datetime.now(UTC) - timedelta(days=1)) == (0, 0)
    deleted, _ = await prefect_history.delete_ended_runs(later)
    assert deleted == runs
    assert not await exists(client, ours)
    assert await exists(client, others)
    of_ours = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[ours]))
    assert await client.read_artifacts(artifact_filter=of_ours) == []


@pytest.mark.parametrize("context", ["celery_batch", "celery"])
async def test_the_artifacts_in_which_calls_travelled_go_with_their_run(
    client: PrefectClient, embedded: Database, context: str
) -> None:
    carrier = await client.create_artifact(ArtifactCreate(type="sample-carrier", data="a@example.org"))
    carried = {"id": "b", "task": "t", "artifact": str(carrier.id)}
    run_id = (await client.create_flow_run(sample, context={context: carried}, tags=["hr"])).id
    await client.set_flow_run_state(run_id, Completed(), force=True)
    later = datetime.now(UTC) + timedelta(seconds=1)
    of_kind = ArtifactFilter(type=ArtifactFilterType(any_=["sample-carrier"]))

    _, foreseen = await prefect_history.delete_ended_runs(later, dry_run=True)
    assert len(await client.read_artifacts(artifact_filter=of_kind)) == 1
    assert (await prefect_history.delete_ended_runs(later))[1] == foreseen >= 1
    assert await client.read_artifacts(artifact_filter=of_kind) == []


async def test_one_call_deletes_a_bounded_number_of_prefects_runs(
    client: PrefectClient, embedded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    while (await prefect_history.delete_ended_runs(datetime.now(UTC)))[0]:
        continue  # The older runs of other tests would be deleted first.
    monkeypatch.setattr(prefect_history, "MOST_RUNS", 3)
    monkeypatch.setattr(prefect_history, "PAGE", 2)
    runs = [await make_run("hr") for _ in range(4)]
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert (await prefect_history.delete_ended_runs(later))[0] == 3
    assert sum([await exists(client, each) for each in runs]) == 1


async def test_without_being_asked_prefect_keeps_its_runs(client: PrefectClient, embedded: Database) -> None:
    kept = await make_run("hr")
    result = await (await run()).result()
    assert "deleted_prefect_runs" not in result
    assert await exists(client, kept)
    asked = await (await run(prefect_retention_days=1)).result()
    assert asked["deleted_prefect_runs"] == asked["deleted_prefect_artifacts"] == 0


@pytest.mark.parametrize(
    ("parameters", "argument"),
    [
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": 100_000}, "retention_days"),
        ({"prefect_retention_days": -1}, "prefect_retention_days"),
    ],
)
async def test_bad_days_fail_the_run_once_by_the_arguments_name(
    client: PrefectClient, embedded: Database, parameters: dict[str, int], argument: str
) -> None:
    await write_execution("old", "success", uuid4(), OLD)
    state = await run(**parameters)
    assert state.is_failed()
    assert argument in str(state.message)
    flow_run = await client.read_flow_run(cast(UUID, state.state_details.flow_run_id))
    assert flow_run.run_count == 1
    assert "old" in await read_executions()


@pytest.mark.filterwarnings("ignore:Logger .prefect.task_runs. attempted to send logs")
def test_the_task_runs_in_place_too(prefect_api: str, embedded: Database) -> None:
    """The reference's way to test a task."""
    cleaned = cleanup_history_task.apply(kwargs={"retention_days": 30}).get()
    assert {name: cleaned[name] for name in ("status", "deleted_executions", "deleted_locks", "deleted_instances")} == {
        "status": "success",
        "deleted_executions": 0,
        "deleted_locks": 0,
        "deleted_instances": 0,
    }
    with pytest.raises(ArgumentInvalid, match="retention_days"):
        cleanup_history_task.delay(retention_days=0)
