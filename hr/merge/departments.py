"""Departments: a tree, matched by the HRIS id."""

from dataclasses import replace

from sqlalchemy import ColumnElement, String, Subquery, cast, func, not_, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import staged_department
from db.tables import department
from hr.merge.report import LISTED_IDS, Counts, Findings
from hr.merge.rows import RowMerge, find_rejected, note, reject_repeated_ids

ENTITY = "department"


async def merge_departments(connection: AsyncConnection, counts: Counts, rejected: Findings, noted: Findings) -> None:
    """Merge the staged departments.

    A parent that the source does not have, or that closes a loop, is left out and noted: the department becomes a root.

    Args:
        connection: The merge's transaction.
        counts: Is filled.
        rejected: Is filled.
        noted: Is filled.
    """
    await reject_repeated_ids(connection, ENTITY, staged_department)
    await _cut_loops(connection, noted)
    await _cut_unknown_parents(connection, noted)
    without_parents = _merge(_without_parents())
    comparison = await without_parents.compare(connection)
    await without_parents.deactivate_vanished(
        connection,
        counts,
        comparison.matched_active,
        staged=staged_department,
        entity=ENTITY,
        values={"is_active": False},
    )
    new_with_parent = await _count_new_with_parent(connection)
    if comparison.new:
        # Parents come after: a new parent has no id before it is inserted.
        await without_parents.apply(connection, replace(comparison, deactivated=0, reactivated=0, updated=0))
    complete = _merge(_with_parents())
    changes = await complete.compare(connection)
    await complete.apply(connection, changes)
    counts.inserted = comparison.new
    counts.updated = changes.updated - new_with_parent
    counts.reactivated = changes.reactivated
    counts.deactivated += changes.deactivated
    counts.unchanged = comparison.wanted - comparison.new - (changes.changed - new_with_parent)
    counts.rejected = await find_rejected(connection, ENTITY, rejected)


def _merge(wanted: Subquery) -> RowMerge:
    return RowMerge(department, "hris_id", wanted, lambda row: row.c.is_active)


def _without_parents() -> Subquery:
    staged = staged_department.c
    columns = staged.hris_id, staged.name_en, staged.name_ar, staged.is_active
    return select(*columns).where(staged.is_refused.is_(False)).subquery("wanted")


def _with_parents() -> Subquery:
    staged = staged_department.c
    parent = department.alias("parent")
    return (
        select(staged.hris_id, staged.name_en, staged.name_ar, staged.is_active, parent.c.id.label("parent_id"))
        .select_from(staged_department.outerjoin(parent, parent.c.hris_id == staged.parent_hris_id))
        .where(staged.is_refused.is_(False))
        .subquery("wanted")
    )


async def _count_new_with_parent(connection: AsyncConnection) -> int:
    joined = staged_department.outerjoin(department, department.c.hris_id == staged_department.c.hris_id)
    new = select(func.count()).select_from(joined)
    return int(
        await connection.scalar(new.where(department.c.id.is_(None), staged_department.c.parent_hris_id.is_not(None)))
        or 0
    )


async def _cut_loops(connection: AsyncConnection, noted: Findings) -> None:
    """Make roots of the departments that are their own ancestors."""
    staged = staged_department.c
    above = (
        select(staged.hris_id, staged.parent_hris_id.label("ancestor"))
        .where(staged.parent_hris_id.is_not(None))
        .cte("above", recursive=True)
    )
    next_up = staged_department.alias("next_up")
    above = above.union(
        select(above.c.hris_id, next_up.c.parent_hris_id)
        .join(next_up, next_up.c.hris_id == above.c.ancestor)
        .where(next_up.c.parent_hris_id.is_not(None))
    )
    looping = (
        await connection.scalars(
            select(above.c.hris_id).where(above.c.hris_id == above.c.ancestor).order_by(above.c.hris_id)
        )
    ).all()
    if looping:
        await connection.execute(
            update(staged_department).values(parent_hris_id=null()).where(staged.hris_id.in_(looping))
        )
        noted.add("is its own ancestor", [str(hris_id) for hris_id in looping[:LISTED_IDS]], len(looping))


async def _cut_unknown_parents(connection: AsyncConnection, noted: Findings) -> None:
    staged = staged_department.c
    parent = staged_department.alias("parent")
    unknown: ColumnElement[bool] = staged.parent_hris_id.is_not(None) & not_(
        select(parent.c.hris_id).where(parent.c.hris_id == staged.parent_hris_id).exists()
    )
    keys = select(cast(staged.hris_id, String(64))).where(unknown).order_by(staged.hris_id)
    await note(connection, noted, "unknown parent", keys)
    await connection.execute(update(staged_department).values(parent_hris_id=null()).where(unknown))
