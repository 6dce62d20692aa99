"""Flows that tell a file what they do."""

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task

POLL = 0.05
IMPORTED_BY = os.getpid()


def tell(path: str, what: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


def tell_of_cancellation(flow: Any, flow_run: Any, state: Any) -> None:
    tell(flow_run.parameters["path"], "cancellation-hook")


def tell_of_crash(flow: Any, flow_run: Any, state: Any) -> None:
    tell(flow_run.parameters["path"], "crash-hook")


@flow
async def describe(path: str) -> None:
    """Write where and how this process runs."""
    Path(path).write_text(  # noqa: ASYNC240
        json.dumps(
            {
                "directory": str(Path.cwd()),
                "greeting": os.environ.get("GREETING"),
                "timezone": time.tzname[0],
                "pid": os.getpid(),
                "parent": os.getppid(),
                "imported_by": IMPORTED_BY,
            }
        )
    )


@flow(on_cancellation=[tell_of_cancellation], on_crashed=[tell_of_crash])
async def wait(path: str) -> None:
    """Wait until there is a file beside `path` with the ending `.go`."""
    tell(path, "begin")
    while not Path(f"{path}.go").exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(POLL)
    tell(path, "end")


@task
async def take_step(path: str) -> None:
    """Write that a step was taken."""
    tell(path, "step")
    await asyncio.sleep(POLL)


@flow(persist_result=True)
async def go_step_by_step(path: str) -> None:
    """Take steps until there is a file beside `path` with the ending `.go`."""
    while not Path(f"{path}.go").exists():  # noqa: ASYNC240
        await take_step(path)


@flow(log_prints=True)
async def add(path: str, number: int) -> None:
    """Write a number."""
    print(f"adding {number}")  # noqa: T201
    tell(path, f"added-{number}")


@flow
def block(path: str) -> None:
    """Keep the process busy, without ever giving control away."""
    tell(path, "begin")
    while True:
        pass


@flow
async def take_memory(megabytes: int) -> int:
    """Take memory."""
    return len(bytearray(megabytes * 1024 * 1024))


@flow(retries=3, retry_delay_seconds=1)
async def write_row(path: str) -> None:
    """Write a row named after this process, as soon as there is a file beside `path` with the ending `.go`."""
    from sqlalchemy import insert

    from db.maria_database import DatabaseSessionLocal
    from db.tables import scheduler_instance

    tell(path, "begin")
    while not Path(f"{path}.go").exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(POLL)
    async with DatabaseSessionLocal.begin() as session:
        values = {"instance_name": Path(path).name, "status": "running", "started_at": datetime.now(UTC)}
        await session.execute(insert(scheduler_instance).values(id=str(os.getpid()), **values))
    tell(path, "end")


@flow(retries=1, retry_delay_seconds=5)
async def fail_once(path: str) -> None:
    """Fail at the first attempt."""
    is_first = not Path(path).exists()  # noqa: ASYNC240
    tell(path, "attempt")
    if is_first:
        raise OSError("the first attempt fails")
