"""The flow of the counted task, and the one that looks after lost runs as `schedule-sync` does."""

import asyncio
import os

from prefect import flow, get_client, runtime
from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select

from db.maria_database import DatabaseSessionLocal
from flows.lost_runs import close_dead_executions, settle_lost_runs
from flows.tracking import track, track_attempts
from tests.chaos.sample_tasks import JOB, POOL, add_row

# Deliberately without a unique key: two attempts beside each other would leave two rows.
metadata = MetaData()
added_row = Table(
    "added_row",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("process", String(32), nullable=False),
)
# Seconds that an attempt takes beside its row, so that most faults meet some.
BEFORE, AFTER = 1.0, 0.5


@add_row.flow(name="chaos-add-row", persist_result=True, **track(JOB))
@track_attempts(JOB)
async def add(number: int, *, execution_id: str | None = None) -> int:
    """Add a row unless an earlier attempt has done so.

    Args:
        number: What the row holds; gives it back.
        execution_id: The execution that the run reports to.
    """
    async with DatabaseSessionLocal.begin() as session:
        count = select(func.count()).select_from(added_row).where(added_row.c.number == number)
        is_missing = not await session.scalar(count)
        await asyncio.sleep(BEFORE)
        if is_missing:
            await session.execute(insert(added_row).values(number=number, process=str(os.getpid())))
    await asyncio.sleep(AFTER)
    return number


@flow(name="chaos-look-after-lost-runs")
async def look_after_lost_runs() -> None:
    """Settle runs whose worker is gone, and close the rows of runs that could not report their end."""
    async with get_client() as client:
        pool = await client.read_work_pool(POOL)
        await settle_lost_runs(client, pool.id, str(runtime.flow_run.name))
        await close_dead_executions(client, str(runtime.flow_run.id))
