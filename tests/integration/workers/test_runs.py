"""What a run of the warm worker has: its process, its surroundings, its end."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_API_URL, temporary_settings

from settings import REPOSITORY
from tests.integration.workers.system import Pool, read_lines, wait_for_lines
from tests.servers.process import ServerProcess
from tests.waiting import wait_until


def find_fork_servers(worker: ServerProcess) -> list[psutil.Process]:
    children = psutil.Process(worker.pid).children()
    return [child for child in children if "workers.fork_server" in child.cmdline()]


def test_a_run_is_a_process_of_its_own_forked_from_the_warm_one(
    served: tuple[Pool, ServerProcess], tmp_path: Path
) -> None:
    pool, worker = served
    run = pool.run(pool.deploy("describe"), path=str(tmp_path / "told"))
    pool.wait_for(run, "Completed")
    told = json.loads((tmp_path / "told").read_text())
    assert told["parent"] in [server.pid for server in find_fork_servers(worker)]
    wait_until(lambda: not psutil.pid_exists(told["pid"]), "the run's process ended")


def test_a_run_has_the_environment_and_the_folder_of_its_deployment(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    source = Path(__file__).with_name("sample_flows.py").read_text()
    (tmp_path / "code" / "copied.py").write_text(source)
    deployment = pool.deploy(
        "copied.py:describe", directory=tmp_path / "code", env={"GREETING": "hello", "TZ": "Africa/Cairo"}
    )
    pool.wait_for(pool.run(deployment, path=str(tmp_path / "told")), "Completed")
    told = json.loads((tmp_path / "told").read_text())
    assert told["directory"] == str(tmp_path / "code")
    assert told["greeting"] == "hello"
    assert told["timezone"] == "EET"


def test_a_deployment_gets_the_modules_of_its_own_folder_not_those_that_were_imported_before(
    pool: Pool, tmp_path: Path
) -> None:
    # The warm process has imported this checkout's `flows.hris`; the deployment's folder has another one.
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").touch()
    (tmp_path / "flows" / "hris.py").write_text(
        "from pathlib import Path\nfrom prefect import flow\n"
        "@flow\nasync def replicate(path: str) -> None:\n    Path(path).write_text('the other one')\n"
    )
    run = pool.run(pool.deploy("flows.hris.replicate", directory=tmp_path), path=str(tmp_path / "told"))
    pool.wait_for(run, "Completed")
    assert (tmp_path / "told").read_text() == "the other one"


def test_a_deployment_with_several_pull_steps_has_them_all_run(pool: Pool, tmp_path: Path) -> None:
    script = f"touch {tmp_path / 'pulled'}"
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": script}}]
    run = pool.run(pool.deploy("describe", steps=steps), path=str(tmp_path / "told"))
    pool.wait_for(run, "Completed")
    assert (tmp_path / "pulled").exists()
    assert json.loads((tmp_path / "told").read_text())["directory"] == str(REPOSITORY)


def test_a_flow_that_no_file_names_is_imported_once_for_later_runs(pool: Pool, tmp_path: Path) -> None:
    deployment, path = pool.deploy("describe"), tmp_path / "told"

    def is_shared() -> bool:
        pool.wait_for(pool.run(deployment, path=str(path)), "Completed")
        told = json.loads(path.read_text())
        assert told["imported_by"] in (told["pid"], told["parent"])
        return bool(told["imported_by"] == told["parent"])

    wait_until(is_shared, "a run has the module of its fork server")


def test_a_flow_whose_module_starts_a_thread_is_imported_by_each_run(pool: Pool, tmp_path: Path) -> None:
    deployment, path = pool.deploy("tests.integration.workers.threaded_flows.describe"), tmp_path / "told"
    for _ in range(2):
        pool.wait_for(pool.run(deployment, path=str(path)), "Completed")
        told = json.loads(path.read_text())
        assert told["imported_by"] == told["pid"]


def test_the_server_knows_the_process_of_a_run(pool: Pool, tmp_path: Path) -> None:
    run = pool.run(pool.deploy("describe"), path=str(tmp_path / "told"))
    pool.wait_for(run, "Completed")
    assert pool.read(run).infrastructure_pid == str(json.loads((tmp_path / "told").read_text())["pid"])


def test_results_go_to_the_storage_that_the_server_has_as_its_default(pool: Pool, tmp_path: Path) -> None:
    deployment = pool.deploy("add")
    folder = tmp_path / "results"
    with pool.client() as client, temporary_settings({PREFECT_API_URL: pool.prefect.api_url}):
        block = LocalFileSystem(basepath=str(folder)).save(f"results-{uuid4().hex[:8]}")
        assert isinstance(block, UUID)
        client.update_server_default_result_storage(block)
        try:

            def holds_results() -> bool:
                # The worker asks for the default at most every two seconds.
                pool.wait_for(pool.run(deployment, path=str(tmp_path / "told"), number=1), "Completed")
                return folder.exists() and any(folder.iterdir())

            wait_until(holds_results, "a run's result is in the folder")
        finally:
            client.clear_server_default_result_storage()


def test_what_a_run_prints_is_in_its_log(pool: Pool, tmp_path: Path) -> None:
    run = pool.run(pool.deploy("add"), path=str(tmp_path / "told"), number=7)
    assert "adding 7" in pool.log(run, "adding 7")


def test_a_cancelled_run_ends_with_its_hooks_run(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "told"
    run = pool.run(pool.deploy("wait"), path=str(path))
    ((_, pid),) = wait_for_lines(path, "begin")
    pool.cancel(run)
    pool.wait_for(run, "Cancelled")
    wait_for_lines(path, "cancellation-hook")
    assert not psutil.pid_exists(pid)


def test_a_run_whose_process_is_killed_is_crashed_with_its_hooks_run(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "told"
    run = pool.run(pool.deploy("wait"), path=str(path))
    ((_, pid),) = wait_for_lines(path, "begin")
    os.kill(pid, signal.SIGKILL)
    state = pool.wait_for(run, "Crashed")
    assert "-9" in str(state.message)
    wait_for_lines(path, "crash-hook")


def test_when_the_warm_process_is_killed_its_runs_go_on_and_new_ones_start(
    served: tuple[Pool, ServerProcess], tmp_path: Path
) -> None:
    pool, worker = served
    path, other = tmp_path / "told", tmp_path / "other"
    deployment = pool.deploy("wait")
    run = pool.run(deployment, path=str(path))
    wait_for_lines(path, "begin")
    for server in find_fork_servers(worker):
        server.kill()
    later = pool.run(deployment, path=str(other))
    wait_for_lines(other, "begin")
    for each in (path, other):
        Path(f"{each}.go").touch()
    pool.wait_for(run, "Completed")
    pool.wait_for(later, "Completed")


def test_a_pool_with_one_place_runs_one_after_the_other(new_pool: Callable[..., Pool], tmp_path: Path) -> None:
    pool = new_pool(limit=1)
    deployment = pool.deploy("wait")
    with pool.worker("narrow"):
        paths = [tmp_path / "first", tmp_path / "second"]
        runs = [pool.run(deployment, path=str(path)) for path in paths]
        begun = wait_until(lambda: next((path for path in paths if path.exists()), None), "one has begun")
        (other,) = set(paths) - {begun}
        assert not other.exists()
        Path(f"{begun}.go").touch()
        # No poll for two minutes: the place that became free is noticed.
        wait_for_lines(other, "begin")
        assert [what for what, _ in read_lines(begun)] == ["begin", "end"]
        Path(f"{other}.go").touch()
        for run in runs:
            pool.wait_for(run, "Completed")


def test_a_stock_worker_serves_the_same_pool(new_pool: Callable[..., Pool], tmp_path: Path) -> None:
    pool = new_pool()
    deployment = pool.deploy("add", time_limit=60, memory_limit_mb=512)
    with pool.worker("warm"):
        pool.wait_for(pool.run(deployment, path=str(tmp_path / "told"), number=1), "Completed")
    with pool.stock_worker():
        pool.wait_for(pool.run(deployment, path=str(tmp_path / "told"), number=2), "Completed")
    assert [what for what, _ in read_lines(tmp_path / "told")] == ["added-1", "added-2"]
