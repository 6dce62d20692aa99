"""A Prefect server of one's own and a worker on this machine, below one folder."""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

import httpx

from demo.processes import GuardedProcess, LocalSystemError

HOST = "127.0.0.1"
FIRST_PORT = 4200
PORTS_TRIED = 100
SERVER_LIMIT = 180
WORKER_LIMIT = 180
# Seconds that a starting system waits for one that is just stopping.
LOCK_LIMIT = 30
SERVER, WORKER = "the Prefect server", "the worker"
WORKER_NAME = "local"
RECORD = "local_system.json"


class LocalSystem:
    """A Prefect server and a worker below a folder; one at a time for each folder.

    Use it as a context manager: it holds the folder's lock. What was started is stopped at the end of the block, unless
    it stays and the block ends without an error.

    Args:
        folder: Where the server's home, the logs and the record of what runs go.
        stays: Whether server and worker outlive this process. If not they end with it, however it ends.
        api_url: A server that runs already; by default one is started.
    """

    def __init__(self, folder: Path, *, stays: bool, api_url: str | None = None) -> None:
        self.folder = folder
        self.api_url = api_url or f"http://{HOST}:{_find_free_port()}/api"
        self.has_own_server = api_url is None
        self._stays = stays
        self._processes: dict[str, GuardedProcess] = {}
        self._worker_start = datetime.now(UTC)
        self._resources = ExitStack()
        self._lock = -1
        self._lifeline: int | None = None

    @property
    def ui_url(self) -> str:
        """The address of the server's pages."""
        return self.api_url.removesuffix("/api")

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment for processes that belong to this system."""
        if not self.has_own_server:
            return {**os.environ, "PREFECT_API_URL": self.api_url}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        without_proxy = ",".join(filter(None, (inherited.get("NO_PROXY"), HOST, "localhost")))
        return inherited | {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": str(self.api_url.rpartition(":")[2].removesuffix("/api")),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # The server lists all time zones for each schedule it handles: three times as fast from the package tzdata.
            "PYTHONTZPATH": "",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "DO_NOT_TRACK": "1",
            "NO_PROXY": without_proxy,
        }

    def start_server(self) -> None:
        """Start the Prefect server, if it is one of this system's own."""
        if self.has_own_server:
            self._start(SERVER, "server", "demo.prefect_server")

    def wait_for_server(self) -> None:
        """Wait until the Prefect server answers.

        Raises:
            LocalSystemError: It does not; the message holds the end of its log, or what to check.
        """
        if self.has_own_server:
            self._processes[SERVER].wait_until(self._answers, SERVER_LIMIT)
        elif not self._answers():
            raise LocalSystemError(
                f"no Prefect server answers at {self.api_url} (PREFECT_API_URL). Start it, or unset the variable: "
                "a private server is then started"
            )

    def start_worker(self, work_pool: str) -> None:
        """Start a worker.

        Args:
            work_pool: The work pool, which exists.
        """
        self._worker_start = datetime.now(UTC)
        self._start(WORKER, "worker", "workers", "--pool", work_pool, "--name", WORKER_NAME)

    def wait_for_worker(self, work_pool: str) -> None:
        """Wait until the server knows the worker.

        Args:
            work_pool: The work pool.

        Raises:
            LocalSystemError: The worker does not start; the message holds the end of its log.
        """
        self._processes[WORKER].wait_until(lambda: self._knows_worker(work_pool), WORKER_LIMIT)

    def stop(self) -> None:
        """Stop what was started, the worker first, each with everything that it started."""
        for process in reversed(self._processes.values()):
            process.stop()
        self._processes.clear()
        (self.folder / RECORD).unlink(missing_ok=True)

    def log_tails(self) -> dict[str, str]:
        """Give the last lines of each process's log, by the process's name."""
        return {name: process.log_tail() for name, process in self._processes.items()}

    def _start(self, name: str, log: str, *module: str) -> None:
        self._processes[name] = GuardedProcess.start(
            name,
            [sys.executable, "-m", *module],
            log=self.folder / "logs" / f"{log}.log",
            environment=self.environment,
            lock=self._lock,
            lifeline=self._lifeline,
        )
        _write_record(self.folder, self.ui_url, list(self._processes.values()))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.api_url}/health", timeout=5, trust_env=not self.has_own_server).is_success
        except httpx.TransportError:
            return False

    def _knows_worker(self, work_pool: str) -> bool:
        # Imported here: it takes seconds, in which the server can start.
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            heartbeats = [
                worker.last_heartbeat_time
                for worker in client.read_workers_for_work_pool(work_pool)
                if worker.name == WORKER_NAME
            ]
        return any(heartbeat is not None and heartbeat > self._worker_start for heartbeat in heartbeats)

    def __enter__(self) -> Self:
        self._lock = self._resources.enter_context(_hold_lock(self.folder))
        if not self._stays:
            self._lifeline, held_by_this_process = os.pipe()
            self._resources.callback(os.close, self._lifeline)
            self._resources.callback(os.close, held_by_this_process)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        with self._resources:
            if kind is not None or not self._stays:
                self.stop()


class Record(NamedTuple):
    """What runs below a folder, as the process that started it wrote down."""

    ui_url: str
    processes: list[GuardedProcess]


def find_local_system(folder: Path) -> Record | None:
    """Find the system that runs below a folder, whoever started it.

    Args:
        folder: Its folder.

    Returns:
        The processes that still run, in the order of their start; None if there are none.
    """
    try:
        content = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    processes = [
        GuardedProcess(process["name"], process["pid"], process["started"], Path(process["log"]))
        for process in content["processes"]
    ]
    running = [process for process in processes if process.is_running()]
    return Record(content["ui_url"], running) if running else None


def stop_local_system(folder: Path) -> list[str]:
    """Stop a system that stays, whichever process started it.

    Args:
        folder: Its folder.

    Returns:
        The names of what was stopped; empty if nothing ran.
    """
    record = find_local_system(folder)
    stopped = []
    for process in reversed(record.processes if record else []):
        process.stop()
        stopped.append(process.name)
    (folder / RECORD).unlink(missing_ok=True)
    return stopped


def _write_record(folder: Path, ui_url: str, processes: list[GuardedProcess]) -> None:
    entries = [
        {"name": process.name, "pid": process.pid, "started": process.started, "log": str(process.log)}
        for process in processes
    ]
    unfinished = folder / f"{RECORD}.unfinished"
    unfinished.write_text(json.dumps({"ui_url": ui_url, "processes": entries}, indent=2))
    unfinished.replace(folder / RECORD)


@contextmanager
def _hold_lock(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, which every guard below it holds too, so that it is free only when all have ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "local_system.lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_LIMIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LocalSystemError(
                        f"another process uses {folder}: wait until it has ended, or stop it with Ctrl-C or `make down`"
                    ) from None
                time.sleep(0.2)
        yield lock.fileno()


def _find_free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise LocalSystemError(f"all ports from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} are in use: see `ss -ltn`")
