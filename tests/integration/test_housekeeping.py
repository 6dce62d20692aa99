"""Housekeeping on SQLite and MariaDB: what goes, what stays, what a dry run foresees."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import RowMapping, Table, insert, select

from api.repositories.scheduler_repository import SchedulerRepository
from db.advisory_lock import hold_lock
from db.engines import Database
from db.leases import flow_run_lease
from db.mail import mail_delivery
from db.maria_database import DatabaseSessionLocal
from db.staging import planned_employee, rejected_row, staged_attendance, staged_employee
from db.tables import scheduled_job_execution, scheduled_job_lock, scheduler_instance
from errors import AlreadyRunning
from hr import housekeeping, replication
from hr.housekeeping import Cleanup, CleanupReport, clean

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB = "history_cleanup"
repository = SchedulerRepository()


@pytest.fixture
def cleanup(app_database: Database) -> Cleanup:
    return Cleanup(app_database, NOW, timedelta(days=30))


async def write_execution(execution_id: str, status: str, age: timedelta, run_id: str | None = "run") -> None:
    async with DatabaseSessionLocal() as session:
        await repository.create_execution(session, JOB, execution_id)
        status_id = (await repository.get_execution_status_by_code(session, status)).id
        values = {"status_id": status_id, "created_at": NOW - age, "run_id": run_id}
        await repository.update_execution(session, execution_id, values)


async def read(database: Database, table: Table) -> list[RowMapping]:
    async with database.engine().connect() as connection:
        return list(
            (await connection.execute(select(table).order_by(table.c[table.primary_key.columns.keys()[0]]))).mappings()
        )


async def write(database: Database, table: Table, *rows: dict[str, Any]) -> None:
    async with database.engine().begin() as connection:
        await connection.execute(insert(table), rows)


async def write_lock(database: Database, *expiries: timedelta, released_at: datetime | None = None) -> None:
    async with DatabaseSessionLocal.begin() as session:
        job_id = await repository.ensure_job(session, JOB)
    rows = [
        {
            "job_id": job_id,
            "acquired_at": NOW - timedelta(days=1),
            "expires_at": NOW + expiry,
            "released_at": released_at,
        }
        for expiry in expiries
    ]
    await write(database, scheduled_job_lock, *rows)


async def test_old_executions_go_and_young_and_running_ones_stay(cleanup: Cleanup) -> None:
    old, young = timedelta(days=30, seconds=1), timedelta(days=29)
    for status in ("success", "failed", "cancelled"):
        await write_execution(f"old {status}", status, old)
        await write_execution(f"young {status}", status, young)
    await write_execution("old running", "running", old)
    await write_execution("old pending, never got a run", "pending", old, run_id=None)
    await write_execution("young pending", "pending", young, run_id=None)
    assert (await clean(replace(cleanup, dry_run=True))).deleted_executions == 4
    assert len(await read(cleanup.database, scheduled_job_execution)) == 9

    assert (await clean(cleanup)).deleted_executions == 4
    left = {row["execution_id"] for row in await read(cleanup.database, scheduled_job_execution)}
    assert left == {"old running", "young success", "young failed", "young cancelled", "young pending"}
    assert await clean(cleanup) == CleanupReport()


async def test_executions_are_deleted_in_batches(cleanup: Cleanup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "BATCH_ROWS", 3)
    for number in range(7):
        await write_execution(f"old {number}", "success", timedelta(days=31))
    assert await housekeeping.delete_old_executions(cleanup) == 7
    assert await read(cleanup.database, scheduled_job_execution) == []


async def test_expired_locks_are_released_once(cleanup: Cleanup) -> None:
    await write_lock(cleanup.database, timedelta(seconds=-1), timedelta(minutes=5))
    await write_lock(cleanup.database, timedelta(hours=-2), released_at=NOW - timedelta(hours=3))
    assert (await clean(replace(cleanup, dry_run=True))).deleted_locks == 1
    assert (await clean(cleanup)).deleted_locks == 1
    rows = await read(cleanup.database, scheduled_job_lock)
    assert [row["released_at"] for row in rows] == [NOW, None, NOW - timedelta(hours=3)]
    assert (await clean(cleanup)).deleted_locks == 0


async def test_instances_that_have_been_silent_for_five_minutes_are_marked_as_stopped(cleanup: Cleanup) -> None:
    silent, alive = NOW - timedelta(minutes=5, seconds=1), NOW - timedelta(minutes=4)
    rows = [
        ("a", "running", silent, silent),
        ("b", "running", alive, silent),
        ("c", "stopped", silent, silent),
        ("d", "running", None, silent),
        ("e", "starting", None, alive),
    ]
    await write(
        cleanup.database,
        scheduler_instance,
        *(
            {"id": key, "instance_name": key, "status": status, "last_heartbeat": heard, "started_at": started}
            for key, status, heard, started in rows
        ),
    )
    assert (await clean(replace(cleanup, dry_run=True))).deleted_instances == 2
    assert (await clean(cleanup)).deleted_instances == 2
    left = {row["id"]: (row["status"], row["stopped_at"]) for row in await read(cleanup.database, scheduler_instance)}
    assert left == {
        "a": ("stopped", NOW),
        "b": ("running", None),
        "c": ("stopped", None),
        "d": ("stopped", NOW),
        "e": ("starting", None),
    }


async def test_staging_rows_go_unless_a_replication_works_with_them(cleanup: Cleanup) -> None:
    person = {"hris_id": 1, "row_no": 1, "code": 1}
    await write(cleanup.database, staged_employee, person, person | {"hris_id": 2})
    await write(cleanup.database, planned_employee, person)
    await write(
        cleanup.database, rejected_row, {"entity": "employee", "row_no": 1, "source_key": "1", "reason": "no code"}
    )
    assert (await clean(replace(cleanup, dry_run=True))).deleted_staging_rows == 3
    async with hold_lock(cleanup.database, replication.LOCK):
        assert (await clean(cleanup)).deleted_staging_rows == 0
    assert len(await read(cleanup.database, staged_employee)) == 2

    assert (await clean(cleanup)).deleted_staging_rows == 3
    assert await read(cleanup.database, staged_employee) == await read(cleanup.database, planned_employee) == []
    assert len(await read(cleanup.database, rejected_row)) == 1


async def test_what_a_killed_attendance_sync_staged_goes_after_a_day(cleanup: Cleanup) -> None:
    row = {"batch": "killed", "meal_request_line_id": 1, "employee_code": "101", "attendance_date": NOW.date()}
    young = {"batch": "under way", "staged_at": NOW - timedelta(hours=23)}
    await write(cleanup.database, staged_attendance, row | {"staged_at": NOW - timedelta(hours=25)}, row | young)
    assert (await clean(replace(cleanup, dry_run=True))).deleted_staging_rows == 1
    assert (await clean(cleanup)).deleted_staging_rows == 1
    assert [left["batch"] for left in await read(cleanup.database, staged_attendance)] == ["under way"]


async def test_mails_that_were_sent_or_refused_long_ago_are_forgotten_and_undecided_ones_kept(cleanup: Cleanup) -> None:
    old, young = NOW - timedelta(days=31), NOW - timedelta(days=29)
    mail = {"message_id": "<m>", "kind": "notification", "recipient": "a@example.org", "arguments": "{}"}
    states = ("pending", "sending", "sent", "refused", "unknown")
    rows = [
        mail | {"key": f"{age} {state}", "state": state, "created_at": at, "updated_at": at}
        for age, at in (("old", old), ("young", young))
        for state in states
    ]
    await write(cleanup.database, mail_delivery, *rows)
    assert (await clean(replace(cleanup, dry_run=True))).deleted_deliveries == 2
    assert (await clean(cleanup)).deleted_deliveries == 2
    left = {row["key"] for row in await read(cleanup.database, mail_delivery)}
    assert left == {f"young {state}" for state in states} | {"old pending", "old sending", "old unknown"}


async def test_leases_that_nobody_has_had_for_a_week_are_deleted_and_held_ones_kept(cleanup: Cleanup) -> None:
    old, young = NOW - timedelta(days=8), NOW - timedelta(days=6)
    lease: dict[str, Any] = {"work_pool_id": "p", "token": "t", "holder": "w", "host_name": "h"}
    rows = [
        lease | {"flow_run_id": name, "expires_at": expires_at, "updated_at": at}
        for name, expires_at, at in (("old", None, old), ("young", None, young), ("held", NOW, old))
    ]
    await write(cleanup.database, flow_run_lease, *rows)
    assert (await clean(replace(cleanup, dry_run=True))).deleted_leases == 1
    assert (await clean(cleanup)).deleted_leases == 1
    assert {row["flow_run_id"] for row in await read(cleanup.database, flow_run_lease)} == {"young", "held"}


async def test_two_cleanups_at_once_are_refused(cleanup: Cleanup) -> None:
    async with housekeeping.begin(cleanup):
        with pytest.raises(AlreadyRunning, match="another history cleanup is running"):
            async with housekeeping.begin(cleanup):
                pass
