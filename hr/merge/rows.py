"""The merge of any entity: compare the wanted rows with the table as sets, write only what differs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    Subquery,
    Table,
    and_,
    case,
    cast,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import rejected_row
from db.tables import department
from hr.merge.report import LISTED_IDS, Counts, Findings

IsActive = Callable[[FromClause], ColumnElement[bool]]


@dataclass(frozen=True)
class Comparison:
    """Wanted rows against a table's, in numbers."""

    wanted: int
    new: int
    deactivated: int
    reactivated: int
    updated: int
    matched_active: int

    @classmethod
    def of_new(cls, number: int) -> "Comparison":
        """Give the comparison of rows that all are new."""
        return cls(wanted=number, new=number, deactivated=0, reactivated=0, updated=0, matched_active=0)

    @property
    def changed(self) -> int:
        """Rows of the table that differ from what is wanted."""
        return self.deactivated + self.reactivated + self.updated


@dataclass(frozen=True)
class RowMerge:
    """A merge of wanted rows into a table.

    Args:
        target: The table.
        key: Name of the column by which rows are matched; unique in both.
        wanted: Rows as they shall be, with columns named like the table's.
        is_active: Whether a row, of the table or wanted, is active.
    """

    target: Table
    key: str
    wanted: Subquery
    is_active: IsActive

    @property
    def _matches(self) -> ColumnElement[bool]:
        return self.target.c[self.key] == self.wanted.c[self.key]

    @property
    def _differs(self) -> ColumnElement[bool]:
        columns = [column for column in self.wanted.c if column.name != self.key]
        return or_(*(self.target.c[column.name].is_distinct_from(column) for column in columns))

    async def compare(self, connection: AsyncConnection) -> Comparison:
        """Count what `apply` would write."""
        known = self.target.c[self.key].is_not(None)
        was, shall_be = self.is_active(self.target), self.is_active(self.wanted)
        off = and_(known, was, not_(shall_be))
        on = and_(known, not_(was), shall_be)
        row = (
            await connection.execute(
                select(
                    func.count(),
                    _count_if(not_(known)),
                    _count_if(off),
                    _count_if(on),
                    _count_if(and_(known, self._differs)),
                    _count_if(and_(known, was)),
                ).select_from(self.wanted.outerjoin(self.target, self._matches))
            )
        ).one()
        wanted, new, deactivated, reactivated, changed, matched_active = (int(number or 0) for number in row)
        return Comparison(wanted, new, deactivated, reactivated, changed - deactivated - reactivated, matched_active)

    async def apply(self, connection: AsyncConnection, comparison: Comparison) -> None:
        """Update the rows that differ, then insert the new ones: an update may free a unique value for an insert."""
        names = [column.name for column in self.wanted.c]
        if comparison.changed:
            changed = (
                select(*self.wanted.c)
                .select_from(self.wanted.join(self.target, self._matches))
                .where(self._differs)
                .subquery("changed")
            )
            await connection.execute(
                update(self.target)
                .values({name: changed.c[name] for name in names if name != self.key})
                .where(self.target.c[self.key] == changed.c[self.key])
            )
        if comparison.new:
            rows = select(*self.wanted.c)
            if comparison.new < comparison.wanted:
                joined = self.wanted.outerjoin(self.target, self._matches)
                rows = rows.select_from(joined).where(self.target.c[self.key].is_(None))
            await connection.execute(insert(self.target).from_select(names, rows))

    async def deactivate_vanished(
        self,
        connection: AsyncConnection,
        counts: Counts,
        present: int,
        *,
        staged: Table,
        entity: str,
        values: dict[str, Any],
    ) -> None:
        """Switch off the active rows that the source no longer has, and note them in the counts.

        A row that the source has but that was rejected stays as it is: it has not vanished.

        Args:
            connection: The merge's transaction.
            counts: Takes `active_before` and the number switched off.
            present: Active rows of the target that the source still has; there is nothing to look for if these are all.
            staged: Where the source's rows are.
            entity: Under which the source's rejected rows are noted.
            values: What switches a row off.
        """
        key = self.target.c[self.key]
        in_source = and_(key.is_not(None), self.is_active(self.target))
        active = select(func.count()).select_from(self.target).where(in_source)
        counts.active_before = int(await connection.scalar(active) or 0)
        if counts.active_before == present:
            return
        was_rejected = select(rejected_row.c.source_id).where(
            rejected_row.c.entity == entity, rejected_row.c.source_id.is_not(None)
        )
        vanished = (
            select(key.label("key"))
            .where(in_source, key.not_in(select(staged.c.hris_id)), key.not_in(was_rejected))
            .subquery("vanished")
        )
        result = await connection.execute(update(self.target).values(values).where(key == vanished.c.key))
        counts.deactivated += result.rowcount


async def lock_written_rows_only(connection: AsyncConnection) -> None:
    """Have the statements of a transaction that is to begin lock the rows that they write, not those that they read."""
    if connection.dialect.name == "mysql":
        await connection.execution_options(isolation_level="READ COMMITTED")


async def reject(connection: AsyncConnection, entity: str, staged: Table, rows: Select[Any]) -> int:
    """Set staged rows aside.

    Args:
        connection: The merge's transaction.
        entity: Under which they are noted.
        staged: From where they are taken.
        rows: Selects their `row_no`, `source_id`, `source_key` and `reason`.

    Returns:
        How many they were.
    """
    chosen = rows.subquery("refused")
    noted = await connection.execute(
        insert(rejected_row).from_select(
            ["entity", "row_no", "source_id", "source_key", "reason"],
            select(
                literal(entity),
                chosen.c.row_no,
                chosen.c.source_id,
                cast(chosen.c.source_key, String(64)),
                chosen.c.reason,
            ),
        )
    )
    if noted.rowcount:
        await connection.execute(
            update(staged)
            .values(is_refused=True)
            .where(
                rejected_row.c.entity == entity,
                key_of(staged) == rejected_row.c.source_id,
                staged.c.row_no == rejected_row.c.row_no,
            )
        )
    return noted.rowcount


def department_ids() -> Subquery:
    """Give the application's ids of the departments by the source's, to be looked up for many rows.

    The rows are distinct anyway: that they are asked to be makes MariaDB look them up in a small table in memory, five
    times as fast as in the index of `department`.
    """
    known = select(department.c.hris_id, department.c.id).where(department.c.hris_id.is_not(None))
    return known.distinct().subquery("department_ids")


def key_of(staged: Table) -> ColumnElement[int]:
    """Give the first column of a staging table's key, which is its rows' id in the source."""
    return next(iter(staged.primary_key))


async def reject_repeated_ids(connection: AsyncConnection, entity: str, staged: Table) -> None:
    """Keep the first row of an id that the source gives more than once."""
    repeats = (
        select(staged.c.hris_id, func.min(staged.c.row_no).label("row_no"))
        .group_by(staged.c.hris_id)
        .having(func.count() > 1)
    )
    if (await connection.execute(repeats.limit(1))).first() is None:
        return
    first = repeats.subquery("first")
    repeated = (
        select(
            staged.c.row_no,
            staged.c.hris_id.label("source_id"),
            staged.c.hris_id.label("source_key"),
            literal("repeated id").label("reason"),
        )
        .join(first, first.c.hris_id == staged.c.hris_id)
        .where(staged.c.row_no > first.c.row_no)
    )
    await reject(connection, entity, staged, repeated)


async def find_rejected(connection: AsyncConnection, entity: str, findings: Findings) -> int:
    """List an entity's rejected rows by reason.

    Returns:
        How many they are.
    """
    mine = rejected_row.c.entity == entity
    reasons = await connection.execute(
        select(rejected_row.c.reason, func.count()).where(mine).group_by(rejected_row.c.reason)
    )
    total = 0
    for reason, number in reasons.all():
        keys = (
            select(rejected_row.c.source_key)
            .where(mine, rejected_row.c.reason == reason)
            .order_by(rejected_row.c.source_id, rejected_row.c.row_no)
            .limit(LISTED_IDS)
        )
        findings.add(reason, (await connection.scalars(keys)).all(), number)
        total += number
    return total


async def note(connection: AsyncConnection, findings: Findings, reason: str, keys: Select[tuple[str]]) -> None:
    """Note rows that are taken, or passed over, although something in them is odd.

    Args:
        connection: The merge's transaction.
        findings: Takes the first keys and the number of all.
        reason: What is odd.
        keys: Selects the rows' keys.
    """
    number = await connection.scalar(select(func.count()).select_from(keys.order_by(None).subquery("noted")))
    if number:
        findings.add(reason, (await connection.scalars(keys.limit(LISTED_IDS))).all(), number)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
