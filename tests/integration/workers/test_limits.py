"""Limits that the worker enforces from outside, whatever a run is doing."""

from pathlib import Path

import psutil

from tests.integration.workers.system import Pool, read_lines
from tests.waiting import wait_until


def test_a_run_that_never_gives_control_away_is_killed_at_its_time_limit(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "told"
    run = pool.run(pool.deploy("block", time_limit=5), path=str(path))
    state = pool.wait_for(run, "TimedOut")
    assert state.is_failed()
    assert "5 seconds" in str(state.message)
    ((_, pid),) = read_lines(path)
    assert not psutil.pid_exists(pid)


def test_a_run_that_takes_too_much_memory_fails_for_that_reason(pool: Pool) -> None:
    deployment = pool.deploy("take_memory", memory_limit_mb=256)
    run = pool.run(deployment, megabytes=400)
    # Its own process says MemoryError first.
    pool.wait_for(run, "Failed", "OutOfMemory")
    wait_until(lambda: pool.read(run).state_name == "OutOfMemory", "the worker says why")
    state = pool.wait_for(run, "OutOfMemory")
    assert state.is_failed()
    assert "256 MB" in str(state.message)
    pool.wait_for(pool.run(deployment, megabytes=20), "Completed")
