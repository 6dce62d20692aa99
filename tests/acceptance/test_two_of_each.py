"""Two Prefect servers on one PostgreSQL, both with their schedulers, and two workers: each tick starts once."""

import itertools
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort

from tests.integration.workers.system import SAMPLES, Pool, read_lines
from tests.servers import postgresql_server, prefect_server
from tests.waiting import wait_until

EVERY = timedelta(seconds=3)
TICKS = 30


def schedule(pool: Pool, path: Path) -> UUID:
    """Deploy a flow that writes a line, every three seconds; gives the deployment."""
    with pool.client() as client:
        return client.create_deployment(
            flow_id=client.create_flow_from_name("tick"),
            name="tick",
            entrypoint=f"{SAMPLES}.add",
            work_pool_name=pool.name,
            parameters={"path": str(path), "number": 1},
            schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=EVERY), active=True)],
        )


def read_runs(pool: Pool) -> list[FlowRun]:
    """All runs, in the order of their ticks."""
    with pool.client() as client:
        return client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)


def has_ended(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_servers_and_two_workers_start_each_tick_once(tmp_path: Path) -> None:
    lines = tmp_path / "ticks"
    with postgresql_server() as database, prefect_server(database.url) as one, prefect_server(database.url) as other:
        pools = [Pool(tmp_path, server, "ticks") for server in (one, other)]
        pools[0].create()
        with pools[0].worker("first"), pools[1].worker("second"):
            deployment = schedule(pools[0], lines)
            wait_until(lambda: sum(map(has_ended, read_runs(pools[1]))) >= TICKS, f"{TICKS} runs end", limit=300)
            with pools[1].client() as client:
                client.pause_deployment(deployment)
            wait_until(lambda: all(map(has_ended, read_runs(pools[0]))), "the others end")
            runs = read_runs(pools[0])
            written = read_lines(lines)
    ticks = [run.expected_start_time for run in runs if run.expected_start_time is not None]
    assert {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(ticks)} == {
        EVERY.total_seconds()
    }
    assert {run.state_name for run in runs} == {"Completed"}
    assert {run.run_count for run in runs} == {1}
    assert len(written) == len(runs)
    assert len({pid for _, pid in written}) == len(written)
