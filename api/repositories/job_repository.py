"""Reads the jobs that administrators schedule: the rows of `scheduled_job`."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import scheduled_job, scheduler_job_type, task_function

# A schedule on Prefect's server belongs to a row when its slug says so: the main one, and a second for extra times.
_SLUG = re.compile(r"job-(?P<id>\d+)(?:-\d+)?", re.ASCII)


def job_id_of(slug: str | None) -> int | None:
    """Give the row that a schedule belongs to, None for one that is not of a row.

    Args:
        slug: The schedule's slug, for example `job-17`.
    """
    match = _SLUG.fullmatch(slug or "")
    return int(match["id"]) if match else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A row of `scheduled_job`, with its task's key and its type's code; see `docs/tables.md`."""

    id: int
    key: str
    job_type: str
    name_en: str | None
    interval_days: int | None
    interval_hours: int | None
    interval_minutes: int | None
    interval_seconds: int | None
    cron_expression: str | None
    priority: int
    max_instances: int
    misfire_grace_time: int
    coalesce: bool
    is_enabled: bool
    created_at: datetime


class JobRepository:
    """Queries of `scheduled_job`; it has no state."""

    async def read_jobs(self, session: AsyncSession, ids: Collection[int] | None = None) -> list[ScheduledJob]:
        """Give the jobs that are not deleted.

        Args:
            session: Of the application database.
            ids: Only these; by default all.

        Returns:
            The jobs by id. Jobs that stand for history only are among the deleted ones.
        """
        query = _select_jobs().where(scheduled_job.c.is_active)
        if ids is not None:
            query = query.where(scheduled_job.c.id.in_(ids))
        rows = await session.execute(query.order_by(scheduled_job.c.id))
        return [ScheduledJob(**row) for row in rows.mappings()]


def _select_jobs() -> Select[tuple[object, ...]]:
    job = scheduled_job
    names = [name for name in ScheduledJob.__slots__ if name not in ("key", "job_type")]
    return (
        select(task_function.c.key, scheduler_job_type.c.code.label("job_type"), *(job.c[name] for name in names))
        .join(task_function, task_function.c.id == job.c.task_function_id)
        .join(scheduler_job_type, scheduler_job_type.c.id == job.c.job_type_id)
    )
