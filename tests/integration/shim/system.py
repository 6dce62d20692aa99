"""The whole system that the shim joins: Redis, Prefect's server, a flow worker, Celery workers, and a caller."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from celery import Celery
from celery.result import AsyncResult
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectAlreadyExists

from celery_app import make_app
from shim import FlowTask
from shim.flow import load_flow
from tests.integration.shim.sample_tasks import EFFECTS, MODULE
from tests.servers import PrefectServer, RedisServer
from tests.servers.process import ServerProcess
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[3]
POOL = "sample"


@dataclass
class System:
    """The servers, and how to start the rest."""

    folder: Path
    redis: RedisServer
    prefect: PrefectServer
    app: Celery = field(init=False)

    def __post_init__(self) -> None:
        self.effects_database = self.folder / "effects.sqlite3"
        with closing(sqlite3.connect(self.effects_database)) as connection, connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(EFFECTS)
        self.app = make_app()
        self.app.conf.update(broker_url=self.redis.url(), result_backend=self.redis.url())
        self.app.conf.include = [MODULE]
        self.app.loader.import_default_modules()
        self.app.finalize()

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a worker."""
        return {
            **self.prefect.environment(),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "CELERY_BROKER_URL": self.redis.url(),
            "CELERY_RESULT_BACKEND": self.redis.url(),
            "EFFECTS_DATABASE": str(self.effects_database),
            **more,
        }

    def task(self, name: str) -> FlowTask:
        """A sample task, as a caller has it."""
        found: FlowTask = self.app.tasks[f"{MODULE}.{name}"]
        return found

    def celery_worker(self, name: str, *options: str, pool: str = "threads", **environment: str) -> ServerProcess:
        """A Celery worker, not started yet."""
        log = self.folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.integration.shim.sample_app", "worker"]
        command += ["-P", pool, "-c", "2", "-n", f"{name}@%h", "--loglevel=info", *options]
        return ServerProcess(
            f"Celery worker {name}",
            command,
            log=log,
            is_ready=lambda: log.exists() and " ready." in log.read_text(errors="replace"),
            environment=self.environment(**environment),
            # Gevent patches what the fork server has imported already.
            is_forked=pool != "gevent",
        )

    def flow_worker(self, name: str = "flows") -> ServerProcess:
        """A worker of the work pool, not started yet."""
        log = self.folder / f"{name}.log"
        return ServerProcess(
            f"flow worker {name}",
            [sys.executable, "-m", "tests.integration.shim.flow_worker", POOL],
            log=log,
            is_ready=lambda: log.exists() and "flow worker ready" in log.read_text(errors="replace"),
            environment=self.environment(),
            is_forked=True,
        )

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the Prefect server."""
        with self.prefect.client() as client:
            yield client

    def deploy(self) -> None:
        """Deploy all sample tasks but the one that is not to be."""
        names = [name for name in self.app.tasks if name.startswith(MODULE) and not name.endswith("undeployed")]
        with self.client() as client:
            try:
                client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            except ObjectAlreadyExists:
                return
            for name in names:
                task: FlowTask = self.app.tasks[name]
                deployed = {task.deployed_entrypoint: task.prefect_flow}
                if task.batch is not None:
                    deployed[task.batch.flow] = load_flow(task.batch.flow)
                for entrypoint, flow in deployed.items():
                    client.create_deployment(
                        flow_id=client.create_flow(flow),
                        name=flow.name,
                        entrypoint=entrypoint,
                        work_pool_name=POOL,
                        parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                    )

    def runs(self, result: AsyncResult | str) -> list[FlowRun]:
        """The flow runs of a call."""
        call = getattr(result, "id", result)
        wanted = FlowRunFilter.model_validate({"tags": {"all_": [f"celery-id:{call}"]}})
        with self.client() as client:
            return client.read_flow_runs(flow_run_filter=wanted)

    def batches(self, task: FlowTask, since: datetime) -> list[FlowRun]:
        """The flow runs of a task's batches since a point in time, the oldest first."""
        wanted = FlowRunFilter.model_validate({"tags": {"all_": [f"task:{task.name}"]}})
        with self.client() as client:
            runs = client.read_flow_runs(flow_run_filter=wanted, limit=200)
        return sorted((run for run in runs if run.created and run.created > since), key=lambda run: str(run.created))

    def effects(self, result: AsyncResult | str) -> list[str]:
        """What a call has done, in order."""
        return [what for what, _ in self._effects(result)]

    def pid(self, result: AsyncResult | str) -> int:
        """The process that did the call's last effect, once there is one."""
        return int(wait_until(lambda: self._effects(result), f"effect of {result}")[-1][1])

    def began_at(self, call: str) -> float:
        """When a call did its first effect, in seconds since 1970."""
        with closing(sqlite3.connect(self.effects_database, timeout=60)) as connection:
            (moment,) = connection.execute("SELECT min(at) FROM effect WHERE call = ?", (call,)).fetchone()
        return float(moment)

    def _effects(self, result: AsyncResult | str) -> list[tuple[str, int]]:
        call = getattr(result, "id", result)
        with closing(sqlite3.connect(self.effects_database, timeout=60)) as connection:
            return connection.execute("SELECT what, pid FROM effect WHERE call = ? ORDER BY rowid", (call,)).fetchall()

    def wait_for_state(self, result: AsyncResult, *wanted: str) -> None:
        """Wait until a call is in one of these states."""
        wait_until(lambda: result.state in wanted, f"{result.id} is {' or '.join(wanted)}")
