"""Candidates: the staged employees whom the application does not have just so already.

The merge looks closely at these only. To find them is most of the work where little has changed, so it is begun while
the source is still read: the rows that are staged already are compared meanwhile, those that come in at the end. Who is
changed by hand after that is put right by the next replication, as if it had happened after the merge.
"""

from sqlalchemy import ColumnElement, and_, delete, exists, insert, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engines import Database
from db.staging import planned_employee, staged_employee
from db.tables import employee
from hr.merge.rows import department_ids, lock_written_rows_only

COLUMNS = ("hris_id", "row_no", "code", "name_en", "name_ar", "title", "department_hris_id")
# A row that no source can give, among the candidates: all staged rows were compared.
_COMPLETE = {"hris_id": -(2**31), "row_no": 0, "code": 0, "is_refused": True}


async def compare_staged(database: Database, *, last_number: int) -> bool:
    """Compare the rows that are staged already with the application's employees, for `complete_comparison`.

    Args:
        database: The application database.
        last_number: The largest number of these rows.

    Returns:
        Whether it makes sense: with nobody to compare, all staged rows are candidates.
    """
    async with database.engine().connect() as connection:
        await lock_written_rows_only(connection)
        await connection.execute(delete(planned_employee))
        worth_it = last_number > 0 and await has_employees(connection)
        if worth_it:
            await _add_candidates(connection, staged_employee.c.row_no <= last_number)
        await connection.commit()
    return worth_it


async def complete_comparison(database: Database, *, last_number: int) -> None:
    """Compare the rows that were staged after `compare_staged` began, and pass over those that are no longer staged.

    Args:
        database: The application database.
        last_number: The largest number of the rows that were compared before.
    """
    async with database.engine().connect() as connection:
        await lock_written_rows_only(connection)
        await connection.execute(delete(planned_employee).where(not_(exists().where(_is_same_row()))))
        await _add_candidates(connection, staged_employee.c.row_no > last_number)
        await connection.execute(insert(planned_employee).values(_COMPLETE))
        await connection.commit()


async def settle_candidates(connection: AsyncConnection) -> None:
    """Have the candidates in `planned_employee`, once the merge has refused rows that the source repeats.

    Args:
        connection: The merge's transaction; the application has employees.
    """
    complete = select(planned_employee.c.row_no).where(planned_employee.c.hris_id == _COMPLETE["hris_id"])
    if (await connection.execute(complete)).first() is not None:
        refused = exists().where(_is_same_row(), staged_employee.c.is_refused)
        await connection.execute(delete(planned_employee).where(refused))
    else:
        await connection.execute(delete(planned_employee))
        await _add_candidates(connection, staged_employee.c.is_refused.is_(False))


async def has_employees(connection: AsyncConnection) -> bool:
    """Tell whether the application has any employee."""
    return (await connection.execute(select(employee.c.id).limit(1))).first() is not None


def _is_same_row() -> ColumnElement[bool]:
    staged, candidate = staged_employee.c, planned_employee.c
    return and_(staged.hris_id == candidate.hris_id, staged.row_no == candidate.row_no)


async def _add_candidates(connection: AsyncConnection, which: ColumnElement[bool]) -> None:
    staged, known = staged_employee.c, department_ids()
    differs = or_(
        employee.c.code.is_distinct_from(staged.code),
        employee.c.is_active.is_distinct_from(True),
        employee.c.department_id.is_distinct_from(known.c.id),
        and_(staged.department_hris_id.is_not(None), known.c.id.is_(None)),
        *(employee.c[name].is_distinct_from(staged[name]) for name in ("name_en", "name_ar", "title")),
    )
    rows = (
        select(*(staged[name] for name in COLUMNS))
        .select_from(staged_employee)
        .outerjoin(known, known.c.hris_id == staged.department_hris_id)
        .outerjoin(employee, employee.c.id == staged.hris_id)
        .where(which, differs)
    )
    await connection.execute(insert(planned_employee).from_select(list(COLUMNS), rows))
