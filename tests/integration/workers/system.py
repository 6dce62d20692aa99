"""A work pool with deployments of the sample flows, and workers of it."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State

from settings import REPOSITORY
from tests.servers import PrefectServer
from tests.servers.prefect_worker import prefect_worker
from tests.servers.process import ServerProcess
from tests.waiting import LIMIT, wait_until

SAMPLES = "tests.integration.workers.sample_flows"
SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"
WORKER_START_LIMIT = 120.0


@dataclass
class Pool:
    """A work pool on a private server.

    Attributes:
        folder: Where logs and what flows write go.
        prefect: The server.
        name: The pool's name.
    """

    folder: Path
    prefect: PrefectServer
    name: str

    def create(self, kind: str = "process", limit: int | None = None) -> None:
        """Create the pool."""
        with self.client() as client:
            client.create_work_pool(WorkPoolCreate(name=self.name, type=kind, concurrency_limit=limit))

    def deploy(
        self,
        entrypoint: str,
        *,
        directory: Path = REPOSITORY,
        steps: Sequence[Mapping[str, Any]] = (),
        **job_variables: Any,
    ) -> UUID:
        """Deploy a flow of the sample flows, or of any other entry point, and give the deployment's id."""
        dotted = entrypoint if "." in entrypoint or ":" in entrypoint else f"{SAMPLES}.{entrypoint}"
        with self.client() as client:
            deployment = client.create_deployment(
                flow_id=client.create_flow_from_name(f"{self.name}-{entrypoint}"),
                name=f"{self.name}-{len(job_variables)}-{time.monotonic_ns()}",
                entrypoint=dotted,
                work_pool_name=self.name,
                job_variables=job_variables,
                pull_steps=[*map(dict, steps), {SET_DIRECTORY: {"directory": str(directory)}}],
                enforce_parameter_schema=False,
            )
        return deployment

    def run(self, deployment: UUID, **parameters: Any) -> UUID:
        """Ask for a run."""
        with self.client() as client:
            return client.create_flow_run_from_deployment(deployment, parameters=parameters).id

    def read(self, run: UUID) -> FlowRun:
        """Read a run."""
        with self.client() as client:
            return client.read_flow_run(run)

    def wait_for(self, run: UUID, *names: str, limit: float = LIMIT) -> State:
        """Wait until a run is in one of these states."""

        def state() -> State | None:
            found = self.read(run).state
            if found is not None and found.is_final() and found.name not in names:
                raise AssertionError(f"the run is {found.name}: {found.message}")
            return found if found is not None and found.name in names else None

        reached: State = wait_until(state, f"{run} is {' or '.join(names)}", limit)
        return reached

    def cancel(self, run: UUID) -> None:
        """Ask for a run to be cancelled, as the UI does."""
        from prefect.states import Cancelling

        with self.client() as client:
            client.set_flow_run_state(run, Cancelling())

    def log(self, run: UUID, wanted: str) -> str:
        """Give a run's log as soon as it holds a text."""

        def read() -> str | None:
            with self.client() as client:
                logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
            text = "\n".join(log.message for log in logs)
            return text if wanted in text else None

        found: str = wait_until(read, f"{wanted!r} in the log of {run}")
        return found

    def worker(self, name: str, *options: str, **environment: str) -> ServerProcess:
        """Give a warm worker, not started yet."""
        log = self.folder / f"{self.name}-{name}.log"
        return ServerProcess(
            f"worker {name}",
            [sys.executable, "-m", "workers", "--pool", self.name, "--name", name, *options],
            log=log,
            is_ready=lambda: log.exists() and "started!" in log.read_text(errors="replace"),
            environment=self.environment() | environment,
            start_limit=WORKER_START_LIMIT,
            stop_limit=60,
            is_forked=True,
        )

    @contextmanager
    def stock_worker(self) -> Iterator[None]:
        """Run Prefect's own process worker."""
        with prefect_worker(self.name, self.environment(), self.folder / f"{self.name}-stock.log", is_stock=True):
            yield

    def environment(self) -> dict[str, str]:
        """Give the environment of workers: found by events alone, unless a test says otherwise."""
        return self.prefect.environment() | {
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "120",
            "DATA_DIR": str(self.folder),
        }

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """Give a client of the server."""
        with self.prefect.client() as client:
            yield client


def read_lines(path: Path) -> list[tuple[str, int]]:
    """Read what flows told a file: what, and the process."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, int(pid)) for what, pid in (line.split() for line in lines)]


def wait_for_lines(path: Path, *wanted: str) -> list[tuple[str, int]]:
    """Wait until flows have told a file all of this, and give it."""

    def read() -> list[tuple[str, int]] | None:
        lines = read_lines(path)
        return lines if set(wanted) <= {what for what, _ in lines} else None

    found: list[tuple[str, int]] = wait_until(read, f"{', '.join(wanted)} in {path}")
    return found


async def wait_until_async(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Wait for a condition without blocking the event loop."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:g} s: {what}")
        await asyncio.sleep(0.02)
    return value
