"""Two Prefect servers on one PostgreSQL, both with their schedulers, and two workers: each tick starts once."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule

from tests.integration.workers.system import SAMPLES, Pool, read_lines
from tests.servers import postgresql_server, prefect_server
from tests.waiting import wait_until

EVERY = timedelta(seconds=3)
TICKS = 30


def schedule(pool: Pool, path: Path) -> None:
    """Deploy a flow that writes a line, every three seconds."""
    with pool.client() as client:
        client.create_deployment(
            flow_id=client.create_flow_from_name("tick"),
            name="tick",
            entrypoint=f"{SAMPLES}.add",
            work_pool_name=pool.name,
            parameters={"path": str(path), "number": 1},
            schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=EVERY), active=True)],
        )


def read_ended(pool: Pool) -> list[FlowRun]:
    """The runs that have ended, in the order of their ticks."""
    ended = FlowRunFilter.model_validate({"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}})
    with pool.client() as client:
        runs = client.read_flow_runs(flow_run_filter=ended, limit=200)
    return sorted(runs, key=lambda run: run.expected_start_time or datetime.max.replace(tzinfo=UTC))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_servers_and_two_workers_start_each_tick_once(tmp_path: Path) -> None:
    lines = tmp_path / "ticks"
    with postgresql_server() as database, prefect_server(database.url) as one, prefect_server(database.url) as other:
        pools = [Pool(tmp_path, server, "ticks") for server in (one, other)]
        pools[0].create()
        with pools[0].worker("first"), pools[1].worker("second"):
            schedule(pools[0], lines)
            runs = wait_until(
                lambda: ended if len(ended := read_ended(pools[1])) >= TICKS else None, f"{TICKS} ticks end", limit=300
            )
            written = read_lines(lines)
    ticks = [run.expected_start_time for run in runs]
    assert {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(ticks)} == {
        EVERY.total_seconds()
    }
    assert {run.state_name for run in runs} == {"Completed"}
    assert {run.run_count for run in runs} == {1}
    # A run that began just now may have written and not ended.
    assert len(runs) <= len(written) <= len(runs) + 2
    assert len({pid for _, pid in written}) == len(written)
