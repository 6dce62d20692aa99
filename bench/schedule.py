"""What the sync of schedules costs: 500 rows of `scheduled_job` that have not changed, and 500 that all have."""

import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from sqlalchemy import delete, insert, select

from bench.replication import Goal, Outcome, Tell
from db import maria_database, migrate
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job, scheduler_job_type, task_function
from deployments.registry import read_registry
from deployments.sync import sync_schedules
from errors import SuiteError
from settings import get_settings
from tests.servers import prefect_server

GOALS = {
    "unchanged_s": Goal("<", 3),
    "unchanged_calls": Goal("<=", 10),
    "changed_s": Goal("<", 60),
}
ROWS, QUICK_ROWS = 500, 50
ROUNDS = 3
POOL = "bench-schedule"
DAYS = ("*", "*", "last", "1-7", "2nd fri", "*/2")


class SyncFailed(SuiteError):
    """A sync did not do what is measured."""


def measure_schedule(*, quick: bool, tell: Tell) -> Outcome:
    """Measure the sync on a private Prefect server (SQLite) and a private SQLite database.

    Args:
        quick: Fewer rows; the figures are then not those of the goals.
        tell: Called with a line about each step.

    Returns:
        Seconds of a sync, the median of three without changes; requests that such a sync makes.
    """
    rows = QUICK_ROWS if quick else ROWS
    with (
        tempfile.TemporaryDirectory(prefix="bench-schedule-") as folder,
        prefect_server() as prefect,
        temporary_settings({PREFECT_API_URL: prefect.api_url, PREFECT_HOME: prefect.home}),
    ):
        os.environ["MARIA_DATABASE_URL"] = f"sqlite:///{Path(folder) / 'app.sqlite3'}"
        get_settings.cache_clear()
        return asyncio.run(_measure(rows, tell))


async def _measure(rows: int, tell: Tell) -> Outcome:
    outcome = Outcome()
    await migrate.upgrade(maria_database.database)
    await _deploy()
    await _write_rows(rows, variant=0)
    tell(f"first sync of {rows} rows")
    outcome.raw["created_s"] = round((await _sync(changes=True))[0], 2)
    tell("syncs without a change")
    measured = sorted([await _sync(changes=False) for _ in range(ROUNDS)])
    outcome.ratios["unchanged_s"], outcome.ratios["unchanged_calls"] = measured[ROUNDS // 2]
    await _write_rows(rows, variant=1)
    tell(f"sync of {rows} changed rows")
    outcome.ratios["changed_s"] = (await _sync(changes=True))[0]
    outcome.raw["rows"] = rows
    return outcome


async def _sync(*, changes: bool) -> tuple[float, float]:
    """Sync once; gives seconds and requests."""
    calls = 0

    async def count(_request: object) -> None:
        nonlocal calls
        calls += 1

    client = get_client()
    # Before it is opened: what it asks then counts too.
    client._client.event_hooks["request"].append(count)
    start = time.perf_counter()
    async with client:
        report = await sync_schedules(work_pool=POOL, client=client)
    seconds = time.perf_counter() - start
    if bool(report.changes) != changes or not report.is_clean:
        raise SyncFailed(f"{report.changes} schedules changed, {report.refused} {report.failed}")
    return seconds, calls


async def _deploy() -> None:
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        for key, job in read_registry().items():
            flow = await client.create_flow_from_name(key)
            await client.create_deployment(
                flow_id=flow, name=key, work_pool_name=POOL, entrypoint=job.deployment.entrypoint
            )


async def _write_rows(number: int, *, variant: int) -> None:
    """Write the rows of a variant; the ids are those of the rows before, every trigger is another."""
    created = datetime(2026, 11, 1, tzinfo=UTC)
    async with DatabaseSessionLocal.begin() as session:
        functions = dict((await session.execute(select(task_function.c.key, task_function.c.id))).tuples().all())
        types = dict((await session.execute(select(scheduler_job_type.c.code, scheduler_job_type.c.id))).tuples().all())
        await session.execute(delete(scheduled_job))
        values = []
        for place in range(number):
            key = sorted(read_registry())[place % len(read_registry())]
            is_cron = place % 3 > 0
            minute, hour = (place + 7 * variant) % 60, place % 24
            values.append(
                {
                    "id": place + 1,
                    "task_function_id": functions[key],
                    "job_type_id": types["cron" if is_cron else "interval"],
                    "cron_expression": f"{minute} {hour} {DAYS[place % len(DAYS)]} * *" if is_cron else None,
                    "interval_minutes": None if is_cron else 60 + place + 1000 * variant,
                    "created_at": created,
                    "updated_at": created,
                }
            )
        await session.execute(insert(scheduled_job), values)
