"""What a flow run makes of SQL Server's errors: what passes is tried again in the run, what needs somebody ends it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State

from db.engines import Database
from flows.hris import replicate
from tests.integration.flows.reading import read_executions
from tests.integration.replication.test_replication import small_hris
from tests.integration.replication.world import write_source
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, driver_name

DATABASE = "HMIS-FLOWS"


@pytest.fixture(params=DRIVERS)
def server(
    request: pytest.FixtureRequest,
    sql_server: TdsServer,
    settings_environment: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TdsServer]:
    """An endpoint with a small HRIS, which the settings name; steps do not wait before they are tried again."""
    write_source(tmp_path / "hris.sqlite3", small_hris(*range(1, 11)))
    sql_server.serve_file(DATABASE, tmp_path / "hris.sqlite3", schemas={"User": "Security"})
    settings_environment(
        SQL_SERVER_DRIVER=driver_name(request.param),
        HRIS_HOST="localhost",
        HRIS_PORT=sql_server.port,
        HRIS_DATABASE=DATABASE,
        HRIS_USER=sql_server.user,
        HRIS_PASSWORD=sql_server.password,
        HRIS_ENCRYPTION="unverified",
    )
    for step in ("count_source_rows", "stage_source_rows"):
        monkeypatch.setattr(f"flows.hris.{step}.retry_delay_seconds", [0.0, 0.0])
    yield sql_server
    sql_server.behave()


async def run() -> State[Any]:
    state: State[Any] = await cast(Any, replicate)(return_state=True)
    return state


async def count_attempts(client: PrefectClient, state: State[Any]) -> tuple[int, int]:
    """Give how often the run began, and the most that one of its steps began."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    (flow_run,) = await client.read_flow_runs(flow_run_filter=of_run)
    steps = await client.read_task_runs(flow_run_filter=of_run)
    return flow_run.run_count, max((step.run_count for step in steps), default=0)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("HR_EmployeePosition", {"action": "error", "number": 1205, "message": "deadlock victim"}),
        ("TMS_ForwardEdit", {"action": "drop"}),
    ],
)
async def test_a_deadlock_and_a_lost_connection_are_tried_again_in_the_same_run(
    client: PrefectClient, embedded: Database, server: TdsServer, statement: str, fault: dict[str, Any]
) -> None:
    server.misbehave("statement", matching=statement, **fault)
    state = await run()
    assert state.is_completed(), state.message
    assert await count_attempts(client, state) == (1, 2)
    result = await state.result()
    assert result["entities"]["employee"]["inserted"] == 10


async def test_a_wrong_password_ends_the_run_at_once_and_is_shown_nowhere(
    client: PrefectClient, embedded: Database, server: TdsServer, settings_environment: Callable[..., None]
) -> None:
    settings_environment(HRIS_PASSWORD="wr0ng-s3cret")  # noqa: S106
    state = await run()
    assert state.is_failed()
    assert await count_attempts(client, state) == (1, 1)
    (execution,) = (await read_executions("run_id")).values()
    for told in (str(state.message), execution["error_message"]):
        assert "AccessDenied: cannot connect to the HRIS 'HMIS-FLOWS'" in told
        assert "Login failed for user 'hr_reader'" in told
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    logs = "".join(log.message for log in await client.read_logs(of_run))
    flow_run = await client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
    assert "wr0ng" not in f"{state!r}{logs}{dict(execution)}{flow_run.parameters}"


async def test_a_missing_right_ends_the_run_at_once_with_the_statement_that_gives_it(
    client: PrefectClient, embedded: Database, server: TdsServer
) -> None:
    said = f"The SELECT permission was denied on the object 'TMS_ForwardEdit', database '{DATABASE}', schema 'dbo'."
    server.misbehave("statement", "error", matching="TMS_ForwardEdit", number=229, message=said, severity=14, times=99)
    state = await run()
    assert state.is_failed()
    assert await count_attempts(client, state) == (1, 1)
    assert f"In the database {DATABASE}: GRANT SELECT ON [dbo].[TMS_ForwardEdit] TO [hr_reader]" in str(state.message)
