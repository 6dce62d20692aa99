"""Department assignments: who may order for which department, for users that exist."""

from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import planned_assignment, staged_assignment
from db.tables import department, department_assignment, employee, user
from hr.merge.report import Counts, Findings
from hr.merge.rows import find_rejected, note, reject

ENTITY = "assignment"


async def merge_assignments(
    connection: AsyncConnection,
    counts: Counts,
    rejected: Findings,
    noted: Findings,
    *,
    now: datetime,
    admin_id: str | None,
) -> None:
    """Bring the HRIS-synced assignments in line with the staged ones, after the users were merged.

    A manual assignment that the source also has becomes the source's; one that it lacks stays as it is.

    Args:
        connection: The merge's transaction.
        counts: Is filled; `skipped` are source rows that repeat another or whose employee has no user.
        rejected: Is filled.
        noted: Is filled.
        now: The time that is written into changed rows.
        admin_id: Who asked for the replication, if a person did.
    """
    await _reject_unknown_departments(connection)
    await _note_unknown_employees(connection, noted)
    await _plan(connection)
    await _count(connection, counts)
    await _apply(connection, now, admin_id)
    counts.rejected = await find_rejected(connection, ENTITY, rejected)


def _source_key() -> ColumnElement[str]:
    staged = staged_assignment.c
    return cast(staged.employee_hris_id, String(32)) + "/" + cast(staged.department_hris_id, String(31))


async def _reject_unknown_departments(connection: AsyncConnection) -> None:
    staged = staged_assignment.c
    known = select(department.c.id).where(department.c.hris_id == staged.department_hris_id).exists()
    rows = select(
        staged.row_no,
        staged.employee_hris_id.label("source_id"),
        _source_key().label("source_key"),
        literal("unknown department").label("reason"),
    )
    await reject(connection, ENTITY, staged_assignment, rows.where(not_(known)))


async def _note_unknown_employees(connection: AsyncConnection, noted: Findings) -> None:
    """Note assignments of people who were never active: they have no user, so nothing is lost by passing over them."""
    known = select(employee.c.id).where(employee.c.id == staged_assignment.c.employee_hris_id).exists()
    keys = select(_source_key()).where(not_(known)).order_by(staged_assignment.c.row_no)
    await note(connection, noted, "unknown employee", keys)


async def _plan(connection: AsyncConnection) -> None:
    """Turn the source's ids into the application's, each pair once."""
    await connection.execute(delete(planned_assignment))
    pairs = (
        select(user.c.id, department.c.id)
        .select_from(staged_assignment)
        .join(user, user.c.employee_id == staged_assignment.c.employee_hris_id)
        .join(department, department.c.hris_id == staged_assignment.c.department_hris_id)
        .where(staged_assignment.c.is_refused.is_(False))
        .distinct()
    )
    await connection.execute(insert(planned_assignment).from_select(["user_id", "department_id"], pairs))


def _same_pair() -> ColumnElement[bool]:
    plan, row = planned_assignment.c, department_assignment.c
    return and_(plan.user_id == row.user_id, plan.department_id == row.department_id)


def _is_synced_and_active() -> ColumnElement[bool]:
    return and_(department_assignment.c.is_synced_from_hris, department_assignment.c.is_active)


async def _count(connection: AsyncConnection, counts: Counts) -> None:
    row = department_assignment.c
    planned = planned_assignment.c.user_id.is_not(None)
    everything = department_assignment.outerjoin(planned_assignment, _same_pair())
    statement = select(
        _number_of(and_(planned, not_(row.is_active))),
        _number_of(and_(planned, row.is_active, not_(row.is_synced_from_hris))),
        _number_of(and_(planned, _is_synced_and_active())),
        _number_of(and_(not_(planned), _is_synced_and_active())),
        _number_of(_is_synced_and_active()),
    ).select_from(everything)
    numbers = [int(number or 0) for number in (await connection.execute(statement)).one()]
    counts.reactivated, counts.updated, counts.unchanged, counts.deactivated, counts.active_before = numbers
    new = select(func.count()).select_from(planned_assignment.outerjoin(department_assignment, _same_pair()))
    counts.inserted = int(await connection.scalar(new.where(department_assignment.c.id.is_(None))) or 0)
    taken = select(func.count()).where(staged_assignment.c.is_refused.is_(False))
    staged = int(await connection.scalar(taken) or 0)
    counts.skipped = staged - int(await connection.scalar(select(func.count()).select_from(planned_assignment)) or 0)


def _number_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


async def _apply(connection: AsyncConnection, now: datetime, admin_id: str | None) -> None:
    row = department_assignment.c
    stamp = {"updated_at": now, "updated_by_id": admin_id}
    await connection.execute(
        update(department_assignment)
        .values(is_synced_from_hris=True, is_active=True, **stamp)
        .where(_same_pair(), or_(not_(row.is_synced_from_hris), not_(row.is_active)))
    )
    meant = select(planned_assignment.c.user_id).where(_same_pair()).correlate(department_assignment).exists()
    await connection.execute(
        update(department_assignment).values(is_active=False, **stamp).where(_is_synced_and_active(), not_(meant))
    )
    at, by = literal(now, row.created_at.type), literal(admin_id, row.created_by_id.type)
    new = (
        select(planned_assignment.c.user_id, planned_assignment.c.department_id, true(), true(), at, by, at, by)
        .outerjoin(department_assignment, _same_pair())
        .where(row.id.is_(None))
    )
    columns = ["user_id", "department_id", "is_synced_from_hris", "is_active"]
    columns += ["created_at", "created_by_id", "updated_at", "updated_by_id"]
    await connection.execute(insert(department_assignment).from_select(columns, new))
