"""Security users: the source's login accounts, matched by the HRIS id and linked to employees."""

from sqlalchemy import ColumnElement, FromClause, String, Subquery, and_, cast, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import staged_account
from db.tables import employee, security_user
from hr.merge.report import Counts, Findings
from hr.merge.rows import RowMerge, find_rejected, note, reject_repeated_ids

ENTITY = "account"


def is_usable(account: FromClause) -> ColumnElement[bool]:
    """Tell whether one can log in with an account: it is neither deleted nor locked."""
    return and_(account.c.is_deleted.is_(False), account.c.is_locked.is_(False))


async def merge_accounts(connection: AsyncConnection, counts: Counts, rejected: Findings, noted: Findings) -> None:
    """Merge the staged accounts into the security users, after the employees.

    An account that the source no longer has is marked deleted. One of an unknown employee is taken without, and noted.

    Args:
        connection: The merge's transaction.
        counts: Is filled.
        rejected: Is filled.
        noted: Is filled.
    """
    await reject_repeated_ids(connection, ENTITY, staged_account)
    await _note_unknown_employees(connection, noted)
    merge = RowMerge(security_user, "hris_id", _wanted(), is_usable)
    comparison = await merge.compare(connection)
    await merge.deactivate_vanished(
        connection, counts, comparison.matched_active, staged=staged_account, entity=ENTITY, values={"is_deleted": True}
    )
    await merge.apply(connection, comparison)
    counts.inserted = comparison.new
    counts.updated = comparison.updated
    counts.reactivated = comparison.reactivated
    counts.deactivated += comparison.deactivated
    counts.unchanged = comparison.wanted - comparison.new - comparison.changed
    counts.rejected = await find_rejected(connection, ENTITY, rejected)


def _wanted() -> Subquery:
    staged = staged_account.c
    return (
        select(
            staged.hris_id,
            staged.user_name,
            staged.is_deleted,
            staged.is_locked,
            employee.c.id.label("employee_id"),
        )
        .select_from(staged_account.outerjoin(employee, employee.c.id == staged.employee_hris_id))
        .where(staged.is_refused.is_(False))
        .subquery("wanted")
    )


async def _note_unknown_employees(connection: AsyncConnection, noted: Findings) -> None:
    staged = staged_account.c
    known = select(employee.c.id).where(employee.c.id == staged.employee_hris_id).exists()
    keys = select(cast(staged.hris_id, String(64))).where(staged.employee_hris_id.is_not(None), not_(known))
    await note(connection, noted, "unknown employee", keys.order_by(staged.hris_id))
