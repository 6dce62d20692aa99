"""From the source's rows to staged rows: texts cleaned, types checked, what cannot be taken set aside with a reason."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import Table, delete, text

from db.bulk_load import BulkLoader
from db.engines import Database
from db.staging import (
    planned_assignment,
    planned_user,
    rejected_row,
    staged_account,
    staged_assignment,
    staged_department,
    staged_employee,
)
from hr.mapping import EntityName, Mapping
from hr.source import Source

StagedRow = tuple[Any, ...]
Progress = Callable[[EntityName, int], Awaitable[None]]

STAGED_TABLES: dict[EntityName, Table] = {
    "department": staged_department,
    "employee": staged_employee,
    "account": staged_account,
    "assignment": staged_assignment,
}
INT_MAX = 2**31 - 1


class RowRejected(Exception):
    """A source row cannot be taken; the text is the reason."""


@dataclass
class _Chunk:
    staged: list[StagedRow] = field(default_factory=list)
    rejected: list[StagedRow] = field(default_factory=list)


async def empty_staging(database: Database) -> None:
    """Remove what an earlier replication staged, however that one ended."""
    async with database.engine().begin() as connection:
        for table in (*STAGED_TABLES.values(), planned_user, planned_assignment, rejected_row):
            await _empty(connection, table)


async def stage(
    source: Source, mapping: Mapping, database: Database, entity: EntityName, *, chunk_rows: int, progress: Progress
) -> int:
    """Copy an entity's rows from the source into its staging table; whatever the table held goes first.

    While one chunk is written the next is read; no more than three chunks are in memory.

    Args:
        source: The HRIS.
        mapping: How names are put together.
        database: The application database.
        entity: What to copy.
        chunk_rows: Rows a chunk.
        progress: Called after each chunk with the entity and the number of rows so far.

    Returns:
        The number of rows read.
    """
    take = _takers(mapping)[entity]
    async with database.engine().begin() as connection:
        await _empty(connection, STAGED_TABLES[entity])
        await connection.execute(delete(rejected_row).where(rejected_row.c.entity == entity))
    read = 0
    writing: asyncio.Task[None] | None = None
    async with BulkLoader(database, STAGED_TABLES[entity]) as staged, BulkLoader(database, rejected_row) as rejected:

        async def write(chunk: _Chunk) -> None:
            await staged.write(chunk.staged)
            await rejected.write(chunk.rejected)

        try:
            async for rows in source.read(entity, chunk_rows):
                chunk = await asyncio.to_thread(_prepare, entity, take, rows, read)
                read += len(rows)
                if writing is not None:
                    await writing
                    await progress(entity, read)
                writing = asyncio.create_task(write(chunk))
        finally:
            if writing is not None:
                await writing
    await progress(entity, read)
    return read


async def _empty(connection: Any, table: Table) -> None:
    if connection.dialect.name == "mysql":
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        await connection.execute(text(f"TRUNCATE TABLE {quoted}"))
    else:
        await connection.execute(delete(table))


def _prepare(entity: EntityName, take: Callable[[Any, int], StagedRow], rows: Sequence[Any], first: int) -> _Chunk:
    chunk = _Chunk()
    add = chunk.staged.append
    for row_no, row in enumerate(rows, first + 1):
        try:
            add(take(row, row_no))
        except RowRejected as reason:
            source_id = row[0] if type(row[0]) is int and abs(row[0]) <= INT_MAX else None
            chunk.rejected.append((entity, row_no, source_id, _key(entity, row, row_no), str(reason)))
    return chunk


def _key(entity: EntityName, row: Sequence[Any], row_no: int) -> str:
    if entity == "assignment":
        return f"{row[0]}/{row[1]}"[:64]
    return f"row {row_no}" if row[0] is None else str(row[0])[:64]


def _takers(mapping: Mapping) -> dict[EntityName, Callable[[Any, int], StagedRow]]:
    english = slice(2, 2 + len(mapping.employee.name_en))
    arabic = slice(english.stop, english.stop + len(mapping.employee.name_ar))

    def take_employee(row: Any, row_no: int) -> StagedRow:
        return (
            _integer(row[0], "id"),
            row_no,
            _code(row[1]),
            _name(row[english], "English name"),
            _name(row[arabic], "Arabic name"),
            _name(row[-2:-1], "title"),
            _optional_integer(row[-1], "department"),
        )

    return {
        "department": _take_department,
        "employee": take_employee,
        "account": _take_account,
        "assignment": _take_assignment,
    }


def _take_department(row: Any, row_no: int) -> StagedRow:
    english, arabic = _name(row[2:3], "English name"), _name(row[3:4], "Arabic name")
    if english is None and arabic is None:
        raise RowRejected("no name")
    return (
        _integer(row[0], "id"),
        row_no,
        _optional_integer(row[1], "parent"),
        # Both names are required: the one that is missing is lent by the other.
        english or arabic,
        arabic or english,
        bool(row[4]),
    )


def _take_account(row: Any, row_no: int) -> StagedRow:
    name = _name(row[1:2], "user name", limit=64)
    if name is None:
        raise RowRejected("no user name")
    employee_id = _optional_integer(row[4], "employee")
    return (_integer(row[0], "id"), row_no, name, bool(row[2]), bool(row[3]), employee_id, str(uuid4()))


def _take_assignment(row: Any, row_no: int) -> StagedRow:
    return (_integer(row[0], "employee"), row_no, _integer(row[1], "department"))


def _name(parts: Sequence[Any], what: str, limit: int = 128) -> str | None:
    """Join the parts of a name with one space each, without stray ones; a name of nothing is none."""
    name = " ".join(" ".join([str(part) for part in parts if part is not None]).split())
    if len(name) > limit:
        raise RowRejected(f"{what} longer than {limit} characters")
    return name or None


def _code(value: Any) -> int:
    code = _integer(value, "code")
    if code < 1:
        raise RowRejected("code is not positive")
    return code


def _optional_integer(value: Any, what: str) -> int | None:
    return None if value is None else _integer(value, what)


def _integer(value: Any, what: str) -> int:
    if type(value) is not int:
        if value is None or (isinstance(value, str) and not value.strip()):
            raise RowRejected(f"no {what}")
        try:
            number = int(value)
        except (ValueError, TypeError, OverflowError):
            raise RowRejected(f"{what} is not a whole number") from None
        if not isinstance(value, str) and number != value:
            raise RowRejected(f"{what} is not a whole number")
        value = number
    if not -INT_MAX <= value <= INT_MAX:
        raise RowRejected(f"{what} is out of range")
    return int(value)
