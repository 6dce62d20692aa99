"""Employees: matched by the HRIS id, which is theirs in the application too; their code is unique in both."""

from sqlalchemy import Select, Subquery, Table, and_, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.bulk_load import insert_with_known_parents
from db.staging import planned_employee, staged_employee
from db.tables import department, employee
from hr.merge.candidates import has_employees, settle_candidates
from hr.merge.report import Counts, Findings
from hr.merge.rows import Comparison, RowMerge, department_ids, find_rejected, reject, reject_repeated_ids

ENTITY = "employee"


async def merge_employees(connection: AsyncConnection, counts: Counts, rejected: Findings) -> None:
    """Merge the staged employees, after the departments.

    Only candidates are looked at closely (`hr.merge.candidates`).

    Args:
        connection: The merge's transaction.
        counts: Is filled.
        rejected: Is filled.
    """
    await reject_repeated_ids(connection, ENTITY, staged_employee)
    candidates = await _choose_candidates(connection)
    as_wanted = 0
    if candidates is not staged_employee:
        as_wanted = await _count(connection, staged_employee) - await _count(connection, candidates)
    await reject(connection, ENTITY, candidates, _of_unknown_department(candidates))
    await _reject_contested_codes(connection, candidates)
    wanted = _wanted(candidates)
    merge = RowMerge(employee, "id", wanted, lambda row: row.c.is_active)
    if candidates is staged_employee:
        comparison = Comparison.of_new(await _count(connection, candidates))
    else:
        comparison = await merge.compare(connection)
    await merge.deactivate_vanished(
        connection,
        counts,
        as_wanted + comparison.matched_active + await _count_kept(connection, candidates),
        staged=staged_employee,
        entity=ENTITY,
        values={"is_active": False},
    )
    if candidates is staged_employee:
        await _insert_all(connection, wanted)
    else:
        await _free_moving_codes(connection, candidates)
        await merge.apply(connection, comparison)
    counts.inserted = comparison.new
    counts.updated = comparison.updated
    counts.reactivated = comparison.reactivated
    counts.deactivated += comparison.deactivated
    counts.unchanged = as_wanted + comparison.wanted - comparison.new - comparison.changed
    counts.rejected = await find_rejected(connection, ENTITY, rejected)


async def _choose_candidates(connection: AsyncConnection) -> Table:
    """Give the table of the candidates; while the application has nobody, all the staged are."""
    if not await has_employees(connection):
        return staged_employee
    await settle_candidates(connection)
    return planned_employee


async def _count(connection: AsyncConnection, rows: Table) -> int:
    return int(await connection.scalar(select(func.count()).where(rows.c.is_refused.is_(False))) or 0)


async def _count_kept(connection: AsyncConnection, candidates: Table) -> int:
    """Count the active employees whose candidate was refused."""
    refused = candidates.join(employee, employee.c.id == candidates.c.hris_id)
    number = select(func.count()).select_from(refused).where(candidates.c.is_refused, employee.c.is_active)
    return int(await connection.scalar(number) or 0)


def _wanted(candidates: Table) -> Subquery:
    rows, known = candidates.c, department_ids()
    return (
        select(
            rows.hris_id.label("id"),
            rows.code,
            rows.name_en,
            rows.name_ar,
            rows.title,
            literal(True).label("is_active"),
            known.c.id.label("department_id"),
        )
        .select_from(candidates.outerjoin(known, known.c.hris_id == rows.department_hris_id))
        .where(rows.is_refused.is_(False))
        .subquery("wanted")
    )


def _refused(rows: Table, reason: str) -> Select[tuple[int, int, int, str]]:
    return select(
        rows.c.row_no,
        rows.c.hris_id.label("source_id"),
        rows.c.hris_id.label("source_key"),
        literal(reason).label("reason"),
    ).where(rows.c.is_refused.is_(False))


def _of_unknown_department(candidates: Table) -> Select[tuple[int, int, int, str]]:
    hris_id, known = candidates.c.department_hris_id, department_ids()
    return (
        _refused(candidates, "unknown department")
        .outerjoin(known, known.c.hris_id == hris_id)
        .where(hris_id.is_not(None), known.c.id.is_(None))
    )


async def _reject_contested_codes(connection: AsyncConnection, candidates: Table) -> None:
    """Set aside candidates who ask for a code that another has, keeps or also asks for.

    A code goes to the employee who has it, else to the lowest id that asks for it, unless an employee who keeps it has
    it. Who is refused keeps the old code, which another may have been meant to get: hence repeated until nobody is.
    """
    while True:
        shared = await reject(connection, ENTITY, candidates, _of_shared_code(candidates))
        if candidates is staged_employee:
            return
        held = await reject(connection, ENTITY, candidates, _of_held_code(candidates))
        if not shared and not held:
            return


def _of_shared_code(candidates: Table) -> Select[tuple[int, int, int, str]]:
    shared = (
        # Codes are sorted to be grouped: MariaDB's table of all codes would soon outgrow its memory.
        select(candidates.c.code)
        .prefix_with("SQL_BIG_RESULT", dialect="mysql")
        .where(candidates.c.is_refused.is_(False))
        .group_by(candidates.c.code)
        .having(func.count() > 1)
        .subquery("shared")
    )
    rival = candidates.alias("rival")
    owner = employee.alias("owner")
    order = [owner.c.id.is_(None), rival.c.hris_id]
    ranked = (
        select(
            rival.c.hris_id,
            rival.c.row_no,
            func.row_number().over(partition_by=rival.c.code, order_by=order).label("place"),
        )
        .join(shared, shared.c.code == rival.c.code)
        .outerjoin(owner, and_(owner.c.id == rival.c.hris_id, owner.c.code == rival.c.code))
        .where(rival.c.is_refused.is_(False))
        .subquery("ranked")
    )
    same_row = and_(ranked.c.hris_id == candidates.c.hris_id, ranked.c.row_no == candidates.c.row_no)
    return _refused(candidates, "duplicate code").join(ranked, same_row).where(ranked.c.place > 1)


def _of_held_code(candidates: Table) -> Select[tuple[int, int, int, str]]:
    holder = employee.alias("holder")
    moving = candidates.alias("moving")
    has_it = and_(holder.c.code == candidates.c.code, holder.c.id != candidates.c.hris_id)
    gives_it_up = and_(moving.c.hris_id == holder.c.id, moving.c.code != holder.c.code, moving.c.is_refused.is_(False))
    return (
        _refused(candidates, "code belongs to another employee")
        .join(holder, has_it)
        .outerjoin(moving, gives_it_up)
        .where(moving.c.hris_id.is_(None))
    )


async def _free_moving_codes(connection: AsyncConnection, candidates: Table) -> None:
    """Take from employees the codes that others are to be given, so that no order of updates meets a code in use.

    Each of them gets a code of its own in the same transaction. Codes are positive, so the negative ids are free.
    """
    asked_for = and_(
        candidates.c.code == employee.c.code,
        candidates.c.hris_id != employee.c.id,
        candidates.c.is_refused.is_(False),
    )
    await connection.execute(update(employee).values(code=-employee.c.id).where(asked_for))


async def _insert_all(connection: AsyncConnection, wanted: Subquery) -> None:
    """Insert the employees into a table that has none, which most of an initial replication's time goes into."""
    # The departments are looked up by the statement itself; nobody can take one away before the end.
    await connection.execute(select(department.c.id).with_for_update(read=True))
    names = [column.name for column in wanted.c]
    await insert_with_known_parents(connection, insert(employee).from_select(names, select(*wanted.c)))
