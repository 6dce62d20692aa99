"""A run that lasts is what it is with Prefect's own worker: the server hears of it, and it can be suspended."""

from pathlib import Path
from uuid import UUID

import psutil
from prefect.states import Suspended

from tests.integration.workers.system import Pool, wait_for_lines
from tests.waiting import wait_until


def count_heartbeats(pool: Pool, run: UUID) -> int:
    wanted = {
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run}"]},
    }
    with pool.client() as client:
        return int(client.request("POST", "/events/filter", json={"filter": wanted}).json()["total"])


def test_the_server_hears_that_a_run_lives_that_lasts(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "told"
    run = pool.run(pool.deploy("wait"), path=str(path))
    wait_for_lines(path, "begin")
    wait_until(lambda: count_heartbeats(pool, run), "a heartbeat has arrived")
    Path(f"{path}.go").touch()
    pool.wait_for(run, "Completed")


def test_a_run_that_is_suspended_stops_before_its_next_step_and_keeps_its_state(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "told"
    run = pool.run(pool.deploy("go_step_by_step"), path=str(path))
    ((_, pid), *_) = wait_for_lines(path, "step")
    with pool.client() as client:
        client.set_flow_run_state(run, Suspended(timeout_seconds=600))
    wait_until(lambda: not psutil.pid_exists(pid), "its process ends")
    assert pool.read(run).state_name == "Suspended"
