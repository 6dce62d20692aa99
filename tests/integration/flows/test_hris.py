"""The HRIS flow on a real Prefect server: what a run does, shows and leaves behind."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import State
from prefect.flows import Flow, load_flow_from_entrypoint
from sqlalchemy import select, text

from db import maria_database
from db.engines import Database
from db.maria_database import DatabaseSessionLocal
from db.tables import log_replication, user
from flows.hris import replicate
from settings import REPOSITORY
from tests.integration.flows.reading import read_artifacts, read_executions
from tests.integration.replication.test_replication import small_hris
from tests.integration.replication.world import write_source

WITHIN = 120


@pytest.fixture(autouse=True)
def hris(tmp_path: Path, settings_environment: Callable[..., None]) -> Path:
    path = tmp_path / "hris.sqlite3"
    write_source(path, small_hris(*range(1, 11)))
    settings_environment(HRIS_DATABASE_URL=f"sqlite:///{path}")
    return path


@pytest.fixture
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow one another without the documented delays."""
    monkeypatch.setattr("shim.retries.get_exponential_backoff_interval", lambda **_: 0)
    monkeypatch.setattr("flows.hris.count_source_rows.retry_delay_seconds", [0.0, 0.0])


async def run(**parameters: Any) -> State[Any]:
    state: State[Any] = await cast(Any, replicate)(**parameters, return_state=True)
    return state


def run_id(state: State[Any]) -> str:
    return str(state.state_details.flow_run_id)


async def test_a_run_replicates_and_shows_counts_progress_and_log(client: PrefectClient, embedded: Database) -> None:
    state = await run()
    result = await state.result()
    assert result["status"] == "success"
    assert result["entities"]["employee"] == {
        "read": 10,
        "inserted": 10,
        "updated": 0,
        "deactivated": 0,
        "reactivated": 0,
        "unchanged": 0,
        "skipped": 0,
        "rejected": 0,
    }
    artifacts = await read_artifacts(client, state)
    table = json.loads(str(artifacts["hris-replication"].data))
    assert {row["entity"]: row["inserted"] for row in table} == {
        "department": 2,
        "employee": 10,
        "security_user": 10,
        "user": 10,
        "department_assignment": 10,
    }
    assert artifacts["hris-replication-progress"].data == 100.0

    steps = await client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    )
    assert {"count employee rows", "stage employee rows", "check", "merge"} <= {step.name for step in steps}
    execution = (await read_executions("run_id"))[run_id(state)]
    assert execution["status"] == "success"
    assert execution["result_summary"] == result["message"]

    async def row_count_is_logged() -> bool:
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        return any("Read 10 employee rows" in log.message for log in await client.read_logs(of_run))

    async with asyncio.timeout(WITHIN):
        while not await row_count_is_logged():  # noqa: ASYNC110 - logs are sent by a thread of their own
            await asyncio.sleep(0.1)


async def test_a_dry_run_reports_what_would_change_and_changes_nothing(
    client: PrefectClient, embedded: Database
) -> None:
    result = await (await run(dry_run=True)).result()
    assert result["dry_run"] is True
    assert result["message"].startswith("Dry run, nothing changed: 42 inserted")
    async with DatabaseSessionLocal() as session:
        assert (await session.execute(select(user))).first() is None
        assert (await session.execute(select(log_replication))).first() is None


async def test_a_refused_source_fails_after_the_documented_retries_with_what_to_do(
    client: PrefectClient, embedded: Database, hris: Path, retries_at_once: None
) -> None:
    await run()
    write_source(hris, {})
    state = await run()
    assert state.is_failed()
    assert "allow_shrunken_source=true" in str(state.message)
    flow_run = await client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
    assert flow_run.run_count == 1 + 3
    execution = (await read_executions("run_id"))[run_id(state)]
    assert execution["status"] == "failed"
    assert "the source gave no rows for department" in execution["error_message"]
    async with DatabaseSessionLocal() as session:
        failures = select(log_replication.c.error_message).where(log_replication.c.operation_type == "hris_sync")
        assert len((await session.scalars(failures)).all()) == 4
        assert len((await session.scalars(select(user.c.id).where(user.c.is_active))).all()) == 10


async def test_an_unreachable_hris_is_told_with_host_and_database_and_never_the_password(
    client: PrefectClient,
    embedded: Database,
    settings_environment: Callable[..., None],
    retries_at_once: None,
) -> None:
    settings_environment(HRIS_DATABASE_URL="mysql://reader:s3cr3t@127.0.0.1:9/HMIS")
    state = await run(dry_run=True)
    assert state.is_failed()
    for told in ("'HMIS'", "127.0.0.1:9", "'reader'", "HRIS_DATABASE_URL"):
        assert told in str(state.message)
    logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id])))
    assert "s3cr3t" not in str(state.message) + "".join(log.message for log in logs)


def test_the_deployment_s_entry_point_is_the_flow_and_its_parameters_are_described() -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint("flows.hris.replicate")
    assert (flow.name, flow.retries) == ("hris-replication", 3)
    properties = flow.parameters.properties
    assert set(properties) == {"execution_id", "triggered_by_user_id", "dry_run", "allow_shrunken_source"}
    assert properties["dry_run"]["type"] == "boolean"
    assert all(described["description"] for described in properties.values())


async def test_the_execution_of_a_killed_run_is_closed_by_the_next_run(
    client: PrefectClient, migrated_mariadb_url: str, hris: Path, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=migrated_mariadb_url)
    database = maria_database.database
    async with database.engine().connect() as holder:
        # The run cannot stage accounts, so it is running when it is killed.
        await holder.execute(text("LOCK TABLES replication_staged_account READ"))
        code = "import asyncio; from flows.hris import replicate; asyncio.run(replicate())"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=REPOSITORY)
        try:
            async with asyncio.timeout(WITHIN):
                while not await _is_staging_accounts(database):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.1)
        finally:
            process.kill()
            await process.wait()
        await holder.execute(text("UNLOCK TABLES"))
    (killed,) = (await read_executions("run_id")).values()
    assert killed["status"] == "running"

    state = await run()
    assert state.is_completed()
    executions = await read_executions("run_id")
    assert executions[killed["run_id"]]["status"] == "failed"
    assert "without a word" in executions[killed["run_id"]]["error_message"]
    assert executions[run_id(state)]["status"] == "success"
    await database.dispose()


async def _is_staging_accounts(database: Database) -> bool:
    async with database.engine().connect() as connection:
        waiting = (
            "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'TRUNCATE TABLE replication_staged_a%'"
        )
        return bool(await connection.scalar(text(waiting)))
