"""The private servers of the tests: they answer, keep their data over a kill, and never outlive who started them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import servers

REPOSITORY = Path(__file__).resolve().parents[2]


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_mariadb_keeps_committed_rows_when_it_is_killed() -> None:
    with servers.mariadb_server() as server:
        name = server.create_database()
        server.execute(f"CREATE TABLE {name}.kept (id INT PRIMARY KEY) ENGINE=InnoDB")
        server.execute(f"INSERT INTO {name}.kept VALUES (1), (2)")
        server.kill()
        server.start()
        assert server.execute(f"SELECT id FROM {name}.kept ORDER BY id") == ((1,), (2,))


def test_a_server_dies_with_the_process_that_started_it() -> None:
    script = "from tests import servers\nwith servers.redis_server() as server:\n"
    script += "    print(server.pid, flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        server_pid = int(starter.stdout.readline())
        assert psutil.pid_exists(server_pid)
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    deadline = time.monotonic() + 10
    while _runs(server_pid):
        assert time.monotonic() < deadline, "the server outlived its starter by 10 s"
        time.sleep(0.01)


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one() -> None:
    script = "import os, signal\nfrom tests.servers.process import server_folder\n"
    script += (
        "with server_folder('left') as folder:\n    print(folder, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    with servers.process.server_folder("left"):
        assert not left.exists()


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = servers.ServerProcess(
        "a server", ["sh", "-c", "echo the disk is full; exit 3"], log=tmp_path / "log", is_ready=lambda: False
    )
    with pytest.raises(servers.ServerError, match=r"a server ended with status 3(.|\n)*the disk is full"):
        server.start()


def test_a_server_that_never_answers_is_killed_after_its_limit(tmp_path: Path) -> None:
    server = servers.ServerProcess(
        "a server", ["sleep", "1000"], log=tmp_path / "log", is_ready=lambda: False, start_limit=0.1
    )
    with pytest.raises(servers.ServerError, match=r"did not answer within 0\.1 s"):
        server.start()
    with pytest.raises(servers.ServerError, match="does not run"):
        _ = server.pid
