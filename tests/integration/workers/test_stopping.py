"""Workers that are told to stop, or to take the code anew."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.integration.workers.system import Pool, read_lines, wait_for_lines
from tests.waiting import wait_until


def test_a_worker_that_is_told_to_stop_lets_its_run_end_and_takes_no_other(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    deployment = pool.deploy("wait", grace_seconds=60)
    path, other = tmp_path / "told", tmp_path / "other"
    with pool.worker("first") as worker:
        run = pool.run(deployment, path=str(path))
        wait_for_lines(path, "begin")
        process = psutil.Process(worker.pid)
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: "grace time" in worker.log.read_text(), "the worker stops")
        later = pool.run(deployment, path=str(other))
        Path(f"{path}.go").touch()
        pool.wait_for(run, "Completed")
        process.wait(60)
    assert pool.read(later).state_name == "Scheduled"
    assert not other.exists()


def test_a_run_that_does_not_end_in_its_grace_time_begins_again_on_another_worker(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    with pool.worker("first") as first:
        run = pool.run(pool.deploy("wait", grace_seconds=1), path=str(path))
        ((_, pid),) = wait_for_lines(path, "begin")
        with pool.worker("second"):
            os.kill(first.pid, signal.SIGTERM)
            lines = wait_until(lambda: found if len(found := read_lines(path)) > 1 else None, "it begins again")
            # The first attempt is over before the second one begins.
            assert not psutil.pid_exists(pid)
            assert [what for what, _ in lines] == ["begin", "begin"]
            Path(f"{path}.go").touch()
            pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(path)] == ["begin", "begin", "end"]


def test_a_killed_worker_leaves_its_runs_to_end_by_themselves(new_pool: Callable[..., Pool], tmp_path: Path) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    with pool.worker("doomed") as worker:
        run = pool.run(pool.deploy("wait"), path=str(path))
        wait_for_lines(path, "begin")
        os.kill(worker.pid, signal.SIGKILL)
        Path(f"{path}.go").touch()
        pool.wait_for(run, "Completed")


def test_a_second_signal_hands_the_runs_back_without_waiting_for_their_grace_time(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    with pool.worker("first") as worker:
        run = pool.run(pool.deploy("wait", grace_seconds=3600), path=str(path))
        ((_, pid),) = wait_for_lines(path, "begin")
        process = psutil.Process(worker.pid)
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: "grace time" in worker.log.read_text(), "the worker stops")
        assert psutil.pid_exists(pid)
        os.kill(worker.pid, signal.SIGTERM)
        pool.wait_for(run, "AwaitingRetry")
        assert not psutil.pid_exists(pid)
        process.wait(60)


def test_a_hangup_has_new_runs_forked_from_a_new_process_and_leaves_the_running_ones(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    path = tmp_path / "told"
    described = pool.deploy("describe")

    def find_parent(name: str) -> int:
        told = tmp_path / name
        pool.wait_for(pool.run(described, path=str(told)), "Completed")
        parent: int = json.loads(told.read_text())["parent"]
        return parent

    with pool.worker("first") as worker:
        run = pool.run(pool.deploy("wait"), path=str(path))
        wait_for_lines(path, "begin")
        before = find_parent("before")
        os.kill(worker.pid, signal.SIGHUP)
        wait_until(lambda: "Reloading" in worker.log.read_text(), "the worker reloads")
        assert find_parent("after") != before
        Path(f"{path}.go").touch()
        pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(path)] == ["begin", "end"]
