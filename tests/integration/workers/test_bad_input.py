"""What is wrong ends the run that it concerns, with the reason in its log, and not the worker."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from settings import REPOSITORY
from tests.integration.workers.system import Pool, read_lines, wait_for_lines
from tests.servers import prefect_server

# How much slower the tests' machine may be than one that does nothing else.
SLOWER_BESIDE_OTHERS = 6


@pytest.fixture
def worker_lives(pool: Pool, tmp_path: Path) -> Callable[[], None]:
    """Shows that the worker executes a run."""

    def run_another() -> None:
        run = pool.run(pool.deploy("add"), path=str(tmp_path / "lives"), number=1)
        pool.wait_for(run, "Completed")
        assert [what for what, _ in read_lines(tmp_path / "lives")] == ["added-1"]

    return run_another


def test_a_flow_that_does_not_import_fails_with_the_traceback_in_its_log(
    pool: Pool, tmp_path: Path, worker_lives: Callable[[], None]
) -> None:
    (tmp_path / "faulty.py").write_text("import not_installed_anywhere\n")
    run = pool.run(pool.deploy("faulty.py:job", directory=tmp_path))
    state = pool.wait_for(run, "Failed")
    assert "not_installed_anywhere" in str(state.message)
    assert "Traceback" in pool.log(run, "not_installed_anywhere")
    worker_lives()


def test_a_deployment_whose_folder_is_gone_fails_with_the_reason_in_its_log(
    pool: Pool, tmp_path: Path, worker_lives: Callable[[], None]
) -> None:
    run = pool.run(pool.deploy("describe", directory=tmp_path / "gone"), path="nowhere")
    state = pool.wait_for(run, "Failed")
    assert "gone" in str(state.message)
    assert "Traceback" in pool.log(run, "gone")
    worker_lives()


def test_parameters_that_do_not_validate_fail_the_run(
    pool: Pool, tmp_path: Path, worker_lives: Callable[[], None]
) -> None:
    run = pool.run(pool.deploy("add"), path=str(tmp_path / "told"), number="many")
    state = pool.wait_for(run, "Failed")
    assert "number" in str(state.message)
    assert not (tmp_path / "told").exists()
    worker_lives()


def test_a_child_that_dies_in_start_up_is_crashed_with_its_status(pool: Pool, worker_lives: Callable[[], None]) -> None:
    run = pool.run(pool.deploy("tests.integration.workers.dies_when_imported.never"))
    assert "3" in str(pool.wait_for(run, "Crashed").message)
    worker_lives()


def start_in_vain(pool: Pool, *options: str) -> str:
    """Start a worker that is not to start, and give what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "workers", "--pool", pool.name, *options],
        env=pool.environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    return ended.stdout + ended.stderr


def test_a_second_worker_of_the_same_name_is_refused(pool: Pool) -> None:
    said = start_in_vain(pool, "--name", "shared")
    assert "a worker named 'shared' serves the work pool 'warm' on this machine already" in said


def test_a_pool_of_another_type_is_refused(new_pool: Callable[..., Pool]) -> None:
    pool = new_pool("kubernetes")
    assert "is of type 'kubernetes'" in start_in_vain(pool, "--name", "lost")


def test_a_server_that_does_not_let_the_worker_in_is_said_at_start(tmp_path: Path) -> None:
    with prefect_server(PREFECT_SERVER_API_AUTH_STRING="admin:secret") as server:
        said = start_in_vain(Pool(tmp_path, server, "closed"))
    assert "refuses this worker (401): check PREFECT_API_AUTH_STRING" in " ".join(said.split())


def test_a_run_that_cannot_begin_fails_within_five_seconds(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text("import not_installed_anywhere\n")
    flow_run = pool.read(run := pool.run(pool.deploy("faulty.py:job", directory=tmp_path)))
    failed = pool.wait_for(run, "Failed")
    assert flow_run.created is not None
    # Five on a quiet machine; tests run beside others.
    assert (failed.timestamp - flow_run.created).total_seconds() < 5 * SLOWER_BESIDE_OTHERS


def test_a_run_that_cannot_be_had_is_not_begun_twice(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "told"
    deployment = pool.deploy("wait")
    runs = [pool.run(deployment, path=str(path)) for _ in range(3)]
    wait_for_lines(path, "begin")
    Path(f"{path}.go").touch()
    for run in runs:
        pool.wait_for(run, "Completed")
    assert sorted(what for what, _ in read_lines(path)) == ["begin"] * 3 + ["end"] * 3
