"""Flows that read a SQL Server, on a real Prefect server and both ODBC drivers: what happens when it misbehaves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from sqlalchemy import func, select

from db.engines import Database
from db.tables import employee, log_replication
from demo.sample_hris import HrisShape, write_sample_hris
from flows.hris import replicate
from hr.mapping import load_mapping
from hr.source import Source
from tests.integration.replication.world import MAPPING, open_source
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, Driver, database_url

EMPLOYEES = "AS name_en"
DEADLOCK: dict[str, Any] = {
    "number": 1205,
    "severity": 13,
    "message": "Transaction (Process ID 51) was deadlocked on lock resources with another process and has been chosen "
    "as the deadlock victim. Rerun the transaction.",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hris") / "hris.sqlite3"
    write_sample_hris(path, HrisShape(people=500))
    return path


@pytest.fixture(params=DRIVERS)
def hris(
    request: pytest.FixtureRequest,
    sample: Path,
    sql_server: TdsServer,
    settings_environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TdsServer]:
    """A server with the sample HRIS, which the settings name; chunks are small, and steps are retried at once."""
    driver: Driver = request.param
    name = f"HMIS-{uuid4().hex[:8]}"
    path = sql_server.serve_file(name, sample, {"User": "Security"})
    settings_environment(HRIS_DATABASE_URL=database_url(sql_server, driver, name), REPLICATION_CHUNK_ROWS=100)
    for step in ("count_source_rows", "stage_source_rows"):
        monkeypatch.setattr(f"flows.hris.{step}.retry_delay_seconds", [0.0, 0.0])
    yield sql_server
    sql_server.behave()
    path.unlink()


async def run() -> State[Any]:
    state: State[Any] = await cast(Any, replicate)(return_state=True)
    return state


async def run_counts(client: PrefectClient, state: State[Any]) -> dict[str, int]:
    """Give how often each step of a run was begun."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    return {step.name: step.run_count for step in await client.read_task_runs(flow_run_filter=of_run)}


async def check_whole(application: Database, sample: Path, state: State[Any]) -> None:
    """Check that a run has taken every row of the source once."""
    assert state.is_completed(), state.message
    counts = (await state.result())["entities"]["employee"]
    assert counts["read"] == await Source(open_source(sample), load_mapping(MAPPING)).count("employee")
    async with application.engine().connect() as connection:
        stored = await connection.scalar(select(func.count()).select_from(employee))
    assert stored == counts["inserted"] > 400


async def test_a_deadlock_in_the_middle_of_the_rows_is_retried_and_nothing_is_missing_or_double(
    client: PrefectClient, embedded: Database, hris: TdsServer, sample: Path
) -> None:
    hris.misbehave("statement", "error", matching=EMPLOYEES, at_row=250, **DEADLOCK)
    state = await run()
    await check_whole(embedded, sample, state)
    counts = await run_counts(client, state)
    assert (counts["stage employee rows"], counts["stage account rows"]) == (2, 1)


async def test_a_connection_dropped_in_the_middle_of_the_rows_is_retried_and_nothing_is_missing_or_double(
    client: PrefectClient, embedded: Database, hris: TdsServer, sample: Path
) -> None:
    hris.misbehave("statement", "drop", matching=EMPLOYEES, at_row=250)
    state = await run()
    await check_whole(embedded, sample, state)
    assert (await run_counts(client, state))["stage employee rows"] == 2


async def test_a_server_that_is_starting_is_tried_again(
    client: PrefectClient, embedded: Database, hris: TdsServer, sample: Path
) -> None:
    message = "Login failed for user 'hr_reader'. Reason: Server is in script upgrade mode."
    hris.misbehave("login", "error", number=18401, severity=14, message=message)
    state = await run()
    await check_whole(embedded, sample, state)
    assert (await run_counts(client, state))["count department rows"] == 2


async def test_idle_connections_that_the_server_closed_are_replaced_without_a_step_noticing(
    client: PrefectClient, embedded: Database, hris: TdsServer, sample: Path
) -> None:
    await check_whole(embedded, sample, await run())
    assert hris.close_idle() >= 1
    state = await run()
    assert state.is_completed(), state.message
    assert set((await run_counts(client, state)).values()) == {1}


async def test_a_refused_login_fails_the_run_at_once_and_says_what_to_do(
    client: PrefectClient, embedded: Database, hris: TdsServer
) -> None:
    hris.misbehave(
        "login", "error", times=9, number=18456, severity=14, message=f"Login failed for user '{hris.user}'."
    )
    state = await run()
    assert state.is_failed()
    for told in (hris.user, "Login failed", "HRIS_DATABASE_URL"):
        assert told in str(state.message)
    assert hris.password not in str(state.message)
    assert set((await run_counts(client, state)).values()) == {1}
    flow_run = await client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
    assert flow_run.run_count == 1
    async with embedded.engine().connect() as connection:
        failures = select(func.count()).where(log_replication.c.is_successful.is_(False))
        assert await connection.scalar(failures) == 1


async def test_a_missing_right_fails_the_run_at_once_and_names_the_table(
    client: PrefectClient, embedded: Database, hris: TdsServer
) -> None:
    message = "The SELECT permission was denied on the object 'HR_Employee', database 'HMIS-AMH', schema 'dbo'."
    hris.misbehave("statement", "error", times=9, matching="[HR_Employee]", number=229, severity=14, message=message)
    state = await run()
    assert state.is_failed()
    assert "HR_Employee" in str(state.message)
    assert set((await run_counts(client, state)).values()) == {1}
    flow_run = await client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
    assert flow_run.run_count == 1
