"""Two machines with a worker each, a gateway, and the servers that they share; every part can be killed."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.flows import Flow
from sqlalchemy import make_url

from celery_app import make_app
from db import migrate
from db.engines import Database
from settings import REPOSITORY
from tests.chaos.sample_tasks import MODULE, POOL
from tests.servers import (
    MariaDBServer,
    PrefectServer,
    RedisServer,
    mariadb_server,
    postgresql_server,
    prefect_server,
    redis_server,
)
from tests.servers.process import ServerProcess

LEASE_SECONDS = 6
# The deployment that does this in production runs every minute.
SYNC_SECONDS = 20
MACHINES = ("one", "two")


@dataclass
class System:
    """All parts, and what is needed to look at them from outside."""

    folder: Path
    redis: RedisServer
    prefect: PrefectServer
    mariadb: MariaDBServer
    app: Celery = field(init=False)
    gateway: ServerProcess = field(init=False)
    workers: dict[str, ServerProcess] = field(init=False)

    def __post_init__(self) -> None:
        self.database = self.mariadb.create_database()
        self.app = make_app()
        self.app.conf.update(broker_url=self.redis.url(), result_backend=self.redis.url())
        self.app.conf.include = [MODULE]
        self.app.loader.import_default_modules()
        self.app.finalize()
        self.gateway = self._gateway()
        self.workers = {name: self._worker(name) for name in MACHINES}

    @property
    def task(self) -> Any:
        """The counted task, as a caller has it."""
        return self.app.tasks[f"{MODULE}.add_row"]

    @property
    def servers(self) -> dict[str, ServerProcess]:
        """The servers, by the names that faults are counted under."""
        return {"Redis": self.redis, "Prefect server": self.prefect, "MariaDB": self.mariadb}

    @property
    def parts(self) -> list[ServerProcess]:
        """All processes that must live until they are killed."""
        return [*self.servers.values(), *self.workers.values(), self.gateway]

    def prepare(self) -> None:
        """Make the tables, and deploy the counted flow and the one that looks after lost runs."""
        from tests.chaos.sample_flows import look_after_lost_runs, metadata

        url = make_url(self.mariadb.url(self.database))
        database = Database("the application database", "", lambda: url, writes=True)

        async def migrate_and_create() -> None:
            await migrate.upgrade(database)
            async with database.engine().begin() as connection:
                await connection.run_sync(metadata.create_all)

        asyncio.run(migrate_and_create())
        every_so_often = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=SYNC_SECONDS)))
        with self.client() as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            self._deploy(client, self.task.prefect_flow, self.task.deployed_entrypoint)
            self._deploy(
                client,
                look_after_lost_runs,
                "tests.chaos.sample_flows.look_after_lost_runs",
                schedules=[every_so_often],
                concurrency_limit=1,
                concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            )

    def _deploy(self, client: SyncPrefectClient, flow: Flow[Any, Any], entrypoint: str, **options: Any) -> None:
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name=flow.name,
            entrypoint=entrypoint,
            work_pool_name=POOL,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(REPOSITORY)}}],
            parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
            **options,
        )

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """Give a client of the Prefect server."""
        with self.prefect.client() as client:
            yield client

    def query(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Ask the application database."""
        return self.mariadb.execute(statement.replace("{database}", f"`{self.database}`"))

    def find_runs(self, machine: str | None = None) -> list[psutil.Process]:
        """Give the processes of runs that live now, of one machine or of all."""
        homes = [str(self.folder / name) for name in MACHINES if machine in (None, name)]
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                # A run's process is a fork of the fork server, in a process group of its own.
                is_fork = "workers.fork_server" in process.cmdline() and os.getpgid(process.pid) == process.pid
                if is_fork and process.environ().get("PREFECT_HOME") in homes:
                    found.append(process)
        return found

    def end_what_is_left(self) -> None:
        """End the runs that outlived their workers."""
        for process in self.find_runs():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _environment(self, **more: str) -> dict[str, str]:
        return {
            **self.prefect.environment(),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "CELERY_BROKER_URL": self.redis.url(),
            "CELERY_RESULT_BACKEND": self.redis.url(),
            "MARIA_DATABASE_URL": self.mariadb.url(self.database),
            "RUN_LEASE_SECONDS": str(LEASE_SECONDS),
            "PREFECT_WORKER_QUERY_SECONDS": "5",
            **more,
        }

    def _gateway(self) -> ServerProcess:
        command = [sys.executable, "-m", "celery", "-A", "tests.chaos.sample_app", "worker", "-P", "threads", "-c", "4"]
        return self._process("gateway", [*command, "--loglevel=info"], " ready.", self._environment())

    def _worker(self, name: str) -> ServerProcess:
        # What a run persists must be found on the other machine: a shared folder, as the documentation asks for.
        environment = self._environment(
            PREFECT_HOME=str(self.folder / name), PREFECT_LOCAL_STORAGE_PATH=str(self.folder / "results")
        )
        command = [sys.executable, "-m", "workers", "--pool", POOL, "--name", name, "--limit", "4"]
        return self._process(f"worker-{name}", command, "started!", environment)

    def _process(self, name: str, command: list[str], ready: str, environment: dict[str, str]) -> ServerProcess:
        return Part(name, command, self.folder / f"{name}.log", ready, environment)


class Part(ServerProcess):
    """A process that says in its log that it is ready; that is waited for in its first life only."""

    def __init__(self, name: str, command: list[str], log: Path, ready: str, environment: dict[str, str]) -> None:
        super().__init__(
            name,
            command,
            log=log,
            is_ready=lambda: log.exists() and ready in log.read_text(errors="replace"),
            environment=environment,
            start_limit=180,
            stop_limit=60,
        )


@contextmanager
def run_system(folder: Path) -> Iterator[System]:
    """Run the whole system with all its parts.

    Args:
        folder: Where logs go.
    """
    with ExitStack() as exits:
        enter = exits.enter_context
        # What Prefect wants for several machines; on SQLite their polls would keep the others from writing.
        database = enter(postgresql_server())
        system = System(
            folder, enter(redis_server(is_durable=True)), enter(prefect_server(database.url)), enter(mariadb_server())
        )
        system.prepare()
        exits.callback(system.end_what_is_left)
        for process in (*system.workers.values(), system.gateway):
            enter(process)
        yield system
