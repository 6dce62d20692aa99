"""The HRIS's flow: employees, departments, accounts and department assignments, from the HRIS to the application."""

import time
from typing import Any

from prefect.artifacts import acreate_table_artifact
from prefect.runtime import flow_run

from db.advisory_lock import AdvisoryLock
from flows.progress import RunProgress, start_progress
from flows.steps import database_step, fail_for_good
from flows.tracking import close_lost_executions, track, track_attempts
from hr import replication
from hr.mapping import ENTITIES, EntityName
from hr.merge.report import Report
from hr.replication import Replication, plan_replication
from settings import get_settings
from tasks.hris import hris_replication_task
from utils.structured_logger import get_structured_logger

JOB = "hris_replication"
NAME = "hris-replication"

logger = get_structured_logger(__name__)


@hris_replication_task.flow(name=NAME, persist_result=True, **track(JOB))
@track_attempts(JOB)
@fail_for_good
async def replicate(
    execution_id: str | None = None,
    triggered_by_user_id: str | None = None,
    *,
    dry_run: bool = False,
    allow_shrunken_source: bool = False,
) -> dict[str, Any]:
    """Bring departments, employees, accounts, users and department assignments in line with the HRIS.

    Rows that differ are written, all in one transaction; what the HRIS no longer has becomes inactive. A source that
    looks broken (empty, or about to deactivate too large a share) changes nothing and fails.

    Args:
        execution_id: The `execution_id` of the row in the job history to keep; without it the run makes its own.
        triggered_by_user_id: Id of the application user who asked for the run; it is noted with what changes.
        dry_run: Report what would change, and change nothing.
        allow_shrunken_source: For this run, believe the source however many rows it would deactivate.

    Returns:
        `status`, `message`, `dry_run`, the counts by entity (`entities`), the rows that were `rejected` and `noted`, by
        entity and reason, and `duration_seconds`.
    """
    started = time.monotonic()
    planned = plan_replication(get_settings(), triggered_by_user_id)
    try:
        async with replication.begin(planned) as lock:
            await close_lost_executions(JOB, current_run_id=flow_run.get_id() or "")
            rows_read = await stage_entities(planned)
            if not allow_shrunken_source:
                await check_staged_rows(planned)
            report = await merge_staged_rows(planned, lock, rows_read, dry_run, allow_shrunken_source)
    except Exception as error:
        if not dry_run:
            await replication.log_failure(planned, error, started=started)
        raise
    await show_report(report, dry_run=dry_run)
    return {
        "status": "success",
        "message": tell(report, dry_run=dry_run),
        "dry_run": dry_run,
        **report.details(),
        "duration_seconds": round(time.monotonic() - started, 3),
    }


async def stage_entities(planned: Replication) -> dict[EntityName, int]:
    """Copy every entity into its staging table, each in a step of its own; gives the rows read."""
    total: dict[str, int] = {entity: await count_source_rows(planned, entity) for entity in ENTITIES}
    progress = await start_progress(f"{NAME}-progress", "Rows read from the HRIS", total)
    rows_read = {entity: await stage_source_rows(planned, entity, progress) for entity in ENTITIES}
    await progress.finish()
    return rows_read


@database_step("count", "count {entity} rows")
async def count_source_rows(planned: Replication, entity: EntityName) -> int:
    """Count the rows that the HRIS has of an entity."""
    return await planned.source.count(entity)


@database_step("stage", "stage {entity} rows")
async def stage_source_rows(planned: Replication, entity: EntityName, progress: RunProgress) -> int:
    """Copy an entity's rows into its staging table; gives their number."""
    rows = await replication.stage_entity(planned, entity, progress.advance)
    logger.info(f"Read {rows:,} {entity} rows", entity=entity, rows=rows)
    return rows


@database_step("check")
async def check_staged_rows(planned: Replication) -> None:
    """Refuse a source that looks broken."""
    await replication.check(planned)


@database_step("merge")
async def merge_staged_rows(
    planned: Replication,
    lock: AdvisoryLock,
    rows_read: dict[EntityName, int],
    dry_run: bool,
    allow_shrunken_source: bool,
) -> Report:
    """Merge what was staged into the application's tables, in one transaction."""
    report = await replication.merge(
        planned, lock, rows_read, dry_run=dry_run, allow_shrunken_source=allow_shrunken_source
    )
    logger.info(tell(report, dry_run=dry_run), **report.details()["entities"])
    return report


async def show_report(report: Report, *, dry_run: bool) -> None:
    """Show the counts, and the rows that were left aside, as tables on the run's page."""
    details = report.details()
    counts = [{"entity": entity, **numbers} for entity, numbers in details["entities"].items()]
    await acreate_table_artifact(counts, key=NAME, description=tell(report, dry_run=dry_run))
    findings = [
        {"entity": entity, "what": kind, "reason": reason, "rows": ", ".join(keys)}
        for kind in ("rejected", "noted")
        for entity, reasons in details[kind].items()
        for reason, keys in reasons.items()
    ]
    if findings:
        await acreate_table_artifact(findings, key=f"{NAME}-findings", description="Rows to look at in the HRIS, by id")


def tell(report: Report, *, dry_run: bool) -> str:
    """Say in a sentence what a replication did, or would do."""
    totals = {
        name: sum(numbers[name] for numbers in report.details()["entities"].values())
        for name in ("inserted", "updated", "deactivated", "reactivated", "unchanged", "rejected")
    }
    told = ", ".join(f"{number:,} {name}" for name, number in totals.items())
    return f"{'Dry run, nothing changed: ' if dry_run else ''}{told}"
