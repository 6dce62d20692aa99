"""Runs whose process, worker or both were killed come to an end, or begin again as the same run."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Pending

from tests.integration.workers.system import Pool, read_lines, wait_for_lines
from tests.waiting import wait_until
from workers.records import find_folder


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_run_whose_process_and_worker_were_killed_is_crashed_by_the_next_worker(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    with pool.worker("doomed") as worker:
        run = pool.run(pool.deploy("wait"), path=str(path))
        ((_, pid),) = wait_for_lines(path, "begin")
        kill(worker.pid, pid)
    assert pool.read(run).state_name == "Running"
    with pool.worker("next"):
        assert "ended without a word" in str(pool.wait_for(run, "Crashed").message)


def test_a_run_that_lives_is_not_declared_dead_when_its_worker_was_killed(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    deployment = pool.deploy("wait")
    with pool.worker("doomed") as worker:
        run = pool.run(deployment, path=str(path))
        wait_for_lines(path, "begin")
        kill(worker.pid)
    with pool.worker("next") as worker:
        wait_until(lambda: "goes on without the worker" in worker.log.read_text(), "the next worker finds it")
        assert pool.read(run).state_name == "Running"
        Path(f"{path}.go").touch()
        pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(path)] == ["begin", "end"]


def test_a_run_that_waited_to_be_tried_again_is_tried_again_by_the_next_worker(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    with pool.worker("doomed") as worker:
        run = pool.run(pool.deploy("fail_once"), path=str(path))
        pool.wait_for(run, "AwaitingRetry")
        ((_, pid),) = read_lines(path)
        kill(worker.pid, pid)
    with pool.worker("next"):
        pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(path)] == ["attempt", "attempt"]


def test_a_run_whose_process_is_killed_while_it_waits_to_be_tried_again_is_tried_again(
    pool: Pool, tmp_path: Path
) -> None:
    path = tmp_path / "told"
    run = pool.run(pool.deploy("fail_once"), path=str(path))
    pool.wait_for(run, "AwaitingRetry")
    ((_, pid),) = read_lines(path)
    kill(pid)
    pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(path)] == ["attempt", "attempt"]


def test_a_run_that_a_killed_worker_had_just_taken_begins_on_the_next_one(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    run = pool.run(pool.deploy("add"), path=str(path), number=1)
    with pool.client() as client:
        client.set_flow_run_state(run, Pending())
    with temporary_settings({PREFECT_API_URL: pool.prefect.api_url, PREFECT_HOME: pool.prefect.home}):
        folder = find_folder(pool.name)
    folder.mkdir(parents=True)
    # What a worker leaves that was killed before the run had a process.
    (folder / f"{run}.json").touch()
    with pool.worker("next"):
        pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(path)] == ["added-1"]
    assert list(folder.iterdir()) == []
