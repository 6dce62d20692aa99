"""Employees: matched by the HRIS id, which is theirs in the application too; their code is unique in both."""

from sqlalchemy import Select, Subquery, and_, func, literal, not_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import staged_employee
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
    if await _any_new_code(connection):
        await _reject_contested_codes(connection)
    merge = RowMerge(employee, "id", _wanted(), lambda row: row.c.is_active)
    comparison = await merge.compare(connection)
    await merge.deactivate_vanished(
        connection, counts, comparison, staged=staged_employee, entity=ENTITY, values={"is_active": False}
    )
    if comparison.changed or comparison.new:
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
        .subquery("wanted")
    )


def _refused(reason: str) -> Select[tuple[int, int, int, str]]:
    staged = staged_employee.c
    return select(
        staged.row_no,
        staged.hris_id.label("source_id"),
        staged.hris_id.label("source_key"),
        literal(reason).label("reason"),
    )


def _of_unknown_department() -> Select[tuple[int, int, int, str]]:
    staged = staged_employee.c
    known = select(department.c.id).where(department.c.hris_id == staged.department_hris_id).exists()
    return _refused("unknown department").where(staged.department_hris_id.is_not(None), not_(known))


async def _any_new_code(connection: AsyncConnection) -> bool:
    """Tell whether any staged code is not yet its employee's own: only such a code can collide with another."""
    own = and_(employee.c.id == staged_employee.c.hris_id, employee.c.code == staged_employee.c.code)
    new = select(staged_employee.c.hris_id).outerjoin(employee, own).where(employee.c.id.is_(None)).limit(1)
    return (await connection.execute(new)).first() is not None


async def _reject_contested_codes(connection: AsyncConnection) -> None:
    """Set aside employees whose code belongs to another.

    A code goes to the employee who has it, else to the lowest id that asks for it, unless an employee who keeps it has
    it. Who is refused keeps the old code, which another may have been meant to get: hence repeated until nobody is.
    """
    while True:
        held = await reject(connection, ENTITY, staged_employee, _of_held_code())
        shared = await reject(connection, ENTITY, staged_employee, _of_shared_code())
        if not held and not shared:
            return


def _of_held_code() -> Select[tuple[int, int, int, str]]:
    holder = employee.alias("holder")
    moving = staged_employee.alias("moving")
    keeps_it = not_(select(moving.c.hris_id).where(moving.c.hris_id == holder.c.id).exists())
    has_it = and_(holder.c.code == staged_employee.c.code, holder.c.id != staged_employee.c.hris_id)
    return _refused("code belongs to another employee").join(holder, has_it).where(keeps_it)


def _of_shared_code() -> Select[tuple[int, int, int, str]]:
    staged = staged_employee.c
    shared = select(staged.code).group_by(staged.code).having(func.count() > 1).subquery("shared")
    rival = staged_employee.alias("rival")
    owner = employee.alias("owner")
    place = (
        func.row_number()
        .over(partition_by=rival.c.code, order_by=[owner.c.id.is_(None), rival.c.hris_id])
        .label("place")
    )
    ranked = (
        select(rival.c.hris_id, place)
        .join(shared, shared.c.code == rival.c.code)
        .outerjoin(owner, and_(owner.c.id == rival.c.hris_id, owner.c.code == rival.c.code))
        .subquery("ranked")
    )
    return (
        _refused("code is also another employee's")
        .join(ranked, ranked.c.hris_id == staged.hris_id)
        .where(ranked.c.place > 1)
    )


async def _free_moving_codes(connection: AsyncConnection) -> None:
    """Take from employees the codes that others are to be given, so that no order of updates meets a code in use.

    Each of them gets a code of its own in the same transaction. Codes are positive, so the negative ids are free.
    """
    holder = employee.alias("holder")
    changes_place = (
        select(holder.c.id)
        .join(staged_employee, and_(staged_employee.c.code == holder.c.code, staged_employee.c.hris_id != holder.c.id))
        .subquery("changes_place")
    )
    await connection.execute(update(employee).values(code=-employee.c.id).where(employee.c.id == changes_place.c.id))
