"""A run whose whole machine is gone: nobody is left who could see its process, only its heartbeats are missed."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import create_engine, select

from db.maria_database import database
from db.migrate import upgrade
from db.tables import scheduled_job_execution, scheduler_execution_status
from deployments.deploy import WORK_POOL, deploy_all
from tests.servers import PrefectServer
from tests.servers.prefect_worker import prefect_worker

# The row of a run, by whatever way it dies, is right within this time.
TWO_MINUTES = 120.0
LIMIT = 180.0


@pytest.fixture
def silent_mail_server() -> Iterator[int]:
    """The port of a mail server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def wait_until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what}"
        time.sleep(0.5)
    return value


def read_status(url: str, run: FlowRun) -> str | None:
    table, status = scheduled_job_execution, scheduler_execution_status
    engine = create_engine(url)
    with engine.connect() as connection:
        found: str | None = connection.scalar(
            select(status.c.code).select_from(table).join(status).where(table.c.run_id == str(run.id))
        )
    engine.dispose()
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_run_of_a_machine_that_is_gone_is_crashed_and_its_row_failed_within_two_minutes(
    prefect_server: PrefectServer,
    prefect_api: str,
    tmp_path: Path,
    settings_environment: Callable[..., None],
    silent_mail_server: int,
) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite3'}"
    settings_environment(MARIA_DATABASE_URL=url)
    asyncio.run(upgrade(database))
    deploy_all()
    environment = prefect_server.environment() | {
        "MARIA_DATABASE_URL": url,
        "MAIL_URL": f"smtp://127.0.0.1:{silent_mail_server}",
        "MAIL_TIMEOUT": "600",
    }
    with get_client(sync_client=True) as client:
        # Another machine: its worker does not find this one's records.
        with prefect_worker(WORK_POOL, environment | {"PREFECT_HOME": str(tmp_path / "home")}, tmp_path / "gone.log"):
            deployment = client.read_deployment_by_name("send-notification/send-notification")
            mail = {"request_id": 1, "request_lines": 1, "to_recipient": "kitchen@example.org"}
            run = client.create_flow_run_from_deployment(deployment.id, parameters=mail)
            wait_until(lambda: read_status(url, run) == "running", "the row is running")
        gone = time.monotonic()
        wait_until(lambda: client.read_flow_run(run.id).state_name == "Crashed", "the run is crashed", TWO_MINUTES)
        state = client.read_flow_run(run.id).state
        assert state is not None
        assert "no heartbeat for 90 s" in str(state.message)
        with prefect_worker(WORK_POOL, environment, tmp_path / "left.log"):
            wait_until(lambda: read_status(url, run) == "failed", "the row is failed")
    print(f"{time.monotonic() - gone:.0f} s")  # noqa: T201
