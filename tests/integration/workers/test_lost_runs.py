"""Runs whose process, worker or both were killed come to an end, or begin again as the same run."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Pending

from tests.integration.workers.system import Pool, read_lines, wait_for_lines
from tests.servers import PrefectServer
from tests.servers.process import ServerProcess
from tests.waiting import wait_until
from workers.records import find_folder


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@dataclass
class Left:
    """What a killed worker has left to the next one.

    Attributes:
        folder: Where each run tells what it does, by its name here.
        pool: Their pool.
        worker: The next worker.
        killed: A run whose process was killed with the worker.
        lasting: A run whose process goes on.
        waiting: A run that waited to be tried again; its process was killed too.
    """

    folder: Path
    pool: Pool
    worker: ServerProcess
    killed: UUID
    lasting: UUID
    waiting: UUID


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer) -> Iterator[Left]:
    """Three runs of a killed worker, and the next one."""
    folder = tmp_path_factory.mktemp("left")
    pool = Pool(folder, prefect_server, f"pool-{uuid4().hex[:8]}")
    pool.create()
    wait = pool.deploy("wait")
    with pool.worker("doomed") as doomed:
        killed, lasting = (pool.run(wait, path=str(folder / name)) for name in ("killed", "lasting"))
        ((_, killed_pid),) = wait_for_lines(folder / "killed", "begin")
        wait_for_lines(folder / "lasting", "begin")
        waiting = pool.run(pool.deploy("fail_once"), path=str(folder / "waiting"))
        pool.wait_for(waiting, "AwaitingRetry")
        ((_, waiting_pid),) = read_lines(folder / "waiting")
        kill(doomed.pid, killed_pid, waiting_pid)
    assert pool.read(killed).state_name == "Running"
    with pool.worker("next") as worker:
        yield Left(folder, pool, worker, killed, lasting, waiting)
        (folder / "lasting.go").touch()


def test_a_run_whose_process_and_worker_were_killed_is_crashed_by_the_next_worker(left: Left) -> None:
    assert "ended without a word" in str(left.pool.wait_for(left.killed, "Crashed").message)


def test_a_run_that_lives_is_not_declared_dead_when_its_worker_was_killed(left: Left) -> None:
    wait_until(lambda: "goes on without the worker" in left.worker.log.read_text(), "the next worker finds it")
    assert left.pool.read(left.lasting).state_name == "Running"
    (left.folder / "lasting.go").touch()
    left.pool.wait_for(left.lasting, "Completed")
    assert [what for what, _ in read_lines(left.folder / "lasting")] == ["begin", "end"]


def test_a_run_that_waited_to_be_tried_again_is_tried_again_by_the_next_worker(left: Left) -> None:
    left.pool.wait_for(left.waiting, "Completed")
    assert [what for what, _ in read_lines(left.folder / "waiting")] == ["attempt", "attempt"]


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
