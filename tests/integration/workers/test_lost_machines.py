"""Runs of a machine that is gone, or stands still, go on elsewhere; what comes back later writes nothing."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from sqlalchemy import make_url, select

from db import migrate
from db.engines import Database
from db.leases import flow_run_lease
from db.tables import scheduler_instance
from tests import servers
from tests.integration.workers.system import Pool, read_lines, wait_for_lines
from tests.servers.process import ServerProcess
from tests.waiting import wait_until

LEASE_SECONDS = 3


@dataclass
class Machines:
    """Workers that share Prefect and the application database, and nothing else."""

    pool: Pool
    url: str
    folder: Path

    def worker(self, name: str) -> ServerProcess:
        """Give the worker of one machine, not started yet."""
        return self.pool.worker(
            name,
            MARIA_DATABASE_URL=self.url,
            RUN_LEASE_SECONDS=str(LEASE_SECONDS),
            PREFECT_HOME=str(self.folder / name),
        )

    def read_rows(self) -> list[str]:
        """Read the names of the processes that have written."""
        return asyncio.run(self._read(scheduler_instance.c.id))

    def read_expiry(self, run: UUID) -> datetime:
        """Read until when a run is held."""
        query = flow_run_lease.c.flow_run_id == str(run)
        expiries: list[datetime] = asyncio.run(self._read(flow_run_lease.c.expires_at, query))
        return expiries[0]

    async def _read(self, column: Any, *conditions: Any) -> list[Any]:
        async with self._database().sessions() as session:
            return list(await session.scalars(select(column).where(*conditions)))

    def _database(self) -> Database:
        return Database("the application database", "", lambda: make_url(self.url), writes=True)

    def migrate(self) -> None:
        asyncio.run(migrate.upgrade(self._database()))


@contextmanager
def run_machines(
    database_server: servers.MariaDBServer, prefect: servers.PrefectServer, folder: Path
) -> Iterator[Machines]:
    """Give machines with a pool and an application database of their own."""
    name = database_server.create_database()
    pool = Pool(folder, prefect, f"pool-{uuid4().hex[:8]}")
    pool.create()
    made = Machines(pool, database_server.url(name), folder)
    made.migrate()
    yield made
    database_server.drop_database(name)


@pytest.fixture
def machines(
    mariadb_server: servers.MariaDBServer, prefect_server: servers.PrefectServer, tmp_path: Path
) -> Iterator[Machines]:
    """Machines for one test."""
    with run_machines(mariadb_server, prefect_server, tmp_path) as made:
        yield made


def find_all(worker: ServerProcess) -> list[psutil.Process]:
    """Give all processes of a machine."""
    parent = psutil.Process(worker.pid)
    return [parent, *parent.children(recursive=True)]


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        if process.is_running():
            process.send_signal(number)


@dataclass
class Gone:
    """What became homeless with a machine; another one lives.

    Attributes:
        machines: The machines.
        retried: A run that may be tried again.
        only_once: A run that may not.
        waiting: A run that waited to be tried again.
    """

    machines: Machines
    retried: UUID
    only_once: UUID
    waiting: UUID

    def path(self, run: str) -> Path:
        """Where a run tells what it does, by its name here."""
        return self.machines.folder / f"{run}-told"


@pytest.fixture(scope="module")
def gone(
    mariadb_server: servers.MariaDBServer,
    prefect_server: servers.PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gone]:
    """Three runs of a machine of which all processes were killed."""
    folder = tmp_path_factory.mktemp("gone")
    with run_machines(mariadb_server, prefect_server, folder) as machines, machines.worker("one") as one:
        pool = machines.pool
        runs = {}
        for name, flow in (("retried", "write_row"), ("only_once", "wait"), ("waiting", "fail_once")):
            runs[name] = pool.run(pool.deploy(flow), path=str(folder / f"{name}-told"))
            if name == "waiting":
                pool.wait_for(runs[name], "AwaitingRetry")
            else:
                wait_for_lines(folder / f"{name}-told", "begin")
        with machines.worker("two"):
            send(find_all(one), signal.SIGKILL)
            gone = Gone(machines, **runs)
            yield gone
            Path(f"{gone.path('retried')}.go").touch()


def test_a_run_of_a_machine_that_is_gone_is_run_again_elsewhere_while_it_has_retries(gone: Gone) -> None:
    path, machines = gone.path("retried"), gone.machines
    lines = wait_until(lambda: found if len(found := read_lines(path)) == 2 else None, "it begins again")
    Path(f"{path}.go").touch()
    machines.pool.wait_for(gone.retried, "Completed")
    assert machines.pool.read(gone.retried).run_count == 2
    assert machines.read_rows() == [str(lines[1][1])]


def test_a_run_of_a_machine_that_is_gone_is_crashed_when_it_has_no_retries(gone: Gone) -> None:
    message = str(gone.machines.pool.wait_for(gone.only_once, "Crashed").message)
    assert "its worker one" in message
    assert f"{LEASE_SECONDS} s" in message


def test_a_run_that_waited_on_a_machine_that_is_gone_is_tried_again_elsewhere(gone: Gone) -> None:
    gone.machines.pool.wait_for(gone.waiting, "Completed")
    assert [what for what, _ in read_lines(gone.path("waiting"))] == ["attempt", "attempt"]


def test_a_machine_that_stood_still_finds_its_run_taken_and_writes_nothing(machines: Machines, tmp_path: Path) -> None:
    path = tmp_path / "told"
    with machines.worker("one") as one:
        run = machines.pool.run(machines.pool.deploy("write_row"), path=str(path))
        ((_, first),) = wait_for_lines(path, "begin")
        frozen = find_all(one)
        with machines.worker("two"):
            send(frozen, signal.SIGSTOP)
            lines = wait_until(lambda: found if len(found := read_lines(path)) == 2 else None, "it begins elsewhere")
            Path(f"{path}.go").touch()
            machines.pool.wait_for(run, "Completed")
            send(frozen, signal.SIGCONT)
            wait_until(lambda: not psutil.pid_exists(first), "the process that stood still ends")
            # The worker that stood still goes on, with other runs.
            again = machines.pool.run(machines.pool.deploy("write_row"), path=str(tmp_path / "other"))
            Path(f"{tmp_path / 'other'}.go").touch()
            machines.pool.wait_for(again, "Completed")
    second = lines[1][1]
    assert [what for what, pid in read_lines(path) if pid == first] == ["begin"]
    assert machines.pool.read(run).state_name == "Completed"
    assert {str(second)} == set(machines.read_rows()) - {str(pid) for _, pid in read_lines(tmp_path / "other")}


def test_a_process_whose_worker_is_gone_for_good_writes_nothing_once_its_run_was_taken_over(
    machines: Machines, tmp_path: Path
) -> None:
    path = tmp_path / "told"
    with machines.worker("one") as one:
        run = machines.pool.run(machines.pool.deploy("write_row"), path=str(path))
        ((_, first),) = wait_for_lines(path, "begin")
        with machines.worker("two"):
            one_process = psutil.Process(one.pid)
            one_process.kill()
            lines = wait_until(lambda: found if len(found := read_lines(path)) == 2 else None, "it begins elsewhere")
            assert psutil.pid_exists(first), "the first process lives on"
            Path(f"{path}.go").touch()
            machines.pool.wait_for(run, "Completed")
            wait_until(lambda: not psutil.pid_exists(first), "the first process ends")
    assert machines.read_rows() == [str(lines[1][1])]


def test_a_run_that_keeps_its_process_busy_is_not_taken_for_dead(machines: Machines, tmp_path: Path) -> None:
    path = tmp_path / "told"
    with machines.worker("one"), machines.worker("two") as other:
        run = machines.pool.run(machines.pool.deploy("block"), path=str(path))
        wait_for_lines(path, "begin")
        first = machines.read_expiry(run)
        wait_until(
            lambda: (machines.read_expiry(run) - first).total_seconds() > 3 * LEASE_SECONDS, "the lease is renewed"
        )
        assert machines.pool.read(run).state_name == "Running"
        assert machines.pool.read(run).run_count == 1
        assert "Taking over" not in other.log.read_text()
        machines.pool.cancel(run)
        machines.pool.wait_for(run, "Cancelled")
