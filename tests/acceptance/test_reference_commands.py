"""Every command of the reference's list, word for word, against a running system."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.result import AsyncResult

from demo.sample_hris import HrisShape, write_sample_hris
from tests.integration.shim.system import REPOSITORY, System
from tests.servers import PrefectServer, RedisServer
from tests.servers.process import ServerProcess
from tests.waiting import wait_until

LIMIT = 150.0
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, prefect_server: PrefectServer
) -> Iterator[System]:
    """The suite with a small HRIS, deployed, and a worker that executes its runs."""
    system = System(tmp_path_factory.mktemp("reference"), redis_server, prefect_server)
    write_sample_hris(system.folder / "hris.sqlite3", HrisShape(people=300))
    for command in ([sys.executable, "-m", "db", "migrate"], [sys.executable, "-m", "deployments", "deploy"]):
        subprocess.run(command, cwd=REPOSITORY, env=environment(system), check=True, capture_output=True, timeout=LIMIT)
    with flow_worker(system):
        yield system


def environment(system: System) -> dict[str, str]:
    # The commands are found on the path, as in an activated environment, and run where the reference says: in the
    # project's folder, with no import path but Celery's own.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {**system.environment(), "DATA_DIR": str(system.folder), "PATH": path}
    del variables["PYTHONPATH"]
    return variables


def flow_worker(system: System) -> ServerProcess:
    log = system.folder / "flows.log"
    return ServerProcess(
        "the flow worker",
        [sys.executable, "-m", "tests.integration.shim.flow_worker", "hr"],
        log=log,
        is_ready=lambda: log.exists() and "flow worker ready" in log.read_text(errors="replace"),
        environment={**environment(system), "PYTHONPATH": str(REPOSITORY)},
        start_limit=LIMIT,
    )


def celery_worker(system: System, command: str, name: str) -> ServerProcess:
    log = system.folder / f"{name}.log"
    return ServerProcess(
        command,
        ["env", "-C", str(REPOSITORY), *shlex.split(command)],
        log=log,
        is_ready=lambda: log.exists() and " ready." in log.read_text(errors="replace"),
        environment=environment(system),
        start_limit=LIMIT,
    )


def run(system: System, command: str, answer: str = "") -> str:
    done = subprocess.run(
        shlex.split(command),
        cwd=REPOSITORY,
        env=environment(system),
        input=answer,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return done.stdout


def test_a_called_replication_replicates_and_the_other_commands_answer(reference: System) -> None:
    with celery_worker(reference, "celery -A celery_app worker -P gevent --loglevel=info", "gevent"):
        task_id = run(reference, "celery -A celery_app call tasks.hris.hris_replication_task").strip()
        assert re.fullmatch(r"[0-9a-f-]{36}", task_id)
        result = AsyncResult(task_id, app=reference.app)
        answer = result.get(timeout=LIMIT)
        assert answer["status"] == "success"
        assert answer["entities"]["employee"]["inserted"] > 50
        (flow_run,) = reference.runs(result)
        assert flow_run.state_name == "Completed"
        assert "OK" in run(reference, "celery -A celery_app inspect active")
        assert watch_events(reference, "celery -A celery_app events")


def test_purge_empties_the_queue(reference: System) -> None:
    for _ in range(3):
        reference.app.send_task("tasks.hris.hris_replication_task")

    assert "Purged 3 messages" in run(reference, "celery -A celery_app purge", answer="yes\n")


def test_a_worker_with_beat_and_gevent_starts_and_says_whose_the_schedules_are(reference: System) -> None:
    worker = celery_worker(reference, "celery -A celery_app worker -P gevent --loglevel=info -B", "beat")
    with worker:
        log = worker.log.read_text()
        assert "-B starts no beat here: schedules are deployments in Prefect" in log


def watch_events(system: System, command: str) -> str:
    """Run the full-screen monitor in a terminal of its own and give what it shows first."""
    terminal, inside = pty.openpty()
    variables = {**environment(system), "TERM": "xterm", "LINES": "40", "COLUMNS": "120"}
    monitor = subprocess.Popen(
        shlex.split(command), cwd=REPOSITORY, env=variables, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    shown = b""

    def read() -> bool:
        nonlocal shown
        shown += os.read(terminal, 10_000)
        return b"Workers online" in shown

    try:
        wait_until(read, "the monitor shows its screen", LIMIT)
    finally:
        monitor.kill()
        monitor.wait()
        os.close(terminal)
    return shown.decode(errors="replace")
