"""Copying the source's rows into the staging tables, in chunks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Table, delete, func, select, text

from db.bulk_load import BulkLoader
from db.engines import Database
from db.staging import (
    planned_assignment,
    planned_employee,
    planned_user,
    rejected_row,
    staged_account,
    staged_assignment,
    staged_department,
    staged_employee,
)
from hr.mapping import EntityName
from hr.row_checks import Chunk, prepare_chunk
from hr.source import Source
from hr.staged_blocks import StagedBlocks, blocks_of

Progress = Callable[[EntityName, int], Awaitable[None]]

STAGED_TABLES: dict[EntityName, Table] = {
    "department": staged_department,
    "employee": staged_employee,
    "account": staged_account,
    "assignment": staged_assignment,
}
_WORKING_TABLES = (*STAGED_TABLES.values(), planned_employee, planned_user, planned_assignment)


async def empty_staging(database: Database) -> None:
    """Remove what an earlier replication left, however it ended, but for staged rows that `stage` can use again."""
    async with database.engine().begin() as connection:
        for table in (*_WORKING_TABLES, rejected_row):
            if not _keeps_blocks(table):
                await _empty(connection, table)


async def empty_planned_and_staged(database: Database) -> None:
    """Remove what a replication staged and planned; the rows that it rejected stay, as its report refers to them."""
    async with database.engine().begin() as connection:
        for table in _WORKING_TABLES:
            await _empty(connection, table)


async def count_planned_and_staged(database: Database) -> int:
    """Count the rows that replications left in the tables that they work in."""
    async with database.engine().connect() as connection:
        counts = [await connection.scalar(select(func.count()).select_from(table)) for table in _WORKING_TABLES]
    return sum(count or 0 for count in counts)


async def stage(source: Source, database: Database, entity: EntityName, *, chunk_rows: int, progress: Progress) -> int:
    """Bring an entity's staging table in line with the source; may be repeated.

    The table is filled anew, or, where it keeps blocks, gets those that it does not hold yet. While one chunk is
    written the next is read; no more than three chunks are in memory.

    Args:
        source: The HRIS.
        database: The application database.
        entity: What to copy.
        chunk_rows: Rows a chunk.
        progress: Called after each chunk with the entity and the number of rows so far.

    Returns:
        The number of rows read.
    """
    table = STAGED_TABLES[entity]
    blocks: StagedBlocks | None = None
    async with database.engine().begin() as connection:
        await connection.execute(delete(rejected_row).where(rejected_row.c.entity == entity))
        if _keeps_blocks(table):
            blocks = await StagedBlocks.begin(connection, table)
        else:
            await _empty(connection, table)
    read = 0
    writing: asyncio.Task[None] | None = None
    async with BulkLoader(database, table) as staged, BulkLoader(database, rejected_row) as rejected:

        async def write(chunk: Chunk, rows: int) -> None:
            await staged.write(chunk.staged)
            await rejected.write(chunk.rejected)
            await progress(entity, rows)

        try:
            async for rows in source.read(entity, chunk_rows):
                chunk = await asyncio.to_thread(_prepare, entity, rows, read, blocks)
                read += len(rows)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(write(chunk, read))
        finally:
            if writing is not None:
                await writing
    if blocks is not None:
        async with database.engine().begin() as connection:
            await blocks.remove_vanished(connection)
    return read


def _keeps_blocks(table: Table) -> bool:
    return "block" in table.c


def _prepare(entity: EntityName, rows: Sequence[Sequence[Any]], before: int, blocks: StagedBlocks | None) -> Chunk:
    if blocks is None:
        return prepare_chunk(entity, rows, range(before + 1, before + 1 + len(rows)))
    fresh = blocks.choose(rows, before)
    if not fresh.rows:
        return Chunk((), ())
    chunk = prepare_chunk(entity, fresh.rows, fresh.numbers, last_number=blocks.last_number)
    return replace(chunk, staged=[*chunk.staged, blocks_of(fresh, chunk)])


async def _empty(connection: Any, table: Table) -> None:
    if connection.dialect.name == "mysql":
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        await connection.execute(text(f"TRUNCATE TABLE {quoted}"))
    else:
        await connection.execute(delete(table))
