"""Employees: matched by the HRIS id, which is theirs in the application too; their code is unique in both."""

from sqlalchemy import Select, Subquery, Table, and_, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import planned_code, rejected_row, staged_employee
from db.tables import department, employee
from hr.merge.report import Counts, Findings
from hr.merge.rows import RowMerge, find_rejected, reject, reject_repeated_ids

ENTITY = "employee"


async def merge_employees(connection: AsyncConnection, counts: Counts, rejected: Findings) -> None:
    """Merge the staged employees, after the departments.

    Args:
        connection: The merge's transaction.
        counts: Is filled.
        rejected: Is filled.
    """
    await reject_repeated_ids(connection, ENTITY, staged_employee)
    await reject(connection, ENTITY, staged_employee, _of_unknown_department())
    await _reject_contested_codes(connection)
    merge = RowMerge(employee, "id", _wanted(), lambda row: row.c.is_active)
    comparison = await merge.compare(connection)
    await merge.deactivate_vanished(
        connection, counts, comparison, staged=staged_employee, entity=ENTITY, values={"is_active": False}
    )
    await _free_moving_codes(connection)
    await merge.apply(connection, comparison)
    counts.inserted = comparison.new
    counts.updated = comparison.updated
    counts.reactivated = comparison.reactivated
    counts.deactivated += comparison.deactivated
    counts.unchanged = comparison.wanted - comparison.new - comparison.changed
    counts.rejected = await find_rejected(connection, ENTITY, rejected)


def _wanted() -> Subquery:
    staged = staged_employee.c
    return (
        select(
            staged.hris_id.label("id"),
            staged.code,
            staged.name_en,
            staged.name_ar,
            staged.title,
            literal(True).label("is_active"),
            department.c.id.label("department_id"),
        )
        .select_from(staged_employee.outerjoin(department, department.c.hris_id == staged.department_hris_id))
        .where(staged.is_refused.is_(False))
        .subquery("wanted")
    )


def _refused(rows: Table, reason: str) -> Select[tuple[int, int, int, str]]:
    return select(
        rows.c.row_no,
        rows.c.hris_id.label("source_id"),
        rows.c.hris_id.label("source_key"),
        literal(reason).label("reason"),
    ).where(rows.c.is_refused.is_(False))


def _of_unknown_department() -> Select[tuple[int, int, int, str]]:
    staged = staged_employee.c
    return (
        _refused(staged_employee, "unknown department")
        .outerjoin(department, department.c.hris_id == staged.department_hris_id)
        .where(staged.department_hris_id.is_not(None), department.c.id.is_(None))
    )


async def _reject_contested_codes(connection: AsyncConnection) -> None:
    """Set aside employees who ask for a code that another has, keeps or also asks for.

    A code goes to the employee who has it, else to the lowest id that asks for it, unless an employee who keeps it has
    it. Who is refused keeps the old code, which another may have been meant to get: hence repeated until nobody is.
    """
    await connection.execute(delete(planned_code))
    if (await connection.execute(select(employee.c.id).limit(1))).first() is None:
        # Nobody has a code yet, so nobody can keep one: those who share one are all that can be wrong.
        await reject(connection, ENTITY, staged_employee, _of_shared_code(staged_employee))
        return
    await _plan_codes(connection)
    while True:
        shared = await _reject_planned(connection, _of_shared_code(planned_code))
        held = await _reject_planned(connection, _of_held_code())
        if not shared and not held:
            return


async def _plan_codes(connection: AsyncConnection) -> None:
    staged = staged_employee.c
    has_it = and_(employee.c.id == staged.hris_id, employee.c.code == staged.code)
    asking = (
        select(staged.hris_id, staged.row_no, staged.code)
        .outerjoin(employee, has_it)
        .where(employee.c.id.is_(None), staged.is_refused.is_(False))
    )
    await connection.execute(insert(planned_code).from_select(["hris_id", "row_no", "code"], asking))


async def _reject_planned(connection: AsyncConnection, rows: Select[tuple[int, int, int, str]]) -> int:
    number = await reject(connection, ENTITY, staged_employee, rows)
    if number:
        refused = and_(rejected_row.c.entity == ENTITY, rejected_row.c.source_id == planned_code.c.hris_id)
        same_row = rejected_row.c.row_no == planned_code.c.row_no
        await connection.execute(update(planned_code).values(is_refused=True).where(refused, same_row))
    return number


def _of_shared_code(asking: Table) -> Select[tuple[int, int, int, str]]:
    shared = (
        select(asking.c.code)
        .where(asking.c.is_refused.is_(False))
        .group_by(asking.c.code)
        .having(func.count() > 1)
        .subquery("shared")
    )
    rival = asking.alias("rival")
    place = func.row_number().over(partition_by=rival.c.code, order_by=rival.c.hris_id).label("place")
    ranked = (
        select(rival.c.hris_id, rival.c.row_no, place)
        .join(shared, shared.c.code == rival.c.code)
        .where(rival.c.is_refused.is_(False))
        .subquery("ranked")
    )
    same_row = and_(ranked.c.hris_id == asking.c.hris_id, ranked.c.row_no == asking.c.row_no)
    return _refused(asking, "duplicate code").join(ranked, same_row).where(ranked.c.place > 1)


def _of_held_code() -> Select[tuple[int, int, int, str]]:
    holder = employee.alias("holder")
    moving = planned_code.alias("moving")
    has_it = and_(holder.c.code == planned_code.c.code, holder.c.id != planned_code.c.hris_id)
    gives_it_up = and_(moving.c.hris_id == holder.c.id, moving.c.is_refused.is_(False))
    return (
        _refused(planned_code, "code belongs to another employee")
        .join(holder, has_it)
        .outerjoin(moving, gives_it_up)
        .where(moving.c.hris_id.is_(None))
    )


async def _free_moving_codes(connection: AsyncConnection) -> None:
    """Take from employees the codes that others are to be given, so that no order of updates meets a code in use.

    Each of them gets a code of its own in the same transaction. Codes are positive, so the negative ids are free.
    """
    asked_for = and_(
        planned_code.c.code == employee.c.code,
        planned_code.c.hris_id != employee.c.id,
        planned_code.c.is_refused.is_(False),
    )
    await connection.execute(update(employee).values(code=-employee.c.id).where(asked_for))
