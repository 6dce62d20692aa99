"""Application users: linked to employees, made where missing, switched on and off as their account says.

A user belongs to the account of its name; of several accounts of one name the usable one counts, then the lowest id.
Users that a person made, or whose status a person has overridden, keep their status. The link to an employee that a
manual user has is never changed; where there is none, the account's is filled in.
"""

from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import planned_user, staged_account
from db.tables import employee, security_user, user
from hr.merge.accounts import is_usable
from hr.merge.report import LISTED_IDS, Counts, Findings

TAKEN = "employee belongs to another user"


async def merge_users(connection: AsyncConnection, counts: Counts, rejected: Findings, *, now: datetime) -> None:
    """Bring the users in line with the security users, after those were merged.

    Args:
        connection: The merge's transaction.
        counts: Is filled; `skipped` are the users whose status is a person's, not the source's.
        rejected: Is filled with the accounts whose user cannot have the account's employee.
        now: The time that is written into changed rows.
    """
    await connection.execute(delete(planned_user))
    await _plan_known_users(connection)
    await _plan_new_users(connection)
    await _count(connection, counts, rejected)
    await _apply(connection, now)


def _follows_account() -> ColumnElement[bool]:
    return and_(user.c.user_source == "hris", user.c.status_override.is_(False))


def _accounts() -> Subquery:
    """Select the account that counts for each user name."""
    account = security_user.c
    place = func.row_number().over(
        partition_by=account.user_name, order_by=[case((is_usable(security_user), 0), else_=1), account.hris_id]
    )
    ranked = select(
        account.hris_id,
        account.user_name,
        account.employee_id,
        is_usable(security_user).label("is_usable"),
        place.label("place"),
    ).subquery("ranked")
    return select(ranked).where(ranked.c.place == 1).subquery("account")


def _preference(account: Subquery) -> list[ColumnElement[int]]:
    return [case((account.c.is_usable, 0), else_=1), account.c.hris_id]


async def _plan_known_users(connection: AsyncConnection) -> None:
    """Plan the users of an account that shall get another employee or another status."""
    account = _accounts()
    may_move = or_(user.c.employee_id.is_(None), user.c.user_source == "hris")
    moves = and_(
        account.c.employee_id.is_not(None), may_move, user.c.employee_id.is_distinct_from(account.c.employee_id)
    )
    switches = and_(_follows_account(), user.c.is_active != account.c.is_usable)
    movers = (
        select(
            user.c.id.label("user_id"),
            func.row_number().over(partition_by=account.c.employee_id, order_by=_preference(account)).label("place"),
        )
        .join(account, account.c.user_name == user.c.username)
        .where(moves)
        .cte("movers")
    )
    holder, moving = user.alias("holder"), movers.alias("moving")
    held = (
        select(holder.c.id)
        .outerjoin(moving, moving.c.user_id == holder.c.id)
        .where(holder.c.employee_id == account.c.employee_id, holder.c.id != user.c.id, moving.c.user_id.is_(None))
        .exists()
    )
    refused = and_(moves, or_(movers.c.place > 1, held))
    # Who cannot have the account's employee loses the old one all the same: the source says that it is not theirs.
    employee_id = case((not_(moves), user.c.employee_id), (refused, null()), else_=account.c.employee_id)
    rows = (
        select(
            user.c.id,
            account.c.hris_id,
            literal(False),
            employee_id,
            case((_follows_account(), account.c.is_usable), else_=user.c.is_active),
            refused,
        )
        .join(account, account.c.user_name == user.c.username)
        .outerjoin(movers, movers.c.user_id == user.c.id)
        .where(or_(moves, switches))
    )
    await connection.execute(insert(planned_user).from_select(_PLAN_COLUMNS, rows))


async def _plan_new_users(connection: AsyncConnection) -> None:
    """Plan a user for each linked account of the source that has none.

    Documented as: made inactive, then set to what the account says. Both happen in one transaction, hence in one row.
    """
    account = _accounts()
    known = select(user.c.id).where(user.c.username == account.c.user_name).exists()
    place = func.row_number().over(partition_by=account.c.employee_id, order_by=_preference(account))
    missing = (
        select(
            staged_account.c.user_id,
            account.c.hris_id,
            account.c.employee_id,
            account.c.is_usable,
            place.label("place"),
        )
        .join(staged_account, staged_account.c.hris_id == account.c.hris_id)
        .where(account.c.employee_id.is_not(None), not_(known))
        .subquery("missing")
    )
    taken = or_(missing.c.place > 1, _is_held(missing.c.employee_id), _is_planned(missing.c.employee_id))
    rows = select(
        missing.c.user_id, missing.c.hris_id, literal(True), missing.c.employee_id, missing.c.is_usable, taken
    )
    await connection.execute(insert(planned_user).from_select(_PLAN_COLUMNS, rows))


def _is_held(employee_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Tell whether a user has the employee and keeps it."""
    holder, plan = user.alias("holder"), planned_user.alias("plan")
    return (
        select(holder.c.id)
        .outerjoin(plan, plan.c.user_id == holder.c.id)
        .where(
            holder.c.employee_id == employee_id,
            or_(plan.c.user_id.is_(None), plan.c.employee_id == holder.c.employee_id),
        )
        .exists()
    )


def _is_planned(employee_id: ColumnElement[int]) -> ColumnElement[bool]:
    plan = planned_user.alias("given")
    return select(plan.c.user_id).where(plan.c.employee_id == employee_id, plan.c.is_new.is_(False)).exists()


_PLAN_COLUMNS = ["user_id", "account_hris_id", "is_new", "employee_id", "is_active", "is_refused"]


async def _count(connection: AsyncConnection, counts: Counts, rejected: Findings) -> None:
    account = _accounts()
    plan = planned_user
    matched = user.join(account, account.c.user_name == user.c.username).outerjoin(plan, plan.c.user_id == user.c.id)
    off = and_(user.c.is_active, plan.c.is_active.is_(False))
    on = and_(user.c.is_active.is_(False), plan.c.is_active)
    moved = and_(plan.c.user_id.is_not(None), user.c.employee_id.is_distinct_from(plan.c.employee_id))
    untouched = or_(plan.c.user_id.is_(None), and_(plan.c.is_refused.is_(False), not_(or_(off, on, moved))))
    follows = _follows_account()
    statement = select(
        func.count(),
        _number_of(off),
        _number_of(on),
        _number_of(and_(moved, not_(off), not_(on))),
        _number_of(and_(untouched, follows)),
        _number_of(and_(untouched, not_(follows))),
        _number_of(and_(follows, user.c.is_active)),
    ).select_from(matched)
    numbers = [int(number or 0) for number in (await connection.execute(statement)).one()]
    known, counts.deactivated, counts.reactivated, counts.updated, unchanged, counts.skipped, active = numbers
    counts.active_before = active
    counts.unchanged = unchanged
    new = select(func.count()).select_from(plan).where(plan.c.is_new)
    counts.inserted = int(await connection.scalar(new.where(plan.c.is_refused.is_(False))) or 0)
    counts.read = known + int(await connection.scalar(new) or 0)
    refused = plan.c.is_refused.is_(True)
    counts.rejected = int(await connection.scalar(select(func.count()).select_from(plan).where(refused)) or 0)
    if counts.rejected:
        ids = select(plan.c.account_hris_id).where(refused).order_by(plan.c.account_hris_id).limit(LISTED_IDS)
        rejected.add(TAKEN, [str(key) for key in await connection.scalars(ids)], counts.rejected)


def _number_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0)).cast(Integer)


async def _apply(connection: AsyncConnection, now: datetime) -> None:
    plan = planned_user
    # An employee has one user: who loses one must have lost it before another gets it.
    leaves = and_(plan.c.user_id == user.c.id, user.c.employee_id.is_distinct_from(plan.c.employee_id))
    await connection.execute(
        update(user).values(employee_id=null(), updated_at=now).where(leaves, user.c.employee_id.is_not(None))
    )
    differs = or_(
        user.c.employee_id.is_distinct_from(plan.c.employee_id), user.c.is_active.is_distinct_from(plan.c.is_active)
    )
    await connection.execute(
        update(user)
        .values(employee_id=plan.c.employee_id, is_active=plan.c.is_active, updated_at=now)
        .where(plan.c.user_id == user.c.id, plan.c.is_new.is_(False), differs)
    )
    columns, rows = _new_users(now)
    await connection.execute(insert(user).from_select(columns, rows))


def _new_users(now: datetime) -> tuple[list[str], Select[tuple[object, ...]]]:
    plan = planned_user
    at = literal(now, user.c.created_at.type)
    values = {
        "id": plan.c.user_id,
        "username": security_user.c.user_name,
        "full_name": employee.c.name_en,
        "title": employee.c.title,
        "is_domain_user": true(),
        "is_super_admin": literal(False),
        "is_active": plan.c.is_active,
        "is_blocked": literal(False),
        "employee_id": plan.c.employee_id,
        "user_source": literal("hris"),
        "status_override": literal(False),
        "created_at": at,
        "updated_at": at,
    }
    rows = (
        select(*(value.label(name) for name, value in values.items()))
        .select_from(plan)
        .join(security_user, security_user.c.hris_id == plan.c.account_hris_id)
        .join(employee, employee.c.id == plan.c.employee_id)
        .where(plan.c.is_new, plan.c.is_refused.is_(False))
    )
    return list(values), rows
