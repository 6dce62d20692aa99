"""The scheduler's repository on MariaDB and SQLite."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import RowMapping, func, insert, select, update

from api.repositories.run_report import RunReport
from api.repositories.scheduler_repository import SchedulerRepository
from db.maria_database import DatabaseSessionLocal
from db.tables import (
    scheduled_job,
    scheduled_job_execution,
    scheduler_execution_status,
    scheduler_job_type,
    task_function,
)
from errors import NotFound, SchemaMismatch

JOB = "tests_repository"
START = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)
repository = SchedulerRepository()


pytestmark = pytest.mark.usefixtures("app_database")


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def report(execution_id: str, status: str, at: datetime, *, run_id: str = "run-1", **details: Any) -> bool:
    async with DatabaseSessionLocal() as session:
        return await repository.record(
            session, JOB, RunReport(execution_id=execution_id, run_id=run_id, status=status, at=at, **details)
        )


async def read(execution_id: str) -> RowMapping:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        query = select(table, status.c.code.label("status")).join(status).where(table.c.execution_id == execution_id)
        return (await session.execute(query)).mappings().one()


async def create(execution_id: str) -> None:
    async with DatabaseSessionLocal() as session:
        await repository.create_execution(session, JOB, execution_id, scheduled_at=START)


async def test_the_references_calls_work_with_and_without_a_commit_by_the_caller() -> None:
    for commits in (False, True):
        execution_id = str(uuid4())
        await create(execution_id)
        async with DatabaseSessionLocal() as session:
            status = await repository.get_execution_status_by_code(session, "success")
            await repository.update_execution(
                session,
                execution_id,
                {
                    "completed_at": later(60),
                    "duration_ms": 1234,
                    "status_id": status.id,
                    "result_summary": "Completed successfully",
                    "error_message": None,
                },
            )
            if commits:
                await session.commit()
        row = await read(execution_id)
        assert (row["status"], row["duration_ms"], row["completed_at"]) == ("success", 1234, later(60))
        assert (row["result_summary"], row["error_message"]) == ("Completed successfully", None)


async def test_a_transaction_that_the_caller_began_is_the_callers_to_end() -> None:
    await create("e-1")
    async with DatabaseSessionLocal() as session, session.begin() as transaction:
        await repository.update_execution(session, "e-1", {"host_name": "host"})
        await transaction.rollback()
    assert (await read("e-1"))["host_name"] is None


@pytest.mark.parametrize("code", ["pending", "running", "success", "failed", "cancelled"])
async def test_every_documented_status_has_an_id(code: str) -> None:
    async with DatabaseSessionLocal() as session:
        assert (await repository.get_execution_status_by_code(session, code)).code == code


async def test_an_unknown_status_names_itself_and_the_known_ones() -> None:
    async with DatabaseSessionLocal() as session:
        with pytest.raises(NotFound, match=r"'done' does not exist; .* cancelled, failed, pending, running, success"):
            await repository.get_execution_status_by_code(session, "done")


async def test_an_unknown_execution_or_column_is_an_error_that_names_it() -> None:
    await create("e-1")
    async with DatabaseSessionLocal() as session:
        with pytest.raises(NotFound, match="'e-2' does not exist"):
            await repository.update_execution(session, "e-2", {"duration_ms": 1})
        with pytest.raises(SchemaMismatch, match="no column 'status'; it has id, job_id"):
            await repository.update_execution(session, "e-1", {"status": "success"})


async def test_long_texts_are_cut_to_their_columns() -> None:
    await create("e-1")
    values = {"result_summary": "ب" * 600, "error_message": "ب" * 40_000, "error_traceback": "x" * 70_000 + "the cause"}
    async with DatabaseSessionLocal() as session:
        await repository.update_execution(session, "e-1", values)
    row = await read("e-1")
    assert row["result_summary"] == "ب" * 512
    assert row["error_message"] == "ب" * 32_767
    assert len(row["error_traceback"]) == 65_535
    assert row["error_traceback"].endswith("the cause")


async def test_an_execution_id_that_does_not_fit_is_refused_not_cut() -> None:
    with pytest.raises(SchemaMismatch, match="37 characters"):
        await create("x" * 37)
    with pytest.raises(SchemaMismatch, match="37 characters"):
        await report("x" * 37, "running", START)


async def test_the_same_execution_id_cannot_be_created_twice() -> None:
    await create("e-1")
    with pytest.raises(SchemaMismatch, match="'e-1' exists already"):
        await create("e-1")


async def test_a_run_without_a_row_gets_one_with_all_it_knows() -> None:
    assert await report("e-1", "running", START, scheduled_at=later(-5), host_name="host", executor_id="1@host")
    row = await read("e-1")
    assert (row["status"], row["run_id"], row["scheduled_at"], row["started_at"]) == (
        "running",
        "run-1",
        later(-5),
        START,
    )
    assert (row["host_name"], row["executor_id"], row["completed_at"]) == ("host", "1@host", None)


async def test_a_pending_execution_goes_through_running_to_success() -> None:
    await create("e-1")
    assert (await read("e-1"))["status"] == "pending"
    assert await report("e-1", "running", START, host_name="host")
    assert await report("e-1", "success", later(1.5), result_summary="3 rows")
    row = await read("e-1")
    assert (row["status"], row["started_at"], row["completed_at"]) == ("success", START, later(1.5))
    assert (row["duration_ms"], row["result_summary"], row["host_name"]) == (1500, "3 rows", "host")


async def test_a_failed_attempt_leaves_its_error_until_the_run_ends_well() -> None:
    await report("e-1", "running", START)
    await report("e-1", "running", later(1), error_message="no HRIS", error_traceback="Traceback")
    await report("e-1", "running", later(60))
    row = await read("e-1")
    assert (row["status"], row["started_at"], row["error_message"]) == ("running", START, "no HRIS")
    await report("e-1", "success", later(61))
    row = await read("e-1")
    assert (row["status"], row["error_message"], row["error_traceback"], row["duration_ms"]) == (
        "success",
        None,
        None,
        61_000,
    )


async def test_a_report_that_comes_twice_or_late_changes_nothing() -> None:
    await report("e-1", "running", START)
    await report("e-1", "failed", later(2), error_message="why")
    before = await read("e-1")
    assert not await report("e-1", "failed", later(2), error_message="again")
    assert not await report("e-1", "running", START)
    assert not await report("e-1", "success", later(1))
    assert await read("e-1") == before


async def test_an_ended_execution_is_reopened_by_a_later_run() -> None:
    await report("e-1", "running", START, host_name="one")
    await report("e-1", "failed", later(2), error_message="why")
    assert await report("e-1", "running", later(10), run_id="run-2", host_name="two")
    row = await read("e-1")
    assert (row["status"], row["run_id"], row["started_at"], row["host_name"]) == ("running", "run-2", later(10), "two")
    assert (row["completed_at"], row["duration_ms"], row["error_message"]) == (None, None, None)


async def test_an_execution_that_is_open_under_one_run_takes_nothing_from_another() -> None:
    await report("e-1", "running", START)
    assert not await report("e-1", "failed", later(1), run_id="run-2", error_message="already running")
    row = await read("e-1")
    assert (row["status"], row["run_id"]) == ("running", "run-1")


async def test_the_jobs_last_run_follows_its_newest_start() -> None:
    await report("e-1", "running", later(10))
    await report("e-2", "running", START, run_id="run-2")
    async with DatabaseSessionLocal() as session:
        job_id = await repository.ensure_job(session, JOB)
        job = (await session.execute(select(scheduled_job).where(scheduled_job.c.id == job_id))).mappings().one()
    assert job["last_run_at"] == later(10)


async def test_a_job_that_is_made_for_the_history_never_runs() -> None:
    async with DatabaseSessionLocal.begin() as session:
        job_id = await repository.ensure_job(session, JOB)
    async with DatabaseSessionLocal() as session:
        job = (await session.execute(select(scheduled_job).where(scheduled_job.c.id == job_id))).mappings().one()
        assert (job["is_active"], job["is_enabled"], job["name_en"], job["cron_expression"]) == (
            False,
            False,
            JOB,
            None,
        )
        assert [job[f"interval_{unit}"] for unit in ("seconds", "minutes", "hours", "days")] == [None] * 4


async def test_executions_go_to_the_active_job_of_the_key() -> None:
    async with DatabaseSessionLocal.begin() as session:
        history = await repository.ensure_job(session, JOB)
        now = datetime.now(UTC)
        function_id = await session.scalar(select(task_function.c.id).where(task_function.c.key == JOB))
        type_id = await session.scalar(select(func.min(scheduler_job_type.c.id)))
        values = {"task_function_id": function_id, "job_type_id": type_id, "created_at": now, "updated_at": now}
        await session.execute(insert(scheduled_job).values(values))
        active = await repository.ensure_job(session, JOB)
        assert active != history
        await session.execute(update(scheduled_job).where(scheduled_job.c.id == active).values(is_active=False))
        assert await repository.ensure_job(session, JOB) == history


async def test_runs_that_start_at_once_make_one_job_and_a_row_each() -> None:
    ids = [str(uuid4()) for _ in range(8)]
    written = await asyncio.gather(*(report(each, "running", START, run_id=each) for each in ids))
    assert written == [True] * 8
    async with DatabaseSessionLocal() as session:
        jobs = await session.scalar(select(func.count()).where(scheduled_job.c.name_en == JOB))
        found = await repository.find_open_executions(session, JOB)
    assert jobs == 1
    assert {execution.execution_id for execution in found} == set(ids)


async def test_reports_of_one_execution_from_two_processes_at_once_make_one_row() -> None:
    written = await asyncio.gather(*(report("e-1", "running", START) for _ in range(6)))
    assert any(written)
    assert (await read("e-1"))["status"] == "running"


async def test_only_open_executions_of_the_job_are_found() -> None:
    await create("pending")
    await report("running", "running", START)
    await report("done", "success", START)
    async with DatabaseSessionLocal() as session:
        await repository.create_execution(session, "tests_other_job", "other")
        found = await repository.find_open_executions(session, JOB)
    assert [(each.execution_id, each.run_id, each.status) for each in found] == [
        ("pending", None, "pending"),
        ("running", "run-1", "running"),
    ]
